package conformance

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
)

// Scenarios that need only RPCs. The numbers are those of the reference sequences.
var anyScheduler = []scenario{
	{name: "1, 2: markers", play: func(c *client) {
		c.open(0)
		want := []pb.ControlPlaneResponse_Event{
			pb.ControlPlaneResponse_SEND_SERVERS, pb.ControlPlaneResponse_SEND_EXPERIMENTS,
			pb.ControlPlaneResponse_SEND_MODELS, pb.ControlPlaneResponse_SEND_PIPELINES,
		}
		if !slices.Equal(c.markers, want) {
			c.Errorf("markers are %v", c.markers)
		}
		if len(c.ends) != 0 {
			c.Errorf("streams ended: %v", c.ends)
		}
	}},
	{name: "3, 4: a model without a server, loaded twice, unloaded", play: func(c *client) {
		c.open(0).load("m", 3)
		c.inOrder(c.modelStates(), "v3 g3 ScheduleFailed A0 U1 deleted=false")
		if v := c.modelStatus("m")[0]; v.GetServerName() != "" || v.GetState().GetReason() == "" || v.GetModelDefn() == nil {
			c.Errorf("its status is %v", v)
		}
		c.load("m", 3)
		c.exactly(c.modelStates(), "v3 g3 ScheduleFailed A0 U1 deleted=false")
		c.unload(4)
		c.inOrder(c.modelStates(), "v3 g4 Terminated A0 U0 deleted=true")
		c.unload(4)
		c.inOrder(c.modelStates(), "v3 g4 Terminated A0 U0 deleted=true")
		c.load("m", 7)
		c.inOrder(c.modelStates(), "v7 g7 ScheduleFailed A0 U1 deleted=false")
	}},
	{name: "versions of a model", play: func(c *client) {
		c.open(0).load("m", 1)
		c.load("m", 2)
		c.load("m", 3, otherArtifact)
		c.inOrder(c.modelStates(), "v2 g3 ScheduleFailed A0 U1 deleted=false")
		if versions := c.modelStatus("m"); len(versions) != 2 || versions[0].GetKubernetesMeta().GetGeneration() != 2 {
			c.Errorf("its versions are %v", versions)
		}
	}},
	{name: "14, 16, 17: versions of a pipeline", play: func(c *client) {
		c.open(0).loadPipeline("p", 1, "a")
		created := c.pipelineEvents()
		c.inOrder(created, "v1 g1 Create/Create")
		c.loadPipeline("p", 1, "a", "b")
		c.exactly(c.pipelineEvents())
		c.loadPipeline("p", 2, "a", "b")
		c.inOrder(c.pipelineEvents(), "v2 g2 Create/Create")
		c.must(nil, c.unloadPipeline("p"))
		c.rejected(nil, c.unloadPipeline("p"))
		c.inOrder(c.pipelineEvents(), "v2 g2 Terminated/Terminated")
		c.rejected(nil, c.unloadPipeline("p"))
		if got := c.pipelineStatus("p"); got != "v2 g2 Terminated/Terminated" {
			c.Errorf("unloaded it is listed as %s", got)
		}
		c.loadPipeline("p", 1, "a")
		c.inOrder(c.pipelineEvents(), "v1 g1 Create/Create")
	}},
	{name: "18: an experiment on models that are missing", play: func(c *client) {
		c.open(0).startExperiment(c.experiment("e", pb.ResourceType_MODEL, "a", "b"))
		c.exactly(c.experimentEvents(), "active=false candidates=false mirror=true")
		c.load("a", 1)
		c.settle()
		if len(c.experiments) == 0 || c.experiments[0].GetStatusDescription() == "" {
			c.Errorf("events of a candidate give %v", c.experiments)
		}
		c.exactly(c.experimentEvents(), "active=false candidates=false mirror=true")
	}},
	{name: "19 to 21: an experiment on pipelines, started twice, stopped twice", play: func(c *client) {
		c.open(0)
		e := c.experiment("e", pb.ResourceType_PIPELINE, "p", "q")
		for range 2 {
			c.startExperiment(e)
			c.exactly(c.experimentEvents(), "active=false candidates=false mirror=true", "active=true candidates=false mirror=true")
		}
		for range 2 {
			c.must(nil, c.stopExperiment("e"))
			c.exactly(c.experimentEvents(), "active=false candidates=false mirror=true")
		}
		stream, err := c.rpc.ExperimentStatus(c.ctx, &pb.ExperimentStatusRequest{SubscriberName: subscriber, Name: new(e.GetName())})
		if got := all(c, stream, err); len(got) != 1 || got[0].GetActive() {
			c.Errorf("stopped it is listed as %v", got)
		}
	}},
	{name: "listings", play: func(c *client) {
		c.open(0)
		answer, err := c.rpc.SchedulerStatus(c.ctx, &pb.SchedulerStatusRequest{SubscriberName: subscriber})
		if err != nil || answer.GetApplicationVersion() == "" {
			c.Errorf("the scheduler's status is %v, %v", answer, err)
		}
		c.load("m", 1)
		c.loadPipeline("p", 1, "m")
		models, err := c.rpc.ModelStatus(c.ctx, &pb.ModelStatusRequest{SubscriberName: subscriber})
		if !slices.ContainsFunc(all(c, models, err), func(m *pb.ModelStatusResponse) bool { return m.GetModelName() == c.name("m") }) {
			c.Error("the model is not listed")
		}
		pipelines, err := c.rpc.PipelineStatus(c.ctx, &pb.PipelineStatusRequest{SubscriberName: subscriber})
		if !slices.ContainsFunc(all(c, pipelines, err), func(p *pb.PipelineStatusResponse) bool { return p.GetPipelineName() == c.name("p") }) {
			c.Error("the pipeline is not listed")
		}
	}},
	{name: "rejections", play: func(c *client) {
		c.open(0)
		for _, row := range rejections(c) {
			if got := status.Code(row.call()); got != row.want {
				c.Errorf("%s: %s, want %s", row.name, got, row.want)
			}
		}
	}},
}

func TestAnyScheduler(t *testing.T) { run(t, anyScheduler) }

// The same without gateways and dataflow engines: nothing above depends on them.
func TestAnySchedulerWithoutGateways(t *testing.T) {
	var scenarios []scenario
	for _, s := range anyScheduler {
		s.needs = needsDelays
		s.options = fakescheduler.Options{Delays: fakescheduler.Delays{Reconnect: 24 * time.Hour}}
		scenarios = append(scenarios, s)
	}
	runWithControls(t, scenarios)
}

// rejection is an RPC, and its status code.
type rejection struct {
	name string
	call func() error
	want codes.Code
}

// rejections are requests that the scheduler rejects, and similar ones that it accepts.
func rejections(c *client) []rejection {
	const rejected = codes.FailedPrecondition
	load := func(name string) func() error {
		m := c.model("m", 1)
		m.Meta.Name = name
		return func() error {
			_, err := c.rpc.LoadModel(c.ctx, &pb.LoadModelRequest{Model: m})
			return err
		}
	}
	c.loadPipeline("p", 1, "a", "b")
	pipeline := func(change func(p *pb.Pipeline)) func() error {
		p := c.pipeline("p", 0, "a", "b")
		change(p)
		return func() error {
			_, err := c.rpc.LoadPipeline(c.ctx, &pb.LoadPipelineRequest{Pipeline: p})
			return err
		}
	}
	// In references, % is the prefix.
	named := func(references []string) []string {
		var found []string
		for _, reference := range references {
			found = append(found, strings.ReplaceAll(reference, "%", c.prefix))
		}
		return found
	}
	inputs := func(inputs ...string) func() error {
		return pipeline(func(p *pb.Pipeline) { p.Steps[1].Inputs = named(inputs) })
	}
	outputs := func(outputs ...string) func() error {
		return pipeline(func(p *pb.Pipeline) { p.Output = &pb.PipelineOutput{Steps: named(outputs)} })
	}
	external := func(inputs ...string) func() error {
		return pipeline(func(p *pb.Pipeline) { p.Input = &pb.PipelineInput{ExternalInputs: named(inputs)} })
	}
	withDefault := func(e *pb.Experiment, short string) { e.Default = new(c.name(short)) }
	first := c.experiment("first", pb.ResourceType_PIPELINE, "x", "y")
	withDefault(first, "x")
	c.loadPipeline("x", 1, "a")
	c.startExperiment(first)
	experiment := func(short string, change func(e *pb.Experiment)) func() error {
		e := c.experiment(short, pb.ResourceType_PIPELINE, "a", "b")
		change(e)
		return func() error {
			_, err := c.rpc.StartExperiment(c.ctx, &pb.StartExperimentRequest{Experiment: e})
			return err
		}
	}
	c.startExperiment(c.experiment("e", pb.ResourceType_PIPELINE, "a", "b"))
	rows := []rejection{
		{"model without a name", load(""), rejected},
		{"model with capitals", load("Model"), rejected},
		{"model with a dot", load("a.b"), rejected},
		{"model that begins with a dash", load("-a"), rejected},
		{"model that ends with a dash", load("a-"), rejected},
		{"unload of an unknown model", func() error {
			_, err := c.rpc.UnloadModel(c.ctx, c.unloadRequest("unknown", 1))
			return err
		}, rejected},
		{"pipeline with a bad name", pipeline(func(p *pb.Pipeline) { p.Name = "P" }), rejected},
		{"pipeline without steps", pipeline(func(p *pb.Pipeline) { p.Steps = nil }), rejected},
		{"step named like the pipeline", pipeline(func(p *pb.Pipeline) { p.Steps[0].Name = p.Name }), rejected},
		{"step twice", pipeline(func(p *pb.Pipeline) { p.Steps[0].Name = p.Steps[1].Name }), rejected},
		{"empty input", inputs(""), rejected},
		{"input that begins with a dot", inputs(".outputs"), rejected},
		{"input with an unknown suffix", inputs("%a.results"), rejected},
		{"input with an empty tensor", inputs("%a.outputs."), rejected},
		{"input with too many parts", inputs("%a.outputs.t.u"), rejected},
		{"input from an unknown step", inputs("%c"), rejected},
		{"input from a step, its inputs, a tensor and the pipeline", inputs("%a", "%a.inputs", "%a.outputs.t", "%p"), codes.OK},
		{"trigger that is an input too", pipeline(func(p *pb.Pipeline) {
			p.Steps[1].Inputs, p.Steps[1].Triggers = named([]string{"%a"}), named([]string{"%a"})
		}), rejected},
		{"malformed trigger", pipeline(func(p *pb.Pipeline) { p.Steps[1].Triggers = named([]string{"%a.x"}) }), rejected},
		{"unknown output", outputs("%c"), rejected},
		{"malformed output", outputs("%a.x"), rejected},
		{"output", outputs("%a", "%b.outputs.t"), codes.OK},
		{"cycle", pipeline(func(p *pb.Pipeline) {
			p.Steps[0].Inputs, p.Steps[1].Triggers = named([]string{"%b"}), named([]string{"%a"})
		}), rejected},
		{"cycle that is allowed", pipeline(func(p *pb.Pipeline) {
			p.Steps[0].Inputs, p.Steps[1].Inputs, p.AllowCycles = named([]string{"%b"}), named([]string{"%a"}), true
		}), codes.OK},
		{"input without external inputs", external(), rejected},
		{"empty external input", external(""), rejected},
		{"malformed external input", external("q.results"), rejected},
		{"malformed external input of a step", external("q.step"), rejected},
		{"external inputs", external("q", "q.inputs.t", "q.step.s.outputs.t"), codes.OK},
		{"unload of an unknown pipeline", func() error { return c.unloadPipeline("unknown") }, rejected},
		{"experiment without candidates", experiment("e", func(e *pb.Experiment) { e.Candidates = nil }), rejected},
		{"experiment with a mirror alone", experiment("e", func(e *pb.Experiment) {
			e.Candidates, e.Mirror = nil, &pb.ExperimentMirror{Name: c.name("m")}
		}), codes.OK},
		{"candidate twice", experiment("e", func(e *pb.Experiment) { e.Candidates[0].Name = e.Candidates[1].Name }), rejected},
		{"mirror that is a candidate", experiment("e", func(e *pb.Experiment) { e.Mirror = &pb.ExperimentMirror{Name: c.name("a")} }), rejected},
		{"default that is no candidate", experiment("e", func(e *pb.Experiment) { withDefault(e, "c") }), rejected},
		{"default of another experiment", experiment("e", func(e *pb.Experiment) {
			e.Candidates[0].Name = c.name("x")
			withDefault(e, "x")
		}), rejected},
		{"its own default", experiment("first", func(e *pb.Experiment) {
			e.Candidates[0].Name = c.name("x")
			withDefault(e, "x")
		}), codes.OK},
		{"stop of an unknown experiment", func() error { return c.stopExperiment("unknown") }, rejected},
		{"status of an unknown model", func() error {
			stream, err := c.rpc.ModelStatus(c.ctx, &pb.ModelStatusRequest{SubscriberName: subscriber, Model: &pb.ModelReference{Name: c.name("unknown")}})
			c.must(stream, err)
			_, err = stream.Recv()
			return err
		}, rejected},
		{"status of an unknown server", func() error {
			stream, err := c.rpc.ServerStatus(c.ctx, &pb.ServerStatusRequest{SubscriberName: subscriber, Name: new(c.name("unknown"))})
			c.must(stream, err)
			_, err = stream.Recv()
			return err
		}, rejected},
	}
	return rows
}
