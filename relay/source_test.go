package relay

import (
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// testSource records the calls of the relay.
type testSource struct {
	mu       sync.Mutex
	keep     bool
	listed   map[Kind][]Listed
	unloaded []string
}

func (s *testSource) Listed(kind Kind, objects []Listed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listed[kind] = objects
}

func (s *testSource) MayUnload(Kind, string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.keep
}

func (s *testSource) Unloaded(kind Kind, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unloaded = append(s.unloaded, string(kind)+" "+name)
}

func (s *testSource) set(keep bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keep = keep
}

// An orphan stays until the source permits to unload it, also over restarts of the scheduler,
// and so do the replicas of a Server. Servers need no workload.
func TestSource(t *testing.T) {
	source := &testSource{keep: true, listed: map[Kind][]Listed{}}
	inBubble(t, func(h *harness) {
		h.relay.options.Source, h.relay.options.WithoutWorkloads = source, true
		server := &v1alpha1.Server{ObjectMeta: metav1.ObjectMeta{Name: "mlserver"}}
		server.Spec.Replicas = new(int64(2))
		h.create(server)
		h.open()
		model, experiment := h.model("iris"), h.experiment("ab", "iris")
		h.settle(5 * time.Second)
		if servers := h.scheduler.Servers(); len(servers) != 1 || servers[0].Expected != 2 {
			t.Fatalf("the scheduler has %v", servers)
		}
		for _, each := range []client.Object{server, model, experiment} {
			each.SetFinalizers(nil)
			if err := h.cluster.Update(h.Context(), each); err != nil {
				t.Fatal(err)
			}
			if err := h.cluster.Delete(h.Context(), each); err != nil {
				t.Fatal(err)
			}
		}
		deleted := func() {
			h.relay.ObjectDeleted(Model, client.ObjectKeyFromObject(model))
			h.relay.ObjectDeleted(Experiment, client.ObjectKeyFromObject(experiment))
			h.relay.ObjectDeleted(Server, client.ObjectKeyFromObject(server))
			h.settle(20 * time.Second)
		}
		deleted()
		if h.scheduler.Models()[0].Deleted || h.scheduler.Experiments()[0].Deleted || h.scheduler.Servers()[0].Expected != 2 || source.unloaded != nil {
			t.Errorf("objects were unloaded: %v", source.unloaded)
		}
		if listed := source.listed[Model]; len(listed) != 0 {
			t.Errorf("the first listing has %v", listed)
		}
		h.scheduler.EndStreams("SubscribeModelStatus", "SubscribeExperimentStatus")
		h.settle(10 * time.Second)
		listed := source.listed[Model]
		if len(listed) != 1 || listed[0].State.Generation != 1 || listed[0].Namespace != testNamespace || !listed[0].HasDefinition(Model, model) || h.scheduler.Models()[0].Deleted {
			t.Errorf("the listing has %v", listed)
		}
		model.Spec.StorageURI = "gs://other"
		if listed[0].HasDefinition(Model, model) {
			t.Error("definitions that differ are the same")
		}
		source.set(false)
		deleted()
		if !h.scheduler.Models()[0].Deleted || h.scheduler.Experiments()[0].Active || h.scheduler.Servers()[0].Expected != 0 || len(sets.New(source.unloaded...)) != 2 {
			t.Errorf("objects were kept: %v", source.unloaded)
		}
	})
}

// A client lists, loads and unloads without a session.
func TestClient(t *testing.T) {
	inBubble(t, func(h *harness) {
		c, err := h.relay.Client(testNamespace)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		for name, kind := range map[string]Kind{"iris": Model, "p": Pipeline, "e": Experiment} {
			if listed, err := c.List(h.Context(), kind, name); len(listed) != 0 || err != nil {
				t.Errorf("%s: %v, %v", name, listed, err)
			}
		}
		if err := h.scheduler.OpenGate(); err != nil {
			t.Fatal(err)
		}
		model := &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Name: "iris", Namespace: testNamespace, Generation: 3, UID: types.UID("1")}}
		model.Spec.StorageURI = "gs://iris"
		if err := c.Load(h.Context(), Model, model); err != nil {
			t.Fatal(err)
		}
		h.settle(time.Second)
		listed, err := c.List(h.Context(), Model, "")
		if err != nil || len(listed) != 1 || listed[0].State.Generation != 3 || listed[0].Replicas != 1 || !listed[0].HasDefinition(Model, model) {
			t.Errorf("the listing has %v, %v", listed, err)
		}
		if err := c.Unload(h.Context(), Model, "iris", 3); err != nil {
			t.Error(err)
		}
		h.settle(time.Second)
		if listed, err := c.List(h.Context(), Model, "iris"); err != nil || len(listed) != 1 || !listed[0].Terminated {
			t.Errorf("the listing has %v, %v", listed, err)
		}
		if servers, err := c.ListServers(h.Context(), ""); err != nil || len(servers) != 0 {
			t.Errorf("the Servers are %v, %v", servers, err)
		}
		h.network.set(func(n *memoryNetwork) { n.fails = net.ErrClosed })
		h.scheduler.Kill()
		h.settle(time.Second)
		if _, err := c.List(h.Context(), Model, ""); err == nil || !strings.Contains(err.Error(), "scheduler passthrough:///scheduler: ") {
			t.Errorf("the error is %v", err)
		}
	})
}
