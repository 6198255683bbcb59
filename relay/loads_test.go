package relay

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// A load that timed out, and that the scheduler carried out, is not sent again: the
// status is polled first.
func TestLoadTimesOut(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.server("mlserver", 1)
		h.open()
		h.scheduler.LoseReplies("LoadModel", 1, codes.DeadlineExceeded)
		model := h.model("iris")
		h.settle(time.Minute)
		if seen := h.sync(Model, model); !isReady(seen) || seen.Failure != nil {
			t.Errorf("observed %+v", seen)
		}
		h.scheduler.LoseReplies("LoadModel", 1, codes.DeadlineExceeded)
		h.update(model)
		h.settle(time.Minute)
		if seen := h.sync(Model, model); !isReady(seen) || seen.Failure != nil {
			t.Errorf("observed %+v after a change", seen)
		}
		if loads := h.scheduler.Calls("LoadModel"); loads != 2 {
			t.Errorf("%d loads", loads)
		}

		h.scheduler.FailCalls("LoadModel", 1, codes.DeadlineExceeded)
		h.update(model)
		h.settle(time.Minute)
		if models := h.scheduler.Models(); models[0].Generation != 3 {
			t.Errorf("one that was not carried out is lost: %+v", models)
		}
		h.scheduler.FailCalls("ModelStatus", -1, codes.DeadlineExceeded)
		h.scheduler.FailCalls("LoadModel", 1, codes.DeadlineExceeded)
		h.update(model)
		h.settle(time.Minute)
		if models := h.scheduler.Models(); models[0].Generation != 4 {
			t.Errorf("one that was not carried out is lost without status calls: %+v", models)
		}
	})
}

// A load that is carried out long after its deadline leaves the scheduler with an older
// generation, or with an unloaded object. Its events are detected, with one poll at most.
func TestLateLoad(t *testing.T) {
	inBubble(t, func(h *harness) {
		states := newStates()
		scheduler := h.script(&scripted{status: states.reply})
		h.open()
		model := h.model("iris")
		states.set(modelStatus("iris", 1, modelAvailable))
		h.settle(time.Minute)
		h.update(model)
		states.set(modelStatus("iris", 2, modelAvailable))
		h.settle(time.Minute)
		loads, polls := scheduler.called("load"), scheduler.called("poll")

		for range 1000 {
			scheduler.events <- modelStatus("iris", 1, modelAvailable)
		}
		h.settle(100 * time.Millisecond)
		if n := scheduler.called("poll") - polls; n != 1 {
			t.Errorf("%d polls for simultaneous events of an older generation", n)
		}
		h.settle(time.Minute)
		if n := scheduler.called("poll") - polls; n > 2 || scheduler.called("load") != loads {
			t.Errorf("%d polls and %d loads for events of an older generation that were late", n, scheduler.called("load")-loads)
		}
		if seen := h.sync(Model, model); seen.State == nil {
			t.Errorf("observed %+v", seen)
		}

		scheduler.change(func() {
			scheduler.load = func(string) error {
				states.set(modelStatus("iris", 2, modelAvailable))
				return nil
			}
		})
		scheduler.events <- states.set(modelStatus("iris", 1, modelAvailable))
		h.settle(time.Second)
		if n := scheduler.called("load") - loads; n != 1 {
			t.Errorf("%d loads after the scheduler has fallen back to an older generation", n)
		}

		h.delete(Model, model)
		scheduler.events <- states.set(modelStatus("iris", 2, modelTerminated))
		h.settle(10 * time.Second)
		h.release(Model, model)
		h.settle(10 * time.Second)
		if h.stateCount() != 0 {
			t.Errorf("%d objects have a state", h.stateCount())
		}
		unloads := scheduler.called("unload")
		scheduler.events <- modelStatus("iris", 2, modelAvailable)
		h.settle(10 * time.Second)
		if n := scheduler.called("unload") - unloads; n != 1 || h.stateCount() != 0 {
			t.Errorf("an object that was loaded after its deletion is unloaded %d times, %d objects have a state", n, h.stateCount())
		}
	})
}

// A reply or listing that was requested before an event arrived is outdated.
func TestReplyOlderThanEvent(t *testing.T) {
	for _, listed := range []bool{false, true} {
		inBubble(t, func(h *harness) {
			var deleted, terminated atomic.Bool
			scheduler := h.script(&scripted{})
			scheduler.status = func(name string) ([]*pb.ModelStatusResponse, error) {
				switch state := modelStatus("iris", 1, modelAvailable); {
				case terminated.Load():
					return []*pb.ModelStatusResponse{modelStatus("iris", 1, modelTerminated)}, nil
				case deleted.Load() && (name == "") == listed:
					time.Sleep(time.Second)
					terminated.Store(true)
					scheduler.events <- modelStatus("iris", 2, modelTerminated)
					time.Sleep(time.Second)
					return []*pb.ModelStatusResponse{state}, nil
				case deleted.Load():
					return []*pb.ModelStatusResponse{modelStatus("iris", 1, modelTerminating)}, nil
				default:
					return []*pb.ModelStatusResponse{state}, nil
				}
			}
			model := h.model("iris")
			h.open()
			h.sync(Model, model)
			h.settle(time.Minute)
			deleted.Store(true)
			h.delete(Model, model)
			h.settle(2 * time.Hour)
			if seen := h.sync(Model, model); !seen.Unloaded || scheduler.called("unload") != 1 {
				t.Errorf("listed %t: observed %+v after %d unloads", listed, seen, scheduler.called("unload"))
			}
		})
	}
}

// A change during the load of the previous generation is not delayed by the rejection of
// that load.
func TestChangeDuringLoad(t *testing.T) {
	inBubble(t, func(h *harness) {
		scheduler := h.script(&scripted{status: newStates().reply, load: func(string) error {
			time.Sleep(2 * time.Second)
			return status.Error(codes.InvalidArgument, "no")
		}})
		h.open()
		model := h.model("iris")
		h.settle(time.Second)
		h.update(model)
		scheduler.change(func() { scheduler.load = nil })
		h.settle(2 * time.Second)
		if loads := scheduler.called("load"); loads < 2 {
			t.Errorf("%d loads of two generations", loads)
		}
	})
}

// An object that is changed after a rejection is progressing since the change, not since
// it was first sent.
func TestProgressingAfterRejection(t *testing.T) {
	inBubble(t, func(h *harness) {
		scheduler := h.script(&scripted{status: newStates().reply, load: func(string) error { return status.Error(codes.InvalidArgument, "no") }})
		h.open()
		model := h.model("iris")
		h.settle(10 * time.Second)
		if seen := h.sync(Model, model); !seen.ProgressingSince.IsZero() {
			t.Errorf("progressing for %s after a rejection", time.Since(seen.ProgressingSince))
		}
		scheduler.change(func() { scheduler.load = nil })
		h.update(model)
		h.settle(100 * time.Millisecond)
		if seen := h.sync(Model, model); seen.ProgressingSince.IsZero() || time.Since(seen.ProgressingSince) > time.Second {
			t.Errorf("progressing since %s", seen.ProgressingSince)
		}
	})
}

// All objects are sent to a scheduler that cannot list, and a failed listing does not
// confirm an unload.
func TestSchedulerThatCannotList(t *testing.T) {
	inBubble(t, func(h *harness) {
		scheduler := h.script(&scripted{status: func(name string) ([]*pb.ModelStatusResponse, error) {
			if name == "" {
				return nil, status.Error(codes.Unimplemented, "")
			}
			return nil, errUnknownModel
		}})
		h.open()
		h.model("kept")
		deleted := h.model("deleted")
		scheduler.events <- modelStatus("kept", 1, modelAvailable)
		h.settle(time.Second)
		h.delete(Model, deleted)
		h.settle(10 * time.Minute)
		if seen := h.sync(Model, deleted); seen.Unloaded {
			t.Errorf("observed %+v", seen)
		}
		if scheduler.called("load kept") == 0 || scheduler.called("unload deleted") == 0 {
			t.Error("not all objects are sent")
		}
		if lists := scheduler.called("list"); lists > 30 {
			t.Errorf("%d listings in 10 minutes", lists)
		}
		scheduler.events <- modelStatus("deleted", 2, modelTerminated)
		h.settle(time.Second)
		if seen := h.sync(Model, deleted); !seen.Unloaded {
			t.Errorf("observed %+v after the event", seen)
		}
	})
}

// A listing without differences reconciles no object.
func TestListingReconcilesOnlyDifferences(t *testing.T) {
	inBubble(t, func(h *harness) {
		states := newStates()
		scheduler := h.script(&scripted{status: states.reply})
		var reads atomic.Int64
		h.relay.options.Reader = interceptor.NewClient(h.cluster.(client.WithWatch), interceptor.Funcs{
			Get: func(ctx context.Context, from client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
				reads.Add(1)
				return from.Get(ctx, key, object, options...)
			},
		})
		h.open()
		for _, name := range names("model", 100) {
			h.model(name)
			scheduler.events <- states.set(modelStatus(name, 1, modelAvailable))
		}
		h.settle(time.Minute)
		states.remove("model-7")
		scheduler.change(func() {
			scheduler.load = func(name string) error {
				scheduler.events <- states.set(modelStatus(name, 1, modelAvailable))
				return nil
			}
		})
		before, lists, loads := reads.Load(), scheduler.called("list"), scheduler.called("load")
		h.settle(2 * time.Hour)
		if n := scheduler.called("list") - lists; n == 0 {
			t.Fatal("nothing is listed")
		}
		if n := scheduler.called("load") - loads; n != 1 || scheduler.called("load model-7") != 2 {
			t.Errorf("%d loads", n)
		}
		if n := reads.Load() - before; n > 10 {
			t.Errorf("%d objects are read", n)
		}
	})
}

// If a scheduler ignores the name in a status call, only what it reports about that name
// is used.
func TestNameFilterIgnored(t *testing.T) {
	inBubble(t, func(h *harness) {
		states := newStates(modelStatus("iris", 1, modelTerminating))
		for _, name := range names("terminated", 20) {
			states.set(modelStatus(name, 1, modelTerminated))
		}
		all := states.reply
		h.script(&scripted{status: func(string) ([]*pb.ModelStatusResponse, error) { return all("") }})
		h.open()
		model := h.model("iris")
		h.settle(time.Second)
		h.delete(Model, model)
		h.settle(10 * time.Minute)
		if seen := h.sync(Model, model); seen.Unloaded {
			t.Errorf("observed %+v", seen)
		}
		states.set(modelStatus("iris", 1, modelTerminated))
		h.settle(2 * time.Minute)
		if seen := h.sync(Model, model); !seen.Unloaded {
			t.Errorf("observed %+v after it was terminated", seen)
		}
	})
}

// A status that is too large is an error with a backoff, and does not prevent the load.
func TestOversizedStatus(t *testing.T) {
	inBubble(t, func(h *harness) {
		large := modelStatus("iris", 1, modelAvailable)
		large.Versions[0].State.Reason = string(make([]byte, 20<<20))
		scheduler := h.script(&scripted{status: func(name string) ([]*pb.ModelStatusResponse, error) {
			if name == "" {
				return nil, nil
			}
			return []*pb.ModelStatusResponse{large}, nil
		}})
		h.open()
		h.model("iris")
		h.settle(2 * time.Minute)
		if loads, polls := scheduler.called("load"), scheduler.called("poll"); loads != 1 || polls < 3 || polls > 8 {
			t.Errorf("%d loads and %d polls in 2 minutes", loads, polls)
		}
	})
}
