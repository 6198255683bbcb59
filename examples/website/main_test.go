package main

import (
	"context"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/yaml"

	"github.com/seldon-operator/seldon-operator/composition/reconciler"
	"github.com/seldon-operator/seldon-operator/test/framework/controlplane"
)

// The operator, in this process, expands the sample Website on a real control plane with
// simulated nodes. The parts of the test build on each other.
func TestWebsite(t *testing.T) {
	g := NewWithT(t)
	g.SetDefaultEventuallyTimeout(30 * time.Second)
	g.SetDefaultEventuallyPollingInterval(50 * time.Millisecond)
	// Longer than the operator waits for more changes of status, which is a second.
	g.SetDefaultConsistentlyDuration(1500 * time.Millisecond)
	ctrl.SetLogger(zap.New())

	cluster, err := controlplane.Start(t.Context(), controlplane.Options{CRDs: []string{"crds"}})
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { g.Expect(cluster.Stop()).To(Succeed()) })
	requests := &requestLog{}
	stopOperator := startOperator(t, cluster.Config(), requests)

	scheme, err := newScheme()
	g.Expect(err).NotTo(HaveOccurred())
	user, err := client.New(cluster.Config(), client.Options{Scheme: scheme})
	g.Expect(err).NotTo(HaveOccurred())
	c := testCluster{WithT: g, ctx: t.Context(), Client: user}

	site := &Website{}
	sample, err := os.ReadFile("website.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(yaml.UnmarshalStrict(sample, site)).To(Succeed())
	site.Namespace = metav1.NamespaceDefault
	g.Expect(user.Create(t.Context(), site)).To(Succeed())
	children := []client.Object{
		c.named(&corev1.ConfigMap{}, "shop"), c.named(&corev1.Service{}, "shop"), c.named(&appsv1.Deployment{}, "shop"),
	}
	proxy := c.named(&Proxy{}, "shop").(*Proxy)
	proxyChildren := []client.Object{
		c.named(&corev1.ConfigMap{}, "shop-proxy"), c.named(&corev1.Service{}, "shop-proxy"), c.named(&appsv1.Deployment{}, "shop-proxy"),
	}

	c.eventuallyReady(site)
	for _, child := range append(children, proxy) {
		c.get(child)
		g.Expect(metav1.IsControlledBy(child, site)).To(BeTrue(), child.GetName())
	}
	for _, child := range proxyChildren {
		c.get(child)
		g.Expect(metav1.IsControlledBy(child, proxy)).To(BeTrue(), child.GetName())
	}
	g.Expect(children[0].(*corev1.ConfigMap).Data).To(HaveKeyWithValue("index.html", "<h1>Welcome to the shop</h1>"))
	web := children[2].(*appsv1.Deployment).Spec.Template.Spec.Containers[0]
	g.Expect(web.Image).To(ContainSubstring("nginx"), "the template's value")
	g.Expect(web.Resources.Requests.Memory().String()).To(Equal("64Mi"), "the Website's value")
	g.Expect(proxyChildren[0].(*corev1.ConfigMap).Data).To(Equal(map[string]string{
		"VARNISH_BACKEND_HOST": "shop", "VARNISH_BACKEND_PORT": "80", "VARNISH_SIZE": "256M",
	}))

	t.Log("A reconcile without a change sends no request")
	c.Eventually(requests.quiet).WithPolling(1500 * time.Millisecond).Should(BeTrue())
	before, reconciled := requests.count(), reconciles(g, "website")
	c.patch(site, `{"metadata":{"annotations":{"owner":"team-a"}}}`)
	c.Eventually(func() float64 { return reconciles(g, "website") }).Should(BeNumerically(">", reconciled))
	c.Consistently(func() []string { return requests.since(before) }).Should(BeEmpty())

	t.Log("A restart of the operator writes nothing")
	stopOperator()
	before, reconciled = requests.count(), reconciles(g, "proxy")
	startOperator(t, cluster.Config(), requests)
	c.Eventually(func() float64 { return reconciles(g, "proxy") }).Should(BeNumerically(">", reconciled))
	c.Consistently(func() []string {
		return slices.DeleteFunc(requests.since(before), func(request string) bool { return strings.HasPrefix(request, "GET ") })
	}).Should(BeEmpty())

	t.Log("Drift is reverted on both levels")
	c.patch(children[0], `{"data":{"index.html":"changed"}}`)
	c.patch(proxy, `{"spec":{"cacheSize":"1M"}}`)
	c.patch(proxyChildren[1], `{"spec":{"selector":{"app.kubernetes.io/name":"other"}}}`)
	c.Eventually(func(g Gomega) {
		for _, object := range []client.Object{children[0], proxy, proxyChildren[1]} {
			g.Expect(user.Get(t.Context(), client.ObjectKeyFromObject(object), object)).To(Succeed())
		}
		g.Expect(children[0].(*corev1.ConfigMap).Data).To(HaveKeyWithValue("index.html", "<h1>Welcome to the shop</h1>"))
		g.Expect(proxy.Spec.CacheSize).To(Equal("256M"))
		g.Expect(proxyChildren[1].(*corev1.Service).Spec.Selector).To(HaveKeyWithValue("app.kubernetes.io/name", "shop-proxy"))
	}).Should(Succeed())

	t.Log("A change reaches the second level, and restarts the pods that read it when they start")
	c.eventuallyReady(proxy)
	generation := c.get(proxyChildren[2]).GetGeneration()
	c.patch(site, `{"spec":{"proxy":{"cacheSize":"1G"}}}`)
	c.Eventually(func() int64 { return c.get(proxyChildren[2]).GetGeneration() }).Should(BeNumerically(">", generation))
	g.Expect(c.get(proxyChildren[0]).(*corev1.ConfigMap).Data).To(HaveKeyWithValue("VARNISH_SIZE", "1G"))
	c.eventuallyReady(site)

	t.Log("What cannot be rendered is reported, and changes nothing")
	generation = c.get(children[2]).GetGeneration()
	c.patch(site, `{"spec":{"podSpec":{"nodeNmae":"node-0"}}}`)
	c.Eventually(func(g Gomega) {
		g.Expect(user.Get(t.Context(), client.ObjectKeyFromObject(site), site)).To(Succeed())
		stalled := meta.FindStatusCondition(site.Status.Conditions, reconciler.ConditionStalled)
		g.Expect(stalled).NotTo(BeNil())
		g.Expect(stalled.Message).To(And(ContainSubstring("Website default/shop: spec.podSpec"), ContainSubstring("nodeNmae")))
	}).Should(Succeed())
	g.Expect(c.get(children[2]).GetGeneration()).To(Equal(generation))
	c.patch(site, `{"spec":{"podSpec":{"nodeNmae":null}}}`)
	c.eventuallyReady(site)

	t.Log("A component that is switched off is pruned, with its own child objects")
	c.patch(site, `{"spec":{"proxy":null}}`)
	for _, object := range append(proxyChildren, proxy) {
		c.eventuallyDeleted(object)
	}
	c.eventuallyReady(site)
	c.patch(site, `{"spec":{"proxy":{}}}`)
	c.Eventually(func() error { return user.Get(t.Context(), client.ObjectKeyFromObject(proxy), proxy) }).Should(Succeed())
	c.eventuallyReady(proxy)
	g.Expect(c.get(proxyChildren[0]).(*corev1.ConfigMap).Data).To(HaveKeyWithValue("VARNISH_SIZE", "100M"), "the default of the CRD")

	t.Log("A deletion deletes both levels")
	g.Expect(user.Delete(t.Context(), site)).To(Succeed())
	c.eventuallyDeleted(site)
	for _, object := range slices.Concat(children, []client.Object{proxy}, proxyChildren) {
		err := user.Get(t.Context(), client.ObjectKeyFromObject(object), object)
		g.Expect(apierrors.IsNotFound(err)).To(BeTrue(), "%T %s: %v", object, object.GetName(), err)
	}
}

// startOperator starts the operator, and returns a function that stops it and is called at
// the end of the test, too.
func startOperator(t *testing.T, restConfig *rest.Config, requests *requestLog) (stop func()) {
	t.Helper()
	restConfig.Wrap(requests.wrap)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() {
		stopped <- run(ctx, restConfig, ctrl.Options{
			Metrics: metricsserver.Options{BindAddress: "0"},
			// Restarts in one process would register the controllers' metrics twice.
			Controller: config.Controller{SkipNameValidation: new(true)},
		})
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// testCluster is the cluster as a user sees it.
type testCluster struct {
	*WithT
	client.Client
	ctx context.Context
}

// named returns object with a name.
func (c testCluster) named(object client.Object, name string) client.Object {
	object.SetNamespace(metav1.NamespaceDefault)
	object.SetName(name)
	return object
}

// get reads object, which exists.
func (c testCluster) get(object client.Object) client.Object {
	c.Expect(c.Get(c.ctx, client.ObjectKeyFromObject(object), object)).To(Succeed())
	return object
}

// patch changes object by a merge patch.
func (c testCluster) patch(object client.Object, patch string) {
	c.Expect(c.Patch(c.ctx, object, client.RawPatch("application/merge-patch+json", []byte(patch)), client.FieldOwner("user"))).To(Succeed())
}

// eventuallyReady waits until the condition Ready of object is True for its generation.
func (c testCluster) eventuallyReady(object reconciler.Object) {
	c.Eventually(func(g Gomega) {
		g.Expect(c.Get(c.ctx, client.ObjectKeyFromObject(object), object)).To(Succeed())
		ready := meta.FindStatusCondition(object.GetConditions(), reconciler.ConditionReady)
		g.Expect(ready).NotTo(BeNil())
		g.Expect(ready.Status).To(Equal(metav1.ConditionTrue), ready.Message)
		g.Expect(ready.ObservedGeneration).To(Equal(object.GetGeneration()))
	}).Should(Succeed())
}

// eventuallyDeleted waits until object does not exist.
func (c testCluster) eventuallyDeleted(object client.Object) {
	c.Eventually(func() bool {
		return apierrors.IsNotFound(c.Get(c.ctx, client.ObjectKeyFromObject(object), object))
	}).Should(BeTrue(), "%T %s still exists", object, object.GetName())
}

// reconciles returns how many reconciles of a controller have ended.
func reconciles(g *WithT, controller string) float64 {
	families, err := metrics.Registry.Gather()
	g.Expect(err).NotTo(HaveOccurred())
	sum := 0.0
	for _, family := range families {
		if family.GetName() != "controller_runtime_reconcile_total" {
			continue
		}
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if label.GetName() == "controller" && label.GetValue() == controller {
					sum += metric.GetCounter().GetValue()
				}
			}
		}
	}
	return sum
}

// requestLog has the requests of the operator, except for the watches of its cache.
type requestLog struct {
	mu       sync.Mutex
	requests []string
	last     int
}

func (l *requestLog) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		if !strings.Contains(request.URL.RawQuery, "watch=") {
			l.mu.Lock()
			l.requests = append(l.requests, request.Method+" "+request.URL.Path)
			l.mu.Unlock()
		}
		return next.RoundTrip(request)
	})
}

// quiet returns whether there was no request since it was called before.
func (l *requestLog) quiet() bool {
	now := l.count()
	defer func() { l.last = now }()
	return now == l.last
}

func (l *requestLog) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.requests)
}

// since returns the requests after the first count ones.
func (l *requestLog) since(count int) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.requests[count:])
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }
