package tree

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition/object"
	"github.com/seldon-operator/seldon-operator/inputs"
)

// pageSize is the maximum number of objects of one response.
const pageSize = 500

var (
	runtimeKind     = v1alpha1.GroupVersion.WithKind(v1alpha1.KindSeldonRuntime)
	serverKind      = v1alpha1.GroupVersion.WithKind(v1alpha1.KindServer)
	modelKind       = v1alpha1.GroupVersion.WithKind(v1alpha1.KindModel)
	pipelineKind    = v1alpha1.GroupVersion.WithKind(v1alpha1.KindPipeline)
	experimentKind  = v1alpha1.GroupVersion.WithKind(v1alpha1.KindExperiment)
	podKind         = corev1.SchemeGroupVersion.WithKind("Pod")
	deploymentKind  = schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}
	statefulSetKind = schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "StatefulSet"}
)

// childKinds are the kinds of the child objects of runtimes, in the order in which siblings are
// shown: that of the engine's waves.
var childKinds = func() []schema.GroupVersionKind {
	builtIn, custom := []schema.GroupVersionKind{}, []schema.GroupVersionKind{}
	for _, kind := range inputs.RuntimeKinds() {
		if server, ok := kind.Object.(*v1alpha1.Server); ok && server != nil {
			custom = append(custom, serverKind)
			continue
		}
		gvk, err := apiutil.GVKForObject(kind.Object, scheme.Scheme)
		if err != nil {
			panic(err) // all others are built-in kinds
		}
		builtIn = append(builtIn, gvk)
	}
	slices.SortStableFunc(builtIn, func(a, b schema.GroupVersionKind) int {
		return cmp.Compare(object.WaveOf(a.GroupKind()), object.WaveOf(b.GroupKind()))
	})
	return append(builtIn, custom...)
}()

// metadataOnly are the kinds of which only metadata is read: they have no status.
var metadataOnly = []string{"ServiceAccount", "Role", "RoleBinding", "ConfigMap"}

// Scope is what to read.
type Scope struct {
	// Namespace to read; empty for all.
	Namespace string
	// Root is the object to show, without its descendants if these are of no kind that the
	// tree has; nil for all SeldonRuntimes and all objects of users.
	Root *Root
	// Only are the kinds to read, without descendants; nil for those below the root. The first
	// is the one whose LIST must succeed.
	Only []schema.GroupVersionKind
}

// Root names an object.
type Root struct {
	schema.GroupVersionKind
	Name string
}

// kinds returns the kinds to list. The first is that of the root.
func (s Scope) kinds() []schema.GroupVersionKind {
	if s.Only != nil {
		return s.Only
	}
	if s.Root == nil || s.Root.GroupVersionKind == runtimeKind {
		kinds := append([]schema.GroupVersionKind{runtimeKind}, childKinds...)
		return append(kinds, podKind, modelKind, pipelineKind, experimentKind)
	}
	kinds := []schema.GroupVersionKind{s.Root.GroupVersionKind}
	switch s.Root.GroupVersionKind {
	case serverKind:
		for _, kind := range inputs.ServerKinds() {
			if gvk, err := apiutil.GVKForObject(kind.Object, scheme.Scheme); err == nil {
				kinds = append(kinds, gvk)
			}
		}
		return append(kinds, podKind)
	case deploymentKind, statefulSetKind:
		return append(kinds, podKind)
	default:
		return kinds
	}
}

// Problem is a request that failed.
type Problem struct {
	// Verb is list or watch.
	Verb string `json:"verb"`
	// Resource is the plural with its group, such as deployments.apps.
	Resource string `json:"resource"`
	// Namespace is empty for all.
	Namespace string `json:"namespace,omitempty"`
	// Message is why it failed.
	Message string `json:"message"`
}

// String returns the problem for a person: "list pods in namespace team-a: forbidden".
func (p Problem) String() string {
	in := "all namespaces"
	if p.Namespace != "" {
		in = "namespace " + p.Namespace
	}
	return fmt.Sprintf("%s in %s: %s", strings.TrimSpace(p.Verb+" "+p.Resource), in, p.Message)
}

// Objects are the objects of a tree. They are not safe for concurrent use.
type Objects struct {
	scope    Scope
	byKind   map[schema.GroupVersionKind]map[types.NamespacedName]*unstructured.Unstructured
	versions map[schema.GroupVersionKind]string
	problems map[schema.GroupVersionKind]Problem
}

// Read lists the objects of a scope. The error is that of the LIST of the root's kind, or that
// the root does not exist.
func Read(ctx context.Context, reader client.Reader, scope Scope) (*Objects, error) {
	kinds := scope.kinds()
	lists := make([][]*unstructured.Unstructured, len(kinds))
	versions := make([]string, len(kinds))
	errs := make([]error, len(kinds))
	group := errgroup.Group{}
	for i, kind := range kinds {
		group.Go(func() error {
			lists[i], versions[i], errs[i] = list(ctx, reader, kind, scope.optionsOf(kind)...)
			return nil
		})
	}
	_ = group.Wait() // The functions return no errors.
	if errs[0] != nil && scope.Root != nil && apierrors.IsForbidden(errs[0]) {
		// The account may be allowed to get a single object.
		single := newObject(kinds[0])
		if err := reader.Get(ctx, client.ObjectKey{Namespace: scope.Namespace, Name: scope.Root.Name}, single); err == nil {
			lists[0], errs[0] = []*unstructured.Unstructured{toUnstructured(single, kinds[0])}, nil
		}
	}
	if errs[0] != nil {
		return nil, fmt.Errorf("list %s: %w", resourceOf(kinds[0]), explain(errs[0]))
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	objects := &Objects{
		scope: scope, byKind: map[schema.GroupVersionKind]map[types.NamespacedName]*unstructured.Unstructured{},
		versions: map[schema.GroupVersionKind]string{}, problems: map[schema.GroupVersionKind]Problem{},
	}
	for i, kind := range kinds {
		if errs[i] != nil {
			objects.problems[kind] = scope.problem("list", kind, errs[i])
			continue
		}
		objects.replace(kind, lists[i], versions[i])
	}
	if scope.Root != nil && len(objects.byKind[kinds[0]]) == 0 {
		return nil, fmt.Errorf("%s %s does not exist in namespace %s", kinds[0].Kind, scope.Root.Name, scope.Namespace)
	}
	return objects, nil
}

// optionsOf returns the options of the LIST and of the watch of a kind.
func (s Scope) optionsOf(kind schema.GroupVersionKind) []client.ListOption {
	options := []client.ListOption{client.InNamespace(s.Namespace)}
	if s.Root != nil && s.Root.GroupVersionKind == kind {
		options = append(options, client.MatchingFields{metav1.ObjectNameField: s.Root.Name})
	}
	return options
}

// problem returns the problem of a request that failed.
func (s Scope) problem(verb string, kind schema.GroupVersionKind, err error) Problem {
	return Problem{Verb: verb, Resource: resourceOf(kind), Namespace: s.Namespace, Message: explain(err).Error()}
}

// explain shortens the errors whose text repeats the request.
func explain(err error) error {
	switch {
	case apierrors.IsForbidden(err):
		return errors.New("forbidden")
	case apierrors.IsNotFound(err), meta.IsNoMatchError(err):
		return errors.New("the API server does not have this resource; install the CRDs")
	default:
		return err
	}
}

// resourceOf returns the resource of a kind in the form of RBAC rules, such as deployments.apps.
func resourceOf(kind schema.GroupVersionKind) string {
	plural, _ := meta.UnsafeGuessKindToResource(kind)
	return plural.GroupResource().String()
}

// newList returns an empty list for objects of a kind.
func newList(kind schema.GroupVersionKind) client.ObjectList {
	listKind := kind.GroupVersion().WithKind(kind.Kind + "List")
	if slices.Contains(metadataOnly, kind.Kind) {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(listKind)
		return list
	}
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(listKind)
	return list
}

func newObject(kind schema.GroupVersionKind) client.Object {
	if slices.Contains(metadataOnly, kind.Kind) {
		object := &metav1.PartialObjectMetadata{}
		object.SetGroupVersionKind(kind)
		return object
	}
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(kind)
	return object
}

// list returns the objects of a kind, page by page, and the resource version of the list.
func list(ctx context.Context, reader client.Reader, kind schema.GroupVersionKind, options ...client.ListOption) (objects []*unstructured.Unstructured, version string, err error) {
	next := ""
	for {
		page := newList(kind)
		if err := reader.List(ctx, page, append(slices.Clone(options), client.Limit(pageSize), client.Continue(next))...); err != nil {
			return nil, "", err
		}
		err := meta.EachListItem(page, func(item runtime.Object) error {
			objects = append(objects, toUnstructured(item, kind))
			return nil
		})
		if err != nil {
			return nil, "", err
		}
		if next = page.GetContinue(); next == "" {
			return objects, page.GetResourceVersion(), nil
		}
	}
}

// toUnstructured returns an object that was read as unstructured or as metadata.
func toUnstructured(object runtime.Object, kind schema.GroupVersionKind) *unstructured.Unstructured {
	result, ok := object.(*unstructured.Unstructured)
	if partial, isPartial := object.(*metav1.PartialObjectMetadata); isPartial {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(partial)
		result, ok = &unstructured.Unstructured{Object: content}, err == nil
	}
	if !ok {
		result = &unstructured.Unstructured{Object: map[string]any{}}
	}
	result.SetGroupVersionKind(kind)
	return result
}

// replace sets all objects of a kind.
func (o *Objects) replace(kind schema.GroupVersionKind, objects []*unstructured.Unstructured, version string) {
	byName := map[types.NamespacedName]*unstructured.Unstructured{}
	for _, object := range objects {
		byName[client.ObjectKeyFromObject(object)] = object
	}
	o.byKind[kind], o.versions[kind] = byName, version
}

// Problems returns the requests that failed, in the order of their resources.
func (o *Objects) Problems() []Problem {
	var problems []Problem
	for _, problem := range o.problems {
		problems = append(problems, problem)
	}
	slices.SortFunc(problems, func(a, b Problem) int { return strings.Compare(a.Resource+a.Verb, b.Resource+b.Verb) })
	return problems
}
