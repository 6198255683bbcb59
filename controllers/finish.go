package controllers

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition"
)

// terminalError is an error that trying again does not mend.
type terminalError struct{ error }

// finish is the one end of a reconcile: it writes status, whatever happened, and
// gives the error to try again for.
func (e *environment) finish(ctx context.Context, before, object conditioned, err error) error {
	if terminal, is := errors.AsType[*terminalError](err); is {
		// The status says it, and only a change that wakes us can mend it.
		ctrl.LoggerFrom(ctx).Info("waiting for a change", "reason", terminal.Error())
		err = nil
	}
	return errors.Join(err, e.writeStatus(ctx, before, object))
}

// failed tells an error in Ready. The other conditions stay as they were: they
// speak of what is running, which goes on.
// A cache that is behind is no news either: the next try sees more.
func failed(object conditioned, err error) (reconcile.Result, error) {
	if onlyConflicts(err) {
		return reconcile.Result{RequeueAfter: cacheWait}, nil
	}
	ready, terminal := failure(err)
	setConditions(object, []verdict{ready}, otherConditions(object)...)
	if terminal {
		return reconcile.Result{}, &terminalError{err}
	}
	return reconcile.Result{}, err
}

// failedUntil is failed, with a time after which to try again although the error is
// terminal; zero for none.
func failedUntil(after time.Duration, object conditioned, err error) (reconcile.Result, error) {
	result, err := failed(object, err)
	result.RequeueAfter = cmp.Or(result.RequeueAfter, after)
	return result, err
}

// recreationWait is when to look again whether a StatefulSet that is recreated does
// not exist any more, should its deletion's event not come.
const recreationWait = 5 * time.Second

// withoutInput is the end of a reconcile whose object cannot be rendered. StatefulSets
// that are being recreated are recreated all the same.
func (e *environment) withoutInput(ctx context.Context, owner composition.Owner, object conditioned, err error) (reconcile.Result, error) {
	done, resumeErr := e.engine.Resume(ctx, composition.Request{Owner: owner, NewOwner: !e.veterans.have(owner.UID)}, false)
	if !done {
		return failedUntil(recreationWait, object, errors.Join(err, resumeErr))
	}
	return failed(object, err)
}

// otherConditions are the types of object's conditions, less Ready.
func otherConditions(object conditioned) []string {
	var types []string
	for _, condition := range object.GetConditions() {
		if condition.Type != v1alpha1.ConditionReady {
			types = append(types, condition.Type)
		}
	}
	return types
}

// onlyConflicts tells errors that say no more than that we read an older state
// than there is.
func onlyConflicts(err error) bool {
	return err != nil && !slices.ContainsFunc(flatten(err), func(each error) bool { return !apierrors.IsConflict(each) })
}
