package fakescheduler

import (
	"slices"
	"strings"
	"testing"
	"time"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// The reference sequences: what was observed of the real scheduler. Unless a row
// says otherwise, the gate is open and everything is subscribed.
func TestReferenceSequences(t *testing.T) {
	alone := Options{ModelGateways: None, PipelineGateways: None, DataflowEngines: None}
	manual := alone
	manual.Agents = AgentsManual
	slow := Options{Delays: Delays{AgentUnload: 100 * time.Millisecond}}
	scaled := Options{ModelGateways: 1}

	for _, row := range []struct {
		name     string
		options  Options
		replicas uint32
		play     func(t *testing.T, h *harness)
	}{
		{"3 and 4: a model without servers, loaded twice, unloaded", alone, 0, func(t *testing.T, h *harness) {
			h.load("m", 3, nil)
			h.settle()
			events := h.models.take()
			if len(events) != 2 {
				t.Fatalf("got %d events, want 2", len(events))
			}
			for i, event := range events {
				if got := modelWords(event); got != "ScheduleFailed/Create A0 U1" {
					t.Errorf("event %d is %s", i, got)
				}
				v := event.GetVersions()[0]
				if hasReason := v.GetState().GetModelGwReason() != ""; hasReason != (i == 1) {
					t.Errorf("event %d has the gateway reason %q", i, v.GetState().GetModelGwReason())
				}
				if v.GetServerName() != "" || v.GetVersion() != 3 || v.GetKubernetesMeta().GetGeneration() != 3 || v.GetModelDefn() == nil {
					t.Errorf("event %d is %v", i, event)
				}
			}
			h.load("m", 3, nil)
			h.settle()
			if again := h.models.take(); len(again) != 1 || modelWords(again[0]) != "ScheduleFailed/Create A0 U1" {
				t.Errorf("the same load once more gives %v", again)
			}
			h.unload("m", 4)
			h.settle()
			events = h.models.take()
			if len(events) != 2 || modelWords(events[0]) != "Terminated/Terminate A0 U0" || modelWords(events[1]) != "Terminated/Terminated A0 U0" {
				t.Fatalf("unload gives %v", events)
			}
			if last := events[1]; !last.GetDeleted() || last.GetVersions()[0].GetKubernetesMeta().GetGeneration() != 4 {
				t.Errorf("the last event is %v", last)
			}
		}},
		{"5 to 7: a model with an agent, a gateway later, loads that change nothing", alone, 1, func(t *testing.T, h *harness) {
			h.load("m", 1, nil)
			inOrder(t, h.modelEvents(),
				"Progressing/Create [LoadRequested] A0 U1",
				"Progressing/Create [Loading] A0 U1",
				"Progressing/Create [Loaded] A0 U1",
				"Available/Create [Available] A1 U0")
			inOrder(t, h.serverEvents(), "StatusUpdate expected=1 available=1 loaded=1 g1")

			h.sim.SetModelGateways(1)
			h.settle()
			events := h.models.take()
			if len(events) != 2 || modelWords(events[0]) != "Available/Progressing [Available] A1 U0" ||
				modelWords(events[1]) != "Available/Available [Available] A1 U0" {
				t.Fatalf("the gateway gives %v", events)
			}
			if reason := events[0].GetVersions()[0].GetState().GetModelGwReason(); reason != "Rebalance" {
				t.Errorf("reason %q", reason)
			}
			if reason := events[1].GetVersions()[0].GetState().GetModelGwReason(); reason != "1/1 ready " {
				t.Errorf("reason %q", reason)
			}

			h.load("m", 1, nil)
			h.load("m", 2, nil)
			exactly(t, h.modelEvents())
			if m := h.model("m"); m.Generation != 2 || m.Version != 1 {
				t.Errorf("a generation alone makes it %+v", m)
			}
		}},
		{"8: another artifact", Options{}, 1, func(t *testing.T, h *harness) {
			h.load("m", 1, nil)
			h.modelEvents()
			h.load("m", 2, otherArtifact)
			h.settle()
			events := h.models.take()
			for _, event := range events {
				if version := event.GetVersions()[0].GetVersion(); version != 2 {
					t.Errorf("an event of version %d", version)
				}
			}
			var words []string
			for _, event := range events {
				words = append(words, modelWords(event))
			}
			inOrder(t, words,
				"Progressing/Create [LoadRequested] A0 U1",
				"Progressing/Progressing [Loading] A0 U1",
				"Progressing/Available [Loaded] A0 U1",
				"Available/Available [Available] A1 U0")
			if m := h.model("m"); m.Live != 1 || m.Versions != 2 {
				t.Errorf("the older version is not gone: %+v", m)
			}
		}},
		{"9 and 10: unload, and load before it is done", slow, 1, func(t *testing.T, h *harness) {
			h.load("m", 1, nil)
			h.modelEvents()
			h.unload("m", 2)
			h.refused(h.client.LoadModel(h.ctx, &pb.LoadModelRequest{Model: testModel("m", 3, nil)}))
			inOrder(t, h.modelEvents(),
				"Terminating/Terminate [UnloadRequested] A0 U0",
				"Terminating/Terminating [Unloading] A0 U0",
				"Terminating/Terminated [Unloading] A0 U0",
				"Terminated/Terminated [Unloaded] A0 U0")
			h.load("m", 5, nil)
			inOrder(t, h.modelEvents(), "Available/Available [Available] A1 U0")
			if m := h.model("m"); m.Version != 5 || m.Versions != 1 || m.Deleted {
				t.Errorf("loaded anew it is %+v", m)
			}
		}},
		{"11 and 12: more replicas, and fewer", scaled, 1, func(t *testing.T, h *harness) {
			h.load("m", 1, nil)
			h.modelEvents()
			h.serverEvents()
			h.load("m", 2, replicas(2))
			inOrder(t, h.modelEvents(), "ScheduleFailed/Available [Available] A1 U1")
			inOrder(t, h.serverEvents(), "ScalingRequest expected=2 available=0 loaded=0 g1")
			if m := h.model("m"); m.Server != "s" || m.Version != 1 {
				t.Errorf("it does not serve any more: %+v", m)
			}
			h.notify(false, 2)
			inOrder(t, h.modelEvents(),
				"Progressing/Available [Available LoadRequested] A1 U1",
				"Available/Available [Available Available] A2 U0")
			h.load("m", 3, replicas(1))
			inOrder(t, h.modelEvents(),
				"Available/Available [Available UnloadEnvoyRequested] A1 U0",
				"Available/Available [Available UnloadRequested] A1 U0",
				"Available/Available [Available Unloading] A1 U0",
				"Available/Available [Available Unloaded] A1 U0")
			inOrder(t, h.serverEvents(), "ScalingRequest expected=1 available=0 loaded=0 g1")
		}},
		{"13: the agent is lost and comes back", manual, 0, func(t *testing.T, h *harness) {
			h.sim.ConnectAgent(Agent{Server: "s"})
			h.load("m", 1, nil)
			h.modelEvents()
			h.sim.DisconnectAgent("s", 0)
			exactly(t, h.modelEvents(), "ScheduleFailed/Create A0 U1")
			if m := h.model("m"); m.Server != "" {
				t.Errorf("it is still on %q", m.Server)
			}
			h.sim.ConnectAgent(Agent{Server: "s", Loaded: []LoadedModel{}})
			inOrder(t, h.modelEvents(), "Progressing/Create [LoadRequested] A0 U1", "Available/Create [Available] A1 U0")
			// Nobody notified it since.
			inOrder(t, h.serverEvents(), "StatusUpdate expected=-1 available=1 loaded=1 g0")
		}},
		{"14 to 17: a pipeline's life", alone, 0, func(t *testing.T, h *harness) {
			h.loadPipeline("p", 1, "a")
			exactly(t, h.pipelineEvents(), "v1 g1 Create/Create")
			if p := h.pipeline(); p.Reason == "" || p.GatewayReason == "" {
				t.Errorf("no reasons in %+v", p)
			}
			h.sim.SetDataflowEngines(1)
			exactly(t, h.pipelineEvents(), "v1 g1 Creating/Create", "v1 g1 Ready/Create")
			h.sim.SetPipelineGateways(1)
			exactly(t, h.pipelineEvents(), "v1 g1 Ready/Creating", "v1 g1 Ready/Ready")

			h.loadPipeline("p", 1, "a", "b")
			exactly(t, h.pipelineEvents())

			h.loadPipeline("p", 2, "a", "b")
			events := h.pipelineEvents()
			inOrder(t, events, "v2 g2 Create/Create", "v2 g2 Creating/Creating", "v2 g2 Ready/Ready")
			inOrder(t, events, "v2 g2 Ready/Ready", "v1 g1 Terminated/Terminated")

			h.must(h.client.UnloadPipeline(h.ctx, &pb.UnloadPipelineRequest{Name: "p"}))
			exactly(t, h.pipelineEvents(), "v2 g2 Terminate/Terminate", "v2 g2 Terminating/Terminating",
				"v2 g2 Terminated/Terminating", "v2 g2 Terminated/Terminated")
			h.refused(h.client.UnloadPipeline(h.ctx, &pb.UnloadPipelineRequest{Name: "p"}))
			listed := listPipelines(h)
			if len(listed) != 1 || listed[0].GetPipelineName() != "p" {
				t.Errorf("listed are %v", listed)
			}
			h.loadPipeline("p", 1, "a")
			inOrder(t, h.pipelineEvents(), "v1 g1 Ready/Ready")
		}},
		{"18 and 19: an experiment on models", Options{}, 1, func(t *testing.T, h *harness) {
			h.startExperiment(testExperiment("e", pb.ResourceType_MODEL, "a", "b"))
			exactly(t, h.experimentEvents(), "active=false candidates=false mirror=true")
			h.load("a", 1, nil)
			h.settle()
			events := h.experiments.take()
			if len(events) < 2 {
				t.Fatalf("only %d events for those of a model", len(events))
			}
			for _, event := range events {
				if event.GetActive() || event.GetStatusDescription() == "" {
					t.Errorf("%v with a model missing", event)
				}
			}
			h.load("b", 1, nil)
			inOrder(t, h.experimentEvents(),
				"active=false candidates=false mirror=true",
				"active=true candidates=false mirror=true",
				"active=true candidates=true mirror=true")
			h.startExperiment(testExperiment("e", pb.ResourceType_MODEL, "a", "b"))
			exactly(t, h.experimentEvents(), "active=false candidates=true mirror=true", "active=true candidates=true mirror=true")
		}},
		{"20 and 21: an experiment on pipelines, stopped", Options{}, 0, func(t *testing.T, h *harness) {
			h.startExperiment(testExperiment("e", pb.ResourceType_PIPELINE, "p", "q"))
			exactly(t, h.experimentEvents(), "active=false candidates=false mirror=true", "active=true candidates=false mirror=true")
			description := h.experiment().Description
			for range 2 {
				h.must(h.client.StopExperiment(h.ctx, &pb.StopExperimentRequest{Name: "e"}))
				exactly(t, h.experimentEvents(), "active=false candidates=false mirror=true")
			}
			if e := h.experiment(); !e.Deleted || e.Description != description {
				t.Errorf("stopped it is %+v", e)
			}
			h.refused(h.client.StopExperiment(h.ctx, &pb.StopExperimentRequest{Name: "unknown"}))
		}},
	} {
		t.Run(strings.ReplaceAll(row.name, " ", "_"), func(t *testing.T) {
			row.play(t, open(t, row.options, row.replicas))
		})
	}
}

func listPipelines(h *harness) []*pb.PipelineStatusResponse {
	h.t.Helper()
	stream, err := h.client.PipelineStatus(h.ctx, &pb.PipelineStatusRequest{})
	return all(h.t, stream, err)
}

// 1: nothing was signalled.
func TestClosedGateOpensByTimeout(t *testing.T) {
	h := start(t, Options{ModelGateways: None, ReadyTimeout: 200 * time.Millisecond})
	h.subscribe()
	h.load("m", 1, nil)
	h.eventually("first marker", func() bool { return h.markers.count() > 0 })
	if m := h.model("m"); m.State != pb.ModelStatus_ModelStateUnknown {
		t.Fatalf("scheduled with the gate closed: %+v", m)
	}
	h.eventually("open gate", h.sim.GateOpen)
	h.settle()
	events := h.models.take()
	// The dump, either of what was before scheduling or after, and the event.
	if first := modelWords(events[0]); first != "StateUnknown/Create A0 U0" && first != "ScheduleFailed/Create A0 U1" {
		t.Errorf("first is %s", first)
	}
	last := events[len(events)-1]
	if got := modelWords(last); got != "ScheduleFailed/Create A0 U1" || last.GetVersions()[0].GetState().GetModelGwReason() == "" {
		t.Errorf("last is %v", last)
	}
	h.awaitMarkers()
}

// 2: no replicas are expected.
func TestMarkers(t *testing.T) {
	h := start(t, Options{})
	h.subscribe()
	h.must(h.client.ServerNotify(h.ctx, &pb.ServerNotifyRequest{IsFirstSync: true}))
	h.awaitMarkers()
	if n := h.sim.OpenStreams("SubscribeControlPlane"); n != 1 {
		t.Errorf("%d control plane streams are open", n)
	}
}

// awaitMarkers waits for all of them, in order.
func (h *harness) awaitMarkers() {
	h.t.Helper()
	want := []pb.ControlPlaneResponse_Event{
		pb.ControlPlaneResponse_SEND_SERVERS, pb.ControlPlaneResponse_SEND_EXPERIMENTS,
		pb.ControlPlaneResponse_SEND_MODELS, pb.ControlPlaneResponse_SEND_PIPELINES,
	}
	var got []pb.ControlPlaneResponse_Event
	h.eventually("markers", func() bool {
		for _, marker := range h.markers.take() {
			got = append(got, marker.GetEvent())
		}
		return len(got) >= len(want)
	})
	if !slices.Equal(got, want) {
		h.t.Errorf("markers are %v", got)
	}
}
