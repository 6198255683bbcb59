package relay

import (
	"testing"
	"time"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
)

// conditionOf returns a condition of an observation.
func conditionOf(t *testing.T, seen Observation, conditionType string) (bool, string) {
	t.Helper()
	if seen.State == nil {
		t.Fatalf("nothing is observed: %+v", seen)
	}
	for _, condition := range seen.State.Conditions {
		if condition.Type == conditionType {
			return condition.True, condition.Reason
		}
	}
	t.Fatalf("no condition %s in %+v", conditionType, seen.State)
	return false, ""
}

// An agent that fails to load a Model, and one that fails to unload it.
func TestModelThatFails(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.server("mlserver", 1)
		h.open()
		h.scheduler.FailModel("iris", 1)
		model := h.model("iris")
		h.settle(time.Second)
		if is, reason := conditionOf(h.T, h.sync(Model, model), v1alpha1.ConditionModelReady); is || reason != "ModelFailed" {
			h.Errorf("ModelReady is %t, %s", is, reason)
		}
		// When an agent connects, the scheduler schedules the Model again.
		h.scheduler.DisconnectAgent("mlserver", 0)
		h.settle(time.Second)
		h.scheduler.ConnectAgent(fakescheduler.Agent{Server: "mlserver"})
		h.settle(time.Second)
		if is, reason := conditionOf(h.T, h.sync(Model, model), v1alpha1.ConditionModelReady); !is {
			h.Errorf("ModelReady is %s", reason)
		}

		// The scheduler does not repeat an unload that failed: the Model is released.
		h.scheduler.FailModelUnload("iris", 1)
		h.delete(Model, model)
		h.settle(time.Second)
		if seen := h.sync(Model, model); !seen.Unloaded || h.scheduler.Models()[0].State != pb.ModelStatus_ModelTerminateFailed {
			h.Errorf("an unload that failed is observed as %+v of %+v", seen, h.scheduler.Models())
		}
	})
}

// A pipeline gateway that fails to create and to delete a Pipeline, and succeeds a minute
// later.
func TestPipelineGatewayThatFails(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.server("mlserver", 1)
		h.open()
		h.scheduler.FailPipelineGateway("chain", 1)
		pipeline := h.pipeline()
		h.settle(time.Second)
		seen := h.sync(Pipeline, pipeline)
		if is, reason := conditionOf(h.T, seen, v1alpha1.ConditionPipelineGwReady); is {
			h.Errorf("the gateway's condition is %t, %s", is, reason)
		}
		h.settle(time.Minute)
		if is, reason := conditionOf(h.T, h.sync(Pipeline, pipeline), v1alpha1.ConditionPipelineGwReady); !is {
			h.Errorf("the gateway's condition is %s", reason)
		}
		h.scheduler.FailPipelineGateway("chain", 1)
		h.delete(Pipeline, pipeline)
		h.settle(time.Second)
		if seen := h.sync(Pipeline, pipeline); seen.Unloaded {
			h.Errorf("a deletion that failed is observed as %+v", seen)
		}
		h.settle(time.Minute)
		if seen := h.sync(Pipeline, pipeline); !seen.Unloaded {
			h.Errorf("a deletion that succeeded is observed as %+v", seen)
		}
	})
}
