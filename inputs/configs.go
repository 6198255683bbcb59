package inputs

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/templates"
)

// ConfigNotFoundError is the error of an object that refers to a SeldonConfig or
// ServerConfig which does not exist.
type ConfigNotFoundError struct {
	// Kind of the configuration, and the Field that refers to it.
	Kind, Field string
	// Namespace and Name of the configuration; Name may be empty.
	Namespace, Name string
}

func (e *ConfigNotFoundError) Error() string {
	if e.Name == "" {
		return fmt.Sprintf("%s is empty; set it to the name of a %s in namespace %s", e.Field, e.Kind, e.Namespace)
	}
	return fmt.Sprintf("%s: there is no %s %q in namespace %s, the operator's own; create it there or set another name",
		e.Field, e.Kind, e.Name, e.Namespace)
}

// readConfig reads a SeldonConfig or ServerConfig, which field refers to.
func (r *Resolver) readConfig(ctx context.Context, config client.Object, kind, field, name string) error {
	notFound := &ConfigNotFoundError{Kind: kind, Field: field, Namespace: r.Namespace, Name: name}
	if name == "" {
		return notFound
	}
	err := r.Reader.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: name}, config)
	if apierrors.IsNotFound(err) {
		return notFound
	}
	if err != nil {
		return fmt.Errorf("get %s %s/%s: %w", kind, r.Namespace, name, err)
	}
	return nil
}

// startupConfigs returns the hashes of the ConfigMaps in a namespace that pods read only
// at start. The hash of one that does not exist, or that no SeldonRuntime controls, is
// empty.
func (r *Resolver) startupConfigs(ctx context.Context, namespace string) (composition.ConfigHashes, error) {
	hashes := composition.ConfigHashes{}
	for _, name := range templates.StartupConfigMaps {
		ref := composition.ConfigRef{Kind: "ConfigMap", Name: name}
		hashes[ref] = composition.ConfigHash{}
		configMap := &corev1.ConfigMap{}
		err := r.Reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, configMap)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("get ConfigMap %s/%s: %w", namespace, name, err)
		}
		if owner := metav1.GetControllerOfNoCopy(configMap); owner == nil || !isRuntime(owner) {
			continue
		}
		if hashes[ref], err = composition.HashConfig(EngineOptions, configMap); err != nil {
			return nil, err
		}
	}
	return hashes, nil
}

// isRuntime reports whether a reference is to a SeldonRuntime.
func isRuntime(owner *metav1.OwnerReference) bool {
	group, err := schema.ParseGroupVersion(owner.APIVersion)
	return err == nil && group.Group == runtimeKind.Group && owner.Kind == runtimeKind.Kind
}
