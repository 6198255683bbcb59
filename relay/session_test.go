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
	"google.golang.org/grpc/status"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
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
func TestModelLife(t *testing.T) {
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
		if n := len(h.relay.session(testNamespace).items); n != 0 {
			t.Errorf("%d objects are remembered", n)
		}
	})
}

// A stream that the scheduler refuses, or a listing that fails, is reported, and
// delays no other kind.
func TestKindsAreIndependent(t *testing.T) {
	for method, reason := range map[string]string{
		"SubscribeModelStatus":  ReasonSubscriptionFailed,
		"SubscribeServerStatus": ReasonSubscriptionFailed,
		"ModelStatus":           ReasonListFailed,
		"ServerNotify":          ReasonNotifyFailed,
	} {
		for _, code := range []codes.Code{codes.PermissionDenied, codes.Unimplemented, codes.ResourceExhausted, codes.Internal, codes.Unavailable} {
			if reason == ReasonListFailed && refused(status.Error(code, "")) {
				continue // a scheduler that cannot list gets everything
			}
			t.Run(method+" "+code.String(), func(t *testing.T) {
				inBubble(t, func(h *harness) {
					h.server("mlserver", 1)
					h.scheduler.FailCalls(method, -1, code)
					if method == "ServerNotify" {
						h.scheduler.ConnectAgent(fakescheduler.Agent{Server: "mlserver"})
						if err := h.scheduler.OpenGate(); err != nil {
							t.Fatal(err)
						}
					}
					h.open()
					pipeline := h.pipeline()
					h.settle(10 * time.Second)
					if seen := h.sync(Pipeline, pipeline); seen.State == nil {
						t.Errorf("observed %+v of a pipeline", seen)
					}
					conn := h.status()
					if !conn.Connected || conn.Synced || conn.SyncReason != reason {
						t.Errorf("status %+v", conn)
					}
					if kind := method[:min(len(method), 5)]; reason == ReasonListFailed && !strings.HasPrefix(conn.SyncMessage, kind) {
						t.Errorf("message %q does not begin with the kind", conn.SyncMessage)
					}
					calls := h.scheduler.Calls(method)
					h.settle(time.Hour)
					if got := h.scheduler.Calls(method) - calls; got > 125 {
						t.Errorf("%d calls of %s in an hour", got, method)
					}
					h.scheduler.FailCalls(method, 0, codes.OK)
					h.settle(2 * time.Minute)
					if conn := h.status(); !conn.Synced {
						t.Errorf("status afterwards %+v", conn)
					}
				})
			})
		}
	}
}

// An idle session sends nothing but pings, and lists each kind about once an hour.
func TestIdleSession(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.server("mlserver", 1)
		h.model("iris")
		h.open()
		h.settle(time.Minute)
		h.scheduler.ResetCounters()
		h.requests.take(Model)
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
		if woken := h.requests.take(Model); len(woken) != 0 {
			t.Errorf("enqueued %v", woken)
		}
		if dials := h.network.dialled(); dials != 1 {
			t.Errorf("%d dials", dials)
		}
		if depth := h.relay.session(testNamespace).connection.queue.depth(); depth != 0 {
			t.Errorf("%d objects wait", depth)
		}
	})
}

// What was missed is repaired by the next listing: here, a Model that somebody else
// unloaded while its event was lost.
func TestRelistRepairs(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.server("mlserver", 1)
		model := h.model("iris")
		s := h.open()
		h.settle(time.Minute)
		s.mu.Lock()
		s.items[objectKey{Model, "iris"}].remote = &remoteObject{generation: 7, verified: true} // as a late call may leave it
		s.items[objectKey{Model, "iris"}].generation = 7
		s.mu.Unlock()
		h.settle(73 * time.Minute)
		if seen := h.sync(Model, model); !isReady(seen) {
			t.Errorf("observed %+v", seen)
		}
	})
}

// A scheduler that speaks and breaks for ever has its objects turn stale after the
// timeout: each is reported once, and once more when the scheduler is well again, with
// low priority.
func TestFlappingScheduler(t *testing.T) {
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
				h.requests.take(Model)
				for _, name := range models {
					if reports := h.requests.reports(name); !slices.Equal(reports, []string{"Ready", "Unknown"}) {
						t.Errorf("%s was reported %q", name, reports)
					}
				}
				if err := h.scheduler.Restart(fakescheduler.RestartOptions{}); err != nil {
					t.Fatal(err)
				}
				h.settle(3 * time.Minute)
				for _, each := range h.requests.take(Model) {
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

// A scheduler whose gRPC server takes pings for abuse when they come more often than
// every 5 minutes, which is its default, ends the connection some times, and then the
// pings are rare enough.
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

// A session that hangs in an attempt, as at the address of a pod that is gone, begins
// another one at once when the scheduler's workload turns ready.
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

// A connection that is there on one side only is found by pings, when nothing else is
// sent, and given up.
func TestHalfOpenConnection(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.server("mlserver", 1)
		h.open()
		h.settle(time.Hour)
		h.network.set(func(n *memoryNetwork) { n.silent = true })
		h.settle(pingAfter + pingTimeout + time.Second)
		if conn := h.status(); conn.Connected {
			t.Errorf("status %+v", conn)
		}
		h.settle(5 * time.Minute)
		if conn := h.status(); conn.Reason != ReasonNoResponse && conn.Reason != ReasonUnavailable {
			t.Errorf("status %+v", conn)
		}
		h.network.set(func(n *memoryNetwork) { n.silent = false })
		h.settle(2 * time.Minute)
		if conn := h.status(); !conn.Connected || !conn.Synced {
			t.Errorf("status %+v", conn)
		}
	})
}

// A scheduler that keeps its readiness gate closed after a restart does not serve what
// it had: objects turn stale after the timeout. One that is deleted meanwhile is
// unloaded nevertheless.
func TestClosedGate(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.server("mlserver", 1)
		kept, deleted := h.model("kept"), h.model("deleted")
		h.open()
		h.settle(time.Minute)
		h.scheduler.HoldGate()
		if err := h.scheduler.Restart(fakescheduler.RestartOptions{}); err != nil {
			t.Fatal(err)
		}
		h.settle(30 * time.Second)
		if seen := h.sync(Model, kept); !isReady(seen) {
			t.Errorf("observed %+v half a minute after the restart", seen)
		}
		h.delete(Model, deleted)
		h.settle(40 * time.Second)
		if seen := h.sync(Model, kept); !seen.Stale {
			t.Errorf("observed %+v", seen)
		}
		if conn := h.status(); !conn.Connected || conn.SyncReason != ReasonWaitingForScheduler {
			t.Errorf("status %+v", conn)
		}
		if h.scheduler.Calls("UnloadModel") == 0 {
			t.Error("the deleted Model is not unloaded")
		}
		h.scheduler.ReleaseGate()
		if err := h.scheduler.OpenGate(); err != nil {
			t.Fatal(err)
		}
		h.settle(time.Minute)
		if seen := h.sync(Model, kept); !isReady(seen) || seen.Stale {
			t.Errorf("observed %+v after the gate opened", seen)
		}
		if seen := h.sync(Model, deleted); !seen.Unloaded {
			t.Errorf("observed %+v of the deleted Model", seen)
		}
	})
}

// Markers that come twice, in any order, or are not known, cost a listing each and
// change nothing.
func TestMarkers(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.server("mlserver", 1)
		model := h.model("iris")
		h.open()
		h.settle(time.Minute)
		h.scheduler.ResetCounters()
		for _, marker := range []pb.ControlPlaneResponse_Event{
			pb.ControlPlaneResponse_SEND_PIPELINES, pb.ControlPlaneResponse_SEND_MODELS, pb.ControlPlaneResponse_SEND_SERVERS,
			pb.ControlPlaneResponse_SEND_MODELS, 77, pb.ControlPlaneResponse_SEND_EXPERIMENTS,
		} {
			if err := h.scheduler.InjectControlPlane(marker); err != nil {
				t.Fatal(err)
			}
			h.settle(time.Second)
		}
		if calls := h.scheduler.Calls("ModelStatus"); calls != 2 {
			t.Errorf("%d listings of Models, want 2", calls)
		}
		if calls := h.scheduler.Calls("LoadModel") + h.scheduler.Calls("UnloadModel"); calls != 0 {
			t.Errorf("%d calls about Models", calls)
		}
		if calls := h.scheduler.Calls("ServerNotify"); calls != 1 {
			t.Errorf("%d notifications, want 1", calls)
		}
		if seen := h.sync(Model, model); !isReady(seen) {
			t.Errorf("observed %+v", seen)
		}
	})
}

// At most 8 calls are made at a time, of each Model one, and a Server is announced in
// spite of 500 loads that hang.
func TestBacklog(t *testing.T) {
	const count = 500
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

// One stream that the scheduler ends is opened again, and its kind alone is listed.
func TestStreamEnds(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.server("mlserver", 1)
		model := h.model("iris")
		h.open()
		h.settle(time.Minute)
		h.scheduler.ResetCounters()
		// More than the client takes: its stream ends, and so do the next ones until the
		// subscription succeeds.
		huge := &pb.ModelStatusResponse{ModelName: strings.Repeat("x", receiveLimit+1)}
		if err := h.scheduler.InjectModelStatus(huge); err != nil {
			t.Fatal(err)
		}
		h.settle(5 * time.Second)
		for method, want := range map[string]int{
			"SubscribeModelStatus": 1, "ModelStatus": 1, "SubscribeControlPlane": 0, "SubscribePipelineStatus": 0, "PipelineStatus": 0, "ServerNotify": 0,
		} {
			if calls := h.scheduler.Calls(method); calls != want {
				t.Errorf("%d calls of %s, want %d", calls, method, want)
			}
		}
		if conn := h.status(); !conn.Connected || !conn.Synced {
			t.Errorf("status %+v", conn)
		}
		h.delete(Model, model)
		h.settle(time.Second)
		if seen := h.sync(Model, model); !seen.Unloaded {
			t.Errorf("observed %+v", seen)
		}
	})
}

// An Experiment that is released while there is no connection, and is listed as
// inactive afterwards, is stopped once: the session knows that it was not.
func TestReleasedInactiveExperiment(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.server("mlserver", 1)
		h.open()
		experiment := h.experiment("ab", "missing")
		h.settle(time.Minute)
		h.scheduler.Kill()
		h.delete(Experiment, experiment)
		h.settle(10 * time.Minute)
		h.release(Experiment, experiment)
		for range 3 {
			if err := h.scheduler.Restart(fakescheduler.RestartOptions{}); err != nil {
				t.Fatal(err)
			}
			h.settle(5 * time.Minute)
			if experiments := h.scheduler.Experiments(); len(experiments) != 1 || !experiments[0].Deleted {
				t.Errorf("%+v", experiments)
			}
			h.scheduler.Kill()
		}
		if calls := h.scheduler.Calls("StopExperiment"); calls != 1 {
			t.Errorf("%d calls of StopExperiment", calls)
		}
		h.settle(time.Minute)
		if n := len(h.relay.session(testNamespace).items); n != 0 {
			t.Errorf("%d objects are remembered", n)
		}
	})
}

// The latest error is reported, also when its reason is that of the one before; the
// same error enqueues nothing.
func TestLatestErrorIsReported(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.create(&v1alpha1.SeldonRuntime{ObjectMeta: metav1.ObjectMeta{Name: "seldon"}})
		h.network.set(func(n *memoryNetwork) { n.fails = errors.New("no route to host") })
		h.open()
		h.settle(time.Minute)
		h.requests.take(SeldonRuntime)
		h.settle(time.Hour)
		if enqueued := h.requests.take(SeldonRuntime); len(enqueued) != 0 {
			t.Errorf("%d requests for an hour of the same error", len(enqueued))
		}
		h.network.set(func(n *memoryNetwork) { n.fails = errors.New("connection refused") })
		h.settle(2 * time.Minute)
		if conn := h.status(); conn.Reason != ReasonUnavailable || !strings.Contains(conn.Message, "connection refused") {
			t.Errorf("status %+v", conn)
		}
		if enqueued := h.requests.take(SeldonRuntime); len(enqueued) != 1 {
			t.Errorf("%d requests for another error", len(enqueued))
		}
	})
}

// A listing that hangs to its deadline is reported, and delays no other kind.
func TestHangingListing(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.server("mlserver", 1)
		release := h.scheduler.HangCalls("ModelStatus")
		h.open()
		pipeline := h.pipeline()
		h.settle(10 * time.Second)
		if seen := h.sync(Pipeline, pipeline); seen.State == nil {
			t.Errorf("observed %+v of a pipeline", seen)
		}
		h.settle(listDeadline)
		if conn := h.status(); !conn.Connected || conn.SyncReason != ReasonListFailed {
			t.Errorf("status %+v", conn)
		}
		release()
		h.settle(2 * listDeadline)
		if conn := h.status(); !conn.Synced {
			t.Errorf("status %+v", conn)
		}
	})
}

// Sessions that end leave no goroutine behind, whether they were connected or not.
func TestClosedSessionsLeaveNothing(t *testing.T) {
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

// A scheduler that refuses the control-plane stream is asked again with a backoff, and
// the reason is reported.
func TestRefusedControlPlane(t *testing.T) {
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

// A kind whose stream of events has ended is not in sync until there is one again, which
// may be after a backoff of a minute.
func TestStreamEndsAgain(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.server("mlserver", 1)
		h.open()
		ended := 0
		for range 600 {
			streams := len(h.scheduler.Subscribers("SubscribeModelStatus"))
			h.settle(time.Second)
			if len(h.scheduler.Subscribers("SubscribeModelStatus")) > 0 {
				if streams > 0 {
					h.scheduler.EndStreams("SubscribeModelStatus")
				}
				continue
			}
			if ended++; streams == 0 && h.status().Synced {
				t.Fatalf("in sync without a stream: %+v", h.status())
			}
		}
		if ended < 400 {
			t.Errorf("without a stream for %d of 600 s, so the backoff does not grow", ended)
		}
	})
}

// What the scheduler reported on this connection expires as well, when it neither lists
// the kind nor sends its events any more. A listing alone is enough.
func TestStatesExpireOnAConnection(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.server("mlserver", 1)
		h.open()
		h.model("iris")
		h.settle(time.Minute)
		h.scheduler.FailCalls("SubscribeModelStatus", -1, codes.PermissionDenied)
		h.scheduler.EndStreams("SubscribeModelStatus")
		h.settle(10 * time.Minute)
		if reports := h.requests.reports("iris"); !slices.Equal(reports, []string{"Ready"}) {
			t.Errorf("reported %q without a stream", reports)
		}
		h.scheduler.FailCalls("ModelStatus", -1, codes.Unavailable)
		h.settle(3 * h.relay.UnreachableTimeout)
		if reports := h.requests.reports("iris"); !slices.Equal(reports, []string{"Ready", "Unknown"}) {
			t.Errorf("reported %q", reports)
		}
		h.scheduler.FailCalls("SubscribeModelStatus", 0, codes.OK)
		h.scheduler.FailCalls("ModelStatus", 0, codes.OK)
		h.settle(2 * time.Minute)
		if reports := h.requests.reports("iris"); !slices.Equal(reports, []string{"Ready", "Unknown", "Ready"}) {
			t.Errorf("reported %q afterwards", reports)
		}
	})
}

// A scheduler that refuses a kind, and is restarted now and then, does not come and go.
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

// A Model that is loaded, and reported available, while the kind's listing fails.
func TestEventsCountWhileListingFails(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.server("mlserver", 1)
		h.open()
		h.settle(time.Minute)
		h.scheduler.FailCalls("ModelStatus", -1, codes.Unavailable)
		h.scheduler.EndStreams("SubscribeModelStatus")
		h.settle(10 * time.Minute)
		model := h.model("new")
		h.settle(10 * time.Second)
		if seen := h.sync(Model, model); seen.Stale || !isReady(seen) {
			t.Errorf("observed %+v of a Model that is reported available", seen)
		}
	})
}
