package controllers

import (
	"context"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/scheduler"
)

// tellReachability puts into a runtime's status whether its scheduler can be
// reached; it has no say in Ready. A scheduler that has just become ready is tried
// at once.
func (r *seldonRuntimeReconciler) tellReachability(before, runtime *v1alpha1.SeldonRuntime) {
	reach, open := r.relay.Reachability(runtime.Namespace)
	ready := find(runtime.Status.Conditions, v1alpha1.ConditionReady)
	if !open || ready != nil && ready.Reason == reasonDuplicate {
		meta.RemoveStatusCondition(&runtime.Status.Conditions, v1alpha1.ConditionSchedulerReachable)
		return
	}
	known := find(runtime.Status.Conditions, v1alpha1.ConditionSchedulerReachable)
	if reach.Reason == scheduler.ReasonConnecting && known != nil {
		return // a session that has just begun knows less than what is written
	}
	told := isFalse(v1alpha1.ConditionSchedulerReachable, reach.Reason, reach.Message)
	if reach.Connected {
		told = isTrue(v1alpha1.ConditionSchedulerReachable, reach.Reason, reach.Message)
	}
	var others []string
	for _, condition := range runtime.Status.Conditions {
		if condition.Type != v1alpha1.ConditionSchedulerReachable {
			others = append(others, condition.Type)
		}
	}
	setConditions(runtime, []verdict{told}, others...)
	scheduling := meta.IsStatusConditionTrue(runtime.Status.Conditions, v1alpha1.ConditionSchedulerReady)
	if scheduling && !reach.Connected && !meta.IsStatusConditionTrue(before.Status.Conditions, v1alpha1.ConditionSchedulerReady) {
		r.relay.Hurry(runtime.Namespace)
	}
}

// closeSession ends the session of a namespace that has no runtime any more.
func (r *seldonRuntimeReconciler) closeSession(ctx context.Context, namespace string) error {
	served, err := r.hasRuntime(ctx, namespace)
	if err == nil && !served {
		r.relay.Close(namespace)
	}
	return err
}
