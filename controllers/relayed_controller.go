package controllers

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/relay"
)

// relayedReconciler relays Models, Pipelines or Experiments: it hands each object
// to its namespace's session, and writes what the scheduler said into its status.
type relayedReconciler[T conditioned] struct {
	environment
	kind relay.Kind
	new  func() T
	// fill writes what only this kind's status has.
	fill func(T, *relay.State)
}

// setup registers the controller and what wakes it: the object's spec, and its
// session.
func (r *relayedReconciler[T]) setup(mgr manager.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named(strings.ToLower(string(r.kind))).
		For(r.new(), builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, madeAnew))).
		WatchesRawSource(r.relay.EventSource(r.kind)).
		WithOptions(controller.Options{MaxConcurrentReconciles: r.Concurrency}).
		Complete(r)
}

// Reconcile hands the object over, and tells what is known of it.
func (r *relayedReconciler[T]) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	object := r.new()
	if err := r.client.Get(ctx, request.NamespacedName, object); err != nil {
		if client.IgnoreNotFound(err) == nil {
			r.relay.ObjectDeleted(r.kind, request.NamespacedName)
			r.versions.forget(request.NamespacedName)
			r.failures.forget(request.NamespacedName)
		}
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	before := object.DeepCopyObject().(T)
	var result reconcile.Result
	var err error
	switch {
	case r.versions.behind(object):
		err = errStale
	case object.GetDeletionTimestamp() != nil:
		result, err = r.release(ctx, object)
	default:
		result, err = r.report(ctx, object)
	}
	return r.finish(ctx, before, object, result, err)
}

// report hands the object over and puts the scheduler's word into its status. What
// is about to change is not written: then it says when to look again.
func (r *relayedReconciler[T]) report(ctx context.Context, object T) (reconcile.Result, error) {
	// Before anything is loaded that has to be unloaded.
	if err := r.addFinalizer(ctx, object, r.kind.Finalizer()); err != nil {
		return reconcile.Result{}, err
	}
	seen := r.relay.Sync(r.kind, object)
	if !seen.Session {
		served, err := r.hasRuntime(ctx, object.GetNamespace())
		if err != nil {
			return reconcile.Result{}, err
		}
		if served {
			// Its session is about to begin, or to end, and wakes everything.
			return reconcile.Result{RequeueAfter: sessionWait}, nil
		}
	}
	told := tell(object, r.kind, seen, time.Now())
	if told.wait > 0 {
		return reconcile.Result{RequeueAfter: told.wait}, nil
	}
	if told.answered {
		object.SetObservedGeneration(object.GetGeneration())
	}
	if r.fill != nil {
		switch {
		case seen.State != nil:
			r.fill(object, seen.State)
		case !seen.Session:
			r.fill(object, &relay.State{Model: &relay.ModelState{}}) // nothing serves it
		}
	}
	if len(told.verdicts) > 0 {
		setConditions(object, append(told.verdicts, progress(told.verdicts)...), told.keep...)
	}
	return reconcile.Result{}, nil
}

// hasRuntime tells whether a namespace has a runtime that serves it. One whose
// children the garbage collector takes serves no more.
func (e *environment) hasRuntime(ctx context.Context, namespace string) (bool, error) {
	list := &v1alpha1.SeldonRuntimeList{}
	if err := e.client.List(ctx, list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return false, fmt.Errorf("list SeldonRuntimes: %w", err)
	}
	return slices.ContainsFunc(list.Items, func(runtime v1alpha1.SeldonRuntime) bool {
		return runtime.DeletionTimestamp == nil ||
			slices.Contains(runtime.Finalizers, v1alpha1.SeldonRuntimeFinalizer) && !collected(&runtime)
	}), nil
}

// release lets a deleted object go when the scheduler has it no more, or when
// there is no point in waiting for that.
func (r *relayedReconciler[T]) release(ctx context.Context, object T) (reconcile.Result, error) {
	if !slices.Contains(object.GetFinalizers(), r.kind.Finalizer()) {
		return reconcile.Result{}, nil
	}
	seen := r.relay.Sync(r.kind, object)
	leave, err := r.leave(ctx, object, seen)
	if err != nil {
		return reconcile.Result{}, err
	}
	if leave.now {
		if leave.reason != "" {
			r.relay.RecordUnconfirmedRelease(r.kind, leave.reason)
			ctrl.LoggerFrom(ctx).V(1).Info("Finalizer removed before the scheduler confirmed the unload", "reason", leave.reason)
		}
		if leave.message != "" {
			r.tell(object, corev1.EventTypeWarning, "UnloadTimedOut", leave.message)
		}
		return reconcile.Result{}, r.removeFinalizer(ctx, object, r.kind.Finalizer())
	}
	if rest := min(deletionReportedAfter, r.DeletionDeadline/2) - time.Since(object.GetDeletionTimestamp().Time); rest > 0 {
		return reconcile.Result{RequeueAfter: min(rest, leave.wait)}, nil
	}
	// Once: the cause may alternate while a scheduler connects and breaks.
	if ready := find(object.GetConditions(), v1alpha1.ConditionReady); ready == nil || ready.Reason != reasonTerminating {
		setConditions(object, []verdict{isFalse(v1alpha1.ConditionReady, reasonTerminating,
			"waiting for the scheduler to unload it: "+unconfirmedBecause(seen))}, otherConditions(object)...)
	}
	return reconcile.Result{RequeueAfter: leave.wait}, nil
}

// deletionReportedAfter is the age at which a deletion that waits for the scheduler is
// in the object's status, or half of the deadline if that is less. A deletion takes
// seconds at most when nothing is wrong, and costs no status write then.
const deletionReportedAfter = 30 * time.Second

// unconfirmedBecause describes why the scheduler has not confirmed an unload.
func unconfirmedBecause(seen relay.Observation) string {
	switch {
	case !seen.Session:
		return "the SeldonRuntime of the namespace has no session yet; see its condition Ready"
	case !seen.Connected:
		return "there is no connection to the scheduler; see the condition SchedulerReachable of the SeldonRuntime"
	case seen.Failure != nil:
		return "the call failed and is retried: " + seen.Failure.Message
	default:
		return "it has not confirmed the unload; see the condition SchedulerSynced of the SeldonRuntime, and the scheduler's log"
	}
}

// leaving says whether a deleted object goes.
type leaving struct {
	now bool
	// reason in CamelCase and message, if it goes without the scheduler's word.
	reason, message string
	// wait is when to look again, if it stays.
	wait time.Duration
}

// sessionWait is when to look again in a namespace whose session is about to begin
// or to end, should that not happen.
const sessionWait = 15 * time.Second

// goingCheck is how often a deleted object without a scheduler looks whether its
// namespace is going too.
const goingCheck = 15 * time.Second

// leave decides whether a deleted object goes.
func (r *relayedReconciler[T]) leave(ctx context.Context, object T, seen relay.Observation) (leaving, error) {
	if seen.Unloaded {
		return leaving{now: true}, nil
	}
	served := seen.Session
	if !served {
		var err error
		if served, err = r.hasRuntime(ctx, object.GetNamespace()); err != nil {
			return leaving{}, err
		}
	}
	if !served {
		return leaving{now: true, reason: reasonNoRuntime}, nil
	}
	// A session may never begin, such as that of a runtime that cannot be reconciled.
	rest := r.DeletionDeadline - time.Since(object.GetDeletionTimestamp().Time)
	if rest <= 0 {
		return leaving{now: true, reason: "DeadlineExceeded", message: fmt.Sprintf(
			"released %s after its deletion, although the scheduler has not confirmed that it is unloaded: %s. It may remain there until the operator next lists what the scheduler has",
			r.DeletionDeadline, unconfirmedBecause(seen))}, nil
	}
	if seen.Connected {
		return leaving{wait: rest}, nil
	}
	going, err := r.namespaces.goes(ctx, object.GetNamespace())
	if err != nil {
		return leaving{}, err
	}
	if going {
		// Events are refused there.
		return leaving{now: true, reason: "NamespaceTerminating"}, nil
	}
	return leaving{wait: min(rest, goingCheck)}, nil
}

// fillModel writes what only a Model's status has.
func fillModel(model *v1alpha1.Model, state *relay.State) {
	model.Status.Replicas = state.Model.Replicas
	model.Status.AvailableReplicas = state.Model.AvailableReplicas
	model.Status.Selector = "server=" + state.Model.Server
	model.Status.ModelGwStatus = state.Model.Gateway
}
