package controllers

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition/reconciler"
	"github.com/seldon-operator/seldon-operator/relay"
)

// syncSettlePeriod is how long a runtime keeps SchedulerSynced=True after a new
// connection on which the scheduler has not requested all kinds yet. It does so within
// a second unless its readiness gate is closed, so that a restart of the operator
// writes nothing.
const syncSettlePeriod = 10 * time.Second

// setSchedulerConditions sets SchedulerReachable and SchedulerSynced of a runtime;
// neither counts towards Ready. It returns when to reconcile again, 0 for not at all.
// If the scheduler's workload has become ready since wasReady, the session connects at
// once.
func (r *seldonRuntimeReconciler) setSchedulerConditions(runtime *v1alpha1.SeldonRuntime, wasReady bool) time.Duration {
	connection, open := r.relay.ConnectionStatus(runtime.Namespace)
	ready := meta.FindStatusCondition(runtime.Status.Conditions, v1alpha1.ConditionReady)
	if !open || ready != nil && ready.Reason == reasonDuplicate {
		meta.RemoveStatusCondition(&runtime.Status.Conditions, v1alpha1.ConditionSchedulerReachable)
		meta.RemoveStatusCondition(&runtime.Status.Conditions, v1alpha1.ConditionSchedulerSynced)
		return 0
	}
	conditions, requeueAfter := schedulerConditions(runtime.Status.Conditions, connection, time.Now())
	keep := make([]string, 0, len(runtime.Status.Conditions))
	for _, condition := range runtime.Status.Conditions {
		keep = append(keep, condition.Type)
	}
	reconciler.SetConditions(runtime, conditions, keep...)
	isReady := meta.IsStatusConditionTrue(runtime.Status.Conditions, v1alpha1.ConditionSchedulerReady)
	if isReady && !wasReady && !connection.Connected {
		r.relay.ReconnectNow(runtime.Namespace)
	}
	return requeueAfter
}

// schedulerConditions computes SchedulerReachable and SchedulerSynced from the state of
// a connection, and when to compute them again, 0 for not at all. A condition that is not
// returned stays as it is in existing: a session that has just been created knows less.
func schedulerConditions(existing []metav1.Condition, connection relay.ConnectionStatus, now time.Time) ([]metav1.Condition, time.Duration) {
	if connection.Reason == relay.ReasonConnecting && meta.FindStatusCondition(existing, v1alpha1.ConditionSchedulerReachable) != nil {
		return nil, 0
	}
	reachable := reconciler.False(v1alpha1.ConditionSchedulerReachable, connection.Reason, connection.Message)
	if connection.Connected {
		reachable.Status = metav1.ConditionTrue
	}
	synced := reconciler.False(v1alpha1.ConditionSchedulerSynced, connection.SyncReason, connection.SyncMessage)
	switch {
	case connection.SyncReason == "":
		return []metav1.Condition{reachable}, 0
	case connection.Synced:
		synced.Status = metav1.ConditionTrue
	case connection.SyncReason == relay.ReasonNotConnected:
		synced.Status = metav1.ConditionUnknown
	case (connection.SyncReason == relay.ReasonWaitingForScheduler || connection.SyncReason == relay.ReasonSyncing) && meta.IsStatusConditionTrue(existing, v1alpha1.ConditionSchedulerSynced):
		if rest := syncSettlePeriod - now.Sub(connection.Since); rest > 0 {
			return []metav1.Condition{reachable}, rest
		}
	}
	return []metav1.Condition{reachable, synced}, 0
}

// closeSession ends the session of a namespace that has no runtime.
func (r *seldonRuntimeReconciler) closeSession(ctx context.Context, namespace string) error {
	served, err := r.hasRuntime(ctx, namespace)
	if err == nil && !served {
		r.relay.Close(namespace)
	}
	return err
}
