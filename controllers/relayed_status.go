package controllers

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/relay"
)

// grace is how long a status waits for the scheduler to settle, so that what is
// quickly done is written once.
const grace = time.Second

// Reasons of conditions of relayed objects, beside those of the scheduler and of
// failures.
const (
	// reasonNoRuntime: nothing serves the namespace.
	reasonNoRuntime = "NoRuntime"
	// reasonUnreachable: there was no stable connection to the scheduler, or the kind was
	// not in sync, for too long, and it has reported nothing about the object since.
	reasonUnreachable = "SchedulerUnreachable"
	// reasonWaiting: the scheduler has not said anything about the object yet.
	reasonWaiting = "WaitingForScheduler"
)

// messageUnreachable does not depend on the outage, so that one outage and the next
// have the same status.
const messageUnreachable = "for too long, the scheduler could not be reached or objects of this kind could not be synchronized with it, and it has reported nothing about this one since; see the conditions SchedulerReachable and SchedulerSynced of the SeldonRuntime"

// telling is what there is to write about a relayed object.
type telling struct {
	// verdicts to write, and types of conditions to keep; without verdicts the
	// conditions stay as they are.
	verdicts []verdict
	keep     []string
	// answered: the scheduler has said what becomes of this generation.
	answered bool
	// wait, if above 0, is when to look again before anything is written.
	wait time.Duration
}

// tell decides what to write about an object that is to be loaded.
func tell(object conditioned, kind relay.Kind, seen relay.Observation, now time.Time) telling {
	switch {
	case !seen.Session:
		return all(kind, metav1.ConditionFalse, reasonNoRuntime, fmt.Sprintf(
			"namespace %s has no SeldonRuntime: create one, and this is served", object.GetNamespace()))
	case seen.Failure != nil && seen.Failure.Terminal:
		told := ofItself(object, kind, metav1.ConditionFalse, seen.Failure.Reason, seen.Failure.Message)
		told.answered = true
		return told
	case seen.State != nil:
		if rest := graceOf(seen, now); rest > 0 {
			return telling{wait: rest}
		}
		return telling{verdicts: stateVerdicts(seen.State), answered: true}
	case reportsUnreachable(object) && (seen.Failure == nil || !seen.Connected):
		// It stays until something is known again: a scheduler that connects and breaks
		// again and again costs one write.
		return telling{}
	case seen.Stale:
		return all(kind, metav1.ConditionUnknown, reasonUnreachable, messageUnreachable)
	case seen.Failure == nil && isTold(object, kind):
		return telling{}
	}
	if rest := graceOf(seen, now); rest > 0 {
		return telling{wait: rest}
	}
	if seen.Failure != nil {
		return ofItself(object, kind, metav1.ConditionUnknown, seen.Failure.Reason, seen.Failure.Message)
	}
	return ofItself(object, kind, metav1.ConditionUnknown, reasonWaiting, "the scheduler has not said anything about it yet")
}

// progress is Reconciling or Stalled beside Ready of a relayed object: Stalled if only
// a change of the object helps.
func progress(verdicts []verdict) []verdict {
	for _, ready := range verdicts {
		switch {
		case ready.kind != v1alpha1.ConditionReady || ready.status == metav1.ConditionTrue:
		case ready.reason == relay.ReasonInvalidSpec:
			return []verdict{isTrue(conditionStalled, ready.reason, ready.message)}
		case isProgress(ready.reason) || ready.reason == reasonWaiting:
			return []verdict{isTrue(conditionReconciling, ready.reason, ready.message)}
		}
	}
	return nil
}

// graceOf is how long to wait before something is written that may soon change.
func graceOf(seen relay.Observation, now time.Time) time.Duration {
	if seen.ProgressingSince.IsZero() {
		return 0
	}
	return max(0, grace-now.Sub(seen.ProgressingSince))
}

// reportsUnreachable returns whether the status of object reports, for its current
// generation, that the scheduler is unreachable.
func reportsUnreachable(object conditioned) bool {
	ready := find(object.GetConditions(), v1alpha1.ConditionReady)
	return ready != nil && ready.Reason == reasonUnreachable && ready.ObservedGeneration == object.GetGeneration()
}

// isTold tells whether the conditions say something about the object's generation
// that can still be so with a session.
func isTold(object conditioned, kind relay.Kind) bool {
	for _, each := range kind.Conditions() {
		found := find(object.GetConditions(), each)
		// The upstream operator writes no generation, and only what is current.
		if found == nil || found.Reason == reasonNoRuntime || found.ObservedGeneration != object.GetGeneration() && found.ObservedGeneration != 0 {
			return false
		}
	}
	return true
}

// all gives all conditions of a kind, Ready included, the same verdict.
func all(kind relay.Kind, status metav1.ConditionStatus, reason, message string) telling {
	verdicts := []verdict{{v1alpha1.ConditionReady, status, reason, message}}
	for _, each := range kind.Conditions() {
		verdicts = append(verdicts, verdict{each, status, reason, message})
	}
	return telling{verdicts: verdicts}
}

// ofItself gives Ready and the condition that speaks of the object itself a verdict. The
// others stay: what they speak of is still there.
func ofItself(object conditioned, kind relay.Kind, status metav1.ConditionStatus, reason, message string) telling {
	own := string(kind) + v1alpha1.ConditionReady
	told := telling{verdicts: []verdict{
		{v1alpha1.ConditionReady, status, reason, message}, {own, status, reason, message},
	}}
	for _, each := range kind.Conditions() {
		switch {
		case each == own:
		case find(object.GetConditions(), each) != nil:
			told.keep = append(told.keep, each)
		default:
			told.verdicts = append(told.verdicts, verdict{each, metav1.ConditionUnknown, reasonWaiting, ""})
		}
	}
	return told
}

// stateVerdicts are the scheduler's word as conditions, and Ready, which is True if
// all of them are, and else has the reason of the first that is not.
func stateVerdicts(state *relay.State) []verdict {
	ready := isTrue(v1alpha1.ConditionReady, reasonReady, "")
	var lacking []string
	verdicts := make([]verdict, 0, 1+len(state.Conditions))
	for _, each := range state.Conditions {
		if each.True {
			verdicts = append(verdicts, isTrue(each.Type, each.Reason, each.Message))
			continue
		}
		verdicts = append(verdicts, isFalse(each.Type, each.Reason, each.Message))
		if ready.status == metav1.ConditionTrue {
			ready = isFalse(v1alpha1.ConditionReady, each.Reason, "")
		}
		if each.Message != "" {
			lacking = append(lacking, each.Message)
		}
	}
	ready.message = join(lacking)
	return append(verdicts, ready)
}
