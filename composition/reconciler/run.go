package reconciler

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Steps are the parts of a reconcile that differ between kinds. They change the status
// of the object that they get, and do not write it.
type Steps[T Object] interface {
	// ReconcileNormal reconciles an object that is not being deleted.
	ReconcileNormal(ctx context.Context, object T) (reconcile.Result, error)
	// ReconcileDelete reconciles an object that is being deleted, with or without
	// finalizers.
	ReconcileDelete(ctx context.Context, object T) (reconcile.Result, error)
	// ReconcileNotFound cleans up after an object that does not exist. Its UID is not
	// known. It calls [Base.Forget] or [Composer.Forget].
	ReconcileNotFound(ctx context.Context, key types.NamespacedName) error
}

// Run reconciles one object: it reads the object of request into object, which is
// empty, calls the step for its state, and finishes the reconcile; see [Base.Finish].
// Errors of steps are reported in status. An object that the cache shows older than the
// last write to it is not reconciled, but tried again.
func Run[T Object](ctx context.Context, base *Base, request reconcile.Request, object T, steps Steps[T]) (reconcile.Result, error) {
	if err := base.Client.Get(ctx, request.NamespacedName, object); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return reconcile.Result{}, steps.ReconcileNotFound(ctx, request.NamespacedName)
		}
		return reconcile.Result{}, fmt.Errorf("get %s %s: %w", base.kind.Kind, request.NamespacedName, err)
	}
	before := object.DeepCopyObject().(T)
	var result reconcile.Result
	var err error
	switch {
	case base.writes.isStale(object):
		err = errStale
	case object.GetDeletionTimestamp() != nil:
		result, err = steps.ReconcileDelete(ctx, object)
	default:
		result, err = steps.ReconcileNormal(ctx, object)
	}
	return base.Finish(ctx, before, object, result, err)
}
