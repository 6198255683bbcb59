package relay

import (
	"math"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
)

// reportDropped injects the scheduler's event about the Server mlserver after the scheduler
// has removed the Server, and only has its agents.
func (h *harness) reportDropped() {
	h.Helper()
	err := h.scheduler.InjectServerStatus(&pb.ServerStatusResponse{
		Type: pb.ServerStatusResponse_StatusUpdate, ServerName: "mlserver", ExpectedReplicas: -1,
	})
	if err != nil {
		h.Error(err)
	}
}

// A scheduler that loses every notification is notified again with a backoff, and
// immediately after it has reported the Server.
func TestServerLostByScheduler(t *testing.T) {
	calls := &notifications{}
	var loses sync.Map
	inBubble(t, func(h *harness) {
		loses.Store("scheduler", h)
		h.server("mlserver", 1)
		h.open()
		calls.expect(t, "first", "first:mlserver=1")
		h.reportDropped()
		h.settle(0)
		calls.expect(t, "dropped", "mlserver=1")

		loses.Store("loses", true)
		h.reportDropped()
		h.settle(10 * time.Minute)
		if n := len(calls.drain()); n < 20 || n > 30 {
			t.Errorf("%d notifications in 10 minutes, want one in 30 seconds", n)
		}
		loses.Delete("loses")
		h.settle(time.Minute)
		calls.drain()
		h.settle(time.Hour)
		calls.expect(t, "no change", []string{}...)
		h.reportDropped()
		h.settle(0)
		calls.expect(t, "dropped much later", "mlserver=1")

		err := h.scheduler.InjectServerStatus(&pb.ServerStatusResponse{
			Type: pb.ServerStatusResponse_StatusUpdate, ServerName: "mlserver", ExpectedReplicas: 1,
			KubernetesMeta: &pb.KubernetesMeta{Namespace: testNamespace, Generation: 1},
		})
		if err != nil {
			t.Fatal(err)
		}
		h.settle(0)
		h.reportDropped()
		h.settle(0)
		calls.expect(t, "dropped again", "mlserver=1")
	}, calls.record, func(options *fakescheduler.Options) {
		record := options.OnCall
		options.OnCall = func(call fakescheduler.Call) {
			record(call)
			if _, now := loses.Load("loses"); now && call.Method == "ServerNotify" {
				h, _ := loses.Load("scheduler")
				go h.(*harness).reportDropped()
			}
		}
	})
}

// The scheduler may report that it does not have a Server before it responds.
func TestServerLostDuringNotification(t *testing.T) {
	calls := &notifications{}
	inBubble(t, func(h *harness) {
		h.server("mlserver", 1)
		h.open()
		calls.drain()
		release := h.scheduler.HangCalls("ServerNotify")
		h.reportDropped()
		h.settle(time.Second)
		h.reportDropped()
		h.settle(time.Second)
		release()
		h.settle(2 * time.Second)
		calls.expect(t, "dropped twice", "mlserver=1", "mlserver=1")
	}, calls.record)
}

// The scheduler reports its Servers at the start of the stream. Their controller syncs them
// later, when the operator has just been started.
func TestServerReportedBeforeItIsSynced(t *testing.T) {
	calls := &notifications{}
	inBubble(t, func(h *harness) {
		h.scheduler.ConnectAgent(fakescheduler.Agent{Server: "mlserver"})
		h.server("mlserver", 1)
		h.open()
		h.model("iris")
		h.settle(2 * time.Second)
		h.relay.Close(testNamespace)
		h.settle(time.Second)
		h.requests.drain(Server)

		s := h.open()
		if seen := h.relay.SyncServer(client.ObjectKey{Namespace: testNamespace, Name: "mlserver"}); seen.State == nil || *seen.State != (ServerState{1, 1}) {
			t.Errorf("observed %+v", seen.State)
		}
		if len(h.requests.drain(Server)) == 0 {
			t.Error("the Server is not enqueued")
		}
		// No state is kept of Servers that do not exist, or of another namespace.
		for _, message := range []*pb.ServerStatusResponse{
			{ServerName: "unknown", KubernetesMeta: &pb.KubernetesMeta{Namespace: testNamespace, Generation: 1}},
			{ServerName: "", KubernetesMeta: &pb.KubernetesMeta{Namespace: testNamespace, Generation: 1}},
			{ServerName: "mlserver", KubernetesMeta: &pb.KubernetesMeta{Namespace: "other", Generation: 1}, NumLoadedModelReplicas: 9},
		} {
			for _, kind := range []pb.ServerStatusResponse_Type{pb.ServerStatusResponse_StatusUpdate, pb.ServerStatusResponse_ScalingRequest} {
				message.Type = kind
				if err := h.scheduler.InjectServerStatus(message); err != nil {
					t.Fatal(err)
				}
				h.settle(time.Second)
			}
		}
		if len(s.servers) != 1 {
			t.Errorf("%d Servers are kept", len(s.servers))
		}
		if seen := h.relay.SyncServer(client.ObjectKey{Namespace: testNamespace, Name: "mlserver"}); seen.State.LoadedModels != 1 || seen.Scaling != nil {
			t.Errorf("observed %+v", seen)
		}
	}, calls.record)
}

// A Server that is recreated, or changed, keeps its number of loaded models: the
// scheduler sends no event for a generation.
func TestLoadedModelsOfANewGeneration(t *testing.T) {
	calls := &notifications{}
	inBubble(t, func(h *harness) {
		h.scheduler.ConnectAgent(fakescheduler.Agent{Server: "mlserver"})
		server := h.server("mlserver", 1)
		h.open()
		h.model("iris")
		h.settle(2 * time.Second)
		h.requests.drain(Server)
		h.removeServer(server)
		server = h.bareServer("mlserver", func(s *v1alpha1.Server) { s.Generation = 7 })
		h.relay.SyncServer(client.ObjectKeyFromObject(server))
		h.settle(2 * time.Second)
		if seen := h.relay.SyncServer(client.ObjectKeyFromObject(server)); seen.State == nil || *seen.State != (ServerState{7, 1}) {
			t.Errorf("observed %+v", seen.State)
		}
		if len(h.requests.drain(Server)) == 0 {
			t.Error("the Server is not enqueued")
		}
	}, calls.record)
}

func TestNumbersOfServers(t *testing.T) {
	calls := &notifications{}
	inBubble(t, func(h *harness) {
		key := client.ObjectKeyFromObject(h.server("mlserver", 1))
		h.open()
		send := func(change func(*pb.ServerStatusResponse)) ServerObservation {
			t.Helper()
			message := &pb.ServerStatusResponse{
				ServerName: "mlserver", KubernetesMeta: &pb.KubernetesMeta{Namespace: testNamespace, Generation: 1},
			}
			change(message)
			if err := h.scheduler.InjectServerStatus(message); err != nil {
				t.Fatal(err)
			}
			h.settle(0)
			return h.relay.SyncServer(key)
		}
		for _, number := range []int32{math.MinInt32, -1, 0, 1, math.MaxInt32} {
			seen := send(func(m *pb.ServerStatusResponse) {
				m.Type, m.NumLoadedModelReplicas = pb.ServerStatusResponse_StatusUpdate, number
			})
			if want := max(0, int64(number)); seen.State == nil || seen.State.LoadedModels != want {
				t.Errorf("%d loaded models: observed %+v", number, seen.State)
			}
			seen = send(func(m *pb.ServerStatusResponse) {
				m.Type, m.ExpectedReplicas = pb.ServerStatusResponse_ScalingRequest, number
			})
			switch {
			case number < 0 && seen.Scaling != nil:
				t.Errorf("%d replicas requested: observed %+v", number, seen.Scaling)
			case number >= 0 && (seen.Scaling == nil || seen.Scaling.Replicas != int64(number)):
				t.Errorf("%d replicas requested: observed %+v", number, seen.Scaling)
			}
			h.relay.AckScaling(key, seen.Scaling)
		}
	}, calls.record)
}

// The scheduler sends no event when it is notified of a Server, whose models its agents
// may have loaded before: it is polled.
func TestLoadedModelsAfterRestart(t *testing.T) {
	inBubble(t, func(h *harness) {
		server := h.server("mlserver", 1)
		h.model("one")
		h.model("two")
		h.open()
		h.settle(time.Minute)
		h.relay.Close(testNamespace)
		h.scheduler.FailCalls("SubscribeServerStatus", -1, codes.Unavailable)
		if err := h.scheduler.Restart(fakescheduler.RestartOptions{}); err != nil {
			t.Fatal(err)
		}
		h.open()
		h.settle(5 * time.Second)
		seen := h.relay.SyncServer(client.ObjectKeyFromObject(server))
		if seen.State == nil || seen.State.LoadedModels != 2 {
			t.Errorf("observed %+v", seen.State)
		}
	})
}

// An event that is lost is repaired by the next listing.
func TestLostServerEvent(t *testing.T) {
	inBubble(t, func(h *harness) {
		server := h.server("mlserver", 1)
		h.model("one")
		s := h.open()
		h.settle(time.Minute)
		s.mu.Lock()
		s.servers["mlserver"].state.LoadedModels = 7
		s.mu.Unlock()
		h.settle(73 * time.Minute)
		if seen := h.relay.SyncServer(client.ObjectKeyFromObject(server)); seen.State == nil || seen.State.LoadedModels != 1 {
			t.Errorf("observed %+v", seen.State)
		}
	})
}

// A Server whose change the scheduler rejects is notified with a backoff, although
// events report what the scheduler has.
func TestRejectedServerWithEvents(t *testing.T) {
	inBubble(t, func(h *harness) {
		server := h.server("mlserver", 1)
		h.open()
		h.scheduler.FailCalls("ServerNotify", -1, codes.InvalidArgument)
		server.Generation++
		if err := h.cluster.Update(h.Context(), server); err != nil {
			t.Fatal(err)
		}
		h.relay.SyncServer(client.ObjectKeyFromObject(server))
		h.settle(time.Minute)
		before := h.scheduler.Calls("ServerNotify")
		for loaded := range int32(600) {
			err := h.scheduler.InjectServerStatus(&pb.ServerStatusResponse{
				Type: pb.ServerStatusResponse_StatusUpdate, ServerName: "mlserver", ExpectedReplicas: 1, NumLoadedModelReplicas: loaded,
				KubernetesMeta: &pb.KubernetesMeta{Namespace: testNamespace, Generation: 1},
			})
			if err != nil {
				t.Fatal(err)
			}
			h.settle(time.Second)
		}
		if n := h.scheduler.Calls("ServerNotify") - before; n < 15 || n > 25 {
			t.Errorf("%d notifications in 10 minutes, want one in 30 seconds", n)
		}
	})
}

// Servers are listed when their stream ends, and not notified: events may be missing.
func TestServersAreListedWhenTheirStreamEnds(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.server("mlserver", 1)
		h.open()
		h.settle(time.Minute)
		h.scheduler.ResetCounters()
		h.scheduler.EndStreams("SubscribeServerStatus")
		h.settle(5 * time.Second)
		for method, want := range map[string]int{"SubscribeServerStatus": 1, "ServerStatus": 1, "ServerNotify": 0, "ModelStatus": 0} {
			if calls := h.scheduler.Calls(method); calls != want {
				t.Errorf("%d calls of %s, want %d", calls, method, want)
			}
		}
	})
}
