package relay

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
)

// pipeline creates the Pipeline chain, of one step, and syncs it.
func (h *harness) pipeline() *v1alpha1.Pipeline {
	h.Helper()
	pipeline := &v1alpha1.Pipeline{ObjectMeta: metav1.ObjectMeta{Name: "chain", Finalizers: []string{v1alpha1.PipelineFinalizer}}}
	pipeline.Spec.Steps = []v1alpha1.PipelineStep{{Name: "step"}}
	h.create(pipeline)
	h.sync(Pipeline, pipeline)
	return pipeline
}

// isReady reports whether all conditions that the scheduler reported are true.
func isReady(seen Observation) bool {
	if seen.State == nil {
		return false
	}
	for _, condition := range seen.State.Conditions {
		if !condition.True {
			return false
		}
	}
	return true
}

// A Model is loaded, reported available, unloaded and reported unloaded.
func TestModelLifecycle(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.server("mlserver", 1)
		h.open()
		if conn := h.status(); !conn.Connected || !conn.Synced {
			t.Fatalf("status %+v", conn)
		}
		model := h.model("iris")
		h.settle(time.Second)
		if seen := h.sync(Model, model); !isReady(seen) {
			t.Fatalf("observed %+v", seen)
		}
		h.delete(Model, model)
		h.settle(time.Second)
		if seen := h.sync(Model, model); !seen.Unloaded {
			t.Fatalf("observed %+v", seen)
		}
		h.release(Model, model)
		h.settle(time.Second)
		if n := len(h.relay.session(testNamespace).objects); n != 0 {
			t.Errorf("%d objects have a state", n)
		}
	})
}

// An idle session only sends pings, and lists each kind about once an hour.
func TestIdleSession(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.server("mlserver", 1)
		h.model("iris")
		h.open()
		h.settle(time.Minute)
		h.scheduler.ResetCounters()
		h.requests.drain(Model)
		h.settle(24 * time.Hour)
		for _, method := range fakescheduler.Methods() {
			calls := h.scheduler.Calls(method)
			switch method {
			case "ServerStatus", "ModelStatus", "PipelineStatus", "ExperimentStatus":
				if calls < 20 || calls > 30 {
					t.Errorf("%d calls of %s in a day", calls, method)
				}
			default:
				if calls != 0 {
					t.Errorf("%d calls of %s in a day", calls, method)
				}
			}
		}
		if requests := h.requests.drain(Model); len(requests) != 0 {
			t.Errorf("enqueued %v", requests)
		}
		if dials := h.network.dialled(); dials != 1 {
			t.Errorf("%d dials", dials)
		}
		if depth := h.relay.session(testNamespace).connection.queue.depth(); depth != 0 {
			t.Errorf("%d objects wait", depth)
		}
	})
}

// The objects of a scheduler whose connections keep breaking become stale after the
// timeout: each is reported once, and once more when the scheduler has recovered, with
// low priority.
func TestUnstableConnection(t *testing.T) {
	for _, life := range []time.Duration{0, 200 * time.Millisecond, 1500 * time.Millisecond, 5 * time.Second} {
		t.Run(life.String(), func(t *testing.T) {
			inBubble(t, func(h *harness) {
				h.server("mlserver", 1)
				models := names("model", 10)
				for _, name := range models {
					h.model(name)
				}
				h.open()
				h.settle(time.Minute)
				for range 40 {
					h.scheduler.Kill()
					h.settle(time.Second)
					if err := h.scheduler.Restart(fakescheduler.RestartOptions{}); err != nil {
						t.Fatal(err)
					}
					before := h.scheduler.Calls("SubscribeControlPlane")
					for h.scheduler.Calls("SubscribeControlPlane") == before {
						h.settle(100 * time.Millisecond)
					}
					h.settle(life)
				}
				h.scheduler.Kill()
				h.settle(2 * time.Minute)
				h.requests.drain(Model)
				for _, name := range models {
					if reports := h.requests.reports(name); !slices.Equal(reports, []string{"Ready", "Unknown"}) {
						t.Errorf("%s was reported %q", name, reports)
					}
				}
				if err := h.scheduler.Restart(fakescheduler.RestartOptions{}); err != nil {
					t.Fatal(err)
				}
				h.settle(3 * time.Minute)
				for _, each := range h.requests.drain(Model) {
					if each.priority >= 0 {
						t.Errorf("%s recovers with priority %d", each.name, each.priority)
					}
				}
				for _, name := range models {
					if reports := h.requests.reports(name); !slices.Equal(reports, []string{"Ready", "Unknown", "Ready"}) {
						t.Errorf("%s was reported %q", name, reports)
					}
				}
			})
		})
	}
}

// A scheduler whose gRPC server rejects pings as too many when they arrive more often than
// every 5 minutes, which is its default, ends the connection a few times. Each time, gRPC
// increases the period of the pings, until they are accepted.
func TestTooManyPings(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.server("mlserver", 1)
		h.open()
		h.settle(24 * time.Hour)
		if dials := h.network.dialled(); dials < 2 || dials > 5 {
			t.Errorf("%d dials in a day, want a few", dials)
		}
		h.settle(time.Minute)
		if conn := h.status(); !conn.Connected || !conn.Synced {
			t.Errorf("status %+v", conn)
		}
	}, func(options *fakescheduler.Options) { options.KeepaliveMinTime = 5 * time.Minute })
}

// A session without a scheduler dials with a backoff up to a minute, and is connected
// within 5 seconds of the moment when the scheduler's workload turns ready.
func TestReconnect(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.server("mlserver", 1)
		h.scheduler.Kill()
		h.open()
		h.settle(10 * time.Minute)
		before := h.network.dialled()
		h.settle(time.Hour)
		if dials := h.network.dialled() - before; dials < 30 || dials > 150 {
			t.Errorf("%d dials in an hour", dials)
		}
		for range 10 {
			if err := h.scheduler.Restart(fakescheduler.RestartOptions{}); err != nil {
				t.Fatal(err)
			}
			h.relay.ReconnectNow(testNamespace)
			h.settle(5 * time.Second)
			if conn := h.status(); !conn.Connected || !conn.Synced {
				t.Errorf("status %+v", conn)
			}
			h.settle(time.Minute)
			h.scheduler.Kill()
			h.settle(time.Hour)
			if conn := h.status(); conn.Connected {
				t.Errorf("status %+v", conn)
			}
		}
	})
}

// A session whose attempt hangs, as at the address of a deleted pod, starts
// another one immediately when the scheduler's workload turns ready.
func TestReconnectFromHangingDial(t *testing.T) {
	inBubble(t, func(h *harness) {
		hang := true
		dial := h.relay.dialContext
		h.relay.dialContext = func(ctx context.Context, address string) (net.Conn, error) {
			if hang {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return dial(ctx, address)
		}
		h.open()
		h.settle(10 * time.Minute)
		hang = false
		h.relay.ReconnectNow(testNamespace)
		h.settle(5 * time.Second)
		if conn := h.status(); !conn.Connected {
			t.Errorf("status %+v", conn)
		}
	})
}

// A half-open connection is detected by pings when nothing else is
// sent, and closed.
func TestHalfOpenConnection(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.server("mlserver", 1)
		h.open()
		h.settle(time.Hour)
		h.network.set(func(n *memoryNetwork) { n.mute = true })
		h.settle(pingAfter + pingTimeout + time.Second)
		if conn := h.status(); conn.Connected {
			t.Errorf("status %+v", conn)
		}
		h.settle(5 * time.Minute)
		if conn := h.status(); conn.Reason != ReasonNoResponse && conn.Reason != ReasonUnavailable {
			t.Errorf("status %+v", conn)
		}
		h.network.set(func(n *memoryNetwork) { n.mute = false })
		h.settle(2 * time.Minute)
		if conn := h.status(); !conn.Connected || !conn.Synced {
			t.Errorf("status %+v", conn)
		}
	})
}

// At most 8 calls run at a time, one for each Model, and 500 loads that hang do not delay
// the notification of a Server.
func TestBacklog(t *testing.T) {
	count := 500
	if testing.Short() {
		count = 20 * maxConcurrentCalls
	}
	inBubble(t, func(h *harness) {
		h.server("mlserver", 1)
		for _, name := range names("model", count) {
			h.model(name)
		}
		release := h.scheduler.HangCalls("LoadModel")
		h.open()
		h.settle(5 * time.Second)
		notified := h.scheduler.Calls("ServerNotify")
		h.server("triton", 2)
		h.settle(time.Second)
		if h.scheduler.Calls("ServerNotify") == notified {
			t.Error("the Server waits behind the Models")
		}
		release()
		h.settle(time.Minute)
		if most := h.scheduler.MostConcurrentCalls(); most > maxConcurrentCalls {
			t.Errorf("%d calls at a time", most)
		}
		for key, calls := range h.scheduler.CallsBy() {
			if key.Method == "LoadModel" && calls > 1 {
				t.Errorf("%s was loaded %d times", key.Name, calls)
			}
		}
		if calls := h.scheduler.Calls("LoadModel"); calls != count {
			t.Errorf("%d loads, want %d", calls, count)
		}
	})
}

// The latest error is reported, also when its reason is unchanged; the
// same error enqueues nothing.
func TestLatestErrorIsReported(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.create(&v1alpha1.SeldonRuntime{ObjectMeta: metav1.ObjectMeta{Name: "seldon"}})
		h.network.set(func(n *memoryNetwork) { n.fails = errors.New("no route to host") })
		h.open()
		h.settle(time.Minute)
		h.requests.drain(SeldonRuntime)
		h.settle(time.Hour)
		if enqueued := h.requests.drain(SeldonRuntime); len(enqueued) != 0 {
			t.Errorf("%d requests for an hour of the same error", len(enqueued))
		}
		h.network.set(func(n *memoryNetwork) { n.fails = errors.New("connection refused") })
		h.settle(5 * time.Minute) // more than two attempts
		if conn := h.status(); conn.Reason != ReasonUnavailable || !strings.Contains(conn.Message, "connection refused") {
			t.Errorf("status %+v", conn)
		}
		if enqueued := h.requests.drain(SeldonRuntime); len(enqueued) != 1 {
			t.Errorf("%d requests for another error", len(enqueued))
		}
	})
}

// Sessions end without a goroutine leak, whether they were connected or not.
func TestClosedSessionsLeakNothing(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.server("mlserver", 1)
		before, _ := goroutinesOfClients()
		for i := range 10 {
			h.model(names("model", 10)[i])
			h.open()
			if i%2 == 1 {
				h.scheduler.Kill()
				h.settle(time.Minute)
			}
			h.relay.Close(testNamespace)
			h.settle(time.Millisecond)
			if count, stacks := goroutinesOfClients(); count > before {
				t.Fatalf("%d goroutines more after %d sessions:\n%s", count-before, i+1, stacks)
			}
			if i%2 == 1 {
				if err := h.scheduler.Restart(fakescheduler.RestartOptions{}); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// The control-plane stream of a scheduler that rejects it is retried with a backoff, and
// the reason is reported.
func TestRejectedControlPlane(t *testing.T) {
	for code, reason := range map[codes.Code]string{
		codes.Unavailable: ReasonUnavailable, codes.PermissionDenied: ReasonPermissionDenied, codes.Unimplemented: ReasonUnimplemented,
		codes.ResourceExhausted: ReasonConnectionLost,
	} {
		inBubble(t, func(h *harness) {
			h.server("mlserver", 1)
			h.scheduler.FailCalls("SubscribeControlPlane", -1, code)
			h.open()
			h.settle(time.Hour)
			if conn := h.status(); conn.Connected || conn.Reason != reason {
				t.Errorf("%s: status %+v", code, conn)
			}
			if calls := h.scheduler.Calls("SubscribeControlPlane"); calls < 30 || calls > 120 {
				t.Errorf("%s: %d calls in an hour", code, calls)
			}
			if dials := h.network.dialled(); dials > 2 {
				t.Errorf("%s: %d dials: the connection is kept", code, dials)
			}
			h.scheduler.FailCalls("SubscribeControlPlane", 0, codes.OK)
			h.settle(3 * time.Minute)
			if conn := h.status(); !conn.Connected || !conn.Synced {
				t.Errorf("%s: status afterwards %+v", code, conn)
			}
		})
	}
}

// The status of a scheduler that rejects a kind, and is restarted from time to time, does
// not alternate between reachable and unreachable.
func TestLongConnectionsAreHealthy(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.server("mlserver", 1)
		h.scheduler.FailCalls("SubscribeModelStatus", -1, codes.PermissionDenied)
		h.open()
		for i := range 8 {
			h.settle(time.Hour)
			h.scheduler.EndStreams("SubscribeControlPlane")
			h.settle(3 * time.Second)
			if !h.status().Connected {
				t.Fatalf("after %d connections of an hour: %+v", i+1, h.status())
			}
		}
	})
}
