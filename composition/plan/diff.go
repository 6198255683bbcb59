package plan

import (
	"fmt"
	"maps"
	"slices"

	"github.com/seldon-operator/seldon-operator/composition/internal/cached"
	"github.com/seldon-operator/seldon-operator/composition/internal/managedfields"
	"github.com/seldon-operator/seldon-operator/composition/object"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
)

// inStep tells, in memory, whether live already is what applying desired would
// make of it: manager owns just the fields of desired, and their values are
// there. False means "in doubt", not "different": the API server may have
// written a value in another way, which only a dry-run can tell. Then differing
// names the first place. types are the Go types of kinds.
func isUpToDate(desired, live *unstructured.Unstructured, manager string, types *runtime.Scheme) (differing string, ok bool) {
	owned := managedfields.OwnWithoutOwnerRefs(live, manager)
	if owned == nil {
		return "metadata.managedFields", false
	}
	fields := object.StripIdentity(desired)
	if metadata, found := fields["metadata"].(map[string]any); found {
		delete(metadata, "ownerReferences") // see ownedContent
	}
	if where, same := managedfields.OwnsExactly(fields, owned, ""); !same {
		return where, false
	}
	canonical, err := canonicalFields(desired, types)
	if err != nil {
		return "", false
	}
	return isSubset(object.StripIdentity(&unstructured.Unstructured{Object: canonical}), live.Object, "")
}

// canonicalised sends an object through the Go type of its kind, if types has it.
// That writes quantities and the like as the API server does, and is what a cache
// of typed objects shows. Zero values that the type omits are lost.
func roundTripTyped(object *unstructured.Unstructured, types *runtime.Scheme) (*unstructured.Unstructured, error) {
	typed, err := cached.ToTyped(object, types)
	if runtime.IsNotRegisteredError(err) {
		return object, nil
	}
	if err != nil {
		return nil, err
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(typed)
	if err != nil {
		return nil, err
	}
	return &unstructured.Unstructured{Object: content}, nil
}

// canonicalFields is an apply configuration written as the API server does, with
// just the fields that it has: a Go type adds some zero values of its own.
func canonicalFields(desired *unstructured.Unstructured, types *runtime.Scheme) (map[string]any, error) {
	canonical, err := roundTripTyped(desired, types)
	if err != nil {
		return nil, err
	}
	fields, _ := projectOnto(canonical.Object, desired.Object).(map[string]any)
	return fields, nil
}

// shapedLike is value less the fields that shape does not have.
func projectOnto(value, shape any) any {
	switch shape := shape.(type) {
	case map[string]any:
		fields, _ := value.(map[string]any)
		shaped := make(map[string]any, len(shape))
		for key := range shape {
			if field, found := fields[key]; found {
				shaped[key] = projectOnto(field, shape[key])
			}
		}
		return shaped
	case []any:
		items, _ := value.([]any)
		if len(items) != len(shape) {
			return value
		}
		shaped := make([]any, len(items))
		for i := range items {
			shaped[i] = projectOnto(items[i], shape[i])
		}
		return shaped
	}
	return value
}

// containedIn tells whether live has everything that desired has: each field of
// a map, each item of a list. List items are found by content, so foreign items
// of a keyed list do not disturb; those of an atomic list cannot be there, since
// whoever adds one takes the list from us, which sameFields sees.
func isSubset(desired, live any, path string) (differing string, ok bool) {
	switch desired := desired.(type) {
	case nil:
		return "", true
	case map[string]any:
		fields, isMap := live.(map[string]any)
		if !isMap && (len(desired) > 0 || live != nil) {
			return path, false
		}
		for _, key := range slices.Sorted(maps.Keys(desired)) {
			if where, ok := isSubset(desired[key], fields[key], path+"."+key); !ok {
				return where, false
			}
		}
		return "", true
	case []any:
		items, _ := live.([]any)
		position := 0
		for _, item := range desired {
			// Order counts: the items of desired stand in live in the same order.
			for position < len(items) {
				if _, ok := isSubset(item, items[position], path); ok {
					break
				}
				position++
			}
			if position == len(items) {
				return path + "[]", false
			}
			position++
		}
		return "", true
	}
	if sameScalar(desired, live) || isZero(desired) && live == nil {
		return "", true
	}
	return path, false
}

// firstDifference names the first place, below path, where two values differ.
func FirstDifference(a, b any, path string) string {
	if where, ok := isSubset(a, b, path); !ok {
		return where
	}
	if where, ok := isSubset(b, a, path); !ok {
		return where
	}
	return path
}

// isZero tells the scalars that the API server leaves out of what it returns
// where the field says omitempty.
func isZero(value any) bool {
	switch value {
	case false, "", int64(0), float64(0):
		return true
	}
	return false
}

// quantity reads a decoded JSON value as an amount; nil if it is none.
func quantity(value any) *resource.Quantity {
	text, isText := value.(string)
	if !isText {
		return nil
	}
	parsed, err := resource.ParseQuantity(text)
	if err != nil {
		return nil
	}
	return &parsed
}

// podTemplate is the pod template of a workload; nil if it has none.
func PodTemplate(workload *unstructured.Unstructured) any {
	template, _, _ := unstructured.NestedFieldNoCopy(workload.Object, "spec", "template")
	return template
}

// sameTemplate tells whether applying desired leaves live's pod template as it is.
func PodTemplateUnchanged(desired, live *unstructured.Unstructured, manager string) bool {
	owned := managedfields.Own(live, manager)
	for _, field := range []string{"f:spec", "f:template"} {
		owned, _ = owned[field].(map[string]any)
	}
	if _, same := managedfields.OwnsExactly(PodTemplate(desired), owned, ""); !same {
		return false
	}
	canonical, err := canonicalFields(desired, scheme.Scheme)
	if err != nil {
		return false
	}
	_, same := isSubset(PodTemplate(&unstructured.Unstructured{Object: canonical}), PodTemplate(live), "")
	return same
}

// sameScalar compares decoded JSON scalars, for which a number may be int64 on one
// side and float64 on the other. Lists and maps are the same as nothing.
func sameScalar(a, b any) bool {
	switch a := a.(type) {
	case map[string]any, []any:
		return false
	case int64:
		if b, isFloat := b.(float64); isFloat {
			return float64(a) == b
		}
	case float64:
		if b, isInt := b.(int64); isInt {
			return a == float64(b)
		}
	}
	return a == b
}

// RestartMessage says why the pods of a workload would restart: would is the pod template
// that they would get, and is the live one.
func RestartMessage(ref object.Ref, would, is any) string {
	return fmt.Sprintf("%s would restart its pods: %s differs from what the pods were made with", ref, FirstDifference(would, is, "spec.template"))
}
