package controllers

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition"
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
func (e *environment) config(ctx context.Context, config client.Object, kind, field, name string) error {
	missing := &configNotFoundError{kind: kind, field: field, namespace: e.Namespace, name: name}
	if name == "" {
		return missing
	}
	err := e.client.Get(ctx, client.ObjectKey{Namespace: e.Namespace, Name: name}, config)
	if apierrors.IsNotFound(err) {
		return missing
	}
	if err != nil {
		return fmt.Errorf("get %s %s/%s: %w", kind, e.Namespace, name, err)
	}
	return nil
}

// configIndex finds the objects that refer to a config by name.
const configIndex = "spec.config"

// referrers maps a config of the operator's namespace to the objects that refer
// to it.
func (e *environment) referrers(list client.ObjectList) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, config client.Object) []reconcile.Request {
		if config.GetNamespace() != e.Namespace {
			return nil
		}
		return e.requestsFor(ctx, list, client.MatchingFields{configIndex: config.GetName()})
	})
}

// neighbours maps an object to those of a kind in its namespace.
func (e *environment) neighbours(list client.ObjectList) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, object client.Object) []reconcile.Request {
		return e.requestsFor(ctx, list, client.InNamespace(object.GetNamespace()))
	})
}

// gathered is neighbours for objects that come and go by the thousand: those of one
// second wake once.
func (e *environment) gathered(list client.ObjectList) handler.EventHandler {
	return patientHandler{e.neighbours(list)}
}

func (e *environment) requestsFor(ctx context.Context, list client.ObjectList, options ...client.ListOption) []reconcile.Request {
	found := list.DeepCopyObject().(client.ObjectList)
	if err := e.client.List(ctx, found, append(options, client.UnsafeDisableDeepCopy)...); err != nil {
		return nil // the cache is closed: the manager is stopping
	}
	var requests []reconcile.Request
	eachItem(found, func(object client.Object) {
		requests = append(requests, reconcile.Request{NamespacedName: types.NamespacedName{Namespace: object.GetNamespace(), Name: object.GetName()}})
	})
	return requests
}

// startupConfigurations are the ConfigMaps in a namespace that pods read only at
// start. One that does not exist, or that no SeldonRuntime controls, is among them
// without content.
func (e *environment) startupConfigurations(ctx context.Context, namespace string) (composition.ConfigHashes, error) {
	configurations := composition.ConfigHashes{}
	for _, name := range templates.StartupConfigMaps {
		key := composition.ConfigRef{Kind: "ConfigMap", Name: name}
		configurations[key] = composition.ConfigHash{}
		configMap := &corev1.ConfigMap{}
		err := e.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, configMap)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("get ConfigMap %s/%s: %w", namespace, name, err)
		}
		if owner := metav1.GetControllerOfNoCopy(configMap); owner == nil || !isRuntime(owner) {
			continue
		}
		if configurations[key], err = composition.HashConfig(e.engine.Options, configMap); err != nil {
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
