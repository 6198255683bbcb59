package controllers

import (
	"testing"

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
	server := serverVerdicts(&v1alpha1.Server{}, nil, composition.Outcome{}, templates.ServerWarnings{NameTooLong: "a"})
	if got := message(server); got != "a" {
		t.Errorf("Server: got %q, want a", got)
	}
	runtime := runtimeVerdicts(&v1alpha1.SeldonRuntime{}, templates.RuntimeComponents{NamesTooLong: []string{"b", "a"}}, nil, composition.Outcome{})
	if got := message(runtime); got != "a; b" {
		t.Errorf("SeldonRuntime: got %q, want a; b", got)
	}
	if !isNotice("NameTooLong") {
		t.Error("NameTooLong has no Event")
	}
}
