package controllers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/relay"
	"github.com/seldon-operator/seldon-operator/templates"
)

// serverReconciler expands Servers.
type serverReconciler struct{ environment }

// setup registers the controller and what wakes it: the Server, its children, its
// ServerConfig, and the configuration that its pods read at start.
func (r *serverReconciler) setup(ctx context.Context, mgr manager.Manager) error {
	err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.Server{}, configIndex, func(object client.Object) []string {
		return []string{object.(*v1alpha1.Server).Spec.ServerConfig}
	})
	if err != nil {
		return fmt.Errorf("index Servers by ServerConfig: %w", err)
	}
	servers := &v1alpha1.ServerList{}
	readAtStart := predicate.NewPredicateFuncs(func(object client.Object) bool {
		return slices.Contains(templates.StartupConfigMaps, object.GetName())
	})
	build := ctrl.NewControllerManagedBy(mgr).
		Named("server").
		For(&v1alpha1.Server{}, builder.WithPredicates(r.veterans.noted(), desiredChanged)).
		Watches(&v1alpha1.ServerConfig{}, r.referrers(servers)).
		Watches(&corev1.ConfigMap{}, r.neighbours(servers), builder.WithPredicates(readAtStart)).
		WatchesRawSource(r.relay.EventSource(relay.Server))
	return owns(build, mgr, &v1alpha1.Server{}, serverKinds()).WithOptions(controller.Options{MaxConcurrentReconciles: r.Concurrency}).Complete(r)
}

// Reconcile brings one Server to what it and its ServerConfig say.
func (r *serverReconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	server := &v1alpha1.Server{}
	if err := r.client.Get(ctx, request.NamespacedName, server); err != nil {
		if client.IgnoreNotFound(err) != nil {
			return reconcile.Result{}, err
		}
		r.relay.ObjectDeleted(relay.Server, request.NamespacedName)
		r.forget(serverOwner(&v1alpha1.Server{ObjectMeta: named(request)}))
		return reconcile.Result{}, r.forgetSeries(ctx, request.Namespace)
	}
	before := server.DeepCopy()
	if r.versions.behind(server) {
		return r.finish(ctx, before, server, reconcile.Result{}, errStale)
	}
	if server.DeletionTimestamp != nil {
		result, err := r.delete(ctx, server)
		return r.finish(ctx, before, server, result, err)
	}
	result, err := r.expand(ctx, server)
	if err != nil {
		err = errors.Join(err, r.followChildren(ctx, server))
	}
	return r.finish(ctx, before, server, result, err)
}

// delete leaves the children to the garbage collector, and pods to their own hooks.
// Only pods whose StatefulSet is being recreated need it back before that.
func (r *serverReconciler) delete(ctx context.Context, server *v1alpha1.Server) (reconcile.Result, error) {
	r.relay.SyncServer(client.ObjectKeyFromObject(server))
	if controllerutil.ContainsFinalizer(server, v1alpha1.ServerFinalizer) {
		done, err := r.engine.Resume(ctx, composition.Request{Owner: serverOwner(server)}, orphans(server))
		if err != nil {
			return reconcile.Result{}, err
		}
		if !done {
			return reconcile.Result{RequeueAfter: recreationWait}, nil
		}
		if err := r.removeFinalizer(ctx, server, v1alpha1.ServerFinalizer); err != nil {
			return reconcile.Result{}, err
		}
	}
	r.forget(serverOwner(server))
	return reconcile.Result{}, nil
}

// expand renders and applies the Server, and puts what came of it into its status.
func (r *serverReconciler) expand(ctx context.Context, server *v1alpha1.Server) (reconcile.Result, error) {
	server.Status.Selector = templates.Selector(server.Name)
	input, warnings, err := r.input(ctx, server)
	if err != nil {
		return r.withoutInput(ctx, serverOwner(server), err)
	}
	configurations, err := r.startupConfigurations(ctx, server.Namespace)
	if err != nil {
		return reconcile.Result{}, err
	}
	revision, err := rolloutDigest(server.Spec)
	if err != nil {
		return reconcile.Result{}, err
	}
	outcome, err := r.engine.Reconcile(ctx, composition.Request{
		Owner:           serverOwner(server),
		Input:           input,
		SkipInitialScan: !r.veterans.have(server.UID),
		Paused:          server.Annotations[v1alpha1.PausedAnnotation] == "true",
		AllowRestarts:   restartsAllowed(server),
		ApplyMetadata:   server.Annotations[v1alpha1.ApplyMetadataAnnotation] == "true",
		Revision:        revision,
		ExternalConfigs: configurations,
		BeforeRecreate:  func(ctx context.Context) error { return r.addFinalizer(ctx, server, v1alpha1.ServerFinalizer) },
	})
	r.tellOutcome(server, outcome)
	if err == nil && !outcome.Recreating {
		err = r.removeFinalizer(ctx, server, v1alpha1.ServerFinalizer)
	}
	if err != nil {
		return reconcile.Result{RequeueAfter: outcome.RequeueAfter}, err
	}
	workload := outcome.Objects[composition.ObjectRef{GroupVersionKind: r.template(server).Kind(), Namespace: server.Namespace, Name: server.Name}]
	server.Status.Replicas = observedReplicas(workload)
	children, after := r.pods.health(ctx, outcome.Objects)
	setConditions(server, serverVerdicts(server, children, outcome, warnings))
	server.Status.ObservedGeneration = server.Generation
	// Not before the workload is applied: the scheduler must not wait for replicas
	// that were not deployed.
	seen := r.relay.SyncServer(client.ObjectKeyFromObject(server))
	switch {
	case seen.State != nil && seen.State.Generation == server.Generation:
		server.Status.LoadedModelReplicas = seen.State.LoadedModels
	case seen.State == nil && server.Status.LoadedModelReplicas != 0:
		served, err := r.hasRuntime(ctx, server.Namespace)
		if err != nil {
			return reconcile.Result{}, err
		}
		if !served {
			server.Status.LoadedModelReplicas = 0
		}
	}
	if err := r.scale(ctx, server, seen.Scaling); err != nil {
		return reconcile.Result{}, err
	}
	return reconcile.Result{RequeueAfter: sooner(outcome.RequeueAfter, after)}, nil
}

func serverOwner(server *v1alpha1.Server) composition.Owner {
	return composition.Owner{
		GroupVersionKind: v1alpha1.GroupVersion.WithKind("Server"),
		Namespace:        server.Namespace, Name: server.Name, UID: server.UID,
	}
}

func (r *serverReconciler) template(server *v1alpha1.Server) templates.Server {
	return templates.Server{Server: server, UseDeployment: r.UseDeploymentsForServers, MaxReplicas: r.MaxReplicasPerServer}
}

// input makes the engine's input of the Server and what it refers to.
func (r *serverReconciler) input(ctx context.Context, server *v1alpha1.Server) (composition.Input, templates.ServerWarnings, error) {
	config := &v1alpha1.ServerConfig{}
	err := r.configFor(ctx, server, server.Spec, server.Spec.DisableAutoUpdate, config, func() error {
		return r.config(ctx, config, "ServerConfig", "spec.serverConfig", server.Spec.ServerConfig)
	})
	if err != nil {
		return composition.Input{}, templates.ServerWarnings{}, err
	}
	template := r.template(server)
	template.Config = config
	if err := r.observeReplicas(ctx, &template); err != nil {
		return composition.Input{}, templates.ServerWarnings{}, err
	}
	input, warnings, err := template.Input()
	if err != nil {
		err = &composition.RenderError{Err: err}
	}
	return input, warnings, err
}

// observeReplicas sets the replicas that the Server's workload has. The cache lacks
// a workload that is not adopted yet; of a Server above the limit it is read live,
// since it must keep its replicas.
func (r *serverReconciler) observeReplicas(ctx context.Context, template *templates.Server) error {
	key := client.ObjectKeyFromObject(template.Server)
	set, deployment := &appsv1.StatefulSet{}, &appsv1.Deployment{}
	workload := client.Object(set)
	if template.UseDeployment {
		workload = deployment
	}
	err := r.client.Get(ctx, key, workload)
	if apierrors.IsNotFound(err) && template.ExceedsLimit() {
		err = r.live.Get(ctx, key, workload)
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("get %s %s: %w", template.Kind().Kind, key, err)
	}
	live := set.Spec.Replicas
	if template.UseDeployment {
		live = deployment.Spec.Replicas
	}
	if live != nil {
		template.LiveReplicas = new(int64(*live))
	}
	template.ObservedReplicas = int64(set.Status.Replicas)
	return nil
}

// followChildren sets the condition and the replicas of a Server that could not be
// rendered or applied by the workload that exists.
func (r *serverReconciler) followChildren(ctx context.Context, server *v1alpha1.Server) error {
	children, err := r.engine.Children(ctx, serverOwner(server))
	if err != nil {
		return err
	}
	workload := composition.ObjectRef{GroupVersionKind: r.template(server).Kind(), Namespace: server.Namespace, Name: server.Name}
	server.Status.Replicas = observedReplicas(children[workload])
	healths, _ := r.pods.health(ctx, children)
	followChildren(server, healths, func(key composition.ObjectRef) string {
		if key == workload {
			return v1alpha1.ConditionWorkloadReady
		}
		return ""
	}, v1alpha1.ConditionWorkloadReady)
	return nil
}

// observedReplicas are those that the workload has, not those it wants.
func observedReplicas(workload *unstructured.Unstructured) int64 {
	if workload == nil {
		return 0
	}
	replicas, _, _ := unstructured.NestedInt64(workload.Object, "status", "replicas")
	return replicas
}

// serverVerdicts are the conditions of a Server that was rendered and applied.
func serverVerdicts(server *v1alpha1.Server, children map[composition.ObjectRef]childHealth, outcome composition.Result, warnings templates.ServerWarnings) []verdict {
	var verdicts []verdict
	for key, health := range children {
		if key.Kind == "StatefulSet" || key.Kind == "Deployment" {
			verdicts = append(verdicts, health.verdict(v1alpha1.ConditionWorkloadReady))
		}
	}
	if len(warnings.FieldsIgnored) > 0 {
		verdicts = append(verdicts, isTrue(conditionFieldsIgnored, conditionFieldsIgnored, join(warnings.FieldsIgnored)))
	}
	if warnings.ReplicasLimited != "" {
		verdicts = append(verdicts, isTrue(conditionReplicasLimited, conditionReplicasLimited, warnings.ReplicasLimited))
	}
	if warnings.NameTooLong != "" {
		verdicts = append(verdicts, isTrue(conditionNameTooLong, conditionNameTooLong, warnings.NameTooLong))
	}
	verdicts = append(verdicts, notices(outcome)...)
	return append(verdicts, readiness(server, slices.Collect(maps.Values(children)), outcome, nil)...)
}
