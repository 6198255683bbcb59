package controllers

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/seldon-operator/seldon-operator/composition/reconciler"
	"github.com/seldon-operator/seldon-operator/relay"
)

// settlePeriod is how long a status waits for the scheduler's state to become stable, so
// that what is completed quickly is written once.
const settlePeriod = time.Second

// Reasons of conditions of scheduler-managed objects, beside those that the scheduler
// reports and those of errors.
const (
	// reasonNoRuntime: the namespace has no SeldonRuntime.
	reasonNoRuntime = "NoRuntime"
	// reasonUnreachable: there was no stable connection to the scheduler, or the kind was
	// not in sync, for too long, and nothing was reported about the object since.
	reasonUnreachable = "SchedulerUnreachable"
	// reasonWaiting: the scheduler has not reported anything about the object yet.
	reasonWaiting = "WaitingForScheduler"
)

// adviseConditions is the remedy if the state of an object is not known.
const adviseConditions = "see the conditions SchedulerReachable and SchedulerSynced of the SeldonRuntime"

// messageUnreachable does not depend on the outage, so that two outages have the same
// status.
const messageUnreachable = "for longer than --scheduler-unreachable-timeout, there was no stable connection to the scheduler or objects of this kind were not in sync with it, and it has not reported this one since; " + adviseConditions

// statusUpdate is what to write into the status of a scheduler-managed object.
type statusUpdate struct {
	// conditions to set, and types of conditions to keep. If conditions is empty, all stay
	// as they are.
	conditions []metav1.Condition
	keep       []string
	// observed: the scheduler has reported a state of the object's generation.
	observed bool
	// requeueAfter, if above 0, is when to compute the update again; nothing is written
	// before.
	requeueAfter time.Duration
}

// computeStatus computes the status of an object that is not being deleted.
func computeStatus(object reconciler.Object, kind relay.Kind, observation relay.Observation, now time.Time) statusUpdate {
	switch {
	case !observation.Session:
		return allConditions(kind, metav1.ConditionFalse, reasonNoRuntime, fmt.Sprintf(
			"namespace %s has no SeldonRuntime; create one for this %s to be served", object.GetNamespace(), kind))
	case observation.Failure != nil && observation.Failure.Terminal:
		update := ownCondition(object, kind, metav1.ConditionFalse, observation.Failure.Reason, failureMessage(observation.Failure))
		update.observed = true
		return update
	case observation.State != nil:
		if rest := settleRemaining(observation, now); rest > 0 {
			return statusUpdate{requeueAfter: rest}
		}
		return statusUpdate{conditions: stateConditions(observation.State), observed: true}
	case reportsUnreachable(object) && (observation.Failure == nil || !observation.Connected):
		// It stays until a state is known again: a scheduler that connects and disconnects
		// again and again costs one write.
		return statusUpdate{}
	case observation.Stale:
		return allConditions(kind, metav1.ConditionUnknown, reasonUnreachable, messageUnreachable)
	case observation.Failure == nil && alreadyReported(object, kind):
		return statusUpdate{}
	}
	if rest := settleRemaining(observation, now); rest > 0 {
		return statusUpdate{requeueAfter: rest}
	}
	if observation.Failure != nil {
		return ownCondition(object, kind, metav1.ConditionUnknown, observation.Failure.Reason, failureMessage(observation.Failure))
	}
	return ownCondition(object, kind, metav1.ConditionUnknown, reasonWaiting, "the scheduler has not reported anything about it yet; "+adviseConditions)
}

// failureMessage returns the message of a condition for a failure, whose own message is the
// text of the scheduler or of the conversion, with what to do.
func failureMessage(failure *relay.Failure) string {
	switch failure.Reason {
	case relay.ReasonInvalidSpec:
		return "the object cannot be converted to a message to the scheduler: " + failure.Message + "; correct the field"
	case relay.ReasonRejected:
		return "the scheduler rejects the object: " + failure.Message + "; correct the object or the cause"
	case relay.ReasonWaitingForPreviousDeletion:
		return "the scheduler is still unloading a previous object of this name: " + failure.Message + "; it is loaded after that"
	default:
		return "the object could not be loaded: " + failure.Message + "; this is retried; if it lasts, check the scheduler's log"
	}
}

// progressConditions returns Reconciling or Stalled for the condition Ready among
// conditions: Stalled if only a change of the object helps.
func progressConditions(conditions []metav1.Condition) []metav1.Condition {
	for _, ready := range conditions {
		switch {
		case ready.Type != reconciler.ConditionReady || ready.Status == metav1.ConditionTrue:
		case ready.Reason == relay.ReasonInvalidSpec:
			return []metav1.Condition{reconciler.True(reconciler.ConditionStalled, ready.Reason, ready.Message)}
		case slices.Contains([]string{reconciler.ReasonProgressing, reasonWaiting}, ready.Reason) || relay.IsProgressing(ready.Reason):
			return []metav1.Condition{reconciler.True(reconciler.ConditionReconciling, ready.Reason, ready.Message)}
		}
	}
	return nil
}

// settleRemaining returns how long to wait before a state is written that may soon
// change.
func settleRemaining(observation relay.Observation, now time.Time) time.Duration {
	if observation.ProgressingSince.IsZero() {
		return 0
	}
	return max(0, settlePeriod-now.Sub(observation.ProgressingSince))
}

// reportsUnreachable reports whether the status of object has the reason
// SchedulerUnreachable for its current generation.
func reportsUnreachable(object reconciler.Object) bool {
	ready := meta.FindStatusCondition(object.GetConditions(), reconciler.ConditionReady)
	return ready != nil && ready.Reason == reasonUnreachable && ready.ObservedGeneration == object.GetGeneration()
}

// alreadyReported reports whether object has all conditions of its kind for its
// generation, and they can still be true with a session.
func alreadyReported(object reconciler.Object, kind relay.Kind) bool {
	for _, conditionType := range kind.Conditions() {
		condition := meta.FindStatusCondition(object.GetConditions(), conditionType)
		// The upstream operator writes no generation, and only conditions of the current one.
		if condition == nil || condition.Reason == reasonNoRuntime || condition.ObservedGeneration != object.GetGeneration() && condition.ObservedGeneration != 0 {
			return false
		}
	}
	return true
}

// allConditions returns an update that sets Ready and all conditions of a kind to the
// same status.
func allConditions(kind relay.Kind, status metav1.ConditionStatus, reason, message string) statusUpdate {
	update := statusUpdate{}
	for _, conditionType := range append([]string{reconciler.ConditionReady}, kind.Conditions()...) {
		update.conditions = append(update.conditions, metav1.Condition{Type: conditionType, Status: status, Reason: reason, Message: message})
	}
	return update
}

// ownCondition returns an update that sets Ready and the condition about the object
// itself. The others are kept: what they describe has not changed.
func ownCondition(object reconciler.Object, kind relay.Kind, status metav1.ConditionStatus, reason, message string) statusUpdate {
	own := string(kind) + reconciler.ConditionReady
	update := statusUpdate{conditions: []metav1.Condition{
		{Type: reconciler.ConditionReady, Status: status, Reason: reason, Message: message},
		{Type: own, Status: status, Reason: reason, Message: message},
	}}
	for _, conditionType := range kind.Conditions() {
		switch {
		case conditionType == own:
		case meta.FindStatusCondition(object.GetConditions(), conditionType) != nil:
			update.keep = append(update.keep, conditionType)
		default:
			update.conditions = append(update.conditions, metav1.Condition{Type: conditionType, Status: metav1.ConditionUnknown, Reason: reasonWaiting})
		}
	}
	return update
}

// stateConditions returns the conditions that the scheduler reports, and Ready, which is
// True if all of them are, and else has the reason of the first that is not.
func stateConditions(state *relay.State) []metav1.Condition {
	conditions := make([]metav1.Condition, 0, 1+len(state.Conditions))
	for _, reported := range state.Conditions {
		if reported.True {
			conditions = append(conditions, reconciler.True(reported.Type, reported.Reason, reported.Message))
			continue
		}
		conditions = append(conditions, reconciler.False(reported.Type, reported.Reason, reported.Message))
	}
	ready := reconciler.True(reconciler.ConditionReady, reconciler.ReasonReady, "")
	if reason, messages := state.Problems(); reason != "" {
		ready = reconciler.False(reconciler.ConditionReady, reason, reconciler.JoinMessages(messages))
	}
	return append(conditions, ready)
}
