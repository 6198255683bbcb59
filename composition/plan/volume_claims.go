package plan

import (
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

var storageRequest = []string{"spec", "resources", "requests", "storage"}

// claimsOnlyGrow tells whether the claim templates of desired and live differ in
// nothing but requests for storage, none of which shrinks.
func OnlyExpandsStorage(desired, live *unstructured.Unstructured) bool {
	wanted, actual := ClaimTemplatesByName(desired), ClaimTemplatesByName(live)
	if len(wanted) != len(actual) {
		return false
	}
	for name, claim := range wanted {
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

// claimsByName are the claim templates of a StatefulSet.
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

// storageOf is what a claim asks for; nil if it does not say.
func StorageRequestOf(claim map[string]any) *resource.Quantity {
	value, _, _ := unstructured.NestedFieldNoCopy(claim, storageRequest...)
	return quantity(value)
}
