package relay

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
)

const (
	modelAvailable   = pb.ModelStatus_ModelAvailable
	modelTerminating = pb.ModelStatus_ModelTerminating
	modelTerminated  = pb.ModelStatus_ModelTerminated
)

// update increments a Model's generation, as a change of its spec does, and syncs it.
func (h *harness) update(model *v1alpha1.Model) {
	h.Helper()
	model.Generation++
	if err := h.cluster.Update(h.Context(), model); err != nil {
		h.Fatal(err)
	}
	h.sync(Model, model)
}

// remembered is the number of objects that the session has a state of.
func (h *harness) remembered() int {
	s := h.relay.session(testNamespace)
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.items)
}

// An Experiment that is inactive, and whose stop was interrupted by the end of the
// scheduler, is stopped on the next connection before it counts as unloaded.
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

// An Experiment that was stopped is not stopped again on each connection, which would
// prolong how long the scheduler remembers it. One that nothing asks for and that becomes
// active is stopped.
func TestStoppedExperimentIsStoppedOnce(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.server("mlserver", 1)
		h.open()
		h.model("iris")
		experiment := h.experiment("split", "iris")
		h.settle(time.Second)
		h.delete(Experiment, experiment)
		h.settle(10 * time.Second)
		if seen := h.sync(Experiment, experiment); !seen.Unloaded {
			t.Fatalf("observed %+v", seen)
		}
		h.release(Experiment, experiment)
		for range 3 {
			if err := h.scheduler.Restart(fakescheduler.RestartOptions{}); err != nil {
				t.Fatal(err)
			}
			h.relay.ReconnectNow(testNamespace)
			h.settle(time.Minute)
		}
		if experiments := h.scheduler.Experiments(); len(experiments) != 1 || !experiments[0].Deleted {
			t.Fatalf("the scheduler has %+v", experiments)
		}
		if calls := h.scheduler.Calls("StopExperiment"); calls != 1 {
			t.Errorf("it was stopped %d times", calls)
		}
		if err := h.scheduler.InjectExperimentStatus(&pb.ExperimentStatusResponse{
			ExperimentName: "split", Active: true, KubernetesMeta: &pb.KubernetesMeta{Namespace: testNamespace, Generation: 1},
		}); err != nil {
			t.Fatal(err)
		}
		h.settle(10 * time.Second)
		if calls := h.scheduler.Calls("StopExperiment"); calls != 2 {
			t.Errorf("after it became active, it was stopped %d times in all", calls)
		}
	})
}

// An Experiment that is released while it cannot be stopped is stopped later, although
// it is listed as inactive: before its kind is compared, and after that.
func TestReleasedWhileStopFails(t *testing.T) {
	for _, closed := range []bool{false, true} {
		inBubble(t, func(h *harness) {
			h.open()
			experiment := h.experiment("split", "missing")
			h.settle(time.Second)
			h.scheduler.FailCalls("StopExperiment", -1, codes.Unavailable)
			if closed {
				h.server("mlserver", 1)
				h.scheduler.HoldGate()
			}
			h.delete(Experiment, experiment)
			if err := h.scheduler.Restart(fakescheduler.RestartOptions{}); err != nil {
				t.Fatal(err)
			}
			h.relay.ReconnectNow(testNamespace)
			h.settle(time.Minute)
			h.release(Experiment, experiment)
			h.settle(time.Minute)
			h.scheduler.FailCalls("StopExperiment", 0, codes.Unavailable)
			if closed {
				h.scheduler.ReleaseGate()
				if err := h.scheduler.OpenGate(); err != nil {
					t.Fatal(err)
				}
			}
			h.settle(time.Minute)
			if experiments := h.scheduler.Experiments(); !experiments[0].Deleted || h.remembered() != 0 {
				t.Errorf("closed %t: the scheduler has %+v, %d objects are remembered", closed, experiments, h.remembered())
			}
		})
	}
}

// A load that timed out, and that the scheduler carried out, is not sent again: the
// status is polled first.
func TestLoadThatTimesOut(t *testing.T) {
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

// A scheduler that carries out a load long after its deadline has an older generation,
// or an object that was unloaded. Its events tell; they cost one poll each at most.
func TestLateLoad(t *testing.T) {
	inBubble(t, func(h *harness) {
		states := newStates()
		scheduler := h.script(&scripted{status: states.answer})
		h.open()
		model := h.model("iris")
		states.put(modelStatus("iris", 1, modelAvailable))
		h.settle(time.Minute)
		h.update(model)
		states.put(modelStatus("iris", 2, modelAvailable))
		h.settle(time.Minute)
		loads, polls := scheduler.called("load"), scheduler.called("poll")

		for range 1000 {
			scheduler.events <- modelStatus("iris", 1, modelAvailable)
		}
		h.settle(100 * time.Millisecond)
		if n := scheduler.called("poll") - polls; n != 1 {
			t.Errorf("%d polls for events of an older generation that came at once", n)
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
				states.put(modelStatus("iris", 2, modelAvailable))
				return nil
			}
		})
		scheduler.events <- states.put(modelStatus("iris", 1, modelAvailable))
		h.settle(time.Second)
		if n := scheduler.called("load") - loads; n != 1 {
			t.Errorf("%d loads after the scheduler has fallen back to an older generation", n)
		}

		h.delete(Model, model)
		scheduler.events <- states.put(modelStatus("iris", 2, modelTerminated))
		h.settle(10 * time.Second)
		h.release(Model, model)
		h.settle(10 * time.Second)
		if h.remembered() != 0 {
			t.Errorf("%d objects are remembered", h.remembered())
		}
		unloads := scheduler.called("unload")
		scheduler.events <- modelStatus("iris", 2, modelAvailable)
		h.settle(10 * time.Second)
		if n := scheduler.called("unload") - unloads; n != 1 || h.remembered() != 0 {
			t.Errorf("an object that was loaded after its deletion is unloaded %d times, %d objects are remembered", n, h.remembered())
		}
	})
}

// An object that the cache does not have yet, and the API server has, is not unloaded.
func TestLateCache(t *testing.T) {
	inBubble(t, func(h *harness) {
		scheduler := h.script(&scripted{status: newStates().answer})
		h.relay.Reader = interceptor.NewClient(h.cluster.(client.WithWatch), interceptor.Funcs{
			Get: func(_ context.Context, _ client.WithWatch, key client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
				return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
			},
		})
		h.open()
		model := &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Name: "iris"}}
		h.create(model)
		scheduler.events <- modelStatus("iris", 1, modelAvailable)
		h.settle(time.Minute)
		if n := scheduler.called("unload"); n != 0 {
			t.Errorf("%d unloads of an object that exists", n)
		}
		if err := h.cluster.Delete(h.Context(), model); err != nil {
			t.Fatal(err)
		}
		scheduler.events <- modelStatus("iris", 1, modelAvailable)
		h.settle(time.Minute)
		if n := scheduler.called("unload"); n != 1 {
			t.Errorf("%d unloads of an object that does not exist", n)
		}
	})
}

// A reply or a listing that was asked for before an event came is older than that.
func TestReplyOlderThanEvent(t *testing.T) {
	for _, listed := range []bool{false, true} {
		inBubble(t, func(h *harness) {
			var deleted, ended atomic.Bool
			scheduler := h.script(&scripted{})
			scheduler.status = func(name string) ([]*pb.ModelStatusResponse, error) {
				switch state := modelStatus("iris", 1, modelAvailable); {
				case ended.Load():
					return []*pb.ModelStatusResponse{modelStatus("iris", 1, modelTerminated)}, nil
				case deleted.Load() && (name == "") == listed:
					time.Sleep(time.Second)
					ended.Store(true)
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

// An object that is created again, and synced, between a read of the cache and what the
// session does with it is not lost.
func TestRecreatedSinceRead(t *testing.T) {
	for _, listed := range []bool{false, true} {
		inBubble(t, func(h *harness) {
			scheduler := h.script(&scripted{closed: !listed, status: newStates().answer})
			model := &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Name: "iris", Finalizers: []string{v1alpha1.ModelFinalizer}}}
			recreate := sync.OnceFunc(func() {
				model.SetResourceVersion("")
				h.delete(Model, model)
				h.release(Model, model)
				h.model("iris")
			})
			read := func(is bool) {
				if is && h.relay.session(testNamespace) != nil && h.remembered() > 0 {
					recreate()
				}
			}
			h.relay.Reader = interceptor.NewClient(h.cluster.(client.WithWatch), interceptor.Funcs{
				Get: func(ctx context.Context, from client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
					defer read(!listed)
					return from.Get(ctx, key, object, options...)
				},
				List: func(ctx context.Context, from client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
					if _, is := list.(*v1alpha1.ModelList); is {
						defer read(listed)
					}
					return from.List(ctx, list, options...)
				},
			})
			h.create(model)
			h.relay.Open(testNamespace)
			h.sync(Model, model)
			h.settle(2 * time.Second)
			if !listed {
				scheduler = h.script(&scripted{status: newStates().answer})
				h.relay.session(testNamespace).abandon(errReconnectNow)
			}
			h.settle(2 * time.Hour)
			if scheduler.called("load") == 0 {
				t.Errorf("listed %t: it is not loaded", listed)
			}
		})
	}
}

// A scheduler that cannot list gets all objects, and confirms no unload by that.
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
			t.Error("it does not get all objects")
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

// A listing that shows nothing new has no object reconciled.
func TestListingReconcilesWhatDiffers(t *testing.T) {
	inBubble(t, func(h *harness) {
		states := newStates()
		scheduler := h.script(&scripted{status: states.answer})
		var reads atomic.Int64
		h.relay.Reader = interceptor.NewClient(h.cluster.(client.WithWatch), interceptor.Funcs{
			Get: func(ctx context.Context, from client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
				reads.Add(1)
				return from.Get(ctx, key, object, options...)
			},
		})
		h.open()
		for _, name := range names("model", 100) {
			h.model(name)
			scheduler.events <- states.put(modelStatus(name, 1, modelAvailable))
		}
		h.settle(time.Minute)
		states.remove("model-7")
		scheduler.change(func() {
			scheduler.load = func(name string) error {
				scheduler.events <- states.put(modelStatus(name, 1, modelAvailable))
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

// An object about which no event comes is polled less and less often, and not at all
// while events come; so is one that is being unloaded.
func TestPollsBackOff(t *testing.T) {
	for name, answer := range map[string]func(string) ([]*pb.ModelStatusResponse, error){
		"fails":               func(string) ([]*pb.ModelStatusResponse, error) { return nil, status.Error(codes.Unavailable, "") },
		"cannot be decoded":   func(string) ([]*pb.ModelStatusResponse, error) { return nil, status.Error(codes.Internal, "") },
		"is another's":        newStates(modelStatus("iris", 7, modelAvailable)).answer,
		"has no origin":       newStates(&pb.ModelStatusResponse{ModelName: "iris"}).answer,
		"is that it is there": newStates(modelStatus("iris", 1, modelTerminating)).answer,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(h *harness) {
				scheduler := h.script(&scripted{status: func(name string) ([]*pb.ModelStatusResponse, error) {
					if name == "" {
						return nil, nil
					}
					return answer(name)
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
					return answer(name)
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

func TestNoPollsWhileEventsCome(t *testing.T) {
	inBubble(t, func(h *harness) {
		scheduler := h.script(&scripted{status: newStates().answer})
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

// A scheduler that accepts a load and reports afterwards that it does not have the object
// gets it again with a backoff, and the failure is reported.
func TestAcceptedAndUnknown(t *testing.T) {
	inBubble(t, func(h *harness) {
		states := newStates()
		scheduler := h.script(&scripted{status: states.answer})
		h.open()
		model := h.model("iris")
		h.settle(10 * time.Minute)
		if loads := scheduler.called("load"); loads < 5 || loads > 20 {
			t.Errorf("%d loads in 10 minutes", loads)
		}
		if seen := h.sync(Model, model); seen.Failure == nil || seen.Failure.Terminal || seen.Failure.Reason != ReasonCallFailed {
			t.Errorf("observed %+v", seen)
		}
		states.put(modelStatus("iris", 1, modelAvailable))
		h.settle(2 * time.Minute)
		if seen := h.sync(Model, model); !isReady(seen) || seen.Failure != nil {
			t.Errorf("observed %+v once it is there", seen)
		}
	})
}

// A scheduler that ends what it accepts, and reports so, gets it again with a backoff.
func TestAcceptedAndEnded(t *testing.T) {
	inBubble(t, func(h *harness) {
		states := newStates(modelStatus("iris", 1, modelTerminated))
		scheduler := h.script(&scripted{status: states.answer})
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

// Of a scheduler that ignores the name in a status call, only what it reports about that
// name counts.
func TestNameFilterIgnored(t *testing.T) {
	inBubble(t, func(h *harness) {
		states := newStates(modelStatus("iris", 1, modelTerminating))
		for _, name := range names("ended", 20) {
			states.put(modelStatus(name, 1, modelTerminated))
		}
		all := states.answer
		h.script(&scripted{status: func(string) ([]*pb.ModelStatusResponse, error) { return all("") }})
		h.open()
		model := h.model("iris")
		h.settle(time.Second)
		h.delete(Model, model)
		h.settle(10 * time.Minute)
		if seen := h.sync(Model, model); seen.Unloaded {
			t.Errorf("observed %+v", seen)
		}
		states.put(modelStatus("iris", 1, modelTerminated))
		h.settle(2 * time.Minute)
		if seen := h.sync(Model, model); !seen.Unloaded {
			t.Errorf("observed %+v after it was terminated", seen)
		}
	})
}

// The error of a status call does not prove that the scheduler does not have an object;
// a listing does. One listing is enough for many objects.
func TestOnlyListingsProveAbsence(t *testing.T) {
	for _, code := range []codes.Code{codes.OK, codes.FailedPrecondition, codes.NotFound, codes.InvalidArgument, codes.PermissionDenied, codes.Unimplemented} {
		t.Run(code.String(), func(t *testing.T) {
			inBubble(t, func(h *harness) {
				states := newStates()
				all := states.answer
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
					scheduler.events <- states.put(modelStatus(name, 1, modelAvailable))
				}
				h.settle(time.Minute)
				for name, model := range models {
					states.put(modelStatus(name, 2, modelTerminating))
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

// Objects that the scheduler does not know are unloaded with few listings, while it does
// not ask for their kind as well.
func TestUnknownObjectsAreUnloaded(t *testing.T) {
	for _, closed := range []bool{false, true} {
		inBubble(t, func(h *harness) {
			scheduler := h.script(&scripted{closed: closed, status: newStates().answer, unload: func(string) error { return errUnknownModel }})
			h.open()
			kept := h.model("kept")
			models := map[string]*v1alpha1.Model{}
			for _, name := range names("model", 1000) {
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
				t.Error("it is sent before the scheduler asks for it")
			}
			for _, model := range models {
				h.release(Model, model)
			}
			h.settle(time.Second)
			if n := h.remembered(); n != 1 {
				t.Errorf("closed %t: %d objects are remembered", closed, n)
			}
		})
	}
}

// Nothing is remembered of objects that do not exist: not of those that were deleted on
// the way, or while there was no connection, nor of those that only the scheduler had.
func TestNothingIsRemembered(t *testing.T) {
	inBubble(t, func(h *harness) {
		states := newStates()
		for _, name := range names("orphan", 50) {
			states.put(modelStatus(name, 1, modelAvailable))
		}
		scheduler := h.script(&scripted{closed: true, status: states.answer})
		h.open()
		for _, orphan := range states.byName {
			scheduler.events <- orphan
		}
		for _, name := range names("model", 50) {
			model := h.model(name)
			if name[len(name)-1]%2 == 0 {
				h.settle(100 * time.Millisecond)
			}
			h.delete(Model, model)
			h.release(Model, model)
		}
		h.settle(time.Minute)
		if n := h.remembered(); n > 50 {
			t.Errorf("%d objects are remembered before the kind is compared", n)
		}
		if scheduler.called("unload orphan-0") != 0 {
			t.Error("an orphan is unloaded before the kind is compared")
		}

		open := h.script(&scripted{status: states.answer})
		h.relay.Close(testNamespace)
		h.open()
		h.settle(time.Minute)
		for name := range states.byName {
			if n := open.called("unload " + name); n != 1 {
				t.Errorf("%s is unloaded %d times", name, n)
			}
		}
		if n := h.remembered(); n != 0 {
			t.Errorf("%d objects are remembered", n)
		}
	})
}

// A call that is not permitted, or that the scheduler does not have, is no rejection of
// the object. It is tried again less and less often; so is what the scheduler rejects.
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
				scheduler := h.script(&scripted{status: newStates().answer, load: func(string) error { return failure }})
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
				// A change is sent at once.
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

// Loads that are rejected at the same time are not sent again at the same time.
func TestRetriesAreSpread(t *testing.T) {
	inBubble(t, func(h *harness) {
		scheduler := h.script(&scripted{status: newStates().answer, load: func(string) error { return status.Error(codes.InvalidArgument, "") }})
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

// A status that is too large is an error with a backoff, and the load goes ahead.
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
		if loads, polls := scheduler.called("load"), scheduler.called("poll"); loads != 1 || polls < 3 || polls > 15 {
			t.Errorf("%d loads and %d polls in 2 minutes", loads, polls)
		}
	})
}

// A deletion that is not answered before the end of the connection is sent at once on
// the next one, although the scheduler has not asked for the kind.
func TestDeletionAfterReconnect(t *testing.T) {
	inBubble(t, func(h *harness) {
		scheduler := h.script(&scripted{
			status: newStates(modelStatus("iris", 1, modelAvailable)).answer,
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
		h.relay.session(testNamespace).abandon(errReconnectNow)
		h.settle(time.Second)
		h.network.set(func(n *memoryNetwork) { n.fails = nil })
		h.relay.ReconnectNow(testNamespace)
		h.settle(time.Second)
		if n := next.called("unload"); n != 1 {
			t.Errorf("%d unloads on the next connection", n)
		}
	})
}

// An object that is created again while the session works on the one before is not lost.
func TestRecreatedObjectIsNotLost(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.server("mlserver", 1)
		h.open()
		for i := range 20 {
			model := h.model("iris")
			h.settle(time.Duration(i*50) * time.Millisecond)
			h.delete(Model, model)
			h.settle(time.Duration(i*10) * time.Millisecond)
			h.release(Model, model)
			again := h.model("iris")
			h.settle(time.Minute)
			if seen := h.sync(Model, again); !isReady(seen) {
				t.Fatalf("round %d: observed %+v", i, seen)
			}
			h.delete(Model, again)
			h.settle(10 * time.Second)
			h.release(Model, again)
			h.settle(time.Second)
		}
	})
}

// A change that is made while the load of the generation before it is in flight does
// not wait because that is rejected.
func TestChangeDuringLoad(t *testing.T) {
	inBubble(t, func(h *harness) {
		scheduler := h.script(&scripted{status: newStates().answer, load: func(string) error {
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

// An unload that the scheduler rejects, since the object has ended, is confirmed by the
// state that it then reports, and not by a poll seconds later.
func TestUnloadOfWhatHasEnded(t *testing.T) {
	inBubble(t, func(h *harness) {
		states := newStates()
		scheduler := h.script(&scripted{unload: func(string) error { return errUnknownModel }, status: func(name string) ([]*pb.ModelStatusResponse, error) {
			time.Sleep(time.Millisecond)
			return states.answer(name)
		}})
		h.open()
		model := h.model("iris")
		h.settle(time.Second)
		states.put(modelStatus("iris", 1, pb.ModelStatus_ModelTerminated))
		h.delete(Model, model)
		h.settle(100 * time.Millisecond)
		if seen := h.sync(Model, model); !seen.Unloaded || scheduler.called("unload") != 1 {
			t.Errorf("observed %+v", seen)
		}
	})
}

// A Pipeline that is recreated while the load of the earlier one is in flight replaces
// it, which the scheduler has at the same generation.
func TestRecreatedDuringLoad(t *testing.T) {
	for _, code := range []codes.Code{codes.OK, codes.DeadlineExceeded} {
		t.Run(code.String(), func(t *testing.T) {
			inBubble(t, func(h *harness) {
				h.server("mlserver", 1)
				h.open()
				release := h.scheduler.HangCalls("LoadPipeline")
				if code != codes.OK {
					h.scheduler.LoseReplies("LoadPipeline", 1, code)
				}
				pipeline := h.pipeline()
				h.settle(time.Second)
				h.delete(Pipeline, pipeline)
				h.release(Pipeline, pipeline)
				recreated := &v1alpha1.Pipeline{ObjectMeta: metav1.ObjectMeta{Name: "chain", Finalizers: []string{v1alpha1.PipelineFinalizer}}}
				recreated.Spec.Steps = []v1alpha1.PipelineStep{{Name: "other"}}
				h.create(recreated)
				h.sync(Pipeline, recreated)
				release()
				h.settle(time.Minute)
				all := h.scheduler.Pipelines()
				if len(all) != 1 || all[0].Definition.GetSteps()[0].GetName() != "other" {
					t.Errorf("the scheduler has %v", all)
				}
			})
		})
	}
}

// An object that is changed after a rejection is busy since the change, and not since
// it was first sent.
func TestBusyAfterRejection(t *testing.T) {
	inBubble(t, func(h *harness) {
		scheduler := h.script(&scripted{status: newStates().answer, load: func(string) error { return status.Error(codes.InvalidArgument, "no") }})
		h.open()
		model := h.model("iris")
		h.settle(10 * time.Second)
		if seen := h.sync(Model, model); !seen.ProgressingSince.IsZero() {
			t.Errorf("busy for %s after a rejection", time.Since(seen.ProgressingSince))
		}
		scheduler.change(func() { scheduler.load = nil })
		h.update(model)
		h.settle(100 * time.Millisecond)
		if seen := h.sync(Model, model); seen.ProgressingSince.IsZero() || time.Since(seen.ProgressingSince) > time.Second {
			t.Errorf("busy since %s", seen.ProgressingSince)
		}
	})
}
