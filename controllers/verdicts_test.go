package controllers

import (
	"testing"

	"github.com/seldon-operator/seldon-operator/composition/health"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/templates"
)

// Objects from before the schema checked names cannot be created any more, so their
// conditions are computed from what templates report of them.
func TestLongNamesBecomeAWarning(t *testing.T) {
	message := func(conditions []verdict) string {
		for _, condition := range conditions {
			if condition.kind == "NameTooLong" {
				return condition.message
			}
		}
		return ""
	}
	server := serverVerdicts(&v1alpha1.Server{}, nil, composition.Result{}, templates.ServerWarnings{NameTooLong: "a"})
	if got := message(server); got != "a" {
		t.Errorf("Server: got %q, want a", got)
	}
	runtime := runtimeVerdicts(&v1alpha1.SeldonRuntime{}, templates.RuntimeComponents{NamesTooLong: []string{"b", "a"}}, nil, composition.Result{})
	if got := message(runtime); got != "a; b" {
		t.Errorf("SeldonRuntime: got %q, want a; b", got)
	}
	if !isNotice("NameTooLong") {
		t.Error("NameTooLong has no Event")
	}
}

// A Server that was created a moment ago has no status, which would be healthy for
// kinds whose controllers write none.
func TestUnobservedServersAreNotReady(t *testing.T) {
	for status, want := range map[string]string{
		"":      reasonProgressing,
		"empty": reasonProgressing,
		"older": reasonProgressing,
		"newer": string(health.Current),
	} {
		server := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"name": "a", "generation": int64(2)}}}
		server.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Server"))
		if status != "" {
			server.Object["status"] = map[string]any{}
		}
		if generation := map[string]int64{"older": 1, "newer": 2}[status]; generation > 0 {
			server.Object["status"] = map[string]any{"observedGeneration": generation, "conditions": []any{map[string]any{"type": "Ready", "status": "True"}}}
		}
		key := composition.RefOf(server)
		children := healthOf(map[composition.ObjectRef]*unstructured.Unstructured{key: server})
		if got := children[key].reason; got != want {
			t.Errorf("status %q: got %s, want %s", status, got, want)
		}
	}
}
