package main

import (
	"context"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition/health"
)

// kinds are the kinds in the tree, in the order in which siblings are shown.
var kinds = []schema.GroupVersionKind{
	{Version: "v1", Kind: "ServiceAccount"},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "Role"},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "RoleBinding"},
	{Version: "v1", Kind: "ConfigMap"},
	{Version: "v1", Kind: "Service"},
	{Group: "apps", Version: "v1", Kind: "StatefulSet"},
	{Group: "apps", Version: "v1", Kind: "Deployment"},
	{Group: "apps", Version: "v1", Kind: "ReplicaSet"},
	{Version: "v1", Kind: "Pod"},
	v1alpha1.GroupVersion.WithKind(v1alpha1.KindSeldonRuntime),
	v1alpha1.GroupVersion.WithKind(v1alpha1.KindServer),
	v1alpha1.GroupVersion.WithKind(v1alpha1.KindModel),
	v1alpha1.GroupVersion.WithKind(v1alpha1.KindPipeline),
	v1alpha1.GroupVersion.WithKind(v1alpha1.KindExperiment),
}

// schedulerReachable is the title of the node for a SeldonRuntime's connection to its
// scheduler, which does not count towards its Ready.
const schedulerReachable = "Condition " + v1alpha1.ConditionSchedulerReachable

// maxLine is the maximum number of characters of a line without its indentation.
const maxLine = 120

// node is a node of the tree: a namespace, an object or a condition.
type node struct {
	kind, name string
	status     health.Status
	message    string
	children   []*node
}

// observe lists the objects in a namespace and returns their tree.
func observe(ctx context.Context, reader client.Reader, namespace string) (*node, error) {
	var objects []*unstructured.Unstructured
	for _, kind := range kinds {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind)
		if err := reader.List(ctx, list, client.InNamespace(namespace)); err != nil {
			return nil, err
		}
		for i := range list.Items {
			objects = append(objects, &list.Items[i])
		}
	}
	return buildTree(namespace, objects), nil
}

// buildTree returns the tree of a namespace: the custom resources without an owner, and
// their descendants by controller reference. Siblings have the order of objects.
func buildTree(namespace string, objects []*unstructured.Unstructured) *node {
	byOwner := map[types.UID][]*unstructured.Unstructured{}
	for _, object := range objects {
		if owner := metav1.GetControllerOf(object); owner != nil {
			byOwner[owner.UID] = append(byOwner[owner.UID], object)
		} else if object.GroupVersionKind().Group == v1alpha1.GroupVersion.Group {
			byOwner[""] = append(byOwner[""], object)
		}
	}
	return &node{kind: "Namespace", name: namespace, status: health.Current, children: childrenOf("", byOwner)}
}

func childrenOf(owner types.UID, byOwner map[types.UID][]*unstructured.Unstructured) []*node {
	var children []*node
	for _, object := range byOwner[owner] {
		n := nodeOf(object)
		n.children = append(n.children, childrenOf(object.GetUID(), byOwner)...)
		children = append(children, n)
	}
	return children
}

// nodeOf returns the node of an object without its children.
func nodeOf(object *unstructured.Unstructured) *node {
	n := &node{kind: object.GetKind(), name: object.GetName()}
	n.status, n.message = health.Of(object, object.GroupVersionKind().GroupKind())
	if n.kind == v1alpha1.KindSeldonRuntime {
		n.children = []*node{reachability(object)}
	}
	return n
}

// reachability returns the node of a SeldonRuntime's connection to its scheduler.
func reachability(runtime *unstructured.Unstructured) *node {
	n := &node{kind: "Condition", name: v1alpha1.ConditionSchedulerReachable, status: health.InProgress}
	conditions, _, _ := unstructured.NestedSlice(runtime.Object, "status", "conditions")
	for _, each := range conditions {
		if condition, _ := each.(map[string]any); condition["type"] == n.name {
			n.message, _ = condition["message"].(string)
			if condition["status"] == string(metav1.ConditionTrue) {
				n.status = health.Current
			}
		}
	}
	return n
}

func (n *node) isReady() bool { return n.status == health.Current }

func (n *node) title() string { return n.kind + " " + n.name }

// line returns the node without its children.
func (n *node) line() string {
	mark := map[health.Status]string{health.Current: "✓", health.InProgress: "○", health.Failed: "✗", health.NotFound: "-"}[n.status]
	line := []rune(strings.Join(append([]string{mark, n.title(), ""}, strings.Fields(n.message)...), " "))
	if len(line) > maxLine {
		line = append(line[:maxLine-1], '…')
	}
	return strings.TrimRight(string(line), " ")
}

// all returns the node and its descendants, from top to bottom. A nil node has none.
func (n *node) all() []*node {
	if n == nil {
		return nil
	}
	nodes := []*node{n}
	for _, child := range n.children {
		nodes = append(nodes, child.all()...)
	}
	return nodes
}

// String draws the tree.
func (n *node) String() string {
	var text strings.Builder
	text.WriteString(n.line() + "\n")
	children := merged(n.children)
	for i, child := range children {
		first, rest := "├─ ", "│  "
		if i == len(children)-1 {
			first, rest = "└─ ", "   "
		}
		for line := range strings.Lines(child.String()) {
			text.WriteString(first + line)
			first = rest
		}
	}
	return text.String()
}

// summary returns a copy of the tree without what is ready below the custom resources of
// the namespace. An ellipsis stands for it.
func (n *node) summary() *node {
	copied := &node{kind: n.kind, name: n.name, status: n.status, message: n.message}
	for _, child := range n.children {
		if n.kind == "Namespace" || allReady(child) != nil {
			copied.children = append(copied.children, child.summary())
		}
	}
	if len(copied.children) < len(n.children) {
		copied.name += " …"
	}
	return copied
}

// merged joins the names of nodes without children that differ in nothing else.
func merged(nodes []*node) []*node {
	var result []*node
	similar := map[string]*node{}
	for _, n := range nodes {
		key := n.kind + " " + string(n.status) + " " + n.message
		if first := similar[key]; first != nil && len(n.children) == 0 {
			first.name += ", " + n.name
			continue
		}
		copied := *n
		if len(n.children) == 0 {
			similar[key] = &copied
		}
		result = append(result, &copied)
	}
	return result
}

// changes returns lines about the nodes that appeared, changed or were deleted. before may
// be nil.
func changes(before, after *node) []string {
	old := map[string]*node{}
	for _, n := range before.all() {
		old[n.title()] = n
	}
	var changed []*node
	for _, n := range after.all() {
		if was := old[n.title()]; was == nil || was.line() != n.line() {
			changed = append(changed, &node{kind: n.kind, name: n.name, status: n.status, message: n.message})
		}
		delete(old, n.title())
	}
	for _, n := range before.all() {
		if old[n.title()] != nil {
			changed = append(changed, &node{kind: n.kind, name: n.name, status: health.NotFound, message: "is deleted"})
		}
	}
	var lines []string
	for _, n := range merged(changed) {
		lines = append(lines, n.line())
	}
	return lines
}
