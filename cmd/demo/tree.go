package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition"
)

// Kinds that the picture treats in a way of their own.
var (
	runtimeKind     = v1alpha1.GroupVersion.WithKind(v1alpha1.KindSeldonRuntime)
	serverKind      = v1alpha1.GroupVersion.WithKind(v1alpha1.KindServer)
	deploymentKind  = appsv1.SchemeGroupVersion.WithKind("Deployment")
	statefulSetKind = appsv1.SchemeGroupVersion.WithKind("StatefulSet")
	replicaSetKind  = appsv1.SchemeGroupVersion.WithKind("ReplicaSet")
	podKind         = corev1.SchemeGroupVersion.WithKind("Pod")
)

// group is what a runtime's children of some kinds are shown under.
type group struct {
	name  string
	kinds []schema.GroupVersionKind
}

// groups in the order in which they are shown, and of the kinds in each.
var groups = []group{
	{"accounts", []schema.GroupVersionKind{
		corev1.SchemeGroupVersion.WithKind("ServiceAccount"),
		rbacv1.SchemeGroupVersion.WithKind("Role"),
		rbacv1.SchemeGroupVersion.WithKind("RoleBinding"),
	}},
	{"configuration", []schema.GroupVersionKind{corev1.SchemeGroupVersion.WithKind("ConfigMap")}},
	{"services", []schema.GroupVersionKind{corev1.SchemeGroupVersion.WithKind("Service")}},
	{"workloads", []schema.GroupVersionKind{statefulSetKind, deploymentKind}},
	{"servers", []schema.GroupVersionKind{serverKind}},
}

// state of an object, from best to worst.
type state int

const (
	ready state = iota
	waiting
	failed
)

// node of the tree: an object, or a group of a runtime's children.
type node struct {
	// kind is empty for a group.
	kind, name string
	// own is the state by the object's own word; a group has none, and is ready.
	own state
	// detail is what an object that is not ready lacks, or a few words on how it
	// is.
	detail   string
	children []*node
}

func (n *node) title() string {
	if n.kind == "" {
		return n.name
	}
	return n.kind + " " + n.name
}

// shown is the state that the node is marked with: an object's own, whatever its
// children say, and for a group the worst in it.
func (n *node) shown() state {
	shown := n.own
	if n.kind == "" {
		for _, child := range n.children {
			shown = max(shown, child.shown())
		}
	}
	return shown
}

// worst is the worst state of the node and all below it.
func (n *node) worst() state {
	worst := n.own
	for _, child := range n.children {
		worst = max(worst, child.worst())
	}
	return worst
}

// buildTree makes the tree of the named runtime out of objects, of which each
// belongs where its controller is. Objects that belong to something else are
// left out.
func buildTree(name string, objects []*unstructured.Unstructured) *node {
	owned := map[types.UID][]*unstructured.Unstructured{}
	var root *unstructured.Unstructured
	for _, object := range objects {
		if owner := metav1.GetControllerOf(object); owner != nil {
			owned[owner.UID] = append(owned[owner.UID], object)
		}
		if object.GroupVersionKind() == runtimeKind && object.GetName() == name {
			root = object
		}
	}
	if root == nil {
		return &node{kind: v1alpha1.KindSeldonRuntime, name: name, own: waiting, detail: "does not exist"}
	}
	tree := nodeOf(root)
	byGroup := map[string]*node{}
	for _, child := range childrenOf(root, owned) {
		in := groupOf(child)
		if byGroup[in] == nil {
			byGroup[in] = &node{name: in}
			tree.children = append(tree.children, byGroup[in])
		}
		byGroup[in].children = append(byGroup[in].children, subtree(child, owned))
	}
	return tree
}

func subtree(object *unstructured.Unstructured, owned map[types.UID][]*unstructured.Unstructured) *node {
	n := nodeOf(object)
	for _, child := range childrenOf(object, owned) {
		n.children = append(n.children, subtree(child, owned))
	}
	return n
}

// childrenOf lists an object's children in the order in which they are shown. A
// ReplicaSet is only how a Deployment makes its pods: they stand in its place.
func childrenOf(object *unstructured.Unstructured, owned map[types.UID][]*unstructured.Unstructured) []*unstructured.Unstructured {
	var children []*unstructured.Unstructured
	for _, child := range owned[object.GetUID()] {
		if child.GroupVersionKind() == replicaSetKind {
			children = append(children, owned[child.GetUID()]...)
			continue
		}
		children = append(children, child)
	}
	slices.SortFunc(children, func(a, b *unstructured.Unstructured) int {
		return cmp.Or(
			cmp.Compare(rank(a), rank(b)),
			cmp.Compare(a.GetKind(), b.GetKind()),
			cmp.Compare(a.GetName(), b.GetName()),
		)
	})
	return children
}

// rank orders kinds as the groups do; unknown ones come last.
func rank(object *unstructured.Unstructured) int {
	position := 0
	for _, g := range groups {
		if at := slices.Index(g.kinds, object.GroupVersionKind()); at >= 0 {
			return position + at
		}
		position += len(g.kinds)
	}
	return position
}

func groupOf(object *unstructured.Unstructured) string {
	for _, g := range groups {
		if slices.Contains(g.kinds, object.GroupVersionKind()) {
			return g.name
		}
	}
	return "others"
}

// nodeOf is an object's own node, without children.
func nodeOf(object *unstructured.Unstructured) *node {
	n := &node{kind: object.GetKind(), name: object.GetName()}
	if object.GroupVersionKind().Group == v1alpha1.GroupVersion.Group {
		n.own, n.detail = judgedByReady(object)
	} else {
		n.own, n.detail = judgedByHealth(object)
	}
	n.detail = oneLine(n.detail)
	return n
}

// reasonProgressing is the reason of a Ready condition that is False for now.
const reasonProgressing = "Progressing"

// judgedByReady is the state of an object of ours, by the operator's word on its
// newest spec.
func judgedByReady(object *unstructured.Unstructured) (state, string) {
	if object.GetDeletionTimestamp() != nil {
		return waiting, "is being deleted"
	}
	var decoded struct {
		Status struct {
			Conditions []metav1.Condition `json:"conditions"`
		} `json:"status"`
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &decoded); err != nil {
		return waiting, fmt.Sprintf("its status cannot be read: %v", err)
	}
	condition := meta.FindStatusCondition(decoded.Status.Conditions, v1alpha1.ConditionReady)
	switch {
	case condition == nil || condition.ObservedGeneration < object.GetGeneration():
		return waiting, "the operator has not seen it yet"
	case condition.Status == metav1.ConditionTrue:
		return ready, condition.Message
	case condition.Status == metav1.ConditionFalse && condition.Reason != reasonProgressing:
		return failed, condition.Reason + ": " + condition.Message
	}
	return waiting, condition.Reason + ": " + condition.Message
}

// judgedByHealth is the state of any other object, by the rules that the
// operator itself goes by.
func judgedByHealth(object *unstructured.Unstructured) (state, string) {
	health, message := composition.HealthOf(object)
	switch health {
	case composition.Healthy:
		return ready, inBrief(object)
	case composition.Failed:
		return failed, message
	default:
		return waiting, message
	}
}

// inBrief says in a word how a ready object is, where there is one to say.
func inBrief(object *unstructured.Unstructured) string {
	switch object.GroupVersionKind() {
	case deploymentKind, statefulSetKind:
		wanted, _, _ := unstructured.NestedInt64(object.Object, "spec", "replicas")
		are, _, _ := unstructured.NestedInt64(object.Object, "status", "readyReplicas")
		return fmt.Sprintf("%d/%d", are, wanted)
	case podKind:
		phase, _, _ := unstructured.NestedString(object.Object, "status", "phase")
		return phase
	}
	return ""
}

// oneLine makes of any text one that stays where it is put on a terminal.
func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
}
