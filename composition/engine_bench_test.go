package composition

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/composition/internal/enginetest"
	"github.com/seldon-operator/seldon-operator/composition/object"
	"github.com/seldon-operator/seldon-operator/composition/template"
)

// memoryCache is a cache like that of informers: typed objects, which lists share.
type memoryCache map[schema.GroupVersionKind][]runtime.Object

func (c memoryCache) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	gvks, _, err := scheme.Scheme.ObjectKinds(list)
	if err != nil {
		return err
	}
	gvk := gvks[0]
	gvk.Kind = gvk.Kind[:len(gvk.Kind)-len("List")]
	return meta.SetList(list, c[gvk])
}

func (c memoryCache) Get(_ context.Context, key client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
	return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
}

// unusedClient has a scheme and fails the benchmark at any request.
type unusedClient struct{ client.Client }

func (unusedClient) GroupVersionKindFor(obj runtime.Object) (schema.GroupVersionKind, error) {
	gvks, _, err := scheme.Scheme.ObjectKinds(obj)
	return gvks[0], err
}

func (unusedClient) Scheme() *runtime.Scheme { return scheme.Scheme }

func (unusedClient) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return errors.New("a reconcile of an unchanged instance sends a request to the API server")
}

func (unusedClient) List(context.Context, client.ObjectList, ...client.ListOption) error {
	return nil // the initial scan
}

// cachedClient reads a cache, and fails at any write.
type cachedClient struct {
	unusedClient
	cache memoryCache
}

func (c cachedClient) Get(ctx context.Context, key client.ObjectKey, into client.Object, options ...client.GetOption) error {
	return c.cache.Get(ctx, key, into, options...)
}

func (c cachedClient) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	return c.cache.List(ctx, list, options...)
}

// unchanged returns an engine, and the request for an instance that is up to date: eight
// workloads, each with a Service and a ConfigMap.
func unchanged(t testing.TB) (*Engine, Request) {
	t.Helper()
	var env strings.Builder
	for i := range 20 {
		fmt.Fprintf(&env, "        - {name: KEY_%d, value: value-%d}\n", i, i)
	}
	templates, err := template.Load(fstest.MapFS{
		"unit/kustomization.yaml": {Data: []byte("resources: [parameters.yaml, unit.yaml]\nreplacements:\n" +
			"- source: {kind: ConfigMap, name: parameters, fieldPath: data.name}\n  targets: [{select: {name: unit}, fieldPaths: [metadata.name]}]\n")},
		"unit/parameters.yaml": {Data: []byte("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: parameters\n" +
			"  annotations: {config.kubernetes.io/local-config: \"true\"}\ndata: {name: x}\n")},
		"unit/unit.yaml": {Data: []byte(`
apiVersion: v1
kind: ConfigMap
metadata: {name: unit}
data: {a: "1"}
---
apiVersion: v1
kind: Service
metadata: {name: unit}
spec: {selector: {app: unit}, ports: [{name: http, port: 80, protocol: TCP}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: unit, labels: {app: unit}}
spec:
  selector: {matchLabels: {app: unit}}
  template:
    metadata: {labels: {app: unit}}
    spec:
      containers:
      - name: unit
        image: unit:1
        resources: {requests: {cpu: 500m, memory: 1Gi}}
        readinessProbe: {httpGet: {path: /ready, port: 8080}}
        env:
` + env.String())},
	}, "composition.seldon-operator.dev/")
	if err != nil {
		t.Fatal(err)
	}
	request := Request{Owner: enginetest.Owner, Input: Input{Namespace: enginetest.Owner.Namespace}}
	for i := range 8 {
		request.Input.Templates = append(request.Input.Templates, template.Ref{Folder: "unit", Parameters: map[string]string{"name": fmt.Sprintf("unit-%d", i)}})
	}
	rendering, err := Render(templates, request.Input, enginetest.Options)
	if err != nil {
		t.Fatal(err)
	}
	cache := memoryCache{}
	for _, child := range rendering.Objects {
		live := enginetest.Live(enginetest.Options.WithOwnerMetadata(child, enginetest.Owner), types.UID(child.Ref().String()))
		typed, err := scheme.Scheme.New(live.GroupVersionKind())
		if err != nil {
			t.Fatal(err)
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(live.Object, typed); err != nil {
			t.Fatal(err)
		}
		gvk := live.GroupVersionKind()
		cache[gvk] = append(cache[gvk], typed)
	}
	engine, err := New(Config{
		Templates: templates, Options: enginetest.Options, Client: cachedClient{cache: cache}, APIReader: unusedClient{},
		Kinds: []object.Kind{{Object: &corev1.ConfigMap{}}, {Object: &corev1.Service{}}, {Object: &appsv1.Deployment{}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return engine, request
}

// BenchmarkReconcileUnchanged measures a reconcile that changes nothing: 24 objects are rendered,
// read from the cache, and are up to date.
func BenchmarkReconcileUnchanged(b *testing.B) {
	engine, request := unchanged(b)
	b.ReportAllocs()
	for b.Loop() {
		result, err := engine.Reconcile(b.Context(), request)
		if err != nil {
			b.Fatal(err)
		}
		if len(result.Applied) > 0 || len(result.Blocked()) > 0 || len(result.Objects.Refs()) != 24 {
			b.Fatalf("not up to date: %v", result.Plan)
		}
	}
}

// Owners are reconciled in parallel, with the same store and the same templates.
func TestReconcileInParallel(t *testing.T) {
	engine, request := unchanged(t)
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			request := request
			request.Owner.UID = types.UID(fmt.Sprintf("%s%d", enginetest.Owner.UID, i))
			request.Paused = true
			for range 20 {
				if _, err := engine.Reconcile(t.Context(), request); err != nil {
					t.Error(err)
				}
				engine.Forget(request.Owner)
			}
		})
	}
	group.Wait()
}
