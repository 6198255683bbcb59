package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

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
	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/composition/reconciler"
	"github.com/seldon-operator/seldon-operator/relay"
	"github.com/seldon-operator/seldon-operator/templates"
)

// seldonRuntimeReconciler expands SeldonRuntimes.
type seldonRuntimeReconciler struct {
	*shared
	*reconciler.Composer
	adopted sync.Map
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
	return reconciler.WatchOwned(build, mgr, &v1alpha1.SeldonRuntime{}, runtimeKinds()).Complete(r)
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
	older, err := r.olderRuntime(ctx, runtime)
	if err != nil {
		return reconcile.Result{}, err
	}
	if older != "" {
		runtime.Status.ObservedGeneration = runtime.Generation
		reconciler.SetConditions(runtime, []metav1.Condition{reconciler.False(v1alpha1.ConditionReady, reasonDuplicate, fmt.Sprintf(
			"SeldonRuntime %s is the older one of namespace %s, and there can be only one, because names are fixed; delete one of them", older, runtime.Namespace))})
		return reconcile.Result{}, nil
	}
	if err := r.AddFinalizer(ctx, runtime, v1alpha1.SeldonRuntimeFinalizer); err != nil {
		return reconcile.Result{}, err
	}
	r.relay.Open(runtime.Namespace)
	input, components, err := r.input(ctx, runtime)
	if err != nil {
		return r.ResumeWithoutInput(ctx, runtime, err)
	}
	request := r.Request(runtime, input)
	if request.Revision, err = rolloutDigest(runtime.Spec); err != nil {
		return reconcile.Result{}, err
	}
	result, err := r.Apply(ctx, runtime, request)
	if err != nil {
		return reconcile.Result{RequeueAfter: result.RequeueAfter}, err
	}
	children := r.Healths(result.Objects)
	requeueAfter := r.pods.explain(ctx, children, result.Objects)
	reconciler.SetConditions(runtime, runtimeConditions(runtime, components, children, result),
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
	older, err := r.olderRuntime(ctx, runtime)
	if err != nil {
		return reconcile.Result{}, err
	}
	if older == "" && !reconciler.ChildrenGarbageCollected(runtime) {
		dependents, err := r.dependents(ctx, runtime)
		if err != nil {
			return reconcile.Result{}, err
		}
		if len(dependents) > 0 {
			reconciler.SetTerminating(runtime, dependents)
			return reconcile.Result{}, nil
		}
	}
	done, remaining, err := r.DeleteChildren(ctx, runtime)
	switch {
	case err != nil:
		return reconcile.Result{}, err
	case len(remaining) > 0:
		reconciler.SetTerminating(runtime, remaining)
		return reconcile.Result{}, nil
	case !done:
		return reconcile.Result{RequeueAfter: reconciler.RecreationPollInterval}, nil
	}
	r.Forget(client.ObjectKeyFromObject(runtime))
	if older == "" {
		r.relay.Close(runtime.Namespace)
	}
	return reconcile.Result{}, r.RemoveFinalizer(ctx, runtime, v1alpha1.SeldonRuntimeFinalizer)
}

// ReconcileNotFound implements [reconciler.Steps].
func (r *seldonRuntimeReconciler) ReconcileNotFound(ctx context.Context, key types.NamespacedName) error {
	r.Forget(key)
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

// olderRuntime names the runtime of the same namespace that goes before this
// one: the one made first, or the first by name of two made in one second.
func (r *seldonRuntimeReconciler) olderRuntime(ctx context.Context, runtime *v1alpha1.SeldonRuntime) (string, error) {
	list := &v1alpha1.SeldonRuntimeList{}
	if err := r.client.List(ctx, list, client.InNamespace(runtime.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return "", fmt.Errorf("list SeldonRuntimes: %w", err)
	}
	for i := range list.Items {
		other := &list.Items[i]
		if other.UID == runtime.UID {
			continue
		}
		if other.CreationTimestamp.Before(&runtime.CreationTimestamp) ||
			other.CreationTimestamp.Equal(&runtime.CreationTimestamp) && other.Name < runtime.Name {
			return other.Name, nil
		}
	}
	return "", nil
}

// input makes the engine's input of the runtime and what it refers to.
func (r *seldonRuntimeReconciler) input(ctx context.Context, runtime *v1alpha1.SeldonRuntime) (composition.Input, templates.RuntimeComponents, error) {
	config := &v1alpha1.SeldonConfig{}
	err := r.configFor(ctx, runtime, runtime.Spec, runtime.Spec.DisableAutoUpdate, config, func() error {
		return r.config(ctx, config, "SeldonConfig", "spec.seldonConfig", runtime.Spec.SeldonConfig)
	})
	if err != nil {
		return composition.Input{}, templates.RuntimeComponents{}, err
	}
	counts, err := r.counts(ctx, runtime.Namespace)
	if err != nil {
		return composition.Input{}, templates.RuntimeComponents{}, err
	}
	kept, err := r.keptServiceTypes(ctx, runtime)
	if err != nil {
		return composition.Input{}, templates.RuntimeComponents{}, err
	}
	input, components, err := templates.Runtime{Runtime: runtime, Config: config, Counts: counts, KeptServiceTypes: kept}.Input()
	if err != nil {
		err = &composition.RenderError{Err: err}
	}
	return input, components, err
}

// counts are of the Models and Pipelines that are not being deleted.
func (r *seldonRuntimeReconciler) counts(ctx context.Context, namespace string) (templates.Counts, error) {
	count := func(list client.ObjectList) (int, error) {
		if err := r.client.List(ctx, list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
			return 0, fmt.Errorf("count: %w", err)
		}
		number := 0
		eachItem(list, func(object client.Object) {
			if object.GetDeletionTimestamp() == nil {
				number++
			}
		})
		return number, nil
	}
	models, err := count(&v1alpha1.ModelList{})
	if err != nil {
		return templates.Counts{}, err
	}
	pipelines, err := count(&v1alpha1.PipelineList{})
	return templates.Counts{Models: models, Pipelines: pipelines}, err
}

// keptServiceTypes are those of Services that the runtime controls and that were
// made by another operator: adopting one must not open it to the world.
func (r *seldonRuntimeReconciler) keptServiceTypes(ctx context.Context, runtime *v1alpha1.SeldonRuntime) (map[string]corev1.ServiceType, error) {
	kept := map[string]corev1.ServiceType{}
	for _, name := range []string{v1alpha1.SchedulerService, v1alpha1.MeshService} {
		service := &corev1.Service{}
		key := client.ObjectKey{Namespace: runtime.Namespace, Name: name}
		err := r.client.Get(ctx, key, service)
		if err == nil {
			if kind := service.Annotations[templates.AdoptedServiceTypeAnnotation]; kind != "" {
				kept[name] = corev1.ServiceType(kind)
			}
			continue
		}
		// Not among the labelled ones: new, or not adopted yet.
		id := string(runtime.UID) + "/" + name
		if _, adopted := r.adopted.Load(id); adopted || !r.Preexisting.Has(runtime.UID) {
			continue
		}
		if client.IgnoreNotFound(err) == nil {
			err = r.apiReader.Get(ctx, key, service)
		}
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("get Service %s: %w", key, err)
		}
		if err == nil && metav1.IsControlledBy(service, runtime) {
			if kept[name] = service.Spec.Type; service.Labels[engineOptions.OwnerLabel()] != "" {
				// Adopted, and the cache does not show it yet.
				kept[name] = corev1.ServiceType(service.Annotations[templates.AdoptedServiceTypeAnnotation])
			}
			continue
		}
		r.adopted.Store(id, true)
	}
	return kept, nil
}
