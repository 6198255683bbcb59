package docs_test

import (
	"context"
	"fmt"
	"testing/fstest"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/seldon-operator/seldon-operator/composition"
)

// What engine.md shows, in functions that compile.

var sitePolicy = composition.Options{FieldManager: "site-operator", KeyPrefix: "sites.example.com/"}

var siteKinds = []composition.Kind{
	{Object: &corev1.ConfigMap{}},
	{Object: &corev1.Service{}},
	{Object: &appsv1.Deployment{}},
}

func siteCache() cache.Options { return composition.CacheOptions(sitePolicy, siteKinds) }

func newSiteEngine(ctx context.Context, mgr manager.Manager) (*composition.Engine, error) {
	templates, err := composition.NewTemplates(siteFiles)
	if err != nil {
		return nil, err
	}
	if err := composition.Index(ctx, mgr.GetFieldIndexer(), siteKinds); err != nil {
		return nil, err
	}
	return composition.New(composition.Config{
		Templates: templates, Options: sitePolicy, Kinds: siteKinds,
		Client: mgr.GetClient(), APIReader: mgr.GetAPIReader(),
	})
}

func reconcileSite(ctx context.Context, engine *composition.Engine, site client.Object, pod map[string]any) error {
	name, namespace := site.GetName(), site.GetNamespace()
	outcome, err := engine.Reconcile(ctx, composition.Request{
		Owner: composition.Owner{
			GroupVersionKind: schema.GroupVersionKind{Group: "sites.example.com", Version: "v1", Kind: "Site"},
			Namespace:        namespace, Name: name, UID: site.GetUID(),
		},
		Input: composition.Input{
			Namespace: namespace,
			Templates: []composition.TemplateRef{{Template: "site", Parameters: map[string]string{"name": name}}},
			Layers: []composition.Layer{{
				Source: "Site " + namespace + "/" + name,
				Overlays: func() ([]composition.Overlay, error) {
					return []composition.Overlay{{
						Path: "spec.podSpec", Kind: appsv1.SchemeGroupVersion.WithKind("Deployment"), Name: name,
						Content: map[string]any{"spec": map[string]any{"template": map[string]any{"spec": pod}}},
					}}, nil
				},
			}},
		},
	})
	if err != nil {
		return err
	}
	for _, ref := range outcome.Objects.Refs() {
		status, message := outcome.Objects.Health(ref)
		fmt.Println(ref, status, message)
	}
	for _, step := range outcome.Blocked() {
		fmt.Println("held:", step.Reason, step.Message)
	}
	return nil
}

var siteFiles = fstest.MapFS{}

// It is compiled and not run: it needs a manager.
func Example() {
	var (
		ctx  context.Context
		mgr  manager.Manager
		site client.Object
	)
	_ = siteCache()
	engine, err := newSiteEngine(ctx, mgr)
	if err != nil {
		return
	}
	_ = reconcileSite(ctx, engine, site, nil)
}
