package inputs

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/templates"
)

// Runtime is what a SeldonRuntime expands from.
type Runtime struct {
	// Request to the engine, except for SkipInitialScan.
	Request composition.Request
	// Config is the configuration that the request is computed from, pinned or current.
	Config *v1alpha1.SeldonConfig
	// Components of the runtime that are not disabled.
	Components templates.RuntimeComponents
	// Pins must be written before the request. They are valid also with an error.
	Pins Pins
}

// Runtime computes the request for a runtime. The error is a [ConfigNotFoundError] if its
// SeldonConfig does not exist, a [composition.RenderError] if its configuration is
// invalid, or an error of reading.
func (r *Resolver) Runtime(ctx context.Context, runtime *v1alpha1.SeldonRuntime) (Runtime, error) {
	result := Runtime{Request: composition.NewRequest(EngineOptions, runtimeKind, runtime)}
	var err error
	if result.Request.Revision, err = rolloutHash(runtime.Spec); err != nil {
		return result, err
	}
	config := &v1alpha1.SeldonConfig{}
	result.Pins, err = r.resolveConfig(ctx, runtime, runtimeKind, result.Request.Revision, runtime.Spec.DisableAutoUpdate, config, func() error {
		return r.readConfig(ctx, config, "SeldonConfig", "spec.seldonConfig", runtime.Spec.SeldonConfig)
	})
	if err != nil {
		return result, err
	}
	counts, err := r.counts(ctx, runtime.Namespace)
	if err != nil {
		return result, err
	}
	serviceTypes, err := r.adoptedServiceTypes(ctx, runtime)
	if err != nil {
		return result, err
	}
	result.Config = config
	template := templates.Runtime{Runtime: runtime, Config: config, Counts: counts, AdoptedServiceTypes: serviceTypes}
	result.Request.Input, result.Components, err = template.Input()
	if err != nil {
		return result, &composition.RenderError{Err: err}
	}
	return result, nil
}

// ConflictingRuntime returns the name of a runtime in the namespace of runtime that takes
// precedence over it; empty if there is none. The oldest takes precedence, or the first by
// name of those created in the same second.
func (r *Resolver) ConflictingRuntime(ctx context.Context, runtime *v1alpha1.SeldonRuntime) (string, error) {
	list := &v1alpha1.SeldonRuntimeList{}
	if err := r.Reader.List(ctx, list, client.InNamespace(runtime.Namespace), client.UnsafeDisableDeepCopy); err != nil {
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

// counts returns the numbers of Models and Pipelines that are not being deleted.
func (r *Resolver) counts(ctx context.Context, namespace string) (templates.Counts, error) {
	models, err := r.count(ctx, namespace, &v1alpha1.ModelList{})
	if err != nil {
		return templates.Counts{}, err
	}
	pipelines, err := r.count(ctx, namespace, &v1alpha1.PipelineList{})
	return templates.Counts{Models: models, Pipelines: pipelines}, err
}

func (r *Resolver) count(ctx context.Context, namespace string, list client.ObjectList) (int, error) {
	if err := r.Reader.List(ctx, list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return 0, fmt.Errorf("count Models and Pipelines in namespace %s: %w", namespace, err)
	}
	number := 0
	err := meta.EachListItem(list, func(item kruntime.Object) error {
		if item.(client.Object).GetDeletionTimestamp() == nil {
			number++
		}
		return nil
	})
	return number, err
}

// adoptedServices are the Services of a runtime whose type adoption must not change.
var adoptedServices = []string{v1alpha1.SchedulerService, v1alpha1.MeshService}

// serviceOf names a Service of a runtime.
type serviceOf struct {
	runtime client.ObjectKey
	name    string
}

// adoptedServiceTypes returns the types of the Services that the runtime controls and that
// a previous operator created, by name: adoption must not expose one outside of the
// cluster.
func (r *Resolver) adoptedServiceTypes(ctx context.Context, runtime *v1alpha1.SeldonRuntime) (map[string]corev1.ServiceType, error) {
	serviceTypes := map[string]corev1.ServiceType{}
	for _, name := range adoptedServices {
		service := &corev1.Service{}
		key := client.ObjectKey{Namespace: runtime.Namespace, Name: name}
		err := r.Reader.Get(ctx, key, service)
		if err == nil && isLabelled(service) {
			if adopted := service.Annotations[templates.AdoptedServiceTypeAnnotation]; adopted != "" {
				serviceTypes[name] = corev1.ServiceType(adopted)
			}
			continue
		}
		// The Service is new, or not adopted yet, which the cache does not show.
		id := serviceOf{client.ObjectKeyFromObject(runtime), name}
		if uid, settled := r.settled.Load(id); settled && uid == runtime.UID || r.IsPreexisting != nil && !r.IsPreexisting(runtime.UID) {
			continue
		}
		if client.IgnoreNotFound(err) == nil {
			err = r.uncached().Get(ctx, key, service)
		}
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("get Service %s: %w", key, err)
		}
		switch {
		case err != nil || !metav1.IsControlledBy(service, runtime):
			r.settled.Store(id, runtime.UID)
		case isLabelled(service): // adopted, and the cache is stale
			serviceTypes[name] = corev1.ServiceType(service.Annotations[templates.AdoptedServiceTypeAnnotation])
		default:
			serviceTypes[name] = service.Spec.Type
		}
	}
	return serviceTypes, nil
}

// isLabelled reports whether an object has the engine's owner label.
func isLabelled(object client.Object) bool {
	return object.GetLabels()[EngineOptions.OwnerLabel()] != ""
}
