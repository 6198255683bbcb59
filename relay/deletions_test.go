package relay

import (
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
)

// An inactive Experiment whose stop was interrupted by the end of the scheduler is stopped
// on the next connection before it counts as unloaded.
func TestInterruptedStop(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.open()
		experiment := h.experiment("split", "missing")
		h.settle(time.Second)
		release := h.scheduler.HangCalls("StopExperiment")
		h.delete(Experiment, experiment)
		h.settle(time.Second)
		h.scheduler.Kill()
		release()
		release = h.scheduler.HangCalls("StopExperiment")
		if err := h.scheduler.Restart(fakescheduler.RestartOptions{}); err != nil {
			t.Fatal(err)
		}
		h.relay.ReconnectNow(testNamespace)
		h.settle(5 * time.Second)
		if seen := h.sync(Experiment, experiment); seen.Unloaded || h.scheduler.Experiments()[0].Deleted {
			t.Errorf("observed %+v before it was stopped", seen)
		}
		release()
		h.settle(time.Second)
		if seen := h.sync(Experiment, experiment); !seen.Unloaded || !h.scheduler.Experiments()[0].Deleted {
			t.Errorf("observed %+v after it was stopped", seen)
		}
	})
}

// A deletion without a response before the end of the connection is sent immediately on the
// next one, although the scheduler has not requested the kind.
func TestDeletionAfterReconnect(t *testing.T) {
	inBubble(t, func(h *harness) {
		scheduler := h.script(&scripted{
			status: newStates(modelStatus("iris", 1, modelAvailable)).reply,
			unload: func(string) error { return status.Error(codes.Unavailable, "") },
		})
		h.open()
		model := h.model("iris")
		h.settle(time.Second)
		h.delete(Model, model)
		h.settle(time.Second)
		if scheduler.called("unload") == 0 {
			t.Fatal("it is not unloaded")
		}
		next := h.script(&scripted{closed: true, status: scheduler.status})
		h.network.set(func(n *memoryNetwork) { n.fails = errors.New("down") })
		h.relay.session(testNamespace).cancelAttempt(errReconnectNow)
		h.settle(time.Second)
		h.network.set(func(n *memoryNetwork) { n.fails = nil })
		h.relay.ReconnectNow(testNamespace)
		h.settle(time.Second)
		if n := next.called("unload"); n != 1 {
			t.Errorf("%d unloads on the next connection", n)
		}
	})
}

// An unload that the scheduler rejects because the object was terminated is confirmed by
// the state that it then reports, and not by a poll seconds later.
func TestUnloadOfTerminatedObject(t *testing.T) {
	inBubble(t, func(h *harness) {
		states := newStates()
		scheduler := h.script(&scripted{unload: func(string) error { return errUnknownModel }, status: func(name string) ([]*pb.ModelStatusResponse, error) {
			time.Sleep(time.Millisecond)
			return states.reply(name)
		}})
		h.open()
		model := h.model("iris")
		h.settle(time.Second)
		states.set(modelStatus("iris", 1, pb.ModelStatus_ModelTerminated))
		h.delete(Model, model)
		h.settle(100 * time.Millisecond)
		if seen := h.sync(Model, model); !seen.Unloaded || scheduler.called("unload") != 1 {
			t.Errorf("observed %+v", seen)
		}
	})
}

// The error of a status call does not prove that the scheduler does not have an object,
// a listing does. One listing is enough for many objects.
func TestOnlyListingsProveAbsence(t *testing.T) {
	for _, code := range []codes.Code{codes.OK, codes.FailedPrecondition, codes.NotFound, codes.InvalidArgument, codes.PermissionDenied, codes.Unimplemented} {
		t.Run(code.String(), func(t *testing.T) {
			inBubble(t, func(h *harness) {
				states := newStates()
				all := states.reply
				scheduler := h.script(&scripted{status: func(name string) ([]*pb.ModelStatusResponse, error) {
					if name == "" {
						return all("")
					}
					return nil, status.Error(code, "something else")
				}})
				h.open()
				models := map[string]*v1alpha1.Model{}
				for _, name := range names("model", 30) {
					models[name] = h.model(name)
					scheduler.events <- states.set(modelStatus(name, 1, modelAvailable))
				}
				h.settle(time.Minute)
				for name, model := range models {
					states.set(modelStatus(name, 2, modelTerminating))
					h.delete(Model, model)
				}
				h.settle(20 * time.Second)
				for _, model := range models {
					if seen := h.sync(Model, model); seen.Unloaded {
						t.Fatalf("observed %+v while the scheduler lists it", seen)
					}
				}
				states.remove(names("model", 30)...)
				lists := scheduler.called("list")
				h.settle(2 * time.Minute)
				for _, model := range models {
					if seen := h.sync(Model, model); !seen.Unloaded {
						t.Fatalf("observed %+v after it was not listed", seen)
					}
				}
				if n := scheduler.called("list") - lists; n > 12 {
					t.Errorf("%d listings", n)
				}
			})
		})
	}
}

// Objects that the scheduler does not have are unloaded with few listings, also before it
// has requested their kind.
func TestUnknownObjectsAreUnloaded(t *testing.T) {
	count := 1000
	if testing.Short() {
		count = 150 // far more than the listings that are allowed
	}
	for _, closed := range []bool{false, true} {
		inBubble(t, func(h *harness) {
			scheduler := h.script(&scripted{closed: closed, status: newStates().reply, unload: func(string) error { return errUnknownModel }})
			h.open()
			kept := h.model("kept")
			models := map[string]*v1alpha1.Model{}
			for _, name := range names("model", count) {
				models[name] = h.model(name)
			}
			for _, model := range models {
				h.delete(Model, model)
			}
			h.settle(30 * time.Second)
			for _, model := range models {
				if seen := h.sync(Model, model); !seen.Unloaded {
					t.Fatalf("closed %t: observed %+v", closed, seen)
				}
			}
			if lists := scheduler.called("list"); lists > 5 {
				t.Errorf("closed %t: %d listings", closed, lists)
			}
			if h.sync(Model, kept); closed && scheduler.called("load") > 0 {
				t.Error("it is sent before the scheduler requests the kind")
			}
			for _, model := range models {
				h.release(Model, model)
			}
			h.settle(time.Second)
			if n := h.stateCount(); n != 1 {
				t.Errorf("closed %t: %d objects have a state", closed, n)
			}
		})
	}
}
