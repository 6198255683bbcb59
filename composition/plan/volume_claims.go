package plan

import (
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/seldon-operator/seldon-operator/composition/object"
)

// storageRequest is the path of the requested size of a volume claim.
var storageRequest = []string{"spec", "resources", "requests", "storage"}

// OnlyExpandsStorage reports whether the claim templates of desired and live differ only in
// storage requests, and none of these is smaller in desired.
func OnlyExpandsStorage(desired, live *unstructured.Unstructured) bool {
	expected, actual := ClaimTemplatesByName(desired), ClaimTemplatesByName(live)
	if len(expected) != len(actual) {
		return false
	}
	for name, claim := range expected {
		current, found := actual[name]
		if !found {
			return false
		}
		size, request := StorageRequestOf(claim), StorageRequestOf(current)
		if size == nil || request == nil || size.Cmp(*request) < 0 {
			return false
		}
		same := (&unstructured.Unstructured{Object: claim}).DeepCopy().Object
		_ = unstructured.SetNestedField(same, request.String(), storageRequest...)
		if _, contained := isSubset(same, current, ""); !contained {
			return false
		}
	}
	return true
}

// ClaimTemplatesByName returns the claim templates of a StatefulSet by name.
func ClaimTemplatesByName(set *unstructured.Unstructured) map[string]map[string]any {
	templates, _, _ := unstructured.NestedFieldNoCopy(set.Object, ClaimTemplatesPath...)
	claims := map[string]map[string]any{}
	for _, template := range stripTypeMeta(templates).([]any) {
		claim, _ := template.(map[string]any)
		name, _, _ := unstructured.NestedString(claim, "metadata", "name")
		claims[name] = claim
	}
	return claims
}

// StorageRequestOf returns the storage request of a claim; nil if it has none.
func StorageRequestOf(claim map[string]any) *resource.Quantity {
	value, _, _ := unstructured.NestedFieldNoCopy(claim, storageRequest...)
	return quantity(value)
}

// ExpandClaimTemplates sets the claim templates of result to those of live, with the storage
// requests of desired.
func ExpandClaimTemplates(result, live, desired *unstructured.Unstructured) {
	templates, _, _ := unstructured.NestedSlice(live.Object, ClaimTemplatesPath...)
	desiredByName := ClaimTemplatesByName(desired)
	for _, each := range templates {
		claim, _ := each.(map[string]any)
		name, _, _ := unstructured.NestedString(claim, "metadata", "name")
		if size, found, _ := unstructured.NestedFieldCopy(desiredByName[name], storageRequest...); found {
			object.SetField(claim, size, storageRequest...)
		}
	}
	object.SetField(result.Object, templates, ClaimTemplatesPath...)
}
