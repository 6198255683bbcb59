package relay

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// An object is polled with a backoff, and not while events arrive; also while it is
// being unloaded.
func TestPollsBackOff(t *testing.T) {
	for name, reply := range map[string]func(string) ([]*pb.ModelStatusResponse, error){
		"fails":                 func(string) ([]*pb.ModelStatusResponse, error) { return nil, status.Error(codes.Unavailable, "") },
		"cannot be decoded":     func(string) ([]*pb.ModelStatusResponse, error) { return nil, status.Error(codes.Internal, "") },
		"is for another object": newStates(modelStatus("iris", 7, modelAvailable)).reply,
		"has no origin":         newStates(&pb.ModelStatusResponse{ModelName: "iris"}).reply,
		"is that it exists":     newStates(modelStatus("iris", 1, modelTerminating)).reply,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(h *harness) {
				scheduler := h.script(&scripted{status: func(name string) ([]*pb.ModelStatusResponse, error) {
					if name == "" {
						return nil, nil
					}
					return reply(name)
				}})
				h.open()
				model := h.model("iris")
				h.settle(10 * time.Minute)
				if calls := scheduler.called("load") + scheduler.called("poll"); calls < 10 || calls > 60 {
					t.Errorf("%d loads and %d polls in 10 minutes", scheduler.called("load"), scheduler.called("poll"))
				}
				terminating := func(name string) ([]*pb.ModelStatusResponse, error) {
					if name == "" {
						return []*pb.ModelStatusResponse{modelStatus("iris", 1, modelTerminating)}, nil
					}
					return reply(name)
				}
				scheduler.change(func() { scheduler.status = terminating })
				polls, unloads := scheduler.called("poll"), scheduler.called("unload")
				h.delete(Model, model)
				h.settle(10 * time.Minute)
				if n := scheduler.called("poll") - polls; n < 5 || n > 50 {
					t.Errorf("%d polls in 10 minutes of a deletion", n)
				}
				if n := scheduler.called("unload") - unloads; n > 20 {
					t.Errorf("%d unloads in 10 minutes of a deletion", n)
				}
				if seen := h.sync(Model, model); seen.Unloaded {
					t.Errorf("observed %+v", seen)
				}
			})
		})
	}
}

func TestNoPollsWhileEventsArrive(t *testing.T) {
	inBubble(t, func(h *harness) {
		scheduler := h.script(&scripted{status: newStates().reply})
		h.open()
		model := h.model("iris")
		h.settle(10 * time.Millisecond)
		for range 60 {
			scheduler.events <- modelStatus("iris", 1, pb.ModelStatus_ModelProgressing)
			h.settle(time.Second)
		}
		if polls := scheduler.called("poll"); polls > 0 {
			t.Errorf("%d polls while it is being loaded", polls)
		}
		h.delete(Model, model)
		h.settle(10 * time.Millisecond)
		for range 60 {
			scheduler.events <- modelStatus("iris", 1, modelTerminating)
			h.settle(time.Second)
		}
		if polls := scheduler.called("poll"); polls > 0 {
			t.Errorf("%d polls while it is being unloaded", polls)
		}
	})
}

// If a scheduler accepts a load, and reports afterwards that it does not have the object,
// the load is repeated with a backoff, and the failure is reported.
func TestLoadAcceptedAndLost(t *testing.T) {
	inBubble(t, func(h *harness) {
		states := newStates()
		scheduler := h.script(&scripted{status: states.reply})
		h.open()
		model := h.model("iris")
		h.settle(10 * time.Minute)
		if loads := scheduler.called("load"); loads < 5 || loads > 20 {
			t.Errorf("%d loads in 10 minutes", loads)
		}
		if seen := h.sync(Model, model); seen.Failure == nil || seen.Failure.Terminal || seen.Failure.Reason != ReasonCallFailed {
			t.Errorf("observed %+v", seen)
		}
		states.set(modelStatus("iris", 1, modelAvailable))
		h.settle(2 * time.Minute)
		if seen := h.sync(Model, model); !isReady(seen) || seen.Failure != nil {
			t.Errorf("observed %+v once it is there", seen)
		}
	})
}

// If a scheduler terminates the objects that it accepts, loads are repeated with a backoff.
func TestLoadAcceptedAndTerminated(t *testing.T) {
	inBubble(t, func(h *harness) {
		states := newStates(modelStatus("iris", 1, modelTerminated))
		scheduler := h.script(&scripted{status: states.reply})
		scheduler.load = func(string) error {
			scheduler.events <- modelStatus("iris", 1, modelAvailable)
			scheduler.events <- modelStatus("iris", 1, modelTerminated)
			return nil
		}
		h.open()
		h.model("iris")
		h.settle(10 * time.Minute)
		if loads, polls := scheduler.called("load"), scheduler.called("poll"); loads > 25 || polls > 60 {
			t.Errorf("%d loads and %d polls in 10 minutes", loads, polls)
		}
	})
}

// A call that is not permitted or not implemented is not a rejection of the object. It is
// repeated with a backoff, as are loads that the scheduler rejects.
func TestFailedLoadsBackOff(t *testing.T) {
	for code, want := range map[codes.Code]struct {
		terminal bool
		least    int
		most     int
	}{
		codes.PermissionDenied: {false, 10, 20}, codes.Unauthenticated: {false, 10, 20}, codes.NotFound: {false, 10, 20}, codes.Unimplemented: {false, 10, 20},
		codes.FailedPrecondition: {true, 5, 10}, codes.InvalidArgument: {true, 5, 10},
		codes.Unavailable: {false, 40, 140},
	} {
		t.Run(code.String(), func(t *testing.T) {
			inBubble(t, func(h *harness) {
				failure := status.Error(code, "no: "+code.String())
				scheduler := h.script(&scripted{status: newStates().reply, load: func(string) error { return failure }})
				h.open()
				model := h.model("iris")
				h.settle(time.Hour)
				if loads := scheduler.called("load"); loads < want.least || loads > want.most {
					t.Errorf("%d loads in an hour", loads)
				}
				seen := h.sync(Model, model)
				if seen.Failure == nil || seen.Failure.Terminal != want.terminal || seen.Failure.Message != "no: "+code.String() {
					t.Errorf("observed %+v", seen.Failure)
				}
				if want := map[bool]string{true: ReasonRejected, false: ReasonCallFailed}[want.terminal]; seen.Failure.Reason != want {
					t.Errorf("reason %s, want %s", seen.Failure.Reason, want)
				}
				// A change is sent immediately.
				loads := scheduler.called("load")
				h.update(model)
				h.settle(100 * time.Millisecond)
				if n := scheduler.called("load") - loads; n < 1 {
					t.Error("a change waits")
				}
			})
		})
	}
}

// Loads that are rejected at the same time are not repeated at the same time.
func TestRetriesAreSpread(t *testing.T) {
	inBubble(t, func(h *harness) {
		scheduler := h.script(&scripted{status: newStates().reply, load: func(string) error { return status.Error(codes.InvalidArgument, "") }})
		h.open()
		for _, name := range names("model", 1000) {
			h.model(name)
		}
		h.settle(time.Second)
		most, before := 0, scheduler.called("load")
		for range 100 {
			h.settle(time.Second)
			now := scheduler.called("load")
			most, before = max(most, now-before), now
		}
		if most > 100 {
			t.Errorf("%d loads in one second", most)
		}
	})
}
