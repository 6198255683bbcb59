package composition

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// Key names a child among all kinds and namespaces.
type Key struct {
	schema.GroupVersionKind
	Namespace string
	Name      string
}

// KeyOf is the key of an object.
func KeyOf(object *unstructured.Unstructured) Key {
	return Key{
		GroupVersionKind: object.GroupVersionKind(),
		Namespace:        object.GetNamespace(),
		Name:             object.GetName(),
	}
}

// String is how messages name a child: `Deployment team-a/seldon-envoy`.
func (k Key) String() string {
	return fmt.Sprintf("%s %s/%s", k.Kind, k.Namespace, k.Name)
}

// compare orders keys by wave, then by kind, namespace and name, so that plans
// and messages do not depend on the order of rendering.
func (k Key) compare(other Key) int {
	return cmp.Or(
		cmp.Compare(waveOf(k.GroupKind()), waveOf(other.GroupKind())),
		k.compareNames(other),
	)
}

// compareReverse orders keys by wave, the last one first, then as compare does.
func compareReverse(a, b Key) int {
	return cmp.Or(cmp.Compare(waveOf(b.GroupKind()), waveOf(a.GroupKind())), a.compareNames(b))
}

func (k Key) compareNames(other Key) int {
	return cmp.Or(
		strings.Compare(k.Kind, other.Kind),
		strings.Compare(k.Namespace, other.Namespace),
		strings.Compare(k.Name, other.Name),
		strings.Compare(k.Group, other.Group),
		strings.Compare(k.Version, other.Version),
	)
}

// Child is a rendered object: the apply configuration, complete, and what its
// template says of it.
type Child struct {
	// Object holds the fields that we mean and no others.
	Object *unstructured.Unstructured
	// RollReaders: pods read this configuration only when they start.
	RollReaders bool
	// Seed is the dotted path of a field that others may change after we set it;
	// empty if there is none.
	Seed string
}

// Key is the key of the child's object.
func (c Child) Key() Key { return KeyOf(c.Object) }

// A wave is a group of children that are applied side by side; what a wave needs
// stands in an earlier one.
type wave int

const (
	waveAccounts wave = iota
	// waveBindings stands behind the roles that bindings refer to: the API server
	// looks them up to see whether the operator may grant them.
	waveBindings
	waveConfiguration
	waveServices
	waveWorkloads
	waveOthers
)

// waveOf places a kind: accounts and RBAC, configuration, services, workloads,
// and last everything else, which is to say custom resources.
func waveOf(kind schema.GroupKind) wave {
	switch kind {
	case schema.GroupKind{Kind: "ServiceAccount"},
		schema.GroupKind{Group: "rbac.authorization.k8s.io", Kind: "Role"}:
		return waveAccounts
	case schema.GroupKind{Group: "rbac.authorization.k8s.io", Kind: "RoleBinding"}:
		return waveBindings
	case schema.GroupKind{Kind: "ConfigMap"}, schema.GroupKind{Kind: "Secret"}:
		return waveConfiguration
	case schema.GroupKind{Kind: "Service"}:
		return waveServices
	}
	if isWorkload(kind) {
		return waveWorkloads
	}
	return waveOthers
}

// isWorkload tells the kinds that carry a pod template at spec.template.
func isWorkload(kind schema.GroupKind) bool {
	return kind.Group == "apps" && slices.Contains([]string{"Deployment", "StatefulSet", "DaemonSet"}, kind.Kind)
}

// Owner is the object that an instance is composed for.
type Owner struct {
	schema.GroupVersionKind
	Namespace string
	Name      string
	UID       types.UID
}

// controls tells whether the owner is the controller of object.
func (o Owner) controls(object metav1.Object) bool {
	ref := metav1.GetControllerOfNoCopy(object)
	return ref != nil && ref.UID == o.UID
}

// reference is the controller reference that every child carries.
func (o Owner) reference() map[string]any {
	return map[string]any{
		"apiVersion":         o.GroupVersion().String(),
		"kind":               o.Kind,
		"name":               o.Name,
		"uid":                string(o.UID),
		"controller":         true,
		"blockOwnerDeletion": true,
	}
}

// sortChildren orders children as their keys are. A key is read off an object's
// fields, so each is read once, not at every comparison.
func sortChildren(children []Child) {
	type keyed struct {
		key   Key
		child Child
	}
	sorted := make([]keyed, len(children))
	for i, child := range children {
		sorted[i] = keyed{child.Key(), child}
	}
	slices.SortFunc(sorted, func(a, b keyed) int { return a.key.compare(b.key) })
	for i := range sorted {
		children[i] = sorted[i].child
	}
}
