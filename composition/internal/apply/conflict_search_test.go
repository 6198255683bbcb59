package apply

import (
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/seldon-operator/seldon-operator/composition/internal/enginetest"
)

// Of an object whose kind is not built in, only fields that the rejection names are removed, and
// none in a list, whose schema is unknown.
func TestConflictsOfUnknownKinds(t *testing.T) {
	kind := schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Shop"}
	live := enginetest.NewObject(kind, "shop", map[string]any{"spec": map[string]any{
		"open": true, "closed": true, "doors": []any{map[string]any{"name": "a", "locked": true}},
	}})
	entry := func(manager, operation string, fields string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Manager: manager, Operation: metav1.ManagedFieldsOperationType(operation), APIVersion: "example.com/v1", FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields)}
	}
	live.SetManagedFields([]metav1.ManagedFieldsEntry{
		entry(enginetest.Options.FieldManager, "Apply", `{"f:spec":{"f:open":{}}}`),
		entry("other", "Update", `{"f:spec":{"f:closed":{},"f:doors":{"k:{\"name\":\"a\"}":{".":{},"f:locked":{}}}}}`),
	})
	desired := enginetest.NewObject(kind, "shop", map[string]any{"spec": map[string]any{"open": true}})
	rejection := func(paths ...string) error {
		var errs field.ErrorList
		for _, path := range paths {
			errs = append(errs, field.Forbidden(field.NewPath(path), "must not be set together with open"))
		}
		return apierrors.NewInvalid(kind.GroupKind(), "shop", errs)
	}
	for _, test := range []struct {
		rejected []string
		removed  string
	}{
		{[]string{"spec.closed"}, ".spec.closed"},
		{[]string{"spec.CLOSED"}, ".spec.closed"},
		{[]string{"spec.doors[0].locked"}, ""},
		{[]string{"spec.open", "spec", "metadata.labels", "nothing", "spec.doors[7].name", "spec.replicas"}, ""},
		{nil, ""},
	} {
		search, err := newConflictSearch(live, desired, enginetest.Options.FieldManager, applyconfigurations.NewTypeConverter(scheme.Scheme))
		if err != nil {
			t.Fatal(err)
		}
		found := search.widen(rejection(test.rejected...))
		removed := ""
		for path := range search.removed.All() {
			removed += path.String()
		}
		if found != (test.removed != "") || removed != test.removed {
			t.Errorf("%v: removes %q, want %q", test.rejected, removed, test.removed)
		}
		merged, _ := search.merged.AsValue().Unstructured().(map[string]any)
		if _, left, _ := unstructured.NestedFieldNoCopy(merged, "spec", "closed"); left == (test.removed != "") {
			t.Errorf("%v: merged is %v", test.rejected, merged["spec"])
		}
	}
}

// Replicas, the addresses of a Service and metadata are never removed, even if a rejection names
// them.
func TestConflictsThatAreNeverRemoved(t *testing.T) {
	live := enginetest.NewObject(schema.GroupVersionKind{Version: "v1", Kind: "Service"}, "shop", map[string]any{
		"metadata": map[string]any{"annotations": map[string]any{"other": "1"}},
		"spec": map[string]any{"clusterIP": "10.0.0.1", "clusterIPs": []any{"10.0.0.1"},
			"ports": []any{map[string]any{"port": int64(80), "protocol": "TCP", "nodePort": int64(30000)}}},
	})
	live.SetName("shop")
	live.SetNamespace(enginetest.Owner.Namespace)
	live.SetManagedFields([]metav1.ManagedFieldsEntry{{
		Manager: enginetest.Options.FieldManager, Operation: "Apply", APIVersion: "v1", FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:ports":{"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:port":{}}}}}`),
	}})
	desired := enginetest.NewObject(live.GroupVersionKind(), "shop", map[string]any{"spec": map[string]any{"ports": []any{map[string]any{"port": int64(80)}}}})
	search, err := newConflictSearch(live, desired, enginetest.Options.FieldManager, applyconfigurations.NewTypeConverter(scheme.Scheme))
	if err != nil {
		t.Fatal(err)
	}
	var errs field.ErrorList
	for _, path := range []string{"spec.clusterIP", "spec.clusterIPs[0]", "spec.ports[0].nodePort", "metadata.annotations", "metadata.name"} {
		errs = append(errs, field.Invalid(field.NewPath(path), "", "no"))
	}
	for range lastLevel + 1 {
		if search.widen(apierrors.NewInvalid(schema.GroupKind{Kind: "Service"}, "shop", errs)) {
			t.Fatalf("would remove %s", search.removed)
		}
	}
}
