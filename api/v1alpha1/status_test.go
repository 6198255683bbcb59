package v1alpha1_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// objectWithConditions is implemented by the kinds with conditions.
type objectWithConditions interface {
	client.Object
	GetConditions() []metav1.Condition
	SetConditions([]metav1.Condition)
}

var kindsWithConditions = []objectWithConditions{
	&v1alpha1.Model{}, &v1alpha1.Pipeline{}, &v1alpha1.Experiment{}, &v1alpha1.Server{}, &v1alpha1.SeldonRuntime{},
}

// oldStatus returns a status of the kind as the upstream operator writes it: conditions
// sorted by type, some with a severity, reasons as sentences or missing, and without
// observedGeneration.
func oldStatus(kind string) (map[string]any, error) {
	file := filepath.Join("testdata", "oldstatus.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var statuses map[string]map[string]any
	if err := yaml.Unmarshal(text, &statuses); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	status, ok := statuses[kind]
	if !ok {
		return nil, fmt.Errorf("%s: no status of kind %s", file, kind)
	}
	return status, nil
}

// TestStatusMigration writes the status of an object alternately as the upstream operator
// and as this one, like a team that migrates and rolls back.
func TestStatusMigration(t *testing.T) {
	c := apiServer(t)
	for _, object := range kindsWithConditions {
		kind := fmt.Sprintf("%T", object)[len("*v1alpha1."):]
		t.Run(kind, func(t *testing.T) {
			manifest, err := complete(kind)
			if err != nil {
				t.Fatal(err)
			}
			manifest.SetName("there-and-back")
			if err := c.Create(t.Context(), manifest.DeepCopy()); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := writeOldStatus(t.Context(), c, manifest); err != nil {
					t.Fatalf("the upstream operator writes: %v", err)
				}
				hasOldStatus(t, c, manifest)
				writeNewStatus(t, c, manifest)
			}
		})
	}
}

// hasOldStatus checks that the stored status and the decoded one equal the old status.
func hasOldStatus(t *testing.T, c client.Client, object *unstructured.Unstructured) {
	t.Helper()
	stored := newObject(object.GetKind())
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(object), stored); err != nil {
		t.Fatal(err)
	}
	want, err := oldStatus(object.GetKind())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := mustMarshal(t, stored.Object["status"]), mustMarshal(t, want); got != want {
		t.Errorf("stored %s\nwrote  %s", got, want)
	}
	typed := typedCopy(t, c, object)
	conditions, _, _ := unstructured.NestedSlice(stored.Object, "status", "conditions")
	if len(typed.GetConditions()) != len(conditions) {
		t.Errorf("decoded %d conditions of %d", len(typed.GetConditions()), len(conditions))
	}
	for i, condition := range typed.GetConditions() {
		raw := conditions[i].(map[string]any)
		if condition.Type != raw["type"] || string(condition.Status) != raw["status"] || condition.LastTransitionTime.IsZero() {
			t.Errorf("decoded %v of %v", condition, raw)
		}
	}
}

// writeNewStatus writes the conditions with apimachinery's helper and checks that they are
// stored unchanged.
func writeNewStatus(t *testing.T, c client.Client, object *unstructured.Unstructured) {
	t.Helper()
	typed := typedCopy(t, c, object)
	before := typed.DeepCopyObject().(client.Object)
	conditions := slices.Clone(typed.GetConditions())
	ready := newCondition(v1alpha1.ConditionReady, metav1.ConditionTrue)
	if !meta.SetStatusCondition(&conditions, ready) {
		t.Fatal("the old status already has the condition of this operator")
	}
	typed.SetConditions(conditions)
	if err := c.Status().Patch(t.Context(), typed, client.MergeFrom(before), client.FieldOwner("tester")); err != nil {
		t.Fatalf("write the status as this operator: %v", err)
	}
	got := meta.FindStatusCondition(typedCopy(t, c, object).GetConditions(), v1alpha1.ConditionReady)
	if got == nil || got.Status != ready.Status || got.Reason != ready.Reason || got.Message != ready.Message || got.ObservedGeneration != 1 {
		t.Errorf("got %v, want %v", got, ready)
	}
}

func typedCopy(t *testing.T, c client.Client, object *unstructured.Unstructured) objectWithConditions {
	t.Helper()
	typed, err := c.Scheme().New(object.GroupVersionKind())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(object), typed.(client.Object)); err != nil {
		t.Fatal(err)
	}
	return typed.(objectWithConditions)
}

func mustMarshal(t *testing.T, value any) string {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestStatusDecodesWithAnyTime decodes times that the schema accepts.
func TestStatusDecodesWithAnyTime(t *testing.T) {
	const good = "2026-01-02T03:04:05Z"
	for _, text := range []string{`""`, `"yesterday"`, `"2026-01-02"`, `null`, `"` + good + `"`} {
		for _, object := range kindsWithConditions {
			object := object.DeepCopyObject().(objectWithConditions)
			data := `{"metadata":{"name":"a"},"status":{"observedGeneration":7,"annotations":{"a":"b"},"conditions":[
				{"type":"Ready","status":"True","reason":"100% of it","lastTransitionTime":` + text + `},
				{"type":"Other","status":"False","lastTransitionTime":"` + good + `"}]}}`
			if err := json.Unmarshal([]byte(data), object); err != nil {
				t.Errorf("%T with time %s: %v", object, text, err)
				continue
			}
			conditions := object.GetConditions()
			if len(conditions) != 2 || conditions[0].Reason != "100% of it" || conditions[1].LastTransitionTime.IsZero() {
				t.Errorf("%T with time %s: %v", object, text, conditions)
			}
			if conditions[0].LastTransitionTime.IsZero() == (text == `"`+good+`"`) {
				t.Errorf("%T with time %s: %v", object, text, conditions[0])
			}
		}
	}
	if err := json.Unmarshal([]byte(`{"conditions":7}`), &v1alpha1.ModelStatus{}); err == nil {
		t.Error("conditions that are not a list decode")
	}
}

// TestServerStatusIsWritten checks that the fields that the schema of the upstream operator
// requires are also encoded if they are zero.
func TestServerStatusIsWritten(t *testing.T) {
	if got, want := mustMarshal(t, v1alpha1.ServerStatus{}), `{"loadedModels":0,"replicas":0,"selector":""}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestComponentConditions checks the condition types, which users depend on.
func TestComponentConditions(t *testing.T) {
	for component, want := range map[string]string{
		"seldon-scheduler": "SchedulerReady", "seldon-envoy": "EnvoyReady",
		"seldon-dataflow-engine": "DataflowEngineReady", "hodometer": "HodometerReady",
		"seldon-modelgateway": "ModelGatewayReady", "seldon-pipelinegateway": "PipelineGatewayReady",
		"another": "",
	} {
		if got, ok := v1alpha1.ComponentCondition(component); got != want || ok != (want != "") {
			t.Errorf("condition of %s is %q, %v; want %q", component, got, ok, want)
		}
	}
}
