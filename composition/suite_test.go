package composition_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/composition/object"
	"github.com/seldon-operator/seldon-operator/composition/plan"
	"github.com/seldon-operator/seldon-operator/composition/template"
	"github.com/seldon-operator/seldon-operator/test/framework/controlplane"
)

// The engine's tests run on a real control plane, with workload controllers, simulated nodes, and a
// cache like that of an operator.

var (
	// lifetime is the context of the suite; that of a node ends with the node.
	lifetime, endLifetime = context.WithCancel(context.Background())

	cluster  *controlplane.ControlPlane
	admin    client.Client // a user, who is not the engine
	requests *requestLog   // of the engine
	writer   client.Client
	children cache.Cache
)

var engineOptions = object.Options{
	FieldManager:                "sites",
	KeyPrefix:                   "sites.example.com/",
	LegacyLastAppliedAnnotation: lastApplied,
	ManifestManagers:            []string{"kubectl", "kubectl-client-side-apply"},
	PreservePodTemplateKey: func(key string) bool {
		return strings.HasPrefix(key, "meta.helm.sh/") || key == "app.kubernetes.io/managed-by"
	},
}

var kinds = []object.Kind{
	{Object: &corev1.ServiceAccount{}},
	{Object: &rbacv1.Role{}},
	{Object: &rbacv1.RoleBinding{}},
	{Object: &corev1.ConfigMap{}},
	{Object: &corev1.Service{}},
	{Object: &appsv1.Deployment{}},
	{Object: &appsv1.StatefulSet{}},
}

func TestEngine(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(10 * time.Second)
	SetDefaultEventuallyPollingInterval(50 * time.Millisecond)
	RunSpecs(t, "Composition engine")
}

var _ = BeforeSuite(func() {
	ctx := lifetime
	DeferCleanup(endLifetime)
	var err error
	cluster, err = controlplane.Start(ctx, controlplane.Options{})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(cluster.Stop()).To(Succeed()) })

	admin, err = client.New(cluster.Config(), client.Options{})
	Expect(err).NotTo(HaveOccurred())

	config := cluster.Config()
	config.QPS = -1
	requests = &requestLog{}
	config.Wrap(requests.wrap)
	writer, err = client.New(config, client.Options{})
	Expect(err).NotTo(HaveOccurred())

	children, err = cache.New(cluster.Config(), composition.CacheOptions(engineOptions, kinds))
	Expect(err).NotTo(HaveOccurred())
	Expect(composition.Index(ctx, children, kinds)).To(Succeed())
	go func() {
		defer GinkgoRecover()
		Expect(children.Start(ctx)).To(Succeed())
	}()
	Expect(children.WaitForCacheSync(ctx)).To(BeTrue())
})

// testEngine is an engine with clients and a clock that can be replaced.
type testEngine struct {
	*composition.Engine
	templates *template.Set
	Clock     func() time.Time
	// Client is for writes, and Cache for reads.
	Client client.Client
	Cache  client.Reader
}

// newEngine returns an engine as an operator creates it when it starts.
func newEngine(changes ...func(*composition.Config)) *testEngine {
	templates, err := template.Load(os.DirFS("testdata/templates"), "composition.seldon-operator.dev/")
	Expect(err).NotTo(HaveOccurred())
	engine := &testEngine{Clock: time.Now, Client: writer, Cache: children}
	config := composition.Config{
		Templates: templates, Options: engineOptions, Kinds: kinds,
		Client: replaceableClient{writer, engine}, APIReader: writer,
		Clock: func() time.Time { return engine.Clock() },
	}
	for _, change := range changes {
		change(&config)
	}
	engine.templates = config.Templates
	engine.Engine, err = composition.New(config)
	Expect(err).NotTo(HaveOccurred())
	return engine
}

// replaceableClient uses the clients that a testEngine has at the time of a request.
type replaceableClient struct {
	client.Client
	engine *testEngine
}

func (c replaceableClient) Get(ctx context.Context, key client.ObjectKey, into client.Object, options ...client.GetOption) error {
	return c.engine.Cache.Get(ctx, key, into, options...)
}

func (c replaceableClient) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	return c.engine.Cache.List(ctx, list, options...)
}

func (c replaceableClient) Apply(ctx context.Context, desired runtime.ApplyConfiguration, options ...client.ApplyOption) error {
	return c.engine.Client.Apply(ctx, desired, options...)
}

func (c replaceableClient) Create(ctx context.Context, created client.Object, options ...client.CreateOption) error {
	return c.engine.Client.Create(ctx, created, options...)
}

func (c replaceableClient) Patch(ctx context.Context, patched client.Object, patch client.Patch, options ...client.PatchOption) error {
	return c.engine.Client.Patch(ctx, patched, patch, options...)
}

func (c replaceableClient) Delete(ctx context.Context, deleted client.Object, options ...client.DeleteOption) error {
	return c.engine.Client.Delete(ctx, deleted, options...)
}

// listOf returns an empty list of a kind.
func listOf(kind composition.Kind) client.ObjectList {
	GinkgoHelper()
	gvk, err := writer.GroupVersionKindFor(kind.Object)
	Expect(err).NotTo(HaveOccurred())
	list, err := writer.Scheme().New(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
	Expect(err).NotTo(HaveOccurred())
	return list.(client.ObjectList)
}

// instance is one owner, a ConfigMap in its own namespace, and the request for it.
type instance struct {
	ctx     context.Context
	owner   *corev1.ConfigMap
	engine  *testEngine
	request composition.Request
}

func newInstance() *instance {
	ctx := lifetime
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "site-"}}
	Expect(admin.Create(ctx, namespace)).To(Succeed())
	owner := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "owner"}}
	Expect(admin.Create(ctx, owner)).To(Succeed())
	i := &instance{ctx: ctx, owner: owner, engine: newEngine()}
	i.request = composition.Request{
		Owner: object.Owner{
			GroupVersionKind: corev1.SchemeGroupVersion.WithKind("ConfigMap"),
			Namespace:        owner.Namespace, Name: owner.Name, UID: owner.UID,
		},
		Input: composition.Input{
			Namespace: owner.Namespace,
			Templates: []template.Ref{{
				Folder: "site", Components: []string{"account"},
				Parameters: map[string]string{"name": "shop", "greeting": "hello"},
			}},
		},
	}
	return i
}

// overlay adds a layer with an overlay for a Deployment of the instance.
func (i *instance) overlay(name string, content map[string]any) {
	i.request.Input.Layers = append(i.request.Input.Layers, template.Layer{
		Source: "test", Overlays: func() ([]template.Overlay, error) {
			return []template.Overlay{{
				Path: "spec", Kind: appsv1.SchemeGroupVersion.WithKind("Deployment"), Name: name, Content: content,
			}}, nil
		},
	})
}

func (i *instance) reconcile() (composition.Result, error) {
	return i.engine.Reconcile(i.ctx, i.request)
}

func (i *instance) mustReconcile() composition.Result {
	GinkgoHelper()
	result, err := i.reconcile()
	Expect(err).NotTo(HaveOccurred())
	return result
}

// settle reconciles until no more writes are planned and the cache is up to date.
func (i *instance) settle() {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		result, err := i.reconcile()
		g.Expect(err).NotTo(HaveOccurred())
		for _, step := range slices.Concat(result.Plan.Steps, result.Plan.Prunes) {
			g.Expect(step.Action).To(Equal(plan.Skip), "%s: %s %s", step.Ref, step.Reason, step.Message)
		}
		for _, ref := range result.Objects.Refs() {
			g.Expect(result.Objects.Get(ref)).NotTo(BeNil(), ref.String())
		}
	}).Should(Succeed())
	i.cached()
}

// cached waits until the cache is up to date.
func (i *instance) cached() {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		for _, kind := range kinds {
			seen, live := listOf(kind), listOf(kind)
			g.Expect(children.List(i.ctx, seen, client.InNamespace(i.owner.Namespace))).To(Succeed())
			g.Expect(admin.List(i.ctx, live, client.InNamespace(i.owner.Namespace), client.HasLabels{engineOptions.OwnerLabel()})).To(Succeed())
			g.Expect(versions(seen)).To(Equal(versions(live)))
		}
	}).Should(Succeed())
}

func versions(list client.ObjectList) []string {
	var versions []string
	_ = meta.EachListItem(list, func(item runtime.Object) error {
		obj := item.(client.Object)
		versions = append(versions, obj.GetName()+"@"+obj.GetResourceVersion())
		return nil
	})
	slices.Sort(versions)
	return versions
}

func (i *instance) get(obj client.Object, name string) {
	GinkgoHelper()
	Expect(admin.Get(i.ctx, client.ObjectKey{Namespace: i.owner.Namespace, Name: name}, obj)).To(Succeed())
}

func (i *instance) deployment() *appsv1.Deployment {
	GinkgoHelper()
	deployment := &appsv1.Deployment{}
	i.get(deployment, "shop")
	return deployment
}

// requestLog records HTTP requests.
type requestLog struct {
	mu      sync.Mutex
	entries []string
}

func (l *requestLog) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		verb := request.Method
		if strings.Contains(request.URL.RawQuery, "dryRun=All") {
			verb = "DRYRUN"
		}
		l.entries = append(l.entries, fmt.Sprintf("%s %s", verb, request.URL.Path))
		return next.RoundTrip(request)
	})
}

// during returns the requests that are sent while do runs.
func (l *requestLog) during(do func()) []string {
	l.mu.Lock()
	start := len(l.entries)
	l.mu.Unlock()
	do()
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.entries[start:])
}

// writes returns the requests among entries that are not reads.
func writes(entries []string) []string {
	return slices.DeleteFunc(entries, func(entry string) bool {
		return strings.HasPrefix(entry, "GET ") || strings.HasPrefix(entry, "DRYRUN ")
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

func quantityOf(text string) resource.Quantity { return resource.MustParse(text) }

func asObjectError(err error, target **composition.ObjectError) bool { return errors.As(err, target) }
