package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/composition/reconciler"
	"github.com/seldon-operator/seldon-operator/relay"
	"github.com/seldon-operator/seldon-operator/templates"
)

// serverReconciler expands Servers.
type serverReconciler struct {
	*shared
	*reconciler.Composer
}

// setup adds the controller. It watches Servers, their child objects, their
// ServerConfig, their session, and the configuration that their pods read at start.
func (r *serverReconciler) setup(ctx context.Context, mgr manager.Manager) error {
	err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.Server{}, configIndex, func(object client.Object) []string {
		return []string{object.(*v1alpha1.Server).Spec.ServerConfig}
	})
	if err != nil {
		return fmt.Errorf("index Servers by ServerConfig: %w", err)
	}
	servers := &v1alpha1.ServerList{}
	isStartupConfig := predicate.NewPredicateFuncs(func(object client.Object) bool {
		return slices.Contains(templates.StartupConfigMaps, object.GetName())
	})
	build := ctrl.NewControllerManagedBy(mgr).
		Named("server").
		For(&v1alpha1.Server{}, builder.WithPredicates(r.Preexisting.Predicate(), reconciler.SpecOrMetadataChanged)).
		Watches(&v1alpha1.ServerConfig{}, reconciler.EnqueueReferencing(r.client, servers, configIndex, r.Namespace)).
		Watches(&corev1.ConfigMap{}, reconciler.EnqueueInNamespace(r.client, servers), builder.WithPredicates(isStartupConfig)).
		WatchesRawSource(r.relay.EventSource(relay.Server)).
		WithOptions(controller.Options{MaxConcurrentReconciles: r.MaxConcurrentReconciles})
	return reconciler.WatchOwned(build, mgr, &v1alpha1.Server{}, serverKinds()).Complete(r)
}

// Reconcile implements [reconcile.Reconciler].
func (r *serverReconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	return reconciler.Run(ctx, r.Base, request, &v1alpha1.Server{}, r)
}

// ReconcileNormal implements [reconciler.Steps].
func (r *serverReconciler) ReconcileNormal(ctx context.Context, server *v1alpha1.Server) (reconcile.Result, error) {
	result, err := r.expand(ctx, server)
	if err != nil {
		err = errors.Join(err, r.setConditionsOfExisting(ctx, server))
	}
	return result, err
}

// expand renders and applies the Server, sets its status from the result, and
// synchronizes it with its scheduler.
func (r *serverReconciler) expand(ctx context.Context, server *v1alpha1.Server) (reconcile.Result, error) {
	server.Status.Selector = templates.Selector(server.Name)
	input, warnings, err := r.input(ctx, server)
	if err != nil {
		return r.ResumeWithoutInput(ctx, server, err)
	}
	request := r.Request(server, input)
	if request.ExternalConfigs, err = r.startupConfigurations(ctx, server.Namespace); err != nil {
		return reconcile.Result{}, err
	}
	if request.Revision, err = rolloutDigest(server.Spec); err != nil {
		return reconcile.Result{}, err
	}
	request.BeforeRecreate = func(ctx context.Context) error { return r.AddFinalizer(ctx, server, v1alpha1.ServerFinalizer) }
	result, err := r.Apply(ctx, server, request)
	if err == nil && !result.Recreating {
		err = r.RemoveFinalizer(ctx, server, v1alpha1.ServerFinalizer)
	}
	if err != nil {
		return reconcile.Result{RequeueAfter: result.RequeueAfter}, err
	}
	children := r.Healths(result.Objects)
	requeueAfter := r.pods.explain(ctx, children, result.Objects)
	server.Status.Replicas = observedReplicas(result.Objects[r.workload(server)])
	reconciler.SetConditions(server, serverConditions(server, warnings, children, result))
	server.Status.ObservedGeneration = server.Generation
	if err := r.syncScheduler(ctx, server); err != nil {
		return reconcile.Result{}, err
	}
	return reconcile.Result{RequeueAfter: reconciler.EarlierRequeue(result.RequeueAfter, requeueAfter)}, nil
}

// syncScheduler passes the Server to its session, sets the number of loaded Models that
// the scheduler reports, and scales the Server as the scheduler requests. The workload
// must have been applied: the scheduler must not wait for replicas that do not exist.
func (r *serverReconciler) syncScheduler(ctx context.Context, server *v1alpha1.Server) error {
	observation := r.relay.SyncServer(client.ObjectKeyFromObject(server))
	switch {
	case observation.State != nil && observation.State.Generation == server.Generation:
		server.Status.LoadedModelReplicas = observation.State.LoadedModels
	case observation.State == nil && server.Status.LoadedModelReplicas != 0:
		served, err := r.hasRuntime(ctx, server.Namespace)
		if err != nil {
			return err
		}
		if !served {
			server.Status.LoadedModelReplicas = 0
		}
	}
	return r.scale(ctx, server, observation.Scaling)
}

// ReconcileDelete implements [reconciler.Steps]: child objects are left to the garbage
// collector, and pods to their own hooks. Only a StatefulSet that is being recreated is
// recreated before, for its pods.
func (r *serverReconciler) ReconcileDelete(ctx context.Context, server *v1alpha1.Server) (reconcile.Result, error) {
	r.relay.SyncServer(client.ObjectKeyFromObject(server))
	if controllerutil.ContainsFinalizer(server, v1alpha1.ServerFinalizer) {
		done, err := r.Resume(ctx, server)
		if err != nil {
			return reconcile.Result{}, err
		}
		if !done {
			return reconcile.Result{RequeueAfter: reconciler.RecreationPollInterval}, nil
		}
		if err := r.RemoveFinalizer(ctx, server, v1alpha1.ServerFinalizer); err != nil {
			return reconcile.Result{}, err
		}
	}
	r.Forget(client.ObjectKeyFromObject(server))
	return reconcile.Result{}, nil
}

// ReconcileNotFound implements [reconciler.Steps].
func (r *serverReconciler) ReconcileNotFound(ctx context.Context, key types.NamespacedName) error {
	r.relay.ObjectDeleted(relay.Server, key)
	r.Forget(key)
	return r.deleteSeries(ctx, key.Namespace)
}

// setConditionsOfExisting sets the condition and the replicas of a Server that could not
// be rendered or applied from the workload that exists.
func (r *serverReconciler) setConditionsOfExisting(ctx context.Context, server *v1alpha1.Server) error {
	objects, err := r.Children(ctx, server)
	if err != nil {
		return err
	}
	children := r.Healths(objects)
	r.pods.explain(ctx, children, objects)
	workload := r.workload(server)
	server.Status.Replicas = observedReplicas(objects[workload])
	setWorkloadCondition(server, workload, children)
	return nil
}

// workload names the workload of a Server.
func (r *serverReconciler) workload(server *v1alpha1.Server) composition.ObjectRef {
	return composition.ObjectRef{GroupVersionKind: r.template(server).Kind(), Namespace: server.Namespace, Name: server.Name}
}

// observedReplicas returns the replicas that a workload has, not those that it should
// have; 0 if it does not exist.
func observedReplicas(workload *unstructured.Unstructured) int64 {
	if workload == nil {
		return 0
	}
	replicas, _, _ := unstructured.NestedInt64(workload.Object, "status", "replicas")
	return replicas
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
		err = r.apiReader.Get(ctx, key, workload)
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
