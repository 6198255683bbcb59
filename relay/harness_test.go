package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"google.golang.org/grpc/test/bufconn"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/uuid"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
)

const (
	modelAvailable   = pb.ModelStatus_ModelAvailable
	modelTerminating = pb.ModelStatus_ModelTerminating
	modelTerminated  = pb.ModelStatus_ModelTerminated
)

// testNamespace is the namespace of the sessions in tests.
const testNamespace = "team"

// harness is a relay with a session to the fake scheduler, over an
// in-memory network and on the clock of a synctest bubble. What the relay enqueues is
// synced as the controllers do, which write nothing here.
type harness struct {
	*testing.T
	relay     *Relay
	cluster   client.Client
	scheduler *fakescheduler.Scheduler
	network   *memoryNetwork
	requests  *requestLog
}

// inBubble runs a test with a harness on the clock of a bubble, without a session yet.
// Every goroutine has ended when it returns, or the test fails.
func inBubble(t *testing.T, test func(h *harness), change ...func(*fakescheduler.Options)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		network := &memoryNetwork{}
		options := fakescheduler.Options{Listen: network.listen}
		for _, each := range change {
			each(&options)
		}
		sim, err := fakescheduler.Start(ctx, options)
		if err != nil {
			t.Fatal(err)
		}
		cluster := fake.NewClientBuilder().WithScheme(newScheme(t)).WithStatusSubresource(&v1alpha1.Model{}, &v1alpha1.Pipeline{}, &v1alpha1.Experiment{}).Build()
		relay := New(ctx, Options{Reader: cluster, APIReader: cluster, Address: "passthrough:///scheduler", Log: logr.Discard()})
		relay.dialContext = network.dial
		h := &harness{T: t, relay: relay, cluster: cluster, scheduler: sim, network: network, requests: &requestLog{}}
		for _, kind := range append(syncedKinds, SeldonRuntime) {
			relay.queues[kind] = []requestQueue{&kindQueue{kind: kind, harness: h}}
		}
		ended := make(chan error)
		go func() { ended <- relay.Start(ctx) }()
		test(h)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		sim.Stop()
	})
}

func newScheme(t testing.TB) *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, appsv1.AddToScheme, corev1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return scheme
}

// open opens the session, and waits until it is idle.
func (h *harness) open() *session {
	h.Helper()
	h.relay.Open(testNamespace)
	h.settle(2 * time.Second)
	return h.relay.session(testNamespace)
}

// settle lets time pass, and waits until all goroutines are blocked.
func (h *harness) settle(after time.Duration) {
	time.Sleep(after)
	synctest.Wait()
}

// create creates an object in the cluster, at generation 1 and with the finalizer that
// its controller would add.
func (h *harness) create(object client.Object) {
	h.Helper()
	object.SetNamespace(testNamespace)
	object.SetGeneration(max(1, object.GetGeneration()))
	if object.GetUID() == "" {
		object.SetUID(uuid.NewUUID())
	}
	if err := h.cluster.Create(h.Context(), object); err != nil {
		h.Fatal(err)
	}
}

// server creates a Server with as many replicas as its StatefulSet has.
func (h *harness) server(name string, replicas int32) *v1alpha1.Server {
	h.Helper()
	server := &v1alpha1.Server{ObjectMeta: metav1.ObjectMeta{Name: name}}
	server.Spec.Replicas = new(int64(replicas))
	h.create(&appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.StatefulSetSpec{Replicas: &replicas}})
	h.create(server)
	h.relay.SyncServer(client.ObjectKeyFromObject(server))
	return server
}

// model creates a Model and syncs it.
func (h *harness) model(name string) *v1alpha1.Model {
	h.Helper()
	model := &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Name: name, Finalizers: []string{v1alpha1.ModelFinalizer}}}
	model.Spec.StorageURI = "gs://models/" + name
	h.create(model)
	h.sync(Model, model)
	return model
}

// experiment creates an Experiment of one candidate and syncs it.
func (h *harness) experiment(name, candidate string) *v1alpha1.Experiment {
	h.Helper()
	experiment := &v1alpha1.Experiment{ObjectMeta: metav1.ObjectMeta{Name: name, Finalizers: []string{v1alpha1.ExperimentFinalizer}}}
	experiment.Spec.Candidates = []v1alpha1.ExperimentCandidate{{Name: candidate, Weight: 100}}
	h.create(experiment)
	h.sync(Experiment, experiment)
	return experiment
}

// sync does what the controller of a kind does: it reads the object, and returns what
// the session observes of it.
func (h *harness) sync(kind Kind, object client.Object) Observation {
	h.Helper()
	if err := h.cluster.Get(h.Context(), client.ObjectKeyFromObject(object), object); err != nil {
		h.Fatal(err)
	}
	return h.relay.Sync(kind, object)
}

// delete deletes an object, which keeps its finalizer, and syncs it.
func (h *harness) delete(kind Kind, object client.Object) {
	h.Helper()
	if err := h.cluster.Delete(h.Context(), object); err != nil {
		h.Fatal(err)
	}
	h.sync(kind, object)
}

// release removes an object's finalizer, as its controller does once it is unloaded.
func (h *harness) release(kind Kind, object client.Object) {
	h.Helper()
	object.SetFinalizers(nil)
	if err := h.cluster.Update(h.Context(), object); err != nil {
		h.Fatal(err)
	}
	h.relay.ObjectDeleted(kind, client.ObjectKeyFromObject(object))
}

// reconcile does what the controller of a kind does with a request.
func (h *harness) reconcile(kind Kind, name string) {
	key := client.ObjectKey{Namespace: testNamespace, Name: name}
	switch kind {
	case SeldonRuntime:
	case Server:
		h.relay.SyncServer(key)
	default:
		object := kind.resource().newObject()
		if err := h.cluster.Get(h.Context(), key, object); err != nil {
			h.relay.ObjectDeleted(kind, key)
			return
		}
		h.requests.observe(kind, name, h.relay.Sync(kind, object))
	}
}

// status of the session's connection.
func (h *harness) status() ConnectionStatus {
	status, _ := h.relay.ConnectionStatus(testNamespace)
	return status
}

// memoryNetwork connects to the listener that was opened last, and counts the attempts.
type memoryNetwork struct {
	mu       sync.Mutex
	listener *bufconn.Listener
	dials    int
	// fails, if set, is the error of a dial.
	fails error
	// mute drops what the scheduler sends, as a half-open connection does.
	mute bool
}

// memoryConn is the client's end of a connection.
type memoryConn struct {
	net.Conn
	network *memoryNetwork
}

func (c *memoryConn) Read(buffer []byte) (int, error) {
	for {
		n, err := c.Conn.Read(buffer)
		c.network.mu.Lock()
		mute := c.network.mute
		c.network.mu.Unlock()
		if !mute || err != nil {
			return n, err
		}
	}
}

// set changes the network.
func (n *memoryNetwork) set(change func(*memoryNetwork)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change(n)
}

func (n *memoryNetwork) listen() (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listener = bufconn.Listen(64 << 10)
	return n.listener, nil
}

func (n *memoryNetwork) dial(ctx context.Context, _ string) (net.Conn, error) {
	n.mu.Lock()
	n.dials++
	listener, fails := n.listener, n.fails
	n.mu.Unlock()
	if fails != nil {
		return nil, fails
	}
	conn, err := listener.DialContext(ctx)
	if err != nil {
		return nil, errors.New("connection refused")
	}
	return &memoryConn{conn, n}, nil
}

// dialled is the number of attempts to connect so far.
func (n *memoryNetwork) dialled() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dials
}

// requestLog has what the relay enqueued for the controllers.
type requestLog struct {
	mu   sync.Mutex
	list []enqueued
	// reported has what a controller would have written, by kind and name.
	reported map[objectKey][]string
}

// observe adds the status that a controller would write, if it differs from the last one.
func (l *requestLog) observe(kind Kind, name string, seen Observation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var status string
	switch {
	case isReady(seen):
		status = "Ready"
	case seen.Stale:
		status = "Unknown"
	default:
		return
	}
	key := objectKey{kind, name}
	if known := l.reported[key]; len(known) > 0 && known[len(known)-1] == status {
		return
	}
	if l.reported == nil {
		l.reported = map[objectKey][]string{}
	}
	l.reported[key] = append(l.reported[key], status)
}

// reports of a Model so far.
func (l *requestLog) reports(name string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.reported[objectKey{Model, name}])
}

type enqueued struct {
	kind     Kind
	name     string
	priority int
}

// drain returns what was enqueued for a kind since the last call.
func (l *requestLog) drain(kind Kind) []enqueued {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []enqueued
	l.list = slices.DeleteFunc(l.list, func(each enqueued) bool {
		if each.kind == kind {
			list = append(list, each)
		}
		return each.kind == kind
	})
	return list
}

// kindQueue is the end of a controller's queue that the relay uses.
type kindQueue struct {
	priorityqueue.PriorityQueue[reconcile.Request]
	kind    Kind
	harness *harness
}

func (q *kindQueue) AddWithOpts(options priorityqueue.AddOpts, requests ...reconcile.Request) {
	log := q.harness.requests
	log.mu.Lock()
	defer log.mu.Unlock()
	for _, each := range requests {
		priority := 0
		if options.Priority != nil {
			priority = *options.Priority
		}
		log.list = append(log.list, enqueued{q.kind, each.Name, priority})
		go q.harness.reconcile(q.kind, each.Name)
	}
}

// names of many objects: prefix-0, prefix-1, ….
func names(prefix string, count int) []string {
	all := make([]string, count)
	for i := range all {
		all[i] = fmt.Sprintf("%s-%d", prefix, i)
	}
	return all
}

// update increments a Model's generation, as a change of its spec does, and syncs it.
func (h *harness) update(model *v1alpha1.Model) {
	h.Helper()
	model.Generation++
	if err := h.cluster.Update(h.Context(), model); err != nil {
		h.Fatal(err)
	}
	h.sync(Model, model)
}

// stateCount returns the number of objects of which the session has a state.
func (h *harness) stateCount() int {
	s := h.relay.session(testNamespace)
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.objects)
}
