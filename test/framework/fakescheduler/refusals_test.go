package fakescheduler

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/seldon-operator/seldon-operator/api/scheduler/mlops/chainer"
	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// Everything that the scheduler refuses, and what looks like it and is not refused.
func TestRefusals(t *testing.T) {
	slow := Options{Delays: Delays{AgentUnload: time.Hour, PipelineGateway: time.Hour}}
	h := open(t, slow, 1)
	h.load("going", 1, nil)
	h.settle()
	h.unload("going", 2)
	h.load("there", 1, nil)
	h.must(h.client.StartExperiment(h.ctx, &pb.StartExperimentRequest{Experiment: withDefault(testExperiment("first", pb.ResourceType_MODEL, "there"), "there")}))
	h.loadPipeline("going", 1, "a")
	h.must(h.client.UnloadPipeline(h.ctx, &pb.UnloadPipelineRequest{Name: "going"}))

	load := func(name string) func() error {
		return func() error {
			_, err := h.client.LoadModel(h.ctx, &pb.LoadModelRequest{Model: testModel(name, 1, nil)})
			return err
		}
	}
	unload := func(name string) func() error {
		return func() error {
			_, err := h.client.UnloadModel(h.ctx, unloadRequest(name, 1))
			return err
		}
	}
	pipeline := func(change func(p *pb.Pipeline)) func() error {
		p := testPipeline("p", 0, "a", "b")
		change(p)
		return func() error {
			_, err := h.client.LoadPipeline(h.ctx, &pb.LoadPipelineRequest{Pipeline: p})
			return err
		}
	}
	inputs := func(inputs ...string) func() error {
		return pipeline(func(p *pb.Pipeline) { p.Steps[1].Inputs = inputs })
	}
	outputs := func(outputs ...string) func() error {
		return pipeline(func(p *pb.Pipeline) { p.Output = &pb.PipelineOutput{Steps: outputs} })
	}
	external := func(inputs ...string) func() error {
		return pipeline(func(p *pb.Pipeline) { p.Input = &pb.PipelineInput{ExternalInputs: inputs} })
	}
	experiment := func(name string, change func(e *pb.Experiment)) func() error {
		e := testExperiment(name, pb.ResourceType_MODEL, "a", "b")
		change(e)
		return func() error {
			_, err := h.client.StartExperiment(h.ctx, &pb.StartExperimentRequest{Experiment: e})
			return err
		}
	}
	const refused = codes.FailedPrecondition
	for _, row := range []struct {
		name string
		call func() error
		want codes.Code
	}{
		{"model without a name", load(""), refused},
		{"model with capitals", load("Model"), refused},
		{"model with a dot", load("a.b"), refused},
		{"model that begins with a dash", load("-a"), refused},
		{"model that ends with a dash", load("a-"), refused},
		{"model with digits and dashes", load("1-a-2"), codes.OK},
		{"model that is still being unloaded", load("going"), refused},
		{"unload of a model that is being unloaded", unload("going"), codes.OK},
		{"unload of an unknown model", unload("unknown"), refused},

		{"pipeline with a bad name", pipeline(func(p *pb.Pipeline) { p.Name = "P" }), refused},
		{"pipeline without steps", pipeline(func(p *pb.Pipeline) { p.Steps = nil }), refused},
		{"step named like the pipeline", pipeline(func(p *pb.Pipeline) { p.Steps[0].Name = "p" }), refused},
		{"step twice", pipeline(func(p *pb.Pipeline) { p.Steps[0].Name = "b" }), refused},
		{"empty input", inputs(""), refused},
		{"input that begins with a dot", inputs(".outputs"), refused},
		{"input with an unknown suffix", inputs("a.results"), refused},
		{"input with an empty tensor", inputs("a.outputs."), refused},
		{"input with too many parts", inputs("a.outputs.t.u"), refused},
		{"input from an unknown step", inputs("c"), refused},
		{"input from a step, its inputs, a tensor and the pipeline", inputs("a", "a.inputs", "a.outputs.t", "p"), codes.OK},
		{"trigger that is an input too", pipeline(func(p *pb.Pipeline) {
			p.Steps[1].Inputs, p.Steps[1].Triggers = []string{"a"}, []string{"a"}
		}), refused},
		{"malformed trigger", pipeline(func(p *pb.Pipeline) { p.Steps[1].Triggers = []string{"a.x"} }), refused},
		{"unknown output", outputs("c"), refused},
		{"malformed output", outputs("a.x"), refused},
		{"output", outputs("a", "b.outputs.t"), codes.OK},
		{"cycle", pipeline(func(p *pb.Pipeline) {
			p.Steps[0].Inputs, p.Steps[1].Triggers = []string{"b"}, []string{"a"}
		}), refused},
		{"cycle that is allowed", pipeline(func(p *pb.Pipeline) {
			p.Steps[0].Inputs, p.Steps[1].Inputs, p.AllowCycles = []string{"b"}, []string{"a"}, true
		}), codes.OK},
		{"input without external inputs", external(), refused},
		{"empty external input", external(""), refused},
		{"malformed external input", external("q.results"), refused},
		{"malformed external input of a step", external("q.step"), refused},
		{"external inputs", external("q", "q.inputs.t", "q.step.s.outputs.t"), codes.OK},
		{"unload of an unknown pipeline", func() error {
			_, err := h.client.UnloadPipeline(h.ctx, &pb.UnloadPipelineRequest{Name: "unknown"})
			return err
		}, refused},
		{"unload of a pipeline that is being unloaded", func() error {
			_, err := h.client.UnloadPipeline(h.ctx, &pb.UnloadPipelineRequest{Name: "going"})
			return err
		}, refused},

		{"experiment without anything", experiment("e", func(e *pb.Experiment) { e.Candidates = nil }), refused},
		{"experiment of a mirror", experiment("e", func(e *pb.Experiment) {
			e.Candidates, e.Mirror = nil, &pb.ExperimentMirror{Name: "m"}
		}), codes.OK},
		{"candidate twice", experiment("e", func(e *pb.Experiment) { e.Candidates[0].Name = "b" }), refused},
		{"mirror that is a candidate", experiment("e", func(e *pb.Experiment) { e.Mirror = &pb.ExperimentMirror{Name: "a"} }), refused},
		{"default that is no candidate", experiment("e", func(e *pb.Experiment) { withDefault(e, "c") }), refused},
		{"default of another experiment", experiment("e", func(e *pb.Experiment) {
			e.Candidates[0].Name = "there"
			withDefault(e, "there")
		}), refused},
		{"default of its own", experiment("first", func(e *pb.Experiment) {
			e.Candidates[0].Name = "there"
			withDefault(e, "there")
		}), codes.OK},
		{"default of another kind", experiment("e", func(e *pb.Experiment) {
			e.Candidates[0].Name, e.ResourceType = "there", pb.ResourceType_PIPELINE
			withDefault(e, "there")
		}), codes.OK},
		{"stop of an unknown experiment", func() error {
			_, err := h.client.StopExperiment(h.ctx, &pb.StopExperimentRequest{Name: "unknown"})
			return err
		}, refused},

		{"status of an unknown model", func() error {
			stream, err := h.client.ModelStatus(h.ctx, &pb.ModelStatusRequest{Model: &pb.ModelReference{Name: "unknown"}})
			h.must(stream, err)
			_, err = stream.Recv()
			return err
		}, refused},
		{"status of an unknown server", func() error {
			unknown := "unknown"
			stream, err := h.client.ServerStatus(h.ctx, &pb.ServerStatusRequest{Name: &unknown})
			h.must(stream, err)
			_, err = stream.Recv()
			return err
		}, refused},
		{"acknowledgement of an unknown model", func() error {
			_, err := h.client.ModelStatusEvent(h.ctx, &pb.ModelUpdateStatusMessage{})
			return err
		}, codes.Unknown},
		{"acknowledgement of an unknown pipeline", func() error {
			_, err := h.client.PipelineStatusEvent(h.ctx, &chainer.PipelineUpdateStatusMessage{})
			return err
		}, codes.Internal},
	} {
		if got := status.Code(row.call()); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
	}
}

func withDefault(e *pb.Experiment, name string) *pb.Experiment {
	e.Default = &name
	return e
}

// Every RPC of the service does something: clients take Unimplemented for final.
func TestNothingIsUnimplemented(t *testing.T) {
	h := open(t, Options{}, 1)
	methods := pb.File_mlops_scheduler_scheduler_proto.Services().ByName("Scheduler").Methods()
	if methods.Len() != 19 || len(Methods()) != 19 {
		t.Errorf("%d methods, %v", methods.Len(), Methods())
	}
	for i := range methods.Len() {
		method := methods.Get(i)
		name := fmt.Sprintf("/%s/%s", method.Parent().FullName(), method.Name())
		request, response := dynamicpb.NewMessage(method.Input()), dynamicpb.NewMessage(method.Output())
		// Subscriptions stay open.
		ctx, cancel := context.WithTimeout(h.ctx, 50*time.Millisecond)
		stream, err := h.connection.NewStream(ctx, &grpc.StreamDesc{ServerStreams: method.IsStreamingServer()}, name)
		if err == nil {
			err = errors.Join(stream.SendMsg(request), stream.CloseSend())
		}
		for err == nil {
			err = stream.RecvMsg(response)
		}
		cancel()
		if status.Code(err) == codes.Unimplemented {
			t.Errorf("%s: %v", name, err)
		}
		if n := h.sim.Calls(string(method.Name())); n == 0 {
			t.Errorf("%s is not counted", name)
		}
	}
	answer, err := h.client.SchedulerStatus(h.ctx, &pb.SchedulerStatusRequest{})
	if err != nil || answer.GetApplicationVersion() != "0.0.1" {
		t.Errorf("status %v, %v", answer, err)
	}
}

// The finite streams send what there is, deleted items included.
func TestFiniteStatuses(t *testing.T) {
	h := open(t, Options{}, 1)
	h.load("a", 1, nil)
	h.settle()
	h.load("a", 2, otherArtifact)
	h.load("b", 1, nil)
	h.loadPipeline("p", 1, "a")
	h.settle()
	h.loadPipeline("p", 2, "b")
	h.startExperiment(testExperiment("e", pb.ResourceType_MODEL, "a"))
	h.unload("b", 2)
	h.must(h.client.StopExperiment(h.ctx, &pb.StopExperimentRequest{Name: "e"}))
	h.settle()

	models, err := h.client.ModelStatus(h.ctx, &pb.ModelStatusRequest{})
	if got := all(t, models, err); len(got) != 2 || len(got[0].GetVersions()) != 1 {
		t.Errorf("models %v", got)
	}
	models, err = h.client.ModelStatus(h.ctx, &pb.ModelStatusRequest{Model: &pb.ModelReference{Name: "a"}, AllVersions: true})
	if got := all(t, models, err); len(got) != 1 || len(got[0].GetVersions()) != 2 {
		t.Errorf("versions of a model %v", got)
	}
	name := "p"
	pipelines, err := h.client.PipelineStatus(h.ctx, &pb.PipelineStatusRequest{Name: &name, AllVersions: true})
	if got := all(t, pipelines, err); len(got) != 1 || len(got[0].GetVersions()) != 2 {
		t.Errorf("versions of a pipeline %v", got)
	}
	experiments, err := h.client.ExperimentStatus(h.ctx, &pb.ExperimentStatusRequest{})
	if got := all(t, experiments, err); len(got) != 1 || got[0].GetActive() {
		t.Errorf("experiments %v", got)
	}
	servers, err := h.client.ServerStatus(h.ctx, &pb.ServerStatusRequest{})
	if got := all(t, servers, err); len(got) != 1 || serverWords(got[0]) != "StatusUpdate expected=1 available=1 loaded=1 g1" {
		t.Errorf("servers %v", got)
	}

	empty := open(t, Options{}, 0)
	models, err = empty.client.ModelStatus(h.ctx, &pb.ModelStatusRequest{})
	if got := all(t, models, err); len(got) != 0 {
		t.Errorf("models %v", got)
	}
}
