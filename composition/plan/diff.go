package plan

import (
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/seldon-operator/seldon-operator/composition/internal/cached"
	"github.com/seldon-operator/seldon-operator/composition/internal/managedfields"
	"github.com/seldon-operator/seldon-operator/composition/object"
)

// isUpToDate reports, by comparison in memory, whether applying desired would not change live:
// manager owns exactly the fields of desired, and live has their values. False means that this
// is in doubt: the API server may return a value in another form, which only a dry-run can
// decide. differing is then the path of the first difference. types has the Go types of kinds.
func isUpToDate(desired, live *unstructured.Unstructured, manager string, types *runtime.Scheme) (differing string, ok bool) {
	owned := managedfields.OwnWithoutOwnerRefs(live, manager)
	if owned == nil {
		return "metadata.managedFields", false
	}
	fields := object.StripIdentity(desired)
	if metadata, found := fields["metadata"].(map[string]any); found {
		delete(metadata, "ownerReferences") // see OwnWithoutOwnerRefs
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

// roundTripTyped converts an object to the Go type of its kind and back, if types has it. The
// result has quantities and similar values in the form of the API server and of a cache of
// typed objects. Zero values that the type omits are lost.
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

// canonicalFields returns an apply configuration in the form of the API server. It has only
// the fields of desired, because a Go type adds zero values.
func canonicalFields(desired *unstructured.Unstructured, types *runtime.Scheme) (map[string]any, error) {
	canonical, err := roundTripTyped(desired, types)
	if err != nil {
		return nil, err
	}
	fields, _ := projectOnto(canonical.Object, desired.Object).(map[string]any)
	return fields, nil
}

// projectOnto returns value without the fields that shape does not have.
func projectOnto(value, shape any) any {
	switch shape := shape.(type) {
	case map[string]any:
		fields, _ := value.(map[string]any)
		projected := make(map[string]any, len(shape))
		for key := range shape {
			if field, found := fields[key]; found {
				projected[key] = projectOnto(field, shape[key])
			}
		}
		return projected
	case []any:
		items, _ := value.([]any)
		if len(items) != len(shape) {
			return value
		}
		projected := make([]any, len(items))
		for i := range items {
			projected[i] = projectOnto(items[i], shape[i])
		}
		return projected
	}
	return value
}

// isSubset reports whether live has everything that desired has: each field of a map and each
// item of a list, in the same order. List items are compared by content, so that additional
// items of a list map are ignored. An atomic list cannot have any, because a manager that adds
// one becomes the owner of the list, which OwnsExactly detects.
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
			// Items must be in the same order.
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

// FirstDifference returns the path of the first difference of two values, below path.
func FirstDifference(a, b any, path string) string {
	if where, ok := isSubset(a, b, path); !ok {
		return where
	}
	if where, ok := isSubset(b, a, path); !ok {
		return where
	}
	return path
}

// isZero reports whether a scalar is one that the API server omits from its responses if the
// field has omitempty.
func isZero(value any) bool {
	switch value {
	case false, "", int64(0), float64(0):
		return true
	}
	return false
}

// quantity parses a decoded JSON value as a quantity; nil if it is not one.
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

// PodTemplate returns the pod template of a workload; nil if it has none.
func PodTemplate(workload *unstructured.Unstructured) any {
	template, _, _ := unstructured.NestedFieldNoCopy(workload.Object, "spec", "template")
	return template
}

// PodTemplateUnchanged reports whether applying desired would not change live's pod template.
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

// sameScalar reports whether two decoded JSON scalars are equal. A number may be int64 in one
// and float64 in the other. Lists and maps equal nothing.
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

// RestartMessage returns why the pods of a workload would restart: would is the pod template
// after the apply, is the live one.
func RestartMessage(ref object.Ref, would, is any) string {
	return fmt.Sprintf("%s would restart its pods: %s differs from the live pod template", ref, FirstDifference(would, is, "spec.template"))
}
