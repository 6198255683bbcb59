package tree

import (
	"cmp"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// Tree returns the tree of the objects: the root of the scope or, without one, the
// SeldonRuntimes and the objects of users in namespaces without a runtime, or all objects of the
// scope's only kinds. Siblings are in the
// order of their kinds and names.
//
// Objects of users are served by the runtime of their namespace: the oldest, if there are
// several.
func (o *Objects) Tree() []*Node {
	b := builder{objects: o, children: map[types.UID][]*unstructured.Unstructured{}, runtimes: map[string]*unstructured.Unstructured{}}
	var roots []*unstructured.Unstructured
	for _, kind := range o.scope.kinds() {
		for _, object := range o.sorted(kind) {
			if o.scope.Only != nil {
				roots = append(roots, object)
				continue
			}
			owner := b.ownerOf(object)
			if owner != "" {
				b.children[owner] = append(b.children[owner], object)
			}
			switch {
			case o.scope.Root != nil:
				if o.scope.Root.GroupVersionKind == kind {
					roots = append(roots, object)
				}
			case kind == runtimeKind:
				roots = append(roots, object)
				if first := b.runtimes[object.GetNamespace()]; first == nil || isOlder(object, first) {
					b.runtimes[object.GetNamespace()] = object
				}
			case owner == "" && isServed(kind) && b.runtimes[object.GetNamespace()] == nil:
				roots = append(roots, object)
			}
			if owner == "" && isServed(kind) {
				b.served = append(b.served, object)
			}
		}
	}
	if o.scope.Root != nil && o.scope.Root.GroupVersionKind == runtimeKind {
		for _, root := range roots {
			b.runtimes[root.GetNamespace()] = root
		}
	}
	slices.SortStableFunc(roots, func(a, b *unstructured.Unstructured) int { return strings.Compare(a.GetNamespace(), b.GetNamespace()) })
	var nodes []*Node
	for _, root := range roots {
		nodes = append(nodes, b.node(root))
	}
	return nodes
}

// isServed reports whether users create objects of a kind for a runtime to serve.
func isServed(kind schema.GroupVersionKind) bool {
	return kind == serverKind || kind == modelKind || kind == pipelineKind || kind == experimentKind
}

// isOlder is the operator's rule for which of two runtimes in a namespace is reconciled.
func isOlder(a, b *unstructured.Unstructured) bool {
	created, other := a.GetCreationTimestamp(), b.GetCreationTimestamp()
	return created.Before(&other) || created.Equal(&other) && a.GetName() < b.GetName()
}

// sorted returns the objects of a kind by namespace and name.
func (o *Objects) sorted(kind schema.GroupVersionKind) []*unstructured.Unstructured {
	var sorted []*unstructured.Unstructured
	for _, object := range o.byKind[kind] {
		sorted = append(sorted, object)
	}
	slices.SortFunc(sorted, func(a, b *unstructured.Unstructured) int {
		return cmp.Or(strings.Compare(a.GetNamespace(), b.GetNamespace()), strings.Compare(a.GetName(), b.GetName()))
	})
	return sorted
}

// builder builds one tree.
type builder struct {
	objects *Objects
	// children are the objects that an owner controls.
	children map[types.UID][]*unstructured.Unstructured
	// runtimes are those that serve the objects of users, by namespace, and served are these
	// objects.
	runtimes map[string]*unstructured.Unstructured
	served   []*unstructured.Unstructured
}

// ownerOf returns the UID of the object below which an object is shown; empty if it has no
// controller. ReplicaSets are not listed: the name of one is that of its Deployment and the
// hash that its pods have as label.
func (b *builder) ownerOf(object *unstructured.Unstructured) types.UID {
	owner := metav1.GetControllerOfNoCopy(object)
	if owner == nil {
		return ""
	}
	if owner.Kind != "ReplicaSet" {
		return owner.UID
	}
	name, found := strings.CutSuffix(owner.Name, "-"+object.GetLabels()[appsv1.DefaultDeploymentUniqueLabelKey])
	deployment := b.objects.byKind[deploymentKind][types.NamespacedName{Namespace: object.GetNamespace(), Name: name}]
	if !found || deployment == nil {
		return owner.UID
	}
	return deployment.GetUID()
}

// node returns the node of an object with its descendants.
func (b *builder) node(object *unstructured.Unstructured) *Node {
	n := newNode(object)
	n.Children = conditionsOf(object)
	for _, child := range b.children[object.GetUID()] {
		n.Children = append(n.Children, b.node(child))
	}
	if b.runtimes[object.GetNamespace()] == object {
		for _, served := range b.served {
			if served.GetNamespace() == object.GetNamespace() {
				child := b.node(served)
				child.Served = true
				n.Children = append(n.Children, child)
			}
		}
	}
	return n
}
