package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
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
	"github.com/seldon-operator/seldon-operator/inputs"
	"github.com/seldon-operator/seldon-operator/relay"
	"github.com/seldon-operator/seldon-operator/templates"
)

// serverReconciler expands Servers.
type serverReconciler struct {
	*shared
	*reconciler.Composer
	inputs *inputs.Resolver
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
	return reconciler.WatchOwned(build, mgr, &v1alpha1.Server{}, inputs.ServerKinds()).Complete(r)
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
	input, err := r.inputs.Server(ctx, server)
	if err := r.afterResolve(ctx, input.Pins, err); err != nil {
		return r.ResumeWithoutInput(ctx, server, err)
	}
	input.Request.BeforeRecreate = func(ctx context.Context) error { return r.AddFinalizer(ctx, server, v1alpha1.ServerFinalizer) }
	result, err := r.Apply(ctx, server, input.Request)
	if err == nil && !result.Recreating {
		err = r.RemoveFinalizer(ctx, server, v1alpha1.ServerFinalizer)
	}
	if err != nil {
		return reconcile.Result{RequeueAfter: result.RequeueAfter}, err
	}
	children := r.Healths(result.Objects)
	requeueAfter := r.pods.explain(ctx, children, result.Objects)
	server.Status.Replicas = observedReplicas(result.Objects, r.inputs.Workload(server))
	reconciler.SetConditions(server, serverConditions(server, input.Warnings, children, result))
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
	workload := r.inputs.Workload(server)
	server.Status.Replicas = observedReplicas(objects, workload)
	setWorkloadCondition(server, workload, children)
	return nil
}

// observedReplicas returns the replicas that a workload has, not those that it should
// have; 0 if it does not exist.
func observedReplicas(objects composition.LiveObjects, workload composition.ObjectRef) int64 {
	replicas, _ := objects.Field(workload, "status", "replicas").(int64)
	return replicas
}
