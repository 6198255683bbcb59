// Website is a complete operator on the composition engine, as an example. A Website
// expands into a Deployment, a Service, a ConfigMap and, if it has one, a Proxy, which is
// a custom resource too: the same engine expands it into a Deployment, a Service and a
// ConfigMap of its own.
//
// It runs against the cluster of the current kubeconfig, in one replica:
//
//	kubectl apply -f examples/website/crds
//	kubectl apply -f examples/website/website.yaml
//	go run ./examples/website
package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"os"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/composition/reconciler"
)

// keyPrefix is that of all labels, annotations and finalizers of this operator.
const keyPrefix = "websites.example.com/"

// engineOptions identify what this operator owns, and so they never change.
var engineOptions = composition.Options{FieldManager: "website-operator", KeyPrefix: keyPrefix}

// kinds are those of child objects. Users create Proxies as well, so the manager's cache
// has all of them; of the other kinds it has child objects only.
var kinds = []composition.Kind{
	{Object: &corev1.ConfigMap{}},
	{Object: &corev1.Service{}},
	{Object: &appsv1.Deployment{}},
	{Object: &Proxy{}, CacheUnfiltered: true},
}

var (
	configMapKind  = corev1.SchemeGroupVersion.WithKind("ConfigMap")
	deploymentKind = appsv1.SchemeGroupVersion.WithKind("Deployment")
	proxyKind      = groupVersion.WithKind("Proxy")
)

// files are Kustomize folders.
//
//go:embed templates
var files embed.FS

func main() {
	ctrl.SetLogger(zap.New())
	if err := run(ctrl.SetupSignalHandler(), ctrl.GetConfigOrDie(), ctrl.Options{}); err != nil {
		ctrl.Log.Error(err, "The operator has failed")
		os.Exit(1)
	}
}

// run runs the operator until ctx is done. options are those of the manager, except for
// the scheme and the cache.
func run(ctx context.Context, config *rest.Config, options ctrl.Options) error {
	var err error
	if options.Scheme, err = newScheme(); err != nil {
		return err
	}
	options.Cache = composition.CacheOptions(engineOptions, kinds)
	mgr, err := ctrl.NewManager(config, options)
	if err != nil {
		return err
	}
	engine, err := newEngine(ctx, mgr)
	if err != nil {
		return err
	}
	websites := &reconciler.Reconciler[*Website]{Engine: engine, Input: websiteInput}
	proxies := &reconciler.Reconciler[*Proxy]{Engine: engine, Input: proxyInput}
	if err := errors.Join(websites.SetupWithManager(mgr), proxies.SetupWithManager(mgr)); err != nil {
		return err
	}
	return mgr.Start(ctx)
}

// newEngine returns the engine, which expands objects of both kinds.
func newEngine(ctx context.Context, mgr manager.Manager) (*composition.Engine, error) {
	templates, err := composition.LoadTemplates(files, keyPrefix)
	if err != nil {
		return nil, err
	}
	if err := composition.Index(ctx, mgr.GetFieldIndexer(), kinds); err != nil {
		return nil, err
	}
	return composition.New(composition.Config{
		Templates: templates, Options: engineOptions, Kinds: kinds,
		Client: mgr.GetClient(), APIReader: mgr.GetAPIReader(),
	})
}

// websiteInput returns what a Website expands into: the objects of a template, and its
// spec as a layer over them.
func websiteInput(_ context.Context, site *Website) (composition.Input, error) {
	website := composition.TemplateRef{Folder: "templates/website", Parameters: map[string]string{"name": site.Name}}
	if site.Spec.Proxy != nil {
		website.Components = []string{"proxy"}
	}
	return composition.Input{
		Namespace: site.Namespace,
		Templates: []composition.TemplateRef{website},
		Layers: []composition.Layer{{
			Source: "Website " + site.Namespace + "/" + site.Name,
			Overlays: func() ([]composition.Overlay, error) {
				return overlays(site.Name, []part{
					{"spec.pages", site.Spec.Pages, configMapKind, []string{"data"}},
					{"spec.podSpec", site.Spec.PodSpec, deploymentKind, []string{"spec", "template", "spec"}},
					{"spec.proxy", site.Spec.Proxy, proxyKind, []string{"spec"}},
				})
			},
		}},
	}, nil
}

// proxyInput returns what a Proxy expands into: a template with parameters is enough.
func proxyInput(_ context.Context, proxy *Proxy) (composition.Input, error) {
	return composition.Input{
		Namespace: proxy.Namespace,
		Templates: []composition.TemplateRef{{Folder: "templates/proxy", Parameters: map[string]string{
			"name": proxy.Name + "-proxy", "backend": proxy.Spec.Backend, "cacheSize": proxy.Spec.CacheSize,
		}}},
	}, nil
}

// part is a part of a spec that is merged over a field of a child object.
type part struct {
	path  string // in the spec, for messages
	value any
	kind  schema.GroupVersionKind
	field []string
}

// overlays returns an overlay for each part that is set. The child objects are all named
// name.
func overlays(name string, parts []part) ([]composition.Overlay, error) {
	var result []composition.Overlay
	for _, p := range parts {
		text, err := json.Marshal(p.value)
		var value any
		if err = errors.Join(err, json.Unmarshal(text, &value)); err != nil {
			return nil, fmt.Errorf("%s: %w", p.path, err)
		}
		if value == nil {
			continue
		}
		content := map[string]any{}
		if err := unstructured.SetNestedField(content, value, p.field...); err != nil {
			return nil, fmt.Errorf("%s: %w", p.path, err)
		}
		result = append(result, composition.Overlay{Path: p.path, Kind: p.kind, Name: name, Content: content})
	}
	return result, nil
}
