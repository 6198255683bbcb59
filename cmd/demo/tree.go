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

// Kinds with special treatment in the tree.
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

// resourceKinds are the kinds that the scheduler loads. Their objects have no owner, and
// are shown with the runtime of their namespace.
var resourceKinds = []schema.GroupVersionKind{modelKind, pipelineKind, experimentKind}

// schedulerGroup is the name of the group of resourceKinds.
const schedulerGroup = "scheduler"

// group is a node for a runtime's children of some kinds.
type group struct {
	name  string
	kinds []schema.GroupVersionKind
}

// groups are all groups, in the order in which they and their kinds are shown.
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
	{schedulerGroup, resourceKinds},
}

// state is the state of an object, from best to worst.
type state int

const (
	ready state = iota
	waiting
	failed
)

// node is a node of the tree: an object, a group of a runtime's children, or a condition
// that does not count towards its object's Ready.
type node struct {
	// kind is empty for a group, and the type of a condition, which has no name.
	kind, name string
	// own is the state of the object without its children; that of a group is ready.
	own state
	// detail explains the state.
	detail   string
	children []*node
}

func (n *node) title() string {
	if n.kind == "" {
		return n.name
	}
	return strings.TrimSpace(n.kind + " " + n.name)
}

// shown returns the state that is drawn: own for an object, and the worst of its children
// for a group.
func (n *node) shown() state {
	shown := n.own
	if n.kind == "" {
		for _, child := range n.children {
			shown = max(shown, child.shown())
		}
	}
	return shown
}

// worst returns the worst state of the node and its descendants.
func (n *node) worst() state {
	worst := n.own
	for _, child := range n.children {
		worst = max(worst, child.worst())
	}
	return worst
}

// firstUnready returns the first node that is not ready, from top to bottom, or nil.
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

// find returns the node with a title, or nil.
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

// buildTree returns the tree of the named runtime: its children, their children by
// controller reference, and the objects of resourceKinds. Other objects are ignored.
func buildTree(name string, objects []*unstructured.Unstructured) *node {
	owned := map[types.UID][]*unstructured.Unstructured{}
	var root *unstructured.Unstructured
	var resources []*unstructured.Unstructured
	for _, object := range objects {
		if isResource(object) {
			resources = append(resources, object)
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
	owned[root.GetUID()] = append(owned[root.GetUID()], resources...)
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
	byGroup[schedulerGroup].children = slices.Insert(byGroup[schedulerGroup].children, 0, reachabilityNode(root))
	return tree
}

func subtree(object *unstructured.Unstructured, owned map[types.UID][]*unstructured.Unstructured) *node {
	n := nodeOf(object)
	for _, child := range childrenOf(object, owned) {
		n.children = append(n.children, subtree(child, owned))
	}
	return n
}

// childrenOf returns an object's children in the order in which they are shown. Instead of
// a ReplicaSet it returns its pods.
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

// rank returns the position of an object's kind in groups; other kinds are last.
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
