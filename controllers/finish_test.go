package controllers

import (
	"errors"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition"
)

// A cache that lags must not turn Ready; anything beside it must.
func TestFailed(t *testing.T) {
	resource := schema.GroupResource{Resource: "services"}
	conflict := &composition.ChildError{Err: apierrors.NewConflict(resource, "a", errors.New("modified"))}
	forbidden := &composition.ChildError{Err: apierrors.NewForbidden(resource, "b", errors.New("quota"))}
	missing := &configNotFoundError{kind: "SeldonConfig", field: "spec.seldonConfig", namespace: "n", name: "c"}
	for name, test := range map[string]struct {
		err      error
		reason   string // of Ready; empty for untouched
		retry    bool
		terminal bool
	}{
		"a conflict":                  {err: conflict},
		"conflicts":                   {err: errors.Join(conflict, conflict)},
		"a conflict and a refusal":    {err: errors.Join(conflict, forbidden), reason: "Forbidden", retry: true},
		"a refusal":                   {err: forbidden, reason: "Forbidden", retry: true},
		"a configuration not there":   {err: missing, reason: reasonConfigNotFound, retry: true, terminal: true},
		"a rendering that went wrong": {err: &composition.RenderError{Err: errors.New("x")}, reason: reasonRenderFailed, retry: true, terminal: true},
		"a patch that cannot be":      {err: &composition.RenderError{Err: &composition.PatchError{Err: errors.New("x")}}, reason: reasonInvalidPatch, retry: true, terminal: true},
		"anything else":               {err: errors.New("x"), reason: reasonApplyFailed, retry: true},
	} {
		t.Run(name, func(t *testing.T) {
			runtime := &v1alpha1.SeldonRuntime{}
			result, err := failed(runtime, test.err)
			if (err != nil) != test.retry || (err == nil) != (result.RequeueAfter > 0) {
				t.Errorf("got %v, %v", result, err)
			}
			if _, terminal := errors.AsType[*terminalError](err); terminal != test.terminal {
				t.Errorf("terminal: %v", terminal)
			}
			reason := ""
			if ready := find(runtime.Status.Conditions, v1alpha1.ConditionReady); ready != nil {
				reason = ready.Reason
			}
			if reason != test.reason {
				t.Errorf("Ready says %q, want %q", reason, test.reason)
			}
		})
	}
}
