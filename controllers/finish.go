package controllers

import (
	"context"
	"errors"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition"
)

// finish is the one end of a reconcile of object, which was before when it was read:
// it classifies the error, sets the conditions that follow from it, writes status,
// and decides when to reconcile again. After a success, and where only a change of
// the inputs helps, that is when result has it. Conflicts, and transient errors at
// first, are retried with a backoff and neither returned nor logged.
func (e *environment) finish(ctx context.Context, before, object conditioned, result reconcile.Result, err error) (reconcile.Result, error) {
	class := classify(err)
	var age time.Duration
	write := true
	if class != noError {
		var first bool
		age, first = e.failures.record(object, class)
		setFailure(object, class, err, age)
		// What is older than our last write is written once, not with each retry.
		write = !errors.Is(err, errStale) || first
	}
	if write {
		if failed := e.writeStatus(ctx, before, object); failed != nil {
			if class == noError {
				age, _ = e.failures.record(object, classify(failed))
			}
			err = errors.Join(err, failed)
		}
	}
	class = retryClass(err)
	switch {
	case class == noError:
		e.failures.forget(client.ObjectKeyFromObject(object))
		return result, nil
	case class == missingConfig:
		return reconcile.Result{RequeueAfter: sooner(result.RequeueAfter, max(0, stalledAfter-age))}, nil
	case class == invalidInput:
		return result, nil
	case class == conflict:
		e.meters.conflicts.WithLabelValues(kindOf(object)).Inc()
		return reconcile.Result{RequeueAfter: e.failures.retry(object)}, nil
	case class == transient && age < persistsAfter:
		return reconcile.Result{RequeueAfter: e.failures.retry(object)}, nil
	}
	return reconcile.Result{}, err
}

// recreationWait is when to look again whether a StatefulSet that is recreated does
// not exist any more, should its deletion's event not come.
const recreationWait = 5 * time.Second

// withoutInput is the end of a reconcile whose object cannot be rendered because of
// err. StatefulSets that are being recreated are recreated all the same.
func (e *environment) withoutInput(ctx context.Context, owner composition.Owner, err error) (reconcile.Result, error) {
	done, resumeErr := e.engine.Resume(ctx, composition.Request{Owner: owner, SkipInitialScan: !e.veterans.have(owner.UID)}, false)
	if !done {
		return reconcile.Result{RequeueAfter: recreationWait}, errors.Join(err, resumeErr)
	}
	return reconcile.Result{}, err
}

// sooner is the shorter of two times to wait, of which 0 is for ever.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// setFailure sets the conditions that follow from an error. The others stay: they
// describe what is running.
func setFailure(object conditioned, class errorClass, err error, age time.Duration) {
	conditions := failureConditions(class, err, age, find(object.GetConditions(), v1alpha1.ConditionReady) == nil, isStalled(object, reasonConfigNotFound))
	if len(conditions) == 0 {
		return
	}
	setConditions(object, conditions, otherConditions(object)...)
	if class == missingConfig || class == invalidInput || class == rejected || age >= persistsAfter {
		object.SetObservedGeneration(object.GetGeneration())
	}
}

// failureConditions are Ready, and Reconciling or Stalled, of an object whose
// reconciles have been failing for age; none if that is not to be reported yet. fresh
// is an object without conditions; stalled one that the same failure stalled before,
// perhaps before a restart of the operator.
func failureConditions(class errorClass, err error, age time.Duration, fresh, stalled bool) []verdict {
	switch class {
	case missingConfig:
		ready := isFalse(v1alpha1.ConditionReady, reasonConfigNotFound, messageOf(err))
		if stalled || age >= stalledAfter {
			return []verdict{ready, isTrue(conditionStalled, ready.reason, ready.message)}
		}
		return []verdict{ready, isTrue(conditionReconciling, ready.reason, ready.message)}
	case invalidInput:
		ready := isFalse(v1alpha1.ConditionReady, inputReason(err), messageOf(err))
		return []verdict{ready, isTrue(conditionStalled, ready.reason, ready.message)}
	case conflict, transient:
		if age < persistsAfter {
			if fresh && age >= grace {
				ready := isFalse(v1alpha1.ConditionReady, reasonProgressing, messageOf(err))
				return []verdict{ready, isTrue(conditionReconciling, reasonRetrying, ready.message)}
			}
			return nil
		}
	case noError, rejected:
	}
	ready := isFalse(v1alpha1.ConditionReady, requestReason(err), messageOf(err))
	return []verdict{ready, isTrue(conditionReconciling, reasonRetrying, ready.message)}
}

// isStalled returns whether object is Stalled for reason in its current generation.
func isStalled(object conditioned, reason string) bool {
	stalled := find(object.GetConditions(), conditionStalled)
	return stalled != nil && stalled.Reason == reason && stalled.ObservedGeneration == object.GetGeneration()
}

// otherConditions are the types of object's conditions, less those that describe the
// object as a whole.
func otherConditions(object conditioned) []string {
	var types []string
	for _, condition := range object.GetConditions() {
		switch condition.Type {
		case v1alpha1.ConditionReady, conditionReconciling, conditionStalled:
		default:
			types = append(types, condition.Type)
		}
	}
	return types
}
