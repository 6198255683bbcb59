package relay

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
)

// A stream that the scheduler rejects, or a listing that fails, is reported, and
// delays no other kind.
func TestKindsAreIndependent(t *testing.T) {
	for method, reason := range map[string]string{
		"SubscribeModelStatus":  ReasonSubscriptionFailed,
		"SubscribeServerStatus": ReasonSubscriptionFailed,
		"ModelStatus":           ReasonListFailed,
		"ServerNotify":          ReasonNotifyFailed,
	} {
		for _, code := range []codes.Code{codes.PermissionDenied, codes.Unimplemented, codes.ResourceExhausted, codes.Internal, codes.Unavailable} {
			if reason == ReasonListFailed && isPermanent(status.Error(code, "")) {
				continue // all objects are sent to a scheduler that cannot list
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

// The next listing repairs the effect of lost events: here, of the event about a Model that
// another client unloaded.
func TestRelistRepairs(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.server("mlserver", 1)
		model := h.model("iris")
		s := h.open()
		h.settle(time.Minute)
		s.mu.Lock()
		s.objects[objectKey{Model, "iris"}].remote = &remoteObject{generation: 7, verified: true} // as a late call may leave it
		s.objects[objectKey{Model, "iris"}].generation = 7
		s.mu.Unlock()
		h.settle(73 * time.Minute)
		if seen := h.sync(Model, model); !isReady(seen) {
			t.Errorf("observed %+v", seen)
		}
	})
}

// A scheduler that keeps its readiness gate closed after a restart does not serve its
// objects: they become stale after the timeout. An object that is deleted meanwhile is
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

// Requests that arrive twice, in any order, or are unknown, cause one listing each and
// change nothing.
func TestControlPlaneEvents(t *testing.T) {
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

// A stream that the scheduler ends is opened again, and only its kind is listed.
func TestStreamEnds(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.server("mlserver", 1)
		model := h.model("iris")
		h.open()
		h.settle(time.Minute)
		h.scheduler.ResetCounters()
		// The message exceeds the limit of the client: its stream ends, and so do the next
		// ones until the subscription succeeds.
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

// A kind whose stream of events has ended is not in sync until it is open again, which
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

// States reported on this connection expire as well, when the scheduler neither lists
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
		h.settle(3 * h.relay.options.UnreachableTimeout)
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

// Events about a Model are used while the listing of its kind fails.
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
