package relay

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
)

// A stopped Experiment is not stopped again on each connection, which would prolong the
// time for which the scheduler keeps it. An orphan that becomes active is stopped.
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

// An Experiment that is released while its stop fails is stopped later, although it is
// listed as inactive: both before and after the resync of its kind.
func TestReleaseWhileStopFails(t *testing.T) {
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
			if experiments := h.scheduler.Experiments(); !experiments[0].Deleted || h.stateCount() != 0 {
				t.Errorf("closed %t: the scheduler has %+v, %d objects have a state", closed, experiments, h.stateCount())
			}
		})
	}
}

// An object that is not in the cache yet, but in the API server, is not unloaded.
func TestOrphanCheckBypassesCache(t *testing.T) {
	inBubble(t, func(h *harness) {
		scheduler := h.script(&scripted{status: newStates().reply})
		h.relay.options.Reader = interceptor.NewClient(h.cluster.(client.WithWatch), interceptor.Funcs{
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

// No state is kept of objects that do not exist: of those deleted before they were
// loaded or without a connection, and of orphans.
func TestStatesAreRemoved(t *testing.T) {
	inBubble(t, func(h *harness) {
		states := newStates()
		for _, name := range names("orphan", 50) {
			states.set(modelStatus(name, 1, modelAvailable))
		}
		scheduler := h.script(&scripted{closed: true, status: states.reply})
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
		if n := h.stateCount(); n > 50 {
			t.Errorf("%d objects are kept before the kind was resynced", n)
		}
		if scheduler.called("unload orphan-0") != 0 {
			t.Error("an orphan is unloaded before the kind was resynced")
		}

		open := h.script(&scripted{status: states.reply})
		h.relay.Close(testNamespace)
		h.open()
		h.settle(time.Minute)
		for name := range states.byName {
			if n := open.called("unload " + name); n != 1 {
				t.Errorf("%s is unloaded %d times", name, n)
			}
		}
		if n := h.stateCount(); n != 0 {
			t.Errorf("%d objects have a state", n)
		}
	})
}

// An Experiment that is released while there is no connection, and is listed as
// inactive afterwards, is stopped once: the session has recorded that it was not.
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
		if n := len(h.relay.session(testNamespace).objects); n != 0 {
			t.Errorf("%d objects have a state", n)
		}
	})
}
