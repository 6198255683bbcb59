package scheduler

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
)

// pipeline creates a Pipeline of one step and syncs it.
func (h *harness) pipeline(name string) *v1alpha1.Pipeline {
	h.Helper()
	pipeline := &v1alpha1.Pipeline{ObjectMeta: metav1.ObjectMeta{Name: name, Finalizers: []string{v1alpha1.PipelineFinalizer}}}
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
					pipeline := h.pipeline("chain")
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
					if got := h.scheduler.Calls(method) - calls; got > 100 {
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
			case "ModelStatus", "PipelineStatus", "ExperimentStatus":
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
// timeout. Each is enqueued once for that, with low priority, and once when the
// scheduler is well again.
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
				h.requests.take(Model)
				for range 100 {
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
				stale := map[string]int{}
				for _, each := range h.requests.take(Model) {
					if each.priority < 0 {
						stale[each.name]++
					}
				}
				for _, name := range models {
					if seen := h.sync(Model, &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: name}}); !seen.Stale || seen.State != nil {
						t.Errorf("observed %+v of %s", seen, name)
					}
				}
				if err := h.scheduler.Restart(fakescheduler.RestartOptions{}); err != nil {
					t.Fatal(err)
				}
				h.settle(3 * time.Minute)
				recovered := map[string]int{}
				for _, each := range h.requests.take(Model) {
					recovered[each.name]++
					if each.priority >= 0 {
						t.Errorf("%s recovers with priority %d", each.name, each.priority)
					}
				}
				t.Log(stale, recovered)
				for _, name := range models {
					if seen := h.sync(Model, &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: name}}); !isReady(seen) || seen.Stale {
						t.Errorf("observed %+v of %s", seen, name)
					}
				}
			})
		})
	}
}
