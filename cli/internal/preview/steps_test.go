package preview

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/seldon-operator/seldon-operator/cli/internal/fields"
	"github.com/seldon-operator/seldon-operator/composition/plan"
	"github.com/seldon-operator/seldon-operator/inputs"
)

func TestOtherManager(t *testing.T) {
	live := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment", "spec": map[string]any{"replicas": int64(1), "paused": true},
	}}
	entry := func(manager, owned string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Manager: manager, Operation: metav1.ManagedFieldsOperationApply, FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(owned)}
	}
	live.SetManagedFields([]metav1.ManagedFieldsEntry{
		entry(inputs.FieldManager, `{"f:spec":{"f:paused":{}}}`), entry("kubectl-edit", `{"f:spec":{"f:replicas":{}}}`),
	})
	ownership, err := fields.OwnershipOf(live)
	if err != nil {
		t.Fatal(err)
	}
	for path, expected := range map[string]string{"spec.replicas": "kubectl-edit", "spec.paused": "", "spec.strategy": ""} {
		if got := otherManager(ownership, plan.Step{Live: live}, fields.Change{Path: path}); got != expected {
			t.Errorf("%s: %q instead of %q", path, got, expected)
		}
	}
}

func TestIsEngines(t *testing.T) {
	reserved := inputs.EngineOptions.ConfigHashAnnotation()
	if !isEngines(map[string]any{reserved: "x"}) {
		t.Error("the hash of a configuration is not the engine's")
	}
	for _, value := range []any{nil, "x", map[string]any{}, map[string]any{reserved: "x", "other": "y"}} {
		if isEngines(value) {
			t.Errorf("%v is the engine's", value)
		}
	}
}
