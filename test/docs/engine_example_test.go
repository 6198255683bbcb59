package docs_test

import (
	"context"
	"fmt"
	"testing/fstest"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/composition/reconciler"
)

// The code of engine.md, in functions that compile.

var siteOptions = composition.Options{FieldManager: "site-operator", KeyPrefix: "sites.example.com/"}

var siteKinds = []composition.Kind{
	{Object: &corev1.ConfigMap{}},
	{Object: &corev1.Service{}},
	{Object: &appsv1.Deployment{}},
}

func siteManager() manager.Options {
	return manager.Options{Cache: composition.CacheOptions(siteOptions, siteKinds)}
}

func newSiteEngine(ctx context.Context, mgr manager.Manager) (*composition.Engine, error) {
	templates, err := composition.LoadTemplates(siteFiles, "sites.example.com/")
	if err != nil {
		return nil, err
	}
	if err := composition.Index(ctx, mgr.GetFieldIndexer(), siteKinds); err != nil {
		return nil, err
	}
	return composition.New(composition.Config{
		Templates: templates, Options: siteOptions, Kinds: siteKinds,
		Client: mgr.GetClient(), APIReader: mgr.GetAPIReader(),
	})
}

func siteInput(_ context.Context, site *Site) (composition.Input, error) {
	return composition.Input{
		Namespace: site.Namespace,
		Templates: []composition.TemplateRef{{Folder: "site", Parameters: map[string]string{"name": site.Name}}},
		Layers: []composition.Layer{{
			Source: "Site " + site.Namespace + "/" + site.Name,
			Overlays: func() ([]composition.Overlay, error) {
				return []composition.Overlay{{
					Path: "spec.podSpec", Kind: appsv1.SchemeGroupVersion.WithKind("Deployment"), Name: site.Name,
					Content: map[string]any{"spec": map[string]any{"template": map[string]any{"spec": site.Spec.PodSpec}}},
				}}, nil
			},
		}},
	}, nil
}

func setupSites(mgr manager.Manager, engine *composition.Engine) error {
	sites := &reconciler.Reconciler[*Site]{Engine: engine, Input: siteInput}
	return sites.SetupWithManager(mgr)
}

func reconcileSite(ctx context.Context, engine *composition.Engine, owner composition.Owner, input composition.Input) error {
	result, err := engine.Reconcile(ctx, composition.Request{Owner: owner, Input: input})
	if err != nil {
		return err
	}
	for _, ref := range result.Objects.Refs() {
		status, message := result.Objects.Health(ref)
		fmt.Println(ref, status, message)
	}
	for _, step := range result.Blocked() {
		fmt.Println("blocked:", step.Reason, step.Message)
	}
	return nil
}

var siteFiles = fstest.MapFS{}

// Site is a custom resource with a pod template.
type Site struct {
	metav1.TypeMeta
	metav1.ObjectMeta
	Spec   struct{ PodSpec map[string]any }
	Status struct {
		ObservedGeneration int64
		Conditions         []metav1.Condition
	}
}

// DeepCopyObject implements [runtime.Object].
func (s *Site) DeepCopyObject() runtime.Object { site := *s; return &site }

// GetConditions implements [reconciler.Object].
func (s *Site) GetConditions() []metav1.Condition { return s.Status.Conditions }

// SetConditions implements [reconciler.Object].
func (s *Site) SetConditions(conditions []metav1.Condition) { s.Status.Conditions = conditions }

// SetObservedGeneration implements [reconciler.Object].
func (s *Site) SetObservedGeneration(generation int64) { s.Status.ObservedGeneration = generation }

// It is compiled and not run: it needs a manager.
func Example() {
	var (
		ctx   context.Context
		mgr   manager.Manager
		owner composition.Owner
	)
	_ = siteManager()
	engine, err := newSiteEngine(ctx, mgr)
	if err != nil {
		return
	}
	_ = setupSites(mgr, engine)
	_ = reconcileSite(ctx, engine, owner, composition.Input{})
}
