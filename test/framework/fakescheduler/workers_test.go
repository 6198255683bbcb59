package fakescheduler

import (
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/seldon-operator/seldon-operator/api/scheduler/mlops/chainer"
	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// What agents, gateways and engines do when they fail, come and go.
func TestWorkers(t *testing.T) {
	retrying := Options{RetryInterval: 20 * time.Millisecond}
	for _, row := range []struct {
		name    string
		options Options
		play    func(t *testing.T, h *harness)
	}{
		{"an agent fails, twice", Options{}, func(t *testing.T, h *harness) {
			h.sim.FailModel("m", 2)
			h.load("m", 1, nil)
			inOrder(t, h.modelEvents(), "Failed/Available [LoadFailed] A0 U1")
			if m := h.model("m"); m.Reason == "" {
				t.Error("no reason")
			}
			// Every attempt is told.
			h.load("m", 1, nil)
			inOrder(t, h.modelEvents(), "Progressing/Available [Loading] A0 U1", "Failed/Available [LoadFailed] A0 U1")
			// One that connects is a reason to try again.
			h.notify(false, 2)
			inOrder(t, h.modelEvents(), "Available/Available [Available] A1 U0")
		}},
		{"an agent fails to unload", Options{}, func(t *testing.T, h *harness) {
			h.load("m", 1, nil)
			h.modelEvents()
			h.sim.FailModelUnload("m", 1)
			h.unload("m", 2)
			inOrder(t, h.modelEvents(), "TerminateFailed/Terminated [UnloadFailed] A0 U0")
			h.unload("m", 2)
			inOrder(t, h.modelEvents(), "Terminated/Terminated [Unloaded] A0 U0")
		}},
		{"a model gateway fails", retrying, func(t *testing.T, h *harness) {
			h.sim.FailModelGateway("m", 2)
			h.load("m", 1, nil)
			h.eventually("third attempt", func() bool { return h.model("m").GatewayState == pb.ModelStatus_ModelAvailable })
			inOrder(t, h.modelEvents(), "Available/Failed [Available] A1 U0", "Available/Available [Available] A1 U0")
			// A failed delete is told as if it were under way, and never tried again.
			h.sim.FailModelGateway("m", 1)
			h.unload("m", 2)
			h.settle()
			h.sim.FailModelGateway("n", 2)
			h.load("n", 1, nil)
			h.eventually("two retries", func() bool { return h.model("n").GatewayState == pb.ModelStatus_ModelAvailable })
			if m := h.model("m"); m.State != pb.ModelStatus_ModelTerminated || m.GatewayState != pb.ModelStatus_ModelTerminating {
				t.Errorf("it is %+v", m)
			}
		}},
		{"model gateways leave", Options{}, func(t *testing.T, h *harness) {
			h.load("m", 1, nil)
			h.modelEvents()
			h.sim.SetModelGateways(2)
			exactly(t, h.modelEvents(), "Available/Progressing [Available] A1 U0", "Available/Available [Available] A1 U0")
			h.sim.SetModelGateways(0)
			exactly(t, h.modelEvents(), "Available/Create [Available] A1 U0")
			h.unload("m", 2)
			inOrder(t, h.modelEvents(), "Terminated/Terminated [Unloaded] A0 U0")
		}},
		{"the last gateway leaves while a model terminates", Options{Delays: Delays{ModelGateway: time.Hour}}, func(_ *testing.T, h *harness) {
			h.load("m", 1, nil)
			h.eventually("model", func() bool { return h.model("m").State == pb.ModelStatus_ModelAvailable })
			h.unload("m", 2)
			h.eventually("gateway", func() bool { return h.model("m").GatewayState == pb.ModelStatus_ModelTerminating })
			h.sim.SetModelGateways(0)
			h.eventually("end", func() bool { return h.model("m").GatewayState == pb.ModelStatus_ModelTerminated })
		}},
		{"an engine and a gateway fail", retrying, func(t *testing.T, h *harness) {
			h.sim.FailDataflowEngine("p", 1)
			h.sim.FailPipelineGateway("p", 2)
			h.loadPipeline("p", 1, "m")
			h.eventually("later attempts", func() bool {
				p := h.pipeline()
				return p.State == pb.PipelineVersionState_PipelineReady && p.GatewayState == pb.PipelineVersionState_PipelineReady
			})
			inOrder(t, h.pipelineEvents(), "v1 g1 Failed/Failed", "v1 g1 Ready/Ready")
			h.sim.FailDataflowEngine("p", 1)
			h.must(h.client.UnloadPipeline(h.ctx, &pb.UnloadPipelineRequest{Name: "p"}))
			h.eventually("later attempt", func() bool { return h.pipeline().State == pb.PipelineVersionState_PipelineTerminated })
			inOrder(t, h.pipelineEvents(), "v1 g1 FailedTerminating/Terminated", "v1 g1 Terminated/Terminated")
		}},
		{"engines and gateways are absent when a pipeline goes", Options{}, func(t *testing.T, h *harness) {
			h.loadPipeline("p", 1, "m")
			h.settle()
			h.sim.SetDataflowEngines(0)
			h.sim.SetPipelineGateways(0)
			inOrder(t, h.pipelineEvents(), "v1 g1 Create/Create")
			h.must(h.client.UnloadPipeline(h.ctx, &pb.UnloadPipelineRequest{Name: "p"}))
			exactly(t, h.pipelineEvents(), "v1 g1 Terminate/Terminate", "v1 g1 Terminated/Terminated")
		}},
		{"engines rebalance", Options{}, func(t *testing.T, h *harness) {
			h.loadPipeline("p", 1, "m")
			h.pipelineEvents()
			h.must(nil, h.sim.RebalancePipelines())
			exactly(t, h.pipelineEvents(), "v1 g1 Rebalancing/Ready", "v1 g1 Ready/Ready")
			h.sim.SetDataflowEngines(0)
			h.must(nil, h.sim.RebalancePipelines())
			exactly(t, h.pipelineEvents(), "v1 g1 Create/Ready")
		}},
		{"a pipeline's models come and go", Options{}, func(t *testing.T, h *harness) {
			h.loadPipeline("p", 1, "m")
			h.settle()
			if h.pipeline().ModelsReady {
				t.Error("ready without its model")
			}
			h.load("m", 1, nil)
			h.settle()
			events := h.pipelines.take()
			if last := events[len(events)-1]; !last.GetVersions()[0].GetState().GetModelsReady() {
				t.Errorf("the last event is %v", last)
			}
			h.unload("m", 2)
			h.settle()
			events = h.pipelines.take()
			if len(events) == 0 || events[len(events)-1].GetVersions()[0].GetState().GetModelsReady() {
				t.Errorf("events %v", events)
			}
		}},
	} {
		t.Run(row.name, func(t *testing.T) { row.play(t, open(t, row.options, 1)) })
	}
}

// Gateways that are programs of their own are asked and answer by RPCs.
func TestGatewaysOutside(t *testing.T) {
	h := open(t, Options{ModelGateways: None, PipelineGateways: None}, 1)
	gateways := record(h, h.client.SubscribeModelStatus, &pb.ModelSubscriptionRequest{SubscriberName: "mg", IsModelGateway: true})
	ctx := h.ctx
	models := next(t, gateways)
	h.load("m", 1, nil)
	asked := models()
	if asked.GetOperation() != pb.ModelStatusResponse_ModelCreate || !asked.GetKeepTopics() || asked.GetTimestamp() == 0 {
		t.Errorf("asked is %v", asked)
	}
	acknowledge := func(asked *pb.ModelStatusResponse, tick uint64, success bool) {
		t.Helper()
		h.must(h.client.ModelStatusEvent(ctx, &pb.ModelUpdateStatusMessage{Success: success, Update: &pb.ModelUpdateMessage{
			Model: asked.GetModelName(), Version: asked.GetVersions()[0].GetVersion(), Timestamp: tick,
		}}))
	}
	acknowledge(asked, asked.GetTimestamp()-1, true)
	h.settle()
	if m := h.model("m"); m.GatewayState != pb.ModelStatus_ModelProgressing {
		t.Errorf("a stale acknowledgement counts: %+v", m)
	}
	acknowledge(asked, asked.GetTimestamp(), true)
	h.settle()
	if m := h.model("m"); m.GatewayState != pb.ModelStatus_ModelAvailable {
		t.Errorf("an acknowledgement does not count: %+v", m)
	}
	h.unload("m", 2)
	if asked = models(); asked.GetOperation() != pb.ModelStatusResponse_ModelDelete {
		t.Errorf("asked is %v", asked)
	}
	acknowledge(asked, asked.GetTimestamp(), true)
	h.settle()
	if m := h.model("m"); m.GatewayState != pb.ModelStatus_ModelTerminated {
		t.Errorf("it is %+v", m)
	}

	stream, err := h.client.SubscribePipelineStatus(h.ctx, &pb.PipelineSubscriptionRequest{SubscriberName: "pg", IsPipelineGateway: true})
	h.must(stream, err)
	h.loadPipeline("p", 1, "m")
	message, err := stream.Recv()
	h.must(message, err)
	h.must(h.client.PipelineStatusEvent(h.ctx, &chainer.PipelineUpdateStatusMessage{
		Reason: "no broker", Update: &chainer.PipelineUpdateMessage{Pipeline: "p", Version: 1, Timestamp: message.GetTimestamp()},
	}))
	h.settle()
	if p := h.pipeline(); p.GatewayState != pb.PipelineVersionState_PipelineFailed {
		t.Errorf("it is %+v", p)
	}
	h.sim.EndStreams()
	h.eventually("leave", func() bool { return h.pipeline().GatewayState == pb.PipelineVersionState_PipelineCreate })
}

// next returns a function that waits for one message more.
func next[T any](t *testing.T, r *recorder[T]) func() *T {
	var ahead []*T
	return func() *T {
		t.Helper()
		eventually(t, "message", func() bool {
			ahead = append(ahead, r.take()...)
			return len(ahead) > 0
		})
		message := ahead[0]
		ahead = ahead[1:]
		return message
	}
}

// What is deleted is listed and dumped until its time has come.
func TestDeletedAreRemembered(t *testing.T) {
	h := open(t, Options{DeletedTTL: 300 * time.Millisecond}, 1)
	h.load("m", 1, nil)
	h.loadPipeline("p", 1, "m")
	h.startExperiment(testExperiment("e", pb.ResourceType_MODEL, "m"))
	h.settle()
	h.unload("m", 2)
	h.must(h.client.UnloadPipeline(h.ctx, &pb.UnloadPipelineRequest{Name: "p"}))
	h.must(h.client.StopExperiment(h.ctx, &pb.StopExperimentRequest{Name: "e"}))
	h.settle()
	if !h.model("m").Deleted || !h.pipeline().Deleted || !h.experiment().Deleted {
		t.Errorf("not deleted: %+v %+v %+v", h.model("m"), h.pipeline(), h.experiment())
	}
	h.dial()
	h.subscribe()
	h.eventually("dumps", func() bool { return h.models.count() == 1 && h.pipelines.count() == 1 && h.experiments.count() == 1 })
	if m := h.models.take()[0]; !m.GetDeleted() {
		t.Errorf("dumped is %v", m)
	}
	h.eventually("end of the TTL", func() bool { return len(h.sim.Pipelines()) == 0 && len(h.sim.Experiments()) == 0 })
	if len(listPipelines(h)) != 0 || len(h.sim.Models()) != 1 {
		t.Error("pipelines are still listed, or models are not")
	}
}

// Dumps come in any order.
func TestDumpsAreShuffled(t *testing.T) {
	h := open(t, Options{}, 1)
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		h.load(name, 1, nil)
	}
	h.settle()
	firsts := map[string]bool{}
	h.eventually("another order", func() bool {
		var stream grpc.ServerStreamingClient[pb.ModelStatusResponse]
		stream, err := h.client.SubscribeModelStatus(h.ctx, &pb.ModelSubscriptionRequest{})
		h.must(stream, err)
		message, err := stream.Recv()
		h.must(message, err)
		if len(message.GetVersions()) != 1 || message.GetVersions()[0].GetModelDefn() == nil {
			t.Fatalf("dumped is %v", message)
		}
		firsts[message.GetModelName()] = true
		return len(firsts) > 1
	})
}
