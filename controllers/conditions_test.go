package controllers

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/composition/health"
	"github.com/seldon-operator/seldon-operator/composition/reconciler"
	"github.com/seldon-operator/seldon-operator/templates"
)

// Objects that were stored before the schema validated names cannot be created any more,
// so their conditions are computed from what templates report.
func TestLongNamesBecomeAWarning(t *testing.T) {
	message := func(conditions []metav1.Condition) string {
		for _, condition := range conditions {
			if condition.Type == "NameTooLong" {
				return condition.Message
			}
		}
		return ""
	}
	server := serverConditions(&v1alpha1.Server{}, templates.ServerWarnings{NameTooLong: "a"}, nil, composition.Result{})
	if got := message(server); got != "a" {
		t.Errorf("Server: got %q, want a", got)
	}
	runtime := runtimeConditions(&v1alpha1.SeldonRuntime{}, templates.RuntimeComponents{NamesTooLong: []string{"b", "a"}}, nil, composition.Result{})
	if got := message(runtime); got != "a; b" {
		t.Errorf("SeldonRuntime: got %q, want a; b", got)
	}
	if !isWarningCondition("NameTooLong") {
		t.Error("NameTooLong has no Event")
	}
}

// Servers without a status are not ready: their Go type reports conditions.
func TestUnobservedServersAreNotReady(t *testing.T) {
	if _, reports := any(&v1alpha1.Server{}).(reconciler.Object); !reports {
		t.Error("a Server that was created a moment ago would be ready")
	}
}

// Without a result, the conditions of components follow the child objects that exist, and
// keep the generation of these.
func TestSetComponentConditions(t *testing.T) {
	owner := &v1alpha1.SeldonRuntime{ObjectMeta: metav1.ObjectMeta{Generation: 1}}
	reconciler.SetConditions(owner, []metav1.Condition{
		reconciler.True(v1alpha1.ConditionSchedulerReady, "Ready", "a"), reconciler.True(v1alpha1.ConditionEnvoyReady, "Ready", "b"),
		reconciler.True(conditionServersReady, "Ready", ""), reconciler.True("Other", "Other", ""),
	})
	owner.Generation = 2
	children := map[composition.ObjectRef]reconciler.ChildHealth{}
	for name, kind := range map[string]schema.GroupVersionKind{
		v1alpha1.ComponentScheduler: appsv1.SchemeGroupVersion.WithKind("StatefulSet"),
		v1alpha1.ComponentHodometer: appsv1.SchemeGroupVersion.WithKind("Deployment"),
		"mlserver":                  v1alpha1.GroupVersion.WithKind("Server"),
	} {
		ref := composition.ObjectRef{GroupVersionKind: kind, Name: name}
		children[ref] = reconciler.ChildHealth{Ref: ref, Reason: string(health.Failed), Message: "broke"}
	}
	setComponentConditions(owner, children)
	var got []string
	for _, condition := range owner.Status.Conditions {
		got = append(got, fmt.Sprintf("%s %s %s %d", condition.Type, condition.Status, condition.Reason, condition.ObservedGeneration))
	}
	want := []string{"EnvoyReady False NotFound 1", "Other True Other 1", "SchedulerReady False Failed 1", "ServersReady False Failed 1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
