package inputs

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/templates"
)

// Server is what a Server expands from.
type Server struct {
	// Request to the engine, except for SkipInitialScan and BeforeRecreate.
	Request composition.Request
	// Config is the configuration that the request is computed from, pinned or current.
	Config *v1alpha1.ServerConfig
	// Warnings describe requests of the Server that have no or limited effect.
	Warnings templates.ServerWarnings
	// Pins must be written before the request. They are valid also with an error.
	Pins Pins
}

// Server computes the request for a Server. The error is a [ConfigNotFoundError] if its
// ServerConfig does not exist, a [composition.RenderError] if its configuration is
// invalid, or an error of reading.
func (r *Resolver) Server(ctx context.Context, server *v1alpha1.Server) (Server, error) {
	result := Server{Request: composition.NewRequest(EngineOptions, serverKind, server)}
	var err error
	if result.Request.Revision, err = rolloutHash(server.Spec); err != nil {
		return result, err
	}
	config := &v1alpha1.ServerConfig{}
	result.Pins, err = r.resolveConfig(ctx, server, serverKind, result.Request.Revision, server.Spec.DisableAutoUpdate, config, func() error {
		return r.readConfig(ctx, config, "ServerConfig", "spec.serverConfig", server.Spec.ServerConfig)
	})
	if err != nil {
		return result, err
	}
	template := r.template(server)
	template.Config, result.Config = config, config
	if err := r.observeReplicas(ctx, &template); err != nil {
		return result, err
	}
	if result.Request.Input, result.Warnings, err = template.Input(); err != nil {
		return result, &composition.RenderError{Err: err}
	}
	result.Request.ExternalConfigs, err = r.startupConfigs(ctx, server.Namespace)
	return result, err
}

// Workload names the workload of a Server.
func (r *Resolver) Workload(server *v1alpha1.Server) composition.ObjectRef {
	return composition.ObjectRef{GroupVersionKind: r.template(server).Kind(), Namespace: server.Namespace, Name: server.Name}
}

func (r *Resolver) template(server *v1alpha1.Server) templates.Server {
	return templates.Server{Server: server, UseDeployment: r.UseDeployments, MaxReplicas: r.MaxReplicasPerServer}
}

// observeReplicas sets the replicas of the Server's live workload. A cache does not contain
// a workload that is not adopted yet; if the Server exceeds the limit, that workload is read
// from the API server, since its replicas must not change then.
func (r *Resolver) observeReplicas(ctx context.Context, template *templates.Server) error {
	key := client.ObjectKeyFromObject(template.Server)
	set, deployment := &appsv1.StatefulSet{}, &appsv1.Deployment{}
	workload := client.Object(set)
	if template.UseDeployment {
		workload = deployment
	}
	err := r.Reader.Get(ctx, key, workload)
	if apierrors.IsNotFound(err) && template.ExceedsLimit() {
		err = r.uncached().Get(ctx, key, workload)
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("get %s %s: %w", template.Kind().Kind, key, err)
	}
	replicas := set.Spec.Replicas
	if template.UseDeployment {
		replicas = deployment.Spec.Replicas
	}
	if replicas != nil {
		template.LiveReplicas = new(int64(*replicas))
	}
	template.ObservedReplicas = int64(set.Status.Replicas)
	return nil
}
