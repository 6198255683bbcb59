package relay

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// Whether a status contains the state that the scheduler reported of its generation.
func TestStatusConfirmed(t *testing.T) {
	for _, test := range []struct {
		name                string
		observed, condition int64
		reason              string
		want                bool
	}{
		{"of its generation", 2, 2, "Ready", true},
		{"of an older one", 1, 2, "WaitingForScheduler", false},
		{"only the operator's condition", 0, 2, "NoRuntime", false},
		{"by the upstream operator", 0, 0, "", true},
		{"rejected", 2, 2, ReasonRejected, false},
		{"none", 0, 0, "none", false},
	} {
		model := &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Generation: 2}}
		model.Status.ObservedGeneration = test.observed
		if test.reason != "none" {
			model.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Reason: test.reason, ObservedGeneration: test.condition}}
		}
		if got := statusConfirmed(model); got != test.want {
			t.Errorf("%s: confirmed %t", test.name, got)
		}
	}
}
