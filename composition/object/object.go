package object

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

// Ref identifies an object among all kinds and namespaces.
type Ref struct {
	schema.GroupVersionKind
	Namespace string
	Name      string
}

// RefOf returns the reference to an object.
func RefOf(object *unstructured.Unstructured) Ref {
	return Ref{
		GroupVersionKind: object.GroupVersionKind(),
		Namespace:        object.GetNamespace(),
		Name:             object.GetName(),
	}
}

// String returns the form for messages: `Deployment team-a/seldon-envoy`.
func (r Ref) String() string {
	return fmt.Sprintf("%s %s/%s", r.Kind, r.Namespace, r.Name)
}

// compare orders references by wave, then by kind, namespace and name, so that plans and
// messages do not depend on the order of rendering.
func (r Ref) compare(other Ref) int {
	return cmp.Or(
		cmp.Compare(WaveOf(r.GroupKind()), WaveOf(other.GroupKind())),
		r.compareNames(other),
	)
}

// CompareReverse orders references by wave, the last wave first, then as [Ref.Compare] does.
func CompareReverse(a, b Ref) int {
	return cmp.Or(cmp.Compare(WaveOf(b.GroupKind()), WaveOf(a.GroupKind())), a.compareNames(b))
}

func (r Ref) compareNames(other Ref) int {
	return cmp.Or(
		strings.Compare(r.Kind, other.Kind),
		strings.Compare(r.Namespace, other.Namespace),
		strings.Compare(r.Name, other.Name),
		strings.Compare(r.Group, other.Group),
		strings.Compare(r.Version, other.Version),
	)
}

// Object is a rendered object: its complete apply configuration and the directives of its
// template.
type Object struct {
	// Object has the fields that are applied and no others.
	Object *unstructured.Unstructured
	// RestartOnChange reports whether pods read this configuration at start only, so that
	// they must be restarted when it changes.
	RestartOnChange bool
	// InitialOnlyField is the dotted path of a field that is sent at creation and when its
	// desired value changes, so that others may change it in between; empty for none.
	InitialOnlyField string
}

// Ref returns the reference to the object.
func (o Object) Ref() Ref { return RefOf(o.Object) }

// IsWorkload reports whether a kind has a pod template at spec.template.
func IsWorkload(kind schema.GroupKind) bool {
	return kind.Group == "apps" && slices.Contains([]string{"Deployment", "StatefulSet", "DaemonSet"}, kind.Kind)
}

// IsPVC reports whether ref refers to a PersistentVolumeClaim. The engine never deletes one.
func IsPVC(ref Ref) bool { return ref.Group == "" && ref.Kind == "PersistentVolumeClaim" }

// Owner identifies the object that owns an instance.
type Owner struct {
	schema.GroupVersionKind
	Namespace string
	Name      string
	UID       types.UID
}

// IsControllerOf reports whether the owner is the controller of object.
func (o Owner) IsControllerOf(object metav1.Object) bool {
	ref := metav1.GetControllerOfNoCopy(object)
	return ref != nil && ref.UID == o.UID
}

// reference returns the controller reference that every child object has.
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

// Sort sorts objects by reference. The reference of an object is computed once, not at each
// comparison.
func Sort(objects []Object) {
	type keyed struct {
		ref    Ref
		object Object
	}
	sorted := make([]keyed, len(objects))
	for i, object := range objects {
		sorted[i] = keyed{object.Ref(), object}
	}
	slices.SortFunc(sorted, func(a, b keyed) int { return a.ref.compare(b.ref) })
	for i := range sorted {
		objects[i] = sorted[i].object
	}
}
