package controllers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/relay"
	"github.com/seldon-operator/seldon-operator/templates"
)

// seldonRuntimeReconciler expands SeldonRuntimes.
type seldonRuntimeReconciler struct{ environment }

// setup registers the controller and what wakes it: the runtime, its children,
// its SeldonConfig, and the coming and going of Models and Pipelines.
func (r *seldonRuntimeReconciler) setup(ctx context.Context, mgr manager.Manager) error {
	err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.SeldonRuntime{}, configIndex, func(object client.Object) []string {
		return []string{object.(*v1alpha1.SeldonRuntime).Spec.SeldonConfig}
	})
	if err != nil {
		return fmt.Errorf("index SeldonRuntimes by SeldonConfig: %w", err)
	}
	runtimes := &v1alpha1.SeldonRuntimeList{}
	build := ctrl.NewControllerManagedBy(mgr).
		Named("seldonruntime").
		For(&v1alpha1.SeldonRuntime{}, builder.WithPredicates(r.veterans.noted(), desiredChanged)).
		Watches(&v1alpha1.SeldonConfig{}, r.referrers(runtimes)).
		Watches(&v1alpha1.SeldonRuntime{}, r.neighbours(runtimes), builder.WithPredicates(goes)).
		Watches(&v1alpha1.Model{}, r.gathered(runtimes), builder.WithPredicates(comesOrGoes)).
		Watches(&v1alpha1.Pipeline{}, r.gathered(runtimes), builder.WithPredicates(comesOrGoes)).
		Watches(&v1alpha1.Experiment{}, r.gathered(runtimes), builder.WithPredicates(goes)).
		Watches(&v1alpha1.Server{}, r.neighbours(runtimes), builder.WithPredicates(goes))
	build = build.WatchesRawSource(r.relay.EventSource(relay.SeldonRuntime))
	return owns(build, mgr, &v1alpha1.SeldonRuntime{}, kinds()).WithOptions(controller.Options{MaxConcurrentReconciles: r.Concurrency}).Complete(r)
}

// Reconcile brings one runtime to what it and its SeldonConfig say.
func (r *seldonRuntimeReconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	runtime := &v1alpha1.SeldonRuntime{}
	if err := r.client.Get(ctx, request.NamespacedName, runtime); err != nil {
		if apierrors.IsNotFound(err) {
			r.forget(r.owner(&v1alpha1.SeldonRuntime{ObjectMeta: named(request)}))
		}
		return reconcile.Result{}, errors.Join(client.IgnoreNotFound(err), r.closeSession(ctx, request.Namespace), r.forgetSeries(ctx, request.Namespace))
	}
	before := runtime.DeepCopy()
	var result reconcile.Result
	var err error
	switch {
	case r.versions.behind(runtime):
		err = errStale
	case runtime.DeletionTimestamp != nil:
		result, err = r.delete(ctx, runtime)
	default:
		result, err = r.expand(ctx, runtime)
		if err != nil {
			err = errors.Join(err, r.followChildren(ctx, runtime))
		}
		result.RequeueAfter = sooner(result.RequeueAfter, r.setSchedulerConditions(before, runtime))
	}
	return r.finish(ctx, before, runtime, result, err)
}

// expand renders and applies the runtime, and puts what came of it into its
// conditions.
func (r *seldonRuntimeReconciler) expand(ctx context.Context, runtime *v1alpha1.SeldonRuntime) (reconcile.Result, error) {
	older, err := r.olderRuntime(ctx, runtime)
	if err != nil {
		return reconcile.Result{}, err
	}
	if older != "" {
		runtime.Status.ObservedGeneration = runtime.Generation
		setConditions(runtime, []verdict{isFalse(v1alpha1.ConditionReady, reasonDuplicate, fmt.Sprintf(
			"SeldonRuntime %s is the older one of namespace %s, and there can be only one, because names are fixed; delete one of them", older, runtime.Namespace))})
		return reconcile.Result{}, nil
	}
	if err := r.addFinalizer(ctx, runtime, v1alpha1.SeldonRuntimeFinalizer); err != nil {
		return reconcile.Result{}, err
	}
	r.relay.Open(runtime.Namespace)
	input, components, err := r.input(ctx, runtime)
	if err != nil {
		return r.withoutInput(ctx, r.owner(runtime), err)
	}
	revision, err := rolloutDigest(runtime.Spec)
	if err != nil {
		return reconcile.Result{}, err
	}
	outcome, err := r.engine.Reconcile(ctx, composition.Request{
		Owner:           r.owner(runtime),
		Input:           input,
		SkipInitialScan: !r.veterans.have(runtime.UID),
		Paused:          runtime.Annotations[v1alpha1.PausedAnnotation] == "true",
		AllowRestarts:   restartsAllowed(runtime),
		ApplyMetadata:   runtime.Annotations[v1alpha1.ApplyMetadataAnnotation] == "true",
		Revision:        revision,
	})
	r.tellOutcome(runtime, outcome)
	if err != nil {
		return reconcile.Result{RequeueAfter: outcome.RequeueAfter}, err
	}
	children, after := r.pods.health(ctx, outcome.Objects)
	setConditions(runtime, runtimeVerdicts(runtime, components, children, outcome),
		v1alpha1.ConditionSchedulerReachable, v1alpha1.ConditionSchedulerSynced)
	runtime.Status.ObservedGeneration = runtime.Generation
	return reconcile.Result{RequeueAfter: sooner(outcome.RequeueAfter, after)}, nil
}

// owner of the runtime's children.
func (r *seldonRuntimeReconciler) owner(runtime *v1alpha1.SeldonRuntime) composition.Owner {
	return composition.Owner{
		GroupVersionKind: v1alpha1.GroupVersion.WithKind("SeldonRuntime"),
		Namespace:        runtime.Namespace, Name: runtime.Name, UID: runtime.UID,
	}
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
		if !r.veterans.mayHave(runtime.UID, name) {
			continue
		}
		if client.IgnoreNotFound(err) == nil {
			err = r.live.Get(ctx, key, service)
		}
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("get Service %s: %w", key, err)
		}
		if err == nil && metav1.IsControlledBy(service, runtime) {
			if kept[name] = service.Spec.Type; service.Labels[policy.OwnerLabel()] != "" {
				// Adopted, and the cache does not show it yet.
				kept[name] = corev1.ServiceType(service.Annotations[templates.AdoptedServiceTypeAnnotation])
			}
			continue
		}
		r.veterans.adopted(runtime.UID, name)
	}
	return kept, nil
}

// delete takes the runtime's children away in order, its Servers first, and
// releases the runtime when they are gone.
func (r *seldonRuntimeReconciler) delete(ctx context.Context, runtime *v1alpha1.SeldonRuntime) (reconcile.Result, error) {
	if !slices.Contains(runtime.Finalizers, v1alpha1.SeldonRuntimeFinalizer) {
		return reconcile.Result{}, nil
	}
	older, err := r.olderRuntime(ctx, runtime)
	if err != nil {
		return reconcile.Result{}, err
	}
	if !collected(runtime) {
		waiting, err := r.release(ctx, runtime, older != "")
		if err != nil {
			return reconcile.Result{}, err
		}
		if len(waiting) > 0 {
			runtime.Status.ObservedGeneration = runtime.Generation
			setConditions(runtime, []verdict{isFalse(v1alpha1.ConditionReady, reasonTerminating, "waiting until these are gone: "+join(waiting))},
				otherConditions(runtime)...)
			return reconcile.Result{}, nil
		}
	} else if done, err := r.engine.Resume(ctx, composition.Request{Owner: r.owner(runtime)}, orphans(runtime)); err != nil {
		return reconcile.Result{}, err
	} else if !done {
		return reconcile.Result{RequeueAfter: recreationWait}, nil
	}
	r.forget(r.owner(runtime))
	if older == "" {
		r.relay.Close(runtime.Namespace)
	}
	return reconcile.Result{}, r.removeFinalizer(ctx, runtime, v1alpha1.SeldonRuntimeFinalizer)
}

// release does the next step of a deletion, and names what it waits for: first
// what users made, by the deletion policy, then the runtime's own children. What
// users made is not the business of a runtime beside which there is an older one.
func (r *seldonRuntimeReconciler) release(ctx context.Context, runtime *v1alpha1.SeldonRuntime, duplicate bool) ([]string, error) {
	var waiting []string
	if !duplicate {
		var err error
		if waiting, err = r.usersObjects(ctx, runtime); err != nil || len(waiting) > 0 {
			return waiting, err
		}
	}
	remaining, err := r.engine.Delete(ctx, r.owner(runtime))
	for _, key := range remaining {
		waiting = append(waiting, key.Kind+" "+key.Name)
	}
	return waiting, err
}

// followChildren sets the conditions of the runtime's components, which could not be
// rendered or applied, by the children that exist.
func (r *seldonRuntimeReconciler) followChildren(ctx context.Context, runtime *v1alpha1.SeldonRuntime) error {
	children, err := r.engine.Children(ctx, r.owner(runtime))
	if err != nil {
		return err
	}
	healths, _ := r.pods.health(ctx, children)
	followChildren(runtime, healths, func(key composition.ObjectRef) string {
		switch key.Kind {
		case "Server":
			return conditionServersReady
		case "Deployment", "StatefulSet":
			condition, _ := v1alpha1.ComponentCondition(key.Name)
			return condition
		}
		return ""
	}, conditionServersReady, v1alpha1.ConditionSchedulerReady, v1alpha1.ConditionDataflowEngineReady, v1alpha1.ConditionModelGatewayReady,
		v1alpha1.ConditionPipelineGatewayReady, v1alpha1.ConditionEnvoyReady, v1alpha1.ConditionHodometerReady)
	return nil
}

// runtimeVerdicts are the conditions of a runtime that was rendered and applied.
func runtimeVerdicts(runtime *v1alpha1.SeldonRuntime, components templates.RuntimeComponents, children map[composition.ObjectRef]childHealth, outcome composition.Result) []verdict {
	var verdicts []verdict
	for name, kind := range components.Kinds {
		condition, known := v1alpha1.ComponentCondition(name)
		if known {
			key := composition.ObjectRef{GroupVersionKind: kind, Namespace: runtime.Namespace, Name: name}
			verdicts = append(verdicts, children[key].verdict(condition))
		}
	}
	var servers []childHealth
	for key, health := range children {
		if key.Kind == "Server" {
			servers = append(servers, health)
		}
	}
	if len(servers) > 0 {
		verdicts = append(verdicts, summary(conditionServersReady, servers, nil))
	}
	if len(components.UnknownOverrides) > 0 {
		verdicts = append(verdicts, isTrue(conditionOverrideTargetNotFound, conditionOverrideTargetNotFound, join(components.UnknownOverrides)))
	}
	if len(components.Bounds) > 0 {
		var messages []string
		for _, bound := range components.Bounds {
			messages = append(messages, bound.String())
		}
		verdicts = append(verdicts, isTrue(conditionReplicasLimited, conditionReplicasLimited, join(messages)))
	}
	if len(components.NamesTooLong) > 0 {
		verdicts = append(verdicts, isTrue(conditionNameTooLong, conditionNameTooLong, join(components.NamesTooLong)))
	}
	verdicts = append(verdicts, notices(outcome)...)
	return append(verdicts, readiness(runtime, slices.Collect(maps.Values(children)), outcome, components.Disabled)...)
}
