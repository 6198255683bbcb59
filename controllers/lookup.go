package controllers

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/composition/reconciler"
	"github.com/seldon-operator/seldon-operator/templates"
)

// configNotFoundError says that a SeldonConfig or ServerConfig is not there. It
// is waited for: its creation wakes who refers to it.
type configNotFoundError struct {
	kind, field, namespace, name string
}

func (e *configNotFoundError) Error() string {
	if e.name == "" {
		return fmt.Sprintf("%s is empty; name a %s of namespace %s", e.field, e.kind, e.namespace)
	}
	return fmt.Sprintf("%s: there is no %s %q in namespace %s, the operator's own; create it there or name another",
		e.field, e.kind, e.name, e.namespace)
}

// config reads a SeldonConfig or ServerConfig of the operator's namespace.
func (s *shared) config(ctx context.Context, config client.Object, kind, field, name string) error {
	missing := &reconciler.MissingInputError{Err: &configNotFoundError{kind: kind, field: field, namespace: s.Namespace, name: name}}
	if name == "" {
		return missing
	}
	err := s.client.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: name}, config)
	if apierrors.IsNotFound(err) {
		return missing
	}
	if err != nil {
		return fmt.Errorf("get %s %s/%s: %w", kind, s.Namespace, name, err)
	}
	return nil
}

// configIndex finds the objects that refer to a config by name.
const configIndex = "spec.config"

// startupConfigurations are the ConfigMaps in a namespace that pods read only at
// start. One that does not exist, or that no SeldonRuntime controls, is among them
// without content.
func (s *shared) startupConfigurations(ctx context.Context, namespace string) (composition.ConfigHashes, error) {
	configurations := composition.ConfigHashes{}
	for _, name := range templates.StartupConfigMaps {
		key := composition.ConfigRef{Kind: "ConfigMap", Name: name}
		configurations[key] = composition.ConfigHash{}
		configMap := &corev1.ConfigMap{}
		err := s.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, configMap)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("get ConfigMap %s/%s: %w", namespace, name, err)
		}
		if owner := metav1.GetControllerOfNoCopy(configMap); owner == nil || !isRuntime(owner) {
			continue
		}
		if configurations[key], err = composition.HashConfig(engineOptions, configMap); err != nil {
			return nil, err
		}
	}
	return configurations, nil
}

// isRuntime reports whether a reference is to a SeldonRuntime.
func isRuntime(owner *metav1.OwnerReference) bool {
	group, err := schema.ParseGroupVersion(owner.APIVersion)
	return err == nil && group.Group == v1alpha1.GroupVersion.Group && owner.Kind == "SeldonRuntime"
}
