package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"

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
	"github.com/seldon-operator/seldon-operator/inputs"
	"github.com/seldon-operator/seldon-operator/relay"
)

// seldonRuntimeReconciler expands SeldonRuntimes.
type seldonRuntimeReconciler struct {
	*shared
	*reconciler.Composer
	inputs *inputs.Resolver
}

// setup adds the controller. It watches runtimes, their child objects, their
// SeldonConfig, their session, and the creation and deletion of what they serve.
func (r *seldonRuntimeReconciler) setup(ctx context.Context, mgr manager.Manager) error {
	err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.SeldonRuntime{}, configIndex, func(object client.Object) []string {
		return []string{object.(*v1alpha1.SeldonRuntime).Spec.SeldonConfig}
	})
	if err != nil {
		return fmt.Errorf("index SeldonRuntimes by SeldonConfig: %w", err)
	}
	runtimes := &v1alpha1.SeldonRuntimeList{}
	inNamespace := reconciler.EnqueueInNamespace(r.client, runtimes)
	build := ctrl.NewControllerManagedBy(mgr).
		Named("seldonruntime").
		For(&v1alpha1.SeldonRuntime{}, builder.WithPredicates(r.Preexisting.Predicate(), reconciler.SpecOrMetadataChanged)).
		Watches(&v1alpha1.SeldonConfig{}, reconciler.EnqueueReferencing(r.client, runtimes, configIndex, r.Namespace)).
		Watches(&v1alpha1.SeldonRuntime{}, inNamespace, builder.WithPredicates(reconciler.Deleted)).
		Watches(&v1alpha1.Model{}, reconciler.Debounce(inNamespace), builder.WithPredicates(reconciler.CreatedOrDeleted)).
		Watches(&v1alpha1.Pipeline{}, reconciler.Debounce(inNamespace), builder.WithPredicates(reconciler.CreatedOrDeleted)).
		Watches(&v1alpha1.Experiment{}, reconciler.Debounce(inNamespace), builder.WithPredicates(reconciler.Deleted)).
		Watches(&v1alpha1.Server{}, inNamespace, builder.WithPredicates(reconciler.Deleted)).
		WatchesRawSource(r.relay.EventSource(relay.SeldonRuntime)).
		WithOptions(controller.Options{MaxConcurrentReconciles: r.MaxConcurrentReconciles})
	return reconciler.WatchOwned(build, mgr, &v1alpha1.SeldonRuntime{}, inputs.RuntimeKinds()).Complete(r)
}

// Reconcile implements [reconcile.Reconciler].
func (r *seldonRuntimeReconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	return reconciler.Run(ctx, r.Base, request, &v1alpha1.SeldonRuntime{}, r)
}

// ReconcileNormal implements [reconciler.Steps].
func (r *seldonRuntimeReconciler) ReconcileNormal(ctx context.Context, runtime *v1alpha1.SeldonRuntime) (reconcile.Result, error) {
	wasReady := meta.IsStatusConditionTrue(runtime.Status.Conditions, v1alpha1.ConditionSchedulerReady)
	result, err := r.expand(ctx, runtime)
	if err != nil {
		err = errors.Join(err, r.setConditionsOfExisting(ctx, runtime))
	}
	result.RequeueAfter = reconciler.EarlierRequeue(result.RequeueAfter, r.setSchedulerConditions(runtime, wasReady))
	return result, err
}

// expand renders and applies the runtime, and sets its conditions from the result.
func (r *seldonRuntimeReconciler) expand(ctx context.Context, runtime *v1alpha1.SeldonRuntime) (reconcile.Result, error) {
	other, err := r.inputs.ConflictingRuntime(ctx, runtime)
	if err != nil {
		return reconcile.Result{}, err
	}
	if other != "" {
		runtime.Status.ObservedGeneration = runtime.Generation
		reconciler.SetConditions(runtime, []metav1.Condition{reconciler.False(v1alpha1.ConditionReady, reasonDuplicate, fmt.Sprintf(
			"SeldonRuntime %s is the older one of namespace %s, and there can be only one, because names are fixed; delete one of them", other, runtime.Namespace))})
		return reconcile.Result{}, nil
	}
	if err := r.AddFinalizer(ctx, runtime, v1alpha1.SeldonRuntimeFinalizer); err != nil {
		return reconcile.Result{}, err
	}
	r.relay.Open(runtime.Namespace)
	input, err := r.inputs.Runtime(ctx, runtime)
	if err := r.afterResolve(ctx, input.Pins, err); err != nil {
		return r.ResumeWithoutInput(ctx, runtime, err)
	}
	result, err := r.Apply(ctx, runtime, input.Request)
	if err != nil {
		return reconcile.Result{RequeueAfter: result.RequeueAfter}, err
	}
	children := r.Healths(result.Objects)
	requeueAfter := r.pods.explain(ctx, children, result.Objects)
	reconciler.SetConditions(runtime, runtimeConditions(runtime, input.Components, children, result),
		v1alpha1.ConditionSchedulerReachable, v1alpha1.ConditionSchedulerSynced)
	runtime.Status.ObservedGeneration = runtime.Generation
	return reconcile.Result{RequeueAfter: reconciler.EarlierRequeue(result.RequeueAfter, requeueAfter)}, nil
}

// ReconcileDelete implements [reconciler.Steps]: it deletes the child objects in order,
// Servers first, and then removes the finalizer. What users created is deleted or waited
// for before, by the deletion policy, unless another runtime serves it.
func (r *seldonRuntimeReconciler) ReconcileDelete(ctx context.Context, runtime *v1alpha1.SeldonRuntime) (reconcile.Result, error) {
	if !slices.Contains(runtime.Finalizers, v1alpha1.SeldonRuntimeFinalizer) {
		return reconcile.Result{}, nil
	}
	other, err := r.inputs.ConflictingRuntime(ctx, runtime)
	if err != nil {
		return reconcile.Result{}, err
	}
	if other == "" && !reconciler.ChildrenGarbageCollected(runtime) {
		dependents, err := r.dependents(ctx, runtime)
		if err != nil {
			return reconcile.Result{}, err
		}
		if len(dependents) > 0 {
			remedy := reconciler.CheckFinalizers
			if runtime.Spec.DeletionPolicy == v1alpha1.DeletionPolicyBlock {
				remedy = "delete them, or change spec.deletionPolicy"
			}
			reconciler.SetTerminating(runtime, dependents, remedy)
			return reconcile.Result{}, nil
		}
	}
	done, remaining, err := r.DeleteChildren(ctx, runtime)
	switch {
	case err != nil:
		return reconcile.Result{}, err
	case len(remaining) > 0:
		reconciler.SetTerminating(runtime, remaining, reconciler.CheckFinalizers)
		return reconcile.Result{}, nil
	case !done:
		return reconcile.Result{RequeueAfter: reconciler.RecreationPollInterval}, nil
	}
	r.forget(client.ObjectKeyFromObject(runtime))
	if other == "" {
		r.relay.Close(runtime.Namespace)
	}
	return reconcile.Result{}, r.RemoveFinalizer(ctx, runtime, v1alpha1.SeldonRuntimeFinalizer)
}

// ReconcileNotFound implements [reconciler.Steps].
func (r *seldonRuntimeReconciler) ReconcileNotFound(ctx context.Context, key types.NamespacedName) error {
	r.forget(key)
	return errors.Join(r.closeSession(ctx, key.Namespace), r.deleteSeries(ctx, key.Namespace))
}

// setConditionsOfExisting sets the conditions of the runtime's components, which could
// not be rendered or applied, from the child objects that exist.
func (r *seldonRuntimeReconciler) setConditionsOfExisting(ctx context.Context, runtime *v1alpha1.SeldonRuntime) error {
	objects, err := r.Children(ctx, runtime)
	if err != nil {
		return err
	}
	children := r.Healths(objects)
	r.pods.explain(ctx, children, objects)
	setComponentConditions(runtime, children)
	return nil
}

// forget drops what is remembered of a runtime that does not exist, or that has no child
// objects any more.
func (r *seldonRuntimeReconciler) forget(key types.NamespacedName) {
	r.Forget(key)
	r.inputs.Forget(key)
}
