package controllers_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/yaml"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/controllers"
	"github.com/seldon-operator/seldon-operator/test/framework/controlplane"
	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
)

// The controllers' tests run the whole operator, in this process, on a real
// control plane with workload controllers and simulated nodes. Each spec has a
// namespace of its own.

const operatorNamespace = "seldon-system"

var (
	// lifetime is the context of the suite; that of a Ginkgo node ends with the node.
	lifetime, endLifetime = context.WithCancel(context.Background())

	cluster  *controlplane.ControlPlane
	admin    client.Client // a user, who is not the operator
	requests = &requestLog{}
	operator *runningOperator
)

func TestControllers(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(time.Minute)
	SetDefaultEventuallyPollingInterval(50 * time.Millisecond)
	// Longer than the operator's debounce period, which is a second.
	SetDefaultConsistentlyDuration(1500 * time.Millisecond)
	suite, reporter := GinkgoConfiguration()
	// Otherwise a priority is that of the outermost container.
	suite.RandomizeAllSpecs = true
	RunSpecs(t, "Controllers", suite, reporter)
}

var _ = BeforeSuite(func() {
	log.SetLogger(zap.New(zap.WriteTo(io.MultiWriter(GinkgoWriter, logged)), zap.UseDevMode(true)))
	DeferCleanup(endLifetime)
	var err error
	cluster, err = controlplane.Start(lifetime, controlplane.Options{CRDs: []string{filepath.Join("..", "config", "crd", "bases")}})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(cluster.Stop()).To(Succeed()) })
	admin, err = client.New(cluster.Config(), client.Options{Scheme: newScheme()})
	Expect(err).NotTo(HaveOccurred())

	// Paths of sockets must be short, so they are not in the test's own directory.
	sockets, err = os.MkdirTemp("", "sim")
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(os.RemoveAll, sockets)
	Expect(admin.Create(lifetime, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: operatorNamespace}})).To(Succeed())
	for _, file := range []string{"seldonconfigs/default.yaml", "serverconfigs/mlserver.yaml", "serverconfigs/triton.yaml"} {
		for _, object := range read(filepath.Join("..", "config", file)) {
			object.SetNamespace(operatorNamespace)
			Expect(admin.Create(lifetime, object)).To(Succeed())
		}
	}
	small := copyConfig("default", &v1alpha1.SeldonConfig{}, []func(*v1alpha1.SeldonConfig){
		func(c *v1alpha1.SeldonConfig) { c.Spec.Components = nil },
	})
	withoutComponents = small.Name
	DeferCleanup(func() { operator.stop() })
})

// ownOperator decorates specs that restart the operator. They run last, each without the
// operator that the other specs share: they start one that watches a namespace of theirs,
// so that a restart does not include the objects of all specs.
var ownOperator = []any{Label(ownOperatorLabel), SpecPriority(-1)}

const ownOperatorLabel = "own operator"

var _ = BeforeEach(func() {
	switch own := slices.Contains(CurrentSpecReport().Labels(), ownOperatorLabel); {
	case own:
		operator.stop()
		DeferCleanup(func() { operator.stop() })
	case operator == nil:
		startOperator(controllers.Options{})
	}
})

func newScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
	Expect(v1alpha1.AddToScheme(scheme)).To(Succeed())
	return scheme
}

// runningOperator is the manager with all controllers, as in cmd/manager.
type runningOperator struct {
	cancel  context.CancelFunc
	stopped chan struct{}
}

// startOperator starts the operator, instead of one that runs. It watches the given
// namespaces, or all if there are none.
func startOperator(options controllers.Options, namespaces ...string) {
	GinkgoHelper()
	operator.stop()
	probe := newNamespace()
	if len(namespaces) > 0 {
		namespaces = append(namespaces, probe)
	}
	options.Namespace = operatorNamespace
	options.SchedulerAddress = schedulerAddress("{namespace}")
	options.UnreachableTimeout, options.UnloadTimeout = silence, deletionDeadline
	rest := cluster.Config()
	rest.QPS = -1
	rest.WarningHandlerWithContext = controllers.NewWarningLogger()
	rest.Wrap(requests.wrap)
	mgr, err := manager.New(rest, manager.Options{
		Scheme:  newScheme(),
		Cache:   controllers.CacheOptions(options.Namespace, namespaces),
		Metrics: metricsserver.Options{BindAddress: "0"},
		// Restarts in one process would register the controllers' metrics twice.
		Controller: config.Controller{SkipNameValidation: new(true)},
	})
	Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancel(lifetime)
	Expect(controllers.Setup(ctx, mgr, options)).To(Succeed())
	stopped := make(chan struct{})
	operator = &runningOperator{cancel, stopped}
	go func() {
		defer GinkgoRecover()
		defer close(stopped)
		Expect(mgr.Start(ctx)).To(Succeed())
	}()
	waitUntilItWorks(probe)
}

// waitUntilItWorks waits until the controllers of SeldonRuntimes and Servers have seen
// their informers' initial lists: objects created later are not preexisting. It uses an
// empty namespace.
func waitUntilItWorks(namespace string) {
	GinkgoHelper()
	probe := newSmallRuntime(namespace, func(r *v1alpha1.SeldonRuntime) {
		r.Spec.Servers = []v1alpha1.RuntimeServer{{Name: "probe", ServerSpec: v1alpha1.ServerSpec{ServerConfig: "mlserver"}}}
	})
	Eventually(func(g Gomega) {
		server := &v1alpha1.Server{}
		g.Expect(admin.Get(lifetime, client.ObjectKey{Namespace: probe.Namespace, Name: "probe"}, server)).To(Succeed())
		g.Expect(server.Status.ObservedGeneration).To(Equal(server.Generation))
	}).Should(Succeed())
	Expect(admin.Delete(lifetime, probe)).To(Succeed())
}

// stop stops an operator and waits for it. It does nothing if none was started or it is
// stopped already.
func (o *runningOperator) stop() {
	if o != nil {
		o.cancel()
		<-o.stopped
	}
}

// read decodes a file of YAML documents.
func read(file string) []*unstructured.Unstructured {
	GinkgoHelper()
	content, err := os.ReadFile(file)
	Expect(err).NotTo(HaveOccurred())
	var objects []*unstructured.Unstructured
	for document := range strings.SplitSeq("\n"+string(content), "\n---") {
		object := &unstructured.Unstructured{}
		Expect(yaml.Unmarshal([]byte(document), &object.Object)).To(Succeed())
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
	return objects
}

// newNamespace creates a namespace for one spec.
func newNamespace() string {
	GinkgoHelper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "team-"}}
	Expect(admin.Create(lifetime, namespace)).To(Succeed())
	return namespace.Name
}

// The operator's timeouts are shorter in this suite.
const (
	silence          = 3 * time.Second
	deletionDeadline = 6 * time.Second
)

// sockets is the directory of the sockets of all schedulers.
var sockets string

func schedulerAddress(namespace string) string {
	return "unix:" + filepath.Join(sockets, namespace)
}

// newScheduler starts the simulated scheduler of a namespace, which acts at once.
func newScheduler(namespace string, change ...func(*fakescheduler.Options)) *fakescheduler.Scheduler {
	GinkgoHelper()
	options := fakescheduler.Options{Address: schedulerAddress(namespace)}
	for _, change := range change {
		change(&options)
	}
	started, err := fakescheduler.Start(lifetime, options)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(started.Stop)
	return started
}

// newRuntime creates a SeldonRuntime `seldon` on the default SeldonConfig.
func newRuntime(namespace string, change ...func(*v1alpha1.SeldonRuntime)) *v1alpha1.SeldonRuntime {
	GinkgoHelper()
	runtime := &v1alpha1.SeldonRuntime{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "seldon"},
		Spec:       v1alpha1.SeldonRuntimeSpec{SeldonConfig: "default"},
	}
	for _, change := range change {
		change(runtime)
	}
	Expect(admin.Create(lifetime, runtime)).To(Succeed())
	return runtime
}

// withoutComponents is the name of a SeldonConfig without components.
var withoutComponents string

// newSmallRuntime creates a SeldonRuntime without components, for what is not about them:
// it has the ServiceAccounts and the configuration that Servers need, and takes a tenth of
// the time.
func newSmallRuntime(namespace string, change ...func(*v1alpha1.SeldonRuntime)) *v1alpha1.SeldonRuntime {
	GinkgoHelper()
	return newRuntime(namespace, append(change, using(withoutComponents))...)
}

func override(name string, change func(*v1alpha1.OverrideSpec)) func(*v1alpha1.SeldonRuntime) {
	return func(runtime *v1alpha1.SeldonRuntime) {
		spec := v1alpha1.OverrideSpec{Name: name}
		change(&spec)
		runtime.Spec.Overrides = append(runtime.Spec.Overrides, spec)
	}
}

// podSpec decodes YAML as a user writes it.
func podSpec(text string) *v1alpha1.PodSpec {
	GinkgoHelper()
	spec := &v1alpha1.PodSpec{}
	Expect(yaml.Unmarshal([]byte(text), spec)).To(Succeed())
	return spec
}

// edit changes an object as a user would, and retries after conflicts.
func edit[T client.Object](object T, change func(T)) {
	GinkgoHelper()
	Eventually(func() error {
		if err := admin.Get(lifetime, client.ObjectKeyFromObject(object), object); err != nil {
			return err
		}
		before := object.DeepCopyObject().(client.Object)
		change(object)
		return admin.Patch(lifetime, object, client.MergeFrom(before))
	}).Should(Succeed())
}

// get reads an object into out; NotFound fails the spec.
func get[T client.Object](namespace, name string, out T) T {
	GinkgoHelper()
	Expect(admin.Get(lifetime, client.ObjectKey{Namespace: namespace, Name: name}, out)).To(Succeed())
	return out
}

// exists reports whether an object exists.
func exists(namespace, name string, object client.Object) func() bool {
	return func() bool {
		return admin.Get(lifetime, client.ObjectKey{Namespace: namespace, Name: name}, object) == nil
	}
}

type conditioned interface {
	client.Object
	GetConditions() []metav1.Condition
}

// condition returns one of an object's conditions, as `status reason message`, if its
// observedGeneration is the object's generation.
func condition(object conditioned, kind string) func() string {
	return func() string {
		if err := admin.Get(lifetime, client.ObjectKeyFromObject(object), object); err != nil {
			return err.Error()
		}
		found := meta.FindStatusCondition(object.GetConditions(), kind)
		switch {
		case found == nil:
			return "none"
		case found.ObservedGeneration < object.GetGeneration():
			return "old"
		}
		return fmt.Sprintf("%s %s %s", found.Status, found.Reason, found.Message)
	}
}

func ready(object conditioned) func() string { return condition(object, v1alpha1.ConditionReady) }

// requestLog records the operator's requests.
type requestLog struct {
	mu      sync.Mutex
	entries []string
}

func (l *requestLog) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		verb := request.Method
		switch {
		case strings.Contains(request.URL.RawQuery, "dryRun=All"):
			verb = "DRYRUN"
		case strings.Contains(request.URL.RawQuery, "watch="):
			verb = "WATCH"
		}
		l.mu.Lock()
		l.entries = append(l.entries, verb+" "+request.URL.Path)
		l.mu.Unlock()
		return next.RoundTrip(request)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

// since returns the requests to a namespace after a mark, except for Events.
func (l *requestLog) since(mark int, namespace string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []string
	for _, entry := range l.entries[mark:] {
		if strings.Contains(entry, "/namespaces/"+namespace+"/") && !strings.HasSuffix(entry, "/events") {
			found = append(found, entry)
		}
	}
	return found
}

func (l *requestLog) mark() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.entries)
}

// writes returns the requests that change something.
func writes(entries []string) []string {
	return slices.DeleteFunc(slices.Clone(entries), func(entry string) bool {
		return strings.HasPrefix(entry, "GET ") || strings.HasPrefix(entry, "DRYRUN ") || strings.HasPrefix(entry, "WATCH ")
	})
}

// waitForQuiescence waits until the operator reconciles nothing and has sent no request
// to a namespace for longer than its debounce period, which is a second.
func waitForQuiescence(namespace string) {
	GinkgoHelper()
	last := -1
	Eventually(func() bool {
		now := len(requests.since(0, namespace))
		if activeWorkers() > 0 {
			now = -1 // what it writes at last may take long
		}
		defer func() { last = now }()
		return now >= 0 && now == last
	}).WithPolling(1500 * time.Millisecond).Should(BeTrue())
}

// activeWorkers returns how many reconciles are running, of all controllers.
func activeWorkers() float64 {
	GinkgoHelper()
	families, err := metrics.Registry.Gather()
	Expect(err).NotTo(HaveOccurred())
	found, count := false, 0.0
	for _, family := range families {
		if family.GetName() == "controller_runtime_active_workers" {
			found = true
			for _, metric := range family.GetMetric() {
				count += metric.GetGauge().GetValue()
			}
		}
	}
	Expect(found).To(BeTrue(), "there is no such metric")
	return count
}

func names(list client.ObjectList) []string {
	GinkgoHelper()
	var found []string
	Expect(meta.EachListItem(list, func(item runtime.Object) error {
		found = append(found, item.(client.Object).GetName())
		return nil
	})).To(Succeed())
	slices.Sort(found)
	return found
}

// newConfig creates a changed copy of the default SeldonConfig.
func newConfig(change ...func(*v1alpha1.SeldonConfig)) *v1alpha1.SeldonConfig {
	GinkgoHelper()
	return copyConfig("default", &v1alpha1.SeldonConfig{}, change)
}

// newServerConfig creates a changed copy of the ServerConfig mlserver.
func newServerConfig(change ...func(*v1alpha1.ServerConfig)) *v1alpha1.ServerConfig {
	GinkgoHelper()
	return copyConfig("mlserver", &v1alpha1.ServerConfig{}, change)
}

// copyConfig creates a changed copy of a configuration in the operator's namespace, under
// another name.
func copyConfig[T client.Object](name string, config T, change []func(T)) T {
	GinkgoHelper()
	get(operatorNamespace, name, config)
	config.SetName("")
	config.SetGenerateName("config-")
	config.SetResourceVersion("")
	config.SetUID("")
	config.SetManagedFields(nil)
	for _, change := range change {
		change(config)
	}
	Expect(admin.Create(lifetime, config)).To(Succeed())
	return config
}

func using(config string) func(*v1alpha1.SeldonRuntime) {
	return func(runtime *v1alpha1.SeldonRuntime) { runtime.Spec.SeldonConfig = config }
}

func newServer(namespace, name, config string, change ...func(*v1alpha1.Server)) *v1alpha1.Server {
	GinkgoHelper()
	server := &v1alpha1.Server{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       v1alpha1.ServerSpec{ServerConfig: config},
	}
	for _, change := range change {
		change(server)
	}
	Expect(admin.Create(lifetime, server)).To(Succeed())
	return server
}

// eventReasons returns the reasons of the Events on an object.
func eventReasons(object client.Object) func() []string {
	return func() []string {
		var reasons []string
		for _, event := range eventsOf(object) {
			reasons = append(reasons, event.Reason)
		}
		return reasons
	}
}

// eventsOf returns the Events on an object.
func eventsOf(object client.Object) []eventsv1.Event {
	GinkgoHelper()
	list := &eventsv1.EventList{}
	Expect(admin.List(lifetime, list, client.InNamespace(object.GetNamespace()))).To(Succeed())
	return slices.DeleteFunc(list.Items, func(event eventsv1.Event) bool { return event.Regarding.UID != object.GetUID() })
}

func objectMeta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}

func quantity(text string) resource.Quantity { return resource.MustParse(text) }
