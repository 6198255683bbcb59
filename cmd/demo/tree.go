package main

import (
	"cmp"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// Kinds that the picture treats in a way of their own.
var (
	runtimeKind     = v1alpha1.GroupVersion.WithKind(v1alpha1.KindSeldonRuntime)
	serverKind      = v1alpha1.GroupVersion.WithKind(v1alpha1.KindServer)
	modelKind       = v1alpha1.GroupVersion.WithKind(v1alpha1.KindModel)
	pipelineKind    = v1alpha1.GroupVersion.WithKind(v1alpha1.KindPipeline)
	experimentKind  = v1alpha1.GroupVersion.WithKind(v1alpha1.KindExperiment)
	deploymentKind  = appsv1.SchemeGroupVersion.WithKind("Deployment")
	statefulSetKind = appsv1.SchemeGroupVersion.WithKind("StatefulSet")
	replicaSetKind  = appsv1.SchemeGroupVersion.WithKind("ReplicaSet")
	podKind         = corev1.SchemeGroupVersion.WithKind("Pod")
)

// relayedKinds are those that the scheduler serves. Their objects belong to nothing,
// and are shown with the runtime of their namespace.
var relayedKinds = []schema.GroupVersionKind{modelKind, pipelineKind, experimentKind}

// schedulerGroup is the name of the group of what the scheduler serves.
const schedulerGroup = "scheduler"

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
	{schedulerGroup, relayedKinds},
}

// state of an object, from best to worst.
type state int

const (
	ready state = iota
	waiting
	failed
)

// node of the tree: an object, a group of a runtime's children, or a condition that
// has no say in its object's Ready.
type node struct {
	// kind is empty for a group, and the type of a condition, which has no name.
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
	return strings.TrimSpace(n.kind + " " + n.name)
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

// firstUnready is the first node that is not ready, from the top down; nil if there
// is none.
func (n *node) firstUnready() *node {
	if n.own != ready {
		return n
	}
	for _, child := range n.children {
		if found := child.firstUnready(); found != nil {
			return found
		}
	}
	return nil
}

// find is the node with a title, or nil.
func (n *node) find(title string) *node {
	if n.title() == title {
		return n
	}
	for _, child := range n.children {
		if found := child.find(title); found != nil {
			return found
		}
	}
	return nil
}

// buildTree makes the tree of the named runtime out of objects, of which each
// belongs where its controller is, and with the runtime what its scheduler serves.
// Objects that belong to something else are left out.
func buildTree(name string, objects []*unstructured.Unstructured) *node {
	owned := map[types.UID][]*unstructured.Unstructured{}
	var root *unstructured.Unstructured
	var relayed []*unstructured.Unstructured
	for _, object := range objects {
		if isRelayed(object) {
			relayed = append(relayed, object)
		} else if owner := metav1.GetControllerOf(object); owner != nil {
			owned[owner.UID] = append(owned[owner.UID], object)
		}
		if object.GroupVersionKind() == runtimeKind && object.GetName() == name {
			root = object
		}
	}
	if root == nil {
		return &node{kind: v1alpha1.KindSeldonRuntime, name: name, own: waiting, detail: "does not exist"}
	}
	owned[root.GetUID()] = append(owned[root.GetUID()], relayed...)
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
	if byGroup[schedulerGroup] == nil {
		byGroup[schedulerGroup] = &node{name: schedulerGroup}
		tree.children = append(tree.children, byGroup[schedulerGroup])
	}
	byGroup[schedulerGroup].children = slices.Insert(byGroup[schedulerGroup].children, 0, reachability(root))
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
