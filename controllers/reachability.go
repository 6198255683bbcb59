package controllers

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/relay"
)

// syncSettlePeriod is how long a runtime keeps SchedulerSynced=True after a new
// connection on which the scheduler has not requested all kinds yet. It does so within
// a second unless its readiness gate is closed, so that a restart of the operator
// writes nothing.
const syncSettlePeriod = 10 * time.Second

// setSchedulerConditions sets SchedulerReachable and SchedulerSynced of a runtime;
// neither counts towards Ready. It returns when to reconcile again, 0 for not at all.
// A scheduler whose workload has just become ready is connected to at once.
func (r *seldonRuntimeReconciler) setSchedulerConditions(before, runtime *v1alpha1.SeldonRuntime) time.Duration {
	reach, open := r.relay.ConnectionStatus(runtime.Namespace)
	ready := find(runtime.Status.Conditions, v1alpha1.ConditionReady)
	if !open || ready != nil && ready.Reason == reasonDuplicate {
		meta.RemoveStatusCondition(&runtime.Status.Conditions, v1alpha1.ConditionSchedulerReachable)
		meta.RemoveStatusCondition(&runtime.Status.Conditions, v1alpha1.ConditionSchedulerSynced)
		return 0
	}
	conditions, after := schedulerConditions(runtime.Status.Conditions, reach, time.Now())
	keep := make([]string, 0, len(runtime.Status.Conditions))
	for _, condition := range runtime.Status.Conditions {
		keep = append(keep, condition.Type)
	}
	setConditions(runtime, conditions, keep...)
	isReady := meta.IsStatusConditionTrue(runtime.Status.Conditions, v1alpha1.ConditionSchedulerReady)
	if isReady && !reach.Connected && !meta.IsStatusConditionTrue(before.Status.Conditions, v1alpha1.ConditionSchedulerReady) {
		r.relay.ReconnectNow(runtime.Namespace)
	}
	return after
}

// schedulerConditions computes SchedulerReachable and SchedulerSynced from the state of
// a session, and when to compute them again, 0 for not at all. One that is not returned
// stays as it is in existing: a session that has just been created knows less.
func schedulerConditions(existing []metav1.Condition, reach relay.ConnectionStatus, now time.Time) ([]verdict, time.Duration) {
	if reach.Reason == relay.ReasonConnecting && find(existing, v1alpha1.ConditionSchedulerReachable) != nil {
		return nil, 0
	}
	reachable := verdict{v1alpha1.ConditionSchedulerReachable, metav1.ConditionFalse, reach.Reason, reach.Message}
	if reach.Connected {
		reachable.status = metav1.ConditionTrue
	}
	synced := verdict{v1alpha1.ConditionSchedulerSynced, metav1.ConditionFalse, reach.SyncReason, reach.SyncMessage}
	switch {
	case reach.SyncReason == "":
		return []verdict{reachable}, 0
	case reach.Synced:
		synced.status = metav1.ConditionTrue
	case reach.SyncReason == relay.ReasonNotConnected:
		synced.status = metav1.ConditionUnknown
	case (reach.SyncReason == relay.ReasonWaitingForScheduler || reach.SyncReason == relay.ReasonSyncing) && meta.IsStatusConditionTrue(existing, v1alpha1.ConditionSchedulerSynced):
		if rest := syncSettlePeriod - now.Sub(reach.Since); rest > 0 {
			return []verdict{reachable}, rest
		}
	}
	return []verdict{reachable, synced}, 0
}

// closeSession ends the session of a namespace that has no runtime any more.
func (r *seldonRuntimeReconciler) closeSession(ctx context.Context, namespace string) error {
	served, err := r.hasRuntime(ctx, namespace)
	if err == nil && !served {
		r.relay.Close(namespace)
	}
	return err
}
