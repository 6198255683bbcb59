package controllers

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
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
	"github.com/seldon-operator/seldon-operator/scheduler"
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
		WatchesRawSource(r.relay.Wakes(scheduler.Server))
	return owns(build, mgr, &v1alpha1.Server{}, serverKinds()).WithOptions(controller.Options{MaxConcurrentReconciles: r.Concurrency}).Complete(r)
}

// Reconcile brings one Server to what it and its ServerConfig say.
func (r *serverReconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	server := &v1alpha1.Server{}
	if err := r.client.Get(ctx, request.NamespacedName, server); err != nil {
		if client.IgnoreNotFound(err) != nil {
			return reconcile.Result{}, err
		}
		r.relay.Gone(scheduler.Server, request.NamespacedName)
		return reconcile.Result{}, r.forgetSeries(ctx, request.Namespace)
	}
	if r.versions.behind(server) {
		return reconcile.Result{RequeueAfter: cacheWait}, nil
	}
	before := server.DeepCopy()
	if server.DeletionTimestamp != nil {
		result, err := r.delete(ctx, server)
		return result, r.finish(ctx, before, server, err)
	}
	result, err := r.expand(ctx, server)
	return result, r.finish(ctx, before, server, err)
}

// delete leaves the children to the garbage collector, and pods to their own hooks.
// Only pods whose StatefulSet is being recreated need it back before that.
func (r *serverReconciler) delete(ctx context.Context, server *v1alpha1.Server) (reconcile.Result, error) {
	r.relay.HandServer(client.ObjectKeyFromObject(server))
	if controllerutil.ContainsFinalizer(server, v1alpha1.ServerFinalizer) {
		done, err := r.engine.Resume(ctx, composition.Request{Owner: serverOwner(server)}, orphans(server))
		if err != nil {
			return failed(server, err)
		}
		if !done {
			return reconcile.Result{RequeueAfter: recreationWait}, nil
		}
		if err := r.removeFinalizer(ctx, server, v1alpha1.ServerFinalizer); err != nil {
			return reconcile.Result{}, err
		}
	}
	r.engine.Forget(serverOwner(server))
	return reconcile.Result{}, nil
}

// expand renders and applies the Server, and puts what came of it into its status.
func (r *serverReconciler) expand(ctx context.Context, server *v1alpha1.Server) (reconcile.Result, error) {
	server.Status.ObservedGeneration = server.Generation
	server.Status.Selector = templates.Selector(server.Name)
	input, ignored, err := r.input(ctx, server)
	if err != nil {
		return r.withoutInput(ctx, serverOwner(server), server, err)
	}
	configurations, err := r.startupConfigurations(ctx, server.Namespace)
	if err != nil {
		return failed(server, err)
	}
	revision, err := rolloutDigest(server.Spec)
	if err != nil {
		return failed(server, err)
	}
	outcome, err := r.engine.Reconcile(ctx, composition.Request{
		Owner:          serverOwner(server),
		Input:          input,
		NewOwner:       !r.veterans.have(server.UID),
		Paused:         server.Annotations[v1alpha1.PausedAnnotation] == "true",
		AcceptRestarts: restartsAllowed(server),
		ApplyMetadata:  server.Annotations[v1alpha1.ApplyMetadataAnnotation] == "true",
		Revision:       revision,
		Configurations: configurations,
		BeforeRecreate: func(ctx context.Context) error { return r.addFinalizer(ctx, server, v1alpha1.ServerFinalizer) },
	})
	r.tellOutcome(server, outcome)
	if err == nil && !outcome.Recreating {
		err = r.removeFinalizer(ctx, server, v1alpha1.ServerFinalizer)
	}
	if err != nil {
		return failedUntil(outcome.RequeueAfter, server, err)
	}
	workload := outcome.Children[composition.Key{GroupVersionKind: r.template(server).Kind(), Namespace: server.Namespace, Name: server.Name}]
	server.Status.Replicas = observedReplicas(workload)
	setConditions(server, serverVerdicts(server, outcome, ignored))
	// Not before the workload is applied: the scheduler must not wait for replicas
	// that were not deployed.
	seen := r.relay.HandServer(client.ObjectKeyFromObject(server))
	if seen.State != nil && seen.State.Generation == server.Generation {
		server.Status.LoadedModelReplicas = seen.State.LoadedModels
	}
	if err := r.scale(ctx, server, seen.Scaling); err != nil {
		return reconcile.Result{}, err
	}
	return reconcile.Result{RequeueAfter: outcome.RequeueAfter}, nil
}

func serverOwner(server *v1alpha1.Server) composition.Owner {
	return composition.Owner{
		GroupVersionKind: v1alpha1.GroupVersion.WithKind("Server"),
		Namespace:        server.Namespace, Name: server.Name, UID: server.UID,
	}
}

func (r *serverReconciler) template(server *v1alpha1.Server) templates.Server {
	return templates.Server{Server: server, UseDeployment: r.UseDeploymentsForServers}
}

// input makes the engine's input of the Server and what it refers to.
func (r *serverReconciler) input(ctx context.Context, server *v1alpha1.Server) (composition.Input, []string, error) {
	config := &v1alpha1.ServerConfig{}
	err := r.configFor(ctx, server, server.Spec, server.Spec.DisableAutoUpdate, config, func() error {
		return r.config(ctx, config, "ServerConfig", "spec.serverConfig", server.Spec.ServerConfig)
	})
	if err != nil {
		return composition.Input{}, nil, err
	}
	template := r.template(server)
	template.Config = config
	if !template.UseDeployment {
		set := &appsv1.StatefulSet{}
		err := r.client.Get(ctx, client.ObjectKeyFromObject(server), set)
		if client.IgnoreNotFound(err) != nil {
			return composition.Input{}, nil, fmt.Errorf("get StatefulSet %s/%s: %w", server.Namespace, server.Name, err)
		}
		template.ObservedReplicas = int64(set.Status.Replicas)
	}
	input, ignored, err := template.Input()
	if err != nil {
		err = &composition.RenderError{Err: err}
	}
	return input, ignored, err
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
func serverVerdicts(server *v1alpha1.Server, outcome composition.Outcome, ignored []string) []verdict {
	var verdicts []verdict
	children := healthOf(outcome)
	for key, health := range children {
		if key.Kind == "StatefulSet" || key.Kind == "Deployment" {
			verdicts = append(verdicts, health.verdict(v1alpha1.ConditionWorkloadReady))
		}
	}
	if len(ignored) > 0 {
		verdicts = append(verdicts, isTrue(conditionIgnored, conditionIgnored, join(ignored)))
	}
	verdicts = append(verdicts, notices(outcome)...)
	return append(verdicts, readiness(server, slices.Collect(maps.Values(children)), outcome, nil)...)
}
