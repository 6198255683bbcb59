package relay

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// lines returns a status event as text, as in a status.
func (e statusEvent) lines() []string {
	lines := []string{[]string{"active", "inactive", "terminating", "terminated"}[e.phase]}
	if e.state.Stable {
		lines[0] += " stable"
	}
	for _, each := range e.state.Conditions {
		sign := "-"
		if each.True {
			sign = "+"
		}
		lines = append(lines, strings.TrimSpace(sign+each.Type+" "+each.Reason+" "+each.Message))
	}
	if e.state.Model != nil {
		lines = append(lines, e.state.Model.Server+" "+e.state.Model.Gateway)
	}
	return lines
}

func message[M any, P interface {
	*M
	proto.Message
}](t testing.TB, text string) P {
	t.Helper()
	parsed := P(new(M))
	if err := prototext.Unmarshal([]byte(text), parsed); err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestParseModelStatus(t *testing.T) {
	const meta = `kubernetesMeta {namespace: "ns" generation: 2} `
	for _, test := range []struct {
		message string
		want    []string
	}{
		{`versions {` + meta + `serverName: "mlserver" state {state: ModelAvailable availableReplicas: 2 modelGwState: ModelAvailable modelGwReason: "1/1 ready "}}`,
			[]string{"active stable", "+ModelReady ModelAvailable", "mlserver ModelAvailable(1/1 ready)"}},
		{`versions {` + meta + `state {state: ModelAvailable modelGwState: ModelProgressing}}`,
			[]string{"active", "+ModelReady ModelAvailable", " ModelProgressing"}},
		{`versions {` + meta + `state {state: ScheduleFailed reason: "100% of %d full" modelGwState: ModelCreate}}`,
			[]string{"active", "-ModelReady ScheduleFailed 100% of %d full", " ModelCreate"}},
		{`versions {` + meta + `state {state: ModelScaledDown modelGwState: ModelAvailable}}`,
			[]string{"active stable", "-ModelReady ModelScaledDown spec.replicas is 0; set it above 0 for the Model to be served", " ModelAvailable"}},
		{`versions {` + meta + `state {state: 77 modelGwState: -1}}`,
			[]string{"active stable", "-ModelReady State77", " State4294967295"}},
		{`versions {` + meta + `}`,
			[]string{"active", "-ModelReady ModelStateUnknown", " ModelStateUnknown"}},
		{`deleted: true versions {` + meta + `state {state: ModelTerminating modelGwState: ModelTerminate}}`,
			[]string{"terminating", "-ModelReady ModelTerminating", " ModelTerminate"}},
		{`deleted: true versions {` + meta + `state {state: ModelTerminating modelGwState: ModelTerminated}}`,
			[]string{"terminating", "-ModelReady ModelTerminating", " ModelTerminated"}},
		{`deleted: true versions {` + meta + `state {state: ModelTerminated modelGwState: ModelTerminated}}`,
			[]string{"terminated stable", "-ModelReady ModelTerminated", " ModelTerminated"}},
		{`deleted: true versions {` + meta + `state {state: ScheduleFailed modelGwState: ModelTerminated}}`,
			[]string{"terminated stable", "-ModelReady ScheduleFailed", " ModelTerminated"}},
	} {
		event := parseModelStatus(message[pb.ModelStatusResponse](t, `modelName: "m" `+test.message))
		if diff := cmp.Diff(test.want, event.lines()); diff != "" {
			t.Errorf("%s:\n%s", test.message, diff)
		}
		if !event.belongsTo("ns") || event.belongsTo("other") || event.state.Generation != 2 {
			t.Errorf("%s: is about %s, generation %d", test.message, event.namespace, event.state.Generation)
		}
	}
}

func TestParsePipelineStatus(t *testing.T) {
	const meta = `pipeline {kubernetesMeta {namespace: "ns" generation: 1}} `
	for _, test := range []struct {
		message string
		want    []string
	}{
		{`versions {` + meta + `state {status: PipelineReady pipelineGwStatus: PipelineReady modelsReady: true reason: "1/1 ready "}}`,
			[]string{"active stable", "+ModelsReady ModelsReady", "+PipelineGwReady PipelineReady", "+PipelineReady PipelineReady 1/1 ready"}},
		{`versions {` + meta + `state {status: PipelineFailed pipelineGwStatus: PipelineCreating reason: "boom" pipelineGwReason: "Rebalance"}}`,
			[]string{"active stable", "-ModelsReady ModelsNotReady not all Models of the steps are available: check the Models that spec.steps names",
				"-PipelineGwReady PipelineCreating Rebalance", "-PipelineReady PipelineFailed boom"}},
		{`versions {` + meta + `}`,
			[]string{"active", "-ModelsReady ModelsNotReady not all Models of the steps are available: check the Models that spec.steps names",
				"-PipelineGwReady PipelineStatusUnknown", "-PipelineReady PipelineStatusUnknown"}},
		{`versions {` + meta + `state {status: PipelineTerminated pipelineGwStatus: PipelineTerminating modelsReady: true}}`,
			[]string{"terminating", "+ModelsReady ModelsReady", "-PipelineGwReady PipelineTerminating", "-PipelineReady PipelineTerminated"}},
		{`versions {` + meta + `state {status: PipelineTerminated pipelineGwStatus: PipelineTerminated modelsReady: true}}`,
			[]string{"terminated", "+ModelsReady ModelsReady", "-PipelineGwReady PipelineTerminated", "-PipelineReady PipelineTerminated"}},
		{`versions {` + meta + `state {status: PipelineReady pipelineGwStatus: PipelineFailedTerminating modelsReady: true}}`,
			[]string{"terminating", "+ModelsReady ModelsReady", "-PipelineGwReady PipelineFailedTerminating", "+PipelineReady PipelineReady"}},
	} {
		event := parsePipelineStatus(message[pb.PipelineStatusResponse](t, test.message))
		if diff := cmp.Diff(test.want, event.lines()); diff != "" {
			t.Errorf("%s:\n%s", test.message, diff)
		}
	}
	for _, text := range []string{``, `versions {` + meta + `} versions {` + meta + `}`, `versions {}`, `versions {pipeline {kubernetesMeta {namespace: "ns"}}}`} {
		if event := parsePipelineStatus(message[pb.PipelineStatusResponse](t, `pipelineName: "p" `+text)); event.hasOrigin {
			t.Errorf("%q has an origin", text)
		}
	}
}

func TestParseExperimentStatus(t *testing.T) {
	const meta = `kubernetesMeta {namespace: "ns" generation: 1} `
	for _, test := range []struct {
		message string
		want    []string
	}{
		{meta + `active: true candidatesReady: true mirrorReady: true statusDescription: "fine"`,
			[]string{"active stable", "+CandidatesReady CandidatesReady", "+ExperimentReady ExperimentActive fine", "+MirrorReady MirrorReady"}},
		{meta + `candidatesReady: true statusDescription: "no model a"`,
			[]string{"inactive", "+CandidatesReady CandidatesReady", "-ExperimentReady ExperimentInactive no model a", "-MirrorReady MirrorNotReady the mirror is not ready: check the Model or Pipeline that spec.mirror names"}},
	} {
		event := parseExperimentStatus(message[pb.ExperimentStatusResponse](t, test.message))
		if diff := cmp.Diff(test.want, event.lines()); diff != "" {
			t.Errorf("%s:\n%s", test.message, diff)
		}
	}
}

func TestCleanText(t *testing.T) {
	long := strings.Repeat("ä", maxText)
	for text, want := range map[string]string{
		"":                            "",
		" a\tb\r\n\x00\x1b[31m\u0085": "a b    [31m",
		"100% of %d":                  "100% of %d",
		long[:maxText]:                long[:maxText],
		long:                          long[:maxText-len(" …")] + " …",
		"a" + long:                    "a" + long[:maxText-len(" …")-2] + " …",
	} {
		if got := cleanText(text); got != want || len(got) > maxText {
			t.Errorf("%.40q: %.40q of %d bytes", text, got, len(got))
		}
	}
	if got := conditionMessage(status.Error(codes.Internal, "a\n"+long)); len(got) > maxText || !strings.HasPrefix(got, "a ä") {
		t.Errorf("error as %d bytes: %.40q", len(got), got)
	}
}

func TestReplicas(t *testing.T) {
	for _, test := range []struct{ available, unavailable, wantReplicas, wantAvailable uint32 }{
		{0, 0, 0, 0},
		{2, 1, 3, 2},
		{2, math.MaxUint32, 1, 2}, // one more available than desired
		{0, math.MaxUint32, 0, 0},
		{math.MaxUint32, math.MaxUint32, 0, 0},
		{math.MaxInt32, 0, math.MaxInt32, math.MaxInt32},
		{math.MaxInt32, 1, 0, math.MaxInt32},
		{math.MaxInt32 + 1, 0, 0, 0},
	} {
		message := &pb.ModelStatusResponse{Versions: []*pb.ModelVersionStatus{{State: &pb.ModelStatus{
			AvailableReplicas: test.available, UnavailableReplicas: test.unavailable,
		}}}}
		got := parseModelStatus(message).state.Model
		if got.Replicas != int64(test.wantReplicas) || got.AvailableReplicas != int64(test.wantAvailable) {
			t.Errorf("%d available and %d not: %d replicas, %d available", test.available, test.unavailable, got.Replicas, got.AvailableReplicas)
		}
	}
}

// In every state that a scheduler reports for a Model of 0 replicas, it is scaled down and
// stable.
func TestScaledDown(t *testing.T) {
	const one, none = `modelDefn {deploymentSpec {replicas: 1}} `, `modelDefn {deploymentSpec {maxReplicas: 4294967295}} `
	for _, test := range []struct{ version, want string }{
		{none, "ModelScaledDown stable"},
		{none + `state {modelGwState: ModelCreate}`, "ModelScaledDown stable"},
		{none + `state {state: ModelCreate modelGwState: ModelCreate}`, "ModelScaledDown stable"},
		{none + `state {state: ModelScaledDown modelGwState: ModelProgressing}`, "ModelScaledDown stable"},
		{none + `state {state: ModelProgressing}`, "ModelScaledDown stable"},
		{none + `state {state: ModelAvailable}`, "ModelScaledDown stable"},
		{`state {state: ModelScaledDown}`, "ModelScaledDown stable"},
		{none + `state {state: ModelProgressing availableReplicas: 1}`, "ModelProgressing"},
		{none + `state {state: ScheduleFailed reason: "no matching server"}`, "ModelScaledDown stable"},
		{none + `state {state: ModelFailed}`, "ModelScaledDown stable"},
		{one + `state {state: ScheduleFailed modelGwState: ModelAvailable}`, "ScheduleFailed stable"},
		{none + `state {state: ModelTerminating}`, "ModelTerminating"},
		{`modelDefn {deploymentSpec {minReplicas: 1}}`, "ModelStateUnknown"},
		{one, "ModelStateUnknown"},
		{one + `state {state: ModelCreate}`, "ModelCreate"},
		{`modelDefn {}`, "ModelStateUnknown"},
		{``, "ModelStateUnknown"},
	} {
		state := parseModelStatus(message[pb.ModelStatusResponse](t, `versions {`+test.version+`}`)).state
		got := state.Conditions[0].Reason
		if state.Stable {
			got += " stable"
		}
		if got != test.want || state.Conditions[0].True {
			t.Errorf("%s: %s, ready %t; want %s", test.version, got, state.Conditions[0].True, test.want)
		}
	}
}

// Only an object that Kubernetes can contain has an origin.
func TestOrigin(t *testing.T) {
	for name, want := range map[string]bool{
		"iris": true, "iris-2.v1": true, "": false, "Iris": false, "a/b": false, "..": false, strings.Repeat("x", 254): false,
	} {
		for generation, valid := range map[int64]bool{1: true, math.MaxInt64: true, 0: false, -1: false, math.MinInt64: false} {
			event := parseExperimentStatus(&pb.ExperimentStatusResponse{ExperimentName: name, KubernetesMeta: &pb.KubernetesMeta{Namespace: "ns", Generation: generation}})
			if event.belongsTo("ns") != (want && valid) {
				t.Errorf("%.20q at generation %d belongs to the namespace: %t", name, generation, event.belongsTo("ns"))
			}
		}
	}
}

// Only listings have digests of definitions, since only these are compared.
func TestDefinitions(t *testing.T) {
	model := message[pb.ModelStatusResponse](t, `versions {modelDefn {meta {name: "m"}}}`)
	pipeline := message[pb.PipelineStatusResponse](t, `versions {pipeline {name: "p"}}`)
	for _, test := range []struct {
		name string
		read statusEvent
		want digest
	}{
		{"model on a stream", parseModelStatus(model), digest{}},
		{"model in a listing", withDefinition(parseModelStatus, modelDefinition)(model), modelDigest(model.Versions[0].ModelDefn)},
		{"model without a definition", withDefinition(parseModelStatus, modelDefinition)(message[pb.ModelStatusResponse](t, `versions {}`)), digest{}},
		{"model without a version", withDefinition(parseModelStatus, modelDefinition)(&pb.ModelStatusResponse{}), digest{}},
		{"pipeline on a stream", parsePipelineStatus(pipeline), digest{}},
		{"pipeline in a listing", withDefinition(parsePipelineStatus, pipelineDefinition)(pipeline), pipelineDigest(pipeline.Versions[0].Pipeline)},
		{"pipeline without a version", withDefinition(parsePipelineStatus, pipelineDefinition)(&pb.PipelineStatusResponse{}), digest{}},
	} {
		if test.read.definition != test.want {
			t.Errorf("%s: digest %x, want %x", test.name, test.read.definition, test.want)
		}
	}
}

func TestPipelineDigest(t *testing.T) {
	// Sent, and as the scheduler reports it.
	sent := message[pb.Pipeline](t, `name: "p" allowCycles: true maxStepRevisits: 2 dataflowSpec {}
		kubernetesMeta {namespace: "ns" generation: 1}
		steps {name: "b" inputs: "a" inputs: "p" inputs: "a.inputs.t" triggers: "a" batch {}} steps {name: "a" joinWindowMs: 0}
		input {externalInputs: "q" externalInputs: "q.step.s" externalTriggers: "q.step.s.outputs.t"}
		output {steps: "b"}`)
	reported := message[pb.Pipeline](t, `name: "p" uid: "x" version: 3
		steps {name: "a" joinWindowMs: 0} steps {name: "b" inputs: "a.outputs" inputs: "p.inputs" inputs: "a.inputs.t" triggers: "a.outputs"}
		input {externalInputs: "q.outputs" externalInputs: "q.step.s.outputs" externalTriggers: "q.step.s.outputs.t"}
		output {steps: "b.outputs"}`)
	before := proto.CloneOf(sent)
	if pipelineDigest(sent) != pipelineDigest(reported) {
		t.Error("the same pipeline has two digests")
	}
	if !proto.Equal(sent, before) {
		t.Error("the digest changes the message")
	}
	for _, change := range []func(*pb.Pipeline){
		func(p *pb.Pipeline) { p.Steps[0].Inputs[0] = "c" },
		func(p *pb.Pipeline) { p.Steps[1].JoinWindowMs = nil },
		func(p *pb.Pipeline) { p.Output = nil },
		func(p *pb.Pipeline) { p.Input.ExternalTriggers = nil },
		func(p *pb.Pipeline) { p.Steps = p.Steps[:1] },
	} {
		changed := proto.CloneOf(sent)
		change(changed)
		if pipelineDigest(changed) == pipelineDigest(sent) {
			t.Errorf("another pipeline has the same digest: %v", changed)
		}
	}
}

func TestModelDigest(t *testing.T) {
	sent := message[pb.Model](t, `meta {name: "m" kubernetesMeta {generation: 1}} modelSpec {uri: "u"} deploymentSpec {replicas: 1}`)
	reported := message[pb.Model](t, `meta {name: "m" kubernetesMeta {generation: 9}} modelSpec {uri: "u" modelRuntimeInfo {mlserver {parallelWorkers: 1}}} deploymentSpec {replicas: 1}`)
	if modelDigest(sent) != modelDigest(reported) {
		t.Error("the digest depends on what a server reports")
	}
	reported.DeploymentSpec.Replicas = 2
	if modelDigest(sent) == modelDigest(reported) {
		t.Error("the digest does not depend on replicas")
	}
}
