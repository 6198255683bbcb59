package relay

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
)

// notifications records the calls of ServerNotify.
type notifications struct {
	mu    sync.Mutex
	start time.Time
	list  []string
}

// record is an option of the scheduler. Agents connect only at the request of a test.
func (n *notifications) record(options *fakescheduler.Options) {
	n.start = time.Now()
	options.Agents = fakescheduler.AgentsManual
	options.OnCall = func(call fakescheduler.Call) {
		request, is := call.Request.(*pb.ServerNotifyRequest)
		if !is {
			return
		}
		var servers []string
		for _, each := range request.Servers {
			servers = append(servers, fmt.Sprintf("%s=%d", each.Name, each.ExpectedReplicas))
		}
		text := strings.Join(servers, ",")
		if request.IsFirstSync {
			text = "first:" + text
		}
		if call.Code != codes.OK {
			text += " " + call.Code.String()
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		n.list = append(n.list, text)
	}
}

// drain returns the notifications since the last call.
func (n *notifications) drain() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := n.list
	n.list = nil
	return list
}

func (n *notifications) expect(t *testing.T, when string, want ...string) {
	t.Helper()
	if got := n.drain(); !slices.Equal(got, want) {
		t.Errorf("%s: notifications %q, want %q", when, got, want)
	}
}

// workload creates the StatefulSet of a Server, and syncs the Server as its controller
// does then.
func (h *harness) workload(name string, replicas int32) {
	h.Helper()
	h.create(&appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.StatefulSetSpec{Replicas: &replicas}})
	h.relay.SyncServer(client.ObjectKey{Namespace: testNamespace, Name: name})
}

// bareServer creates a Server without a workload.
func (h *harness) bareServer(name string, change ...func(*v1alpha1.Server)) *v1alpha1.Server {
	h.Helper()
	server := &v1alpha1.Server{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, each := range change {
		each(server)
	}
	h.create(server)
	return server
}

// removeServer deletes a Server and leaves its workload.
func (h *harness) removeServer(server *v1alpha1.Server) {
	h.Helper()
	if err := h.cluster.Delete(h.Context(), server); err != nil {
		h.Fatal(err)
	}
	h.relay.ObjectDeleted(Server, client.ObjectKeyFromObject(server))
}

// modelState returns the reason of a Model's condition, and its server.
func (h *harness) modelState(model *v1alpha1.Model) string {
	h.Helper()
	seen := h.sync(Model, model)
	if seen.State == nil {
		return "unknown"
	}
	return seen.State.Conditions[0].Reason
}

// The agents of a Server that is recreated stay connected. The scheduler places Models
// when they are loaded, or when an agent connects, and not when it is notified.
func TestRecreatedServerKeepsItsModelsAvailable(t *testing.T) {
	recreate := func(h *harness) *v1alpha1.Server {
		server := h.bareServer("mlserver")
		h.relay.SyncServer(client.ObjectKeyFromObject(server))
		return server
	}
	for name, test := range map[string]struct {
		steps func(h *harness, calls *notifications, server *v1alpha1.Server)
		want  []string
	}{
		"immediately": {func(h *harness, _ *notifications, server *v1alpha1.Server) {
			h.removeServer(server)
			h.settle(serverDeletionDelay - time.Second)
			recreate(h)
		}, nil},
		"twice": {func(h *harness, _ *notifications, server *v1alpha1.Server) {
			for range 2 {
				h.removeServer(server)
				h.settle(serverDeletionDelay - time.Second)
				server = recreate(h)
				h.settle(time.Second)
			}
		}, nil},
		"before the event about the notification of 0 arrives": {func(h *harness, _ *notifications, server *v1alpha1.Server) {
			h.scheduler.DelayCalls("SubscribeModelStatus", 5*time.Second)
			h.removeServer(server)
			h.settle(serverDeletionDelay + time.Second)
			recreate(h)
		}, []string{"mlserver=0", "mlserver=1"}},
		"before the deletion was observed": {func(h *harness, _ *notifications, server *v1alpha1.Server) {
			if err := h.cluster.Delete(h.Context(), server); err != nil {
				h.Fatal(err)
			}
			recreate(h)
			h.relay.ObjectDeleted(Server, client.ObjectKeyFromObject(server))
		}, nil},
		"after the notification of 0": {func(h *harness, _ *notifications, server *v1alpha1.Server) {
			h.removeServer(server)
			h.settle(time.Minute)
			recreate(h)
		}, []string{"mlserver=0", "mlserver=1"}},
		"while the notification of 0 is on its way": {func(h *harness, _ *notifications, server *v1alpha1.Server) {
			h.removeServer(server)
			h.scheduler.DelayCalls("ServerNotify", 5*time.Second)
			h.settle(serverDeletionDelay + time.Second)
			recreate(h)
		}, []string{"mlserver=0", "mlserver=1"}},
		"after an operator that was stopped had notified of 0": {func(h *harness, _ *notifications, server *v1alpha1.Server) {
			h.removeServer(server)
			h.settle(time.Minute)
			h.relay.Close(testNamespace)
			h.settle(time.Second)
			h.open()
			recreate(h)
			h.settle(time.Second)
			h.relay.Close(testNamespace)
			h.settle(time.Second)
			h.open()
		}, []string{"mlserver=0", "first:", "mlserver=1", "first:mlserver=1"}},
		"while there is no connection": {func(h *harness, _ *notifications, server *v1alpha1.Server) {
			h.removeServer(server)
			h.settle(time.Minute)
			h.network.set(func(n *memoryNetwork) { n.mute, n.fails = true, errors.New("connection refused") })
			h.settle(time.Minute)
			recreate(h)
			h.network.set(func(n *memoryNetwork) { n.mute, n.fails = false, nil })
			h.settle(time.Minute)
		}, []string{"mlserver=0", "first:mlserver=1"}},
		"after an operator that was stopped had notified of 0, with no connection since": {func(h *harness, _ *notifications, server *v1alpha1.Server) {
			h.removeServer(server)
			h.settle(time.Minute)
			h.relay.Close(testNamespace)
			h.settle(time.Second)
			h.open()
			h.sync(Model, &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: "iris"}})
			h.settle(time.Second)
			recreate(h)
		}, []string{"mlserver=0", "first:", "mlserver=1"}},
	} {
		t.Run(name, func(t *testing.T) {
			calls := &notifications{}
			inBubble(t, func(h *harness) {
				h.scheduler.ConnectAgent(fakescheduler.Agent{Server: "mlserver"})
				server := h.server("mlserver", 1)
				h.open()
				model := h.model("iris")
				h.settle(time.Second)
				calls.drain()
				test.steps(h, calls, server)
				h.settle(20 * time.Second)
				calls.expect(t, "recreated", test.want...)
				h.sync(Model, model)
				h.settle(time.Second)
				if state := h.modelState(model); state != "ModelAvailable" {
					t.Errorf("the Model is %s", state)
				}
			}, calls.record)
		})
	}
}

// A Server that is deleted and not recreated is notified with 0 once, whether it does not
// exist or is being deleted, and its Models fail.
func TestDeletedServer(t *testing.T) {
	for name, remove := range map[string]func(h *harness, server *v1alpha1.Server){
		"absent": func(h *harness, server *v1alpha1.Server) { h.removeServer(server) },
		"being deleted": func(h *harness, server *v1alpha1.Server) {
			server.Finalizers = []string{metav1.FinalizerDeleteDependents}
			if err := h.cluster.Update(h.Context(), server); err != nil {
				h.Fatal(err)
			}
			if err := h.cluster.Delete(h.Context(), server); err != nil {
				h.Fatal(err)
			}
			h.relay.SyncServer(client.ObjectKeyFromObject(server))
			h.settle(time.Second)
			h.relay.SyncServer(client.ObjectKeyFromObject(server))
		},
	} {
		t.Run(name, func(t *testing.T) {
			calls := &notifications{}
			inBubble(t, func(h *harness) {
				h.scheduler.ConnectAgent(fakescheduler.Agent{Server: "mlserver"})
				server := h.server("mlserver", 1)
				h.open()
				model := h.model("iris")
				h.settle(time.Second)
				calls.drain()
				remove(h, server)
				h.settle(serverDeletionDelay - 2*time.Second)
				calls.expect(t, "before the delay", []string{}...)
				h.settle(2 * time.Second)
				calls.expect(t, "after the delay", "mlserver=0")
				h.relay.SyncServer(client.ObjectKeyFromObject(server))
				h.settle(time.Hour)
				calls.expect(t, "later", []string{}...)
				if state := h.modelState(model); state != "ScheduleFailed" {
					t.Errorf("the Model is %s", state)
				}
			}, calls.record)
		})
	}
}

// The state of a deleted Server is removed after deletedServerTTL.
func TestStateOfDeletedServerIsRemoved(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.open()
		for i := range 50 {
			server := h.server(fmt.Sprintf("s%d", i), 1)
			h.settle(time.Second)
			h.removeServer(server)
			h.settle(20 * time.Second)
		}
		h.settle(24 * time.Hour)
		if n := len(h.relay.session(testNamespace).servers); n != 0 {
			t.Errorf("%d servers have a state", n)
		}
	})
}

// A Server that was rejected, and then has a spec that contradicts itself, is not reported as
// rejected any more.
func TestRejectionEndsWithTheMessage(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.server("mlserver", 1)
		h.open()
		h.scheduler.FailCalls("ServerNotify", -1, codes.InvalidArgument)
		server := h.server("b", 2)
		h.settle(time.Minute)
		server.Spec.MinReplicas, server.Spec.MaxReplicas = new(int64(5)), new(int64(2))
		server.Generation++
		if err := h.cluster.Update(h.Context(), server); err != nil {
			t.Fatal(err)
		}
		h.scheduler.FailCalls("ServerNotify", 0, codes.OK)
		h.relay.SyncServer(client.ObjectKeyFromObject(server))
		h.settle(time.Hour)
		if conn := h.status(); !conn.Connected || !conn.Synced {
			t.Errorf("status %+v", conn)
		}
	})
}
