package reconciler

import (
	"context"
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Finish ends a reconcile of object; before is the object as it was read. It classifies
// err, sets the conditions that follow from it, writes status if it differs, records
// Events, and returns when to reconcile again. After a success, and where only a change
// of the inputs helps, that is result. Conflicts, and transient errors in the first 30
// seconds, are retried with a backoff and neither returned nor logged.
func (b *Base) Finish(ctx context.Context, before, object Object, result reconcile.Result, err error) (reconcile.Result, error) {
	class := classify(err)
	var age time.Duration
	write := true
	if class != noError {
		var first bool
		age, first = b.failures.record(object, class)
		setErrorConditions(object, class, err, age)
		// A status based on a stale object is written once, not with each attempt.
		write = !errors.Is(err, errStale) || first
	}
	if write {
		if statusErr := b.patchStatus(ctx, before, object); statusErr != nil {
			if class == noError {
				age, _ = b.failures.record(object, classify(statusErr))
			}
			err = errors.Join(err, statusErr)
		}
	}
	class = retryClass(err)
	switch {
	case class == noError:
		b.failures.forget(client.ObjectKeyFromObject(object))
		return result, nil
	case class == missingInput:
		return reconcile.Result{RequeueAfter: EarlierRequeue(result.RequeueAfter, max(0, stalledAfter-age))}, nil
	case class == invalidInput:
		return result, nil
	case class == conflict:
		b.Metrics.ConflictRetried(b.kind.Kind)
		return reconcile.Result{RequeueAfter: b.failures.nextBackoff(object)}, nil
	case class == transient && age < reportAfter:
		return reconcile.Result{RequeueAfter: b.failures.nextBackoff(object)}, nil
	}
	return reconcile.Result{}, err
}

// EarlierRequeue returns the earlier of two values of RequeueAfter, of which 0 means
// never.
func EarlierRequeue(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// setErrorConditions sets the conditions that follow from an error. The others are kept:
// they describe what is running.
func setErrorConditions(object Object, class errorClass, err error, age time.Duration) {
	isNew := meta.FindStatusCondition(object.GetConditions(), ConditionReady) == nil
	conditions := errorConditions(class, err, age, isNew, isStalled(object, ReasonConfigNotFound))
	if len(conditions) == 0 {
		return
	}
	SetConditions(object, conditions, AllButReady(object)...)
	if class == missingInput || class == invalidInput || class == rejected || age >= reportAfter {
		object.SetObservedGeneration(object.GetGeneration())
	}
}

// errorConditions returns Ready, and Reconciling or Stalled, of an object whose
// reconciles have been failing for age; nothing if that is not reported yet. isNew: the
// object has no conditions. stalled: it is Stalled by the same failure, possibly from
// before a restart of the operator.
func errorConditions(class errorClass, err error, age time.Duration, isNew, stalled bool) []metav1.Condition {
	switch class {
	case missingInput:
		ready := False(ConditionReady, ReasonConfigNotFound, messageOf(err))
		if stalled || age >= stalledAfter {
			return []metav1.Condition{ready, True(ConditionStalled, ready.Reason, ready.Message)}
		}
		return []metav1.Condition{ready, True(ConditionReconciling, ready.Reason, ready.Message)}
	case invalidInput:
		ready := False(ConditionReady, inputReason(err), messageOf(err))
		return []metav1.Condition{ready, True(ConditionStalled, ready.Reason, ready.Message)}
	case conflict, transient:
		if age < reportAfter {
			if isNew && age >= firstReportAfter {
				ready := False(ConditionReady, ReasonProgressing, messageOf(err))
				return []metav1.Condition{ready, True(ConditionReconciling, ReasonRetrying, ready.Message)}
			}
			return nil
		}
	case noError, rejected:
	}
	ready := False(ConditionReady, requestReason(err), messageOf(err))
	return []metav1.Condition{ready, True(ConditionReconciling, ReasonRetrying, ready.Message)}
}

// isStalled reports whether object is Stalled for reason in its current generation.
func isStalled(object Object, reason string) bool {
	stalled := meta.FindStatusCondition(object.GetConditions(), ConditionStalled)
	return stalled != nil && stalled.Reason == reason && stalled.ObservedGeneration == object.GetGeneration()
}
