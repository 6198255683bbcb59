package controllers

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition/reconciler"
	"github.com/seldon-operator/seldon-operator/relay"
)

// schedulerManagedReconciler reconciles Models, Pipelines or Experiments: it passes each
// object to the session of its namespace, and writes the state that the scheduler
// reports into the object's status.
type schedulerManagedReconciler[T reconciler.Object] struct {
	*shared
	*reconciler.Base
	kind      relay.Kind
	newObject func() T
	// setKindStatus sets the fields of status that only this kind has. Optional.
	setKindStatus func(T, *relay.State)
}

func newSchedulerManaged[T reconciler.Object](s *shared, kind relay.Kind, newObject func() T, setKindStatus func(T, *relay.State)) *schedulerManagedReconciler[T] {
	return &schedulerManagedReconciler[T]{shared: s, Base: s.newBase(string(kind)), kind: kind, newObject: newObject, setKindStatus: setKindStatus}
}

// setup adds the controller. It watches the objects' specs and their session.
func (r *schedulerManagedReconciler[T]) setup(mgr manager.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named(strings.ToLower(string(r.kind))).
		For(r.newObject(), builder.WithPredicates(reconciler.SpecChanged)).
		WatchesRawSource(r.relay.EventSource(r.kind)).
		WithOptions(controller.Options{MaxConcurrentReconciles: r.MaxConcurrentReconciles}).
		Complete(r)
}

// Reconcile implements [reconcile.Reconciler].
func (r *schedulerManagedReconciler[T]) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	return reconciler.Run(ctx, r.Base, request, r.newObject(), r)
}

// ReconcileNormal implements [reconciler.Steps]: it passes the object to its session and
// sets its status from the reported state. A state that is about to change is not
// written; the object is then reconciled again.
func (r *schedulerManagedReconciler[T]) ReconcileNormal(ctx context.Context, object T) (reconcile.Result, error) {
	// Before anything is loaded that must be unloaded.
	if err := r.AddFinalizer(ctx, object, r.kind.Finalizer()); err != nil {
		return reconcile.Result{}, err
	}
	observation := r.relay.Sync(r.kind, object)
	if !observation.Session {
		served, err := r.hasRuntime(ctx, object.GetNamespace())
		if err != nil {
			return reconcile.Result{}, err
		}
		if served {
			// Its session is about to start or to end, which enqueues all objects.
			return reconcile.Result{RequeueAfter: sessionPollInterval}, nil
		}
	}
	update := computeStatus(object, r.kind, observation, time.Now())
	if update.requeueAfter > 0 {
		return reconcile.Result{RequeueAfter: update.requeueAfter}, nil
	}
	r.setStatus(object, observation, update)
	return reconcile.Result{}, nil
}

// setStatus sets the status of object from an observation and the update computed from
// it.
func (r *schedulerManagedReconciler[T]) setStatus(object T, observation relay.Observation, update statusUpdate) {
	if update.observed {
		object.SetObservedGeneration(object.GetGeneration())
	}
	if r.setKindStatus != nil {
		switch {
		case observation.State != nil:
			r.setKindStatus(object, observation.State)
		case !observation.Session:
			r.setKindStatus(object, &relay.State{Model: &relay.ModelState{}}) // not served
		}
	}
	if len(update.conditions) > 0 {
		reconciler.SetConditions(object, append(update.conditions, progressConditions(update.conditions)...), update.keep...)
	}
}

// ReconcileDelete implements [reconciler.Steps]: it removes the finalizer once the
// scheduler has unloaded the object, or when waiting for that is pointless.
func (r *schedulerManagedReconciler[T]) ReconcileDelete(ctx context.Context, object T) (reconcile.Result, error) {
	if !slices.Contains(object.GetFinalizers(), r.kind.Finalizer()) {
		return reconcile.Result{}, nil
	}
	observation := r.relay.Sync(r.kind, object)
	decision, err := r.decideFinalize(ctx, object, observation)
	if err != nil {
		return reconcile.Result{}, err
	}
	if decision.finalize {
		return reconcile.Result{}, r.finalize(ctx, object, decision)
	}
	if rest := min(deletionReportedAfter, r.UnloadTimeout/2) - time.Since(object.GetDeletionTimestamp().Time); rest > 0 {
		return reconcile.Result{RequeueAfter: min(rest, decision.requeueAfter)}, nil
	}
	// Set once only: the cause may alternate while a scheduler connects and disconnects.
	ready := meta.FindStatusCondition(object.GetConditions(), reconciler.ConditionReady)
	if ready == nil || ready.Reason != reconciler.ReasonTerminating {
		reconciler.SetConditions(object, []metav1.Condition{reconciler.False(reconciler.ConditionReady, reconciler.ReasonTerminating,
			"waiting for the scheduler to unload it: "+unconfirmedBecause(observation))}, reconciler.AllButReady(object)...)
	}
	return reconcile.Result{RequeueAfter: decision.requeueAfter}, nil
}

// ReconcileNotFound implements [reconciler.Steps].
func (r *schedulerManagedReconciler[T]) ReconcileNotFound(_ context.Context, key types.NamespacedName) error {
	r.relay.ObjectDeleted(r.kind, key)
	r.Forget(key)
	return nil
}

// finalize removes the finalizer, and reports if the scheduler has not confirmed the
// unload.
func (r *schedulerManagedReconciler[T]) finalize(ctx context.Context, object T, decision finalizeDecision) error {
	if decision.reason != "" {
		r.relay.RecordUnconfirmedRelease(r.kind, decision.reason)
		ctrl.LoggerFrom(ctx).V(1).Info("Finalizer removed before the scheduler confirmed the unload", "reason", decision.reason)
	}
	if decision.message != "" {
		r.RecordEvent(object, corev1.EventTypeWarning, "UnloadTimedOut", decision.message)
	}
	return r.RemoveFinalizer(ctx, object, r.kind.Finalizer())
}

const (
	// deletionReportedAfter is the age at which a deletion that waits for the scheduler is
	// reported in status, or half of the unload timeout if that is less. A deletion
	// usually takes seconds, and costs no status write then.
	deletionReportedAfter = 30 * time.Second
	// sessionPollInterval is when to reconcile again in a namespace whose session is about
	// to start or to end, in case that does not happen.
	sessionPollInterval = 15 * time.Second
	// terminatingPollInterval is how often a deleted object without a connection checks
	// whether its namespace is terminating.
	terminatingPollInterval = 15 * time.Second
)

// unconfirmedBecause describes why the scheduler has not confirmed an unload.
func unconfirmedBecause(observation relay.Observation) string {
	switch {
	case !observation.Session:
		return "the SeldonRuntime of the namespace has no session yet; see its condition Ready"
	case !observation.Connected:
		return "there is no connection to the scheduler; see the condition SchedulerReachable of the SeldonRuntime"
	case observation.Failure != nil:
		return "the call failed and is retried: " + observation.Failure.Message + "; if this lasts, check the scheduler's log"
	default:
		return "it has not confirmed the unload; see the condition SchedulerSynced of the SeldonRuntime, and the scheduler's log"
	}
}

// finalizeDecision is whether the finalizer of a deleted object is removed.
type finalizeDecision struct {
	finalize bool
	// reason, in CamelCase, and message of an Event, if the finalizer is removed although
	// the scheduler has not confirmed the unload.
	reason, message string
	// requeueAfter is when to decide again, if it is not removed.
	requeueAfter time.Duration
}

// decideFinalize decides whether the finalizer of a deleted object is removed.
func (r *schedulerManagedReconciler[T]) decideFinalize(ctx context.Context, object T, observation relay.Observation) (finalizeDecision, error) {
	if observation.Unloaded {
		return finalizeDecision{finalize: true}, nil
	}
	served := observation.Session
	if !served {
		var err error
		if served, err = r.hasRuntime(ctx, object.GetNamespace()); err != nil {
			return finalizeDecision{}, err
		}
	}
	if !served {
		return finalizeDecision{finalize: true, reason: reasonNoRuntime}, nil
	}
	// A session may never start, such as that of a runtime that cannot be reconciled.
	rest := r.UnloadTimeout - time.Since(object.GetDeletionTimestamp().Time)
	if rest <= 0 {
		return finalizeDecision{finalize: true, reason: "UnloadTimedOut", message: fmt.Sprintf(
			"the finalizer was removed %s after the deletion, although the scheduler has not confirmed that it has unloaded the object: %s. It may stay loaded until the operator next lists the scheduler's objects",
			r.UnloadTimeout, unconfirmedBecause(observation))}, nil
	}
	if observation.Connected {
		return finalizeDecision{requeueAfter: rest}, nil
	}
	terminating, err := r.namespaces.isTerminating(ctx, object.GetNamespace())
	if err != nil {
		return finalizeDecision{}, err
	}
	if terminating {
		// The API server rejects Events in it.
		return finalizeDecision{finalize: true, reason: "NamespaceTerminating"}, nil
	}
	return finalizeDecision{requeueAfter: min(rest, terminatingPollInterval)}, nil
}

// hasRuntime reports whether a namespace has a SeldonRuntime that serves it. One whose
// child objects the garbage collector deletes does not.
func (s *shared) hasRuntime(ctx context.Context, namespace string) (bool, error) {
	list := &v1alpha1.SeldonRuntimeList{}
	if err := s.client.List(ctx, list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return false, fmt.Errorf("list SeldonRuntimes: %w", err)
	}
	return slices.ContainsFunc(list.Items, func(runtime v1alpha1.SeldonRuntime) bool {
		return runtime.DeletionTimestamp == nil ||
			slices.Contains(runtime.Finalizers, v1alpha1.SeldonRuntimeFinalizer) && !reconciler.ChildrenGarbageCollected(&runtime)
	}), nil
}

// setModelStatus sets the fields of status that only Models have.
func setModelStatus(model *v1alpha1.Model, state *relay.State) {
	model.Status.Replicas = state.Model.Replicas
	model.Status.AvailableReplicas = state.Model.AvailableReplicas
	model.Status.Selector = "server=" + state.Model.Server
	model.Status.ModelGwStatus = state.Model.Gateway
}
