package scheduler

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// lines of a word, as a reader of a status sees them.
func (w word) lines() []string {
	lines := []string{[]string{"live", "idle", "terminating", "gone"}[w.phase]}
	if w.state.Settled {
		lines[0] += " settled"
	}
	for _, each := range w.state.Conditions {
		sign := "-"
		if each.True {
			sign = "+"
		}
		lines = append(lines, strings.TrimSpace(sign+each.Type+" "+each.Reason+" "+each.Message))
	}
	if w.state.Model != nil {
		lines = append(lines, w.state.Model.Server+" "+w.state.Model.Gateway)
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

func TestModelWord(t *testing.T) {
	const meta = `kubernetesMeta {namespace: "ns" generation: 2} `
	for _, test := range []struct {
		message string
		want    []string
	}{
		{`versions {` + meta + `serverName: "mlserver" state {state: ModelAvailable availableReplicas: 2 modelGwState: ModelAvailable modelGwReason: "1/1 ready "}}`,
			[]string{"live settled", "+ModelReady ModelAvailable", "mlserver ModelAvailable(1/1 ready)"}},
		{`versions {` + meta + `state {state: ModelAvailable modelGwState: ModelProgressing}}`,
			[]string{"live", "+ModelReady ModelAvailable", " ModelProgressing"}},
		{`versions {` + meta + `state {state: ScheduleFailed reason: "100% of %d full" modelGwState: ModelCreate}}`,
			[]string{"live", "-ModelReady ScheduleFailed 100% of %d full", " ModelCreate"}},
		{`versions {` + meta + `state {state: ModelScaledDown modelGwState: ModelAvailable}}`,
			[]string{"live settled", "-ModelReady ModelScaledDown", " ModelAvailable"}},
		{`versions {` + meta + `state {state: 77 modelGwState: -1}}`,
			[]string{"live settled", "-ModelReady State77", " State4294967295"}},
		{`versions {` + meta + `}`,
			[]string{"live", "-ModelReady ModelStateUnknown", " ModelStateUnknown"}},
		{`deleted: true versions {` + meta + `state {state: ModelTerminating modelGwState: ModelTerminate}}`,
			[]string{"terminating", "-ModelReady ModelTerminating", " ModelTerminate"}},
		{`deleted: true versions {` + meta + `state {state: ModelTerminating modelGwState: ModelTerminated}}`,
			[]string{"terminating", "-ModelReady ModelTerminating", " ModelTerminated"}},
		{`deleted: true versions {` + meta + `state {state: ModelTerminated modelGwState: ModelTerminated}}`,
			[]string{"gone settled", "-ModelReady ModelTerminated", " ModelTerminated"}},
		{`deleted: true versions {` + meta + `state {state: ScheduleFailed modelGwState: ModelTerminated}}`,
			[]string{"gone settled", "-ModelReady ScheduleFailed", " ModelTerminated"}},
	} {
		w := modelWord(message[pb.ModelStatusResponse](t, test.message))
		if diff := cmp.Diff(test.want, w.lines()); diff != "" {
			t.Errorf("%s:\n%s", test.message, diff)
		}
		if !w.ours("ns") || w.ours("other") || w.state.Generation != 2 {
			t.Errorf("%s: is about %s, generation %d", test.message, w.namespace, w.state.Generation)
		}
	}
	// The sum of two numbers that just fit does not.
	w := modelWord(message[pb.ModelStatusResponse](t, `versions {state {availableReplicas: 4294967295 unavailableReplicas: 4294967295}}`))
	if w.state.Model.Replicas != 2*math.MaxUint32 {
		t.Errorf("%d replicas", w.state.Model.Replicas)
	}
}

func TestPipelineWord(t *testing.T) {
	const meta = `pipeline {kubernetesMeta {namespace: "ns" generation: 1}} `
	for _, test := range []struct {
		message string
		want    []string
	}{
		{`versions {` + meta + `state {status: PipelineReady pipelineGwStatus: PipelineReady modelsReady: true reason: "1/1 ready "}}`,
			[]string{"live settled", "+ModelsReady ModelsReady", "+PipelineGwReady PipelineReady", "+PipelineReady PipelineReady 1/1 ready"}},
		{`versions {` + meta + `state {status: PipelineFailed pipelineGwStatus: PipelineCreating reason: "boom" pipelineGwReason: "Rebalance"}}`,
			[]string{"live settled", "-ModelsReady ModelsNotReady not all Models that the steps name are available",
				"-PipelineGwReady PipelineCreating Rebalance", "-PipelineReady PipelineFailed boom"}},
		{`versions {` + meta + `}`,
			[]string{"live", "-ModelsReady ModelsNotReady not all Models that the steps name are available",
				"-PipelineGwReady PipelineStatusUnknown", "-PipelineReady PipelineStatusUnknown"}},
		{`versions {` + meta + `state {status: PipelineTerminated pipelineGwStatus: PipelineTerminating modelsReady: true}}`,
			[]string{"terminating", "+ModelsReady ModelsReady", "-PipelineGwReady PipelineTerminating", "-PipelineReady PipelineTerminated"}},
		{`versions {` + meta + `state {status: PipelineTerminated pipelineGwStatus: PipelineTerminated modelsReady: true}}`,
			[]string{"gone", "+ModelsReady ModelsReady", "-PipelineGwReady PipelineTerminated", "-PipelineReady PipelineTerminated"}},
		{`versions {` + meta + `state {status: PipelineReady pipelineGwStatus: PipelineFailedTerminating modelsReady: true}}`,
			[]string{"terminating", "+ModelsReady ModelsReady", "-PipelineGwReady PipelineFailedTerminating", "+PipelineReady PipelineReady"}},
	} {
		w := pipelineWord(message[pb.PipelineStatusResponse](t, test.message))
		if diff := cmp.Diff(test.want, w.lines()); diff != "" {
			t.Errorf("%s:\n%s", test.message, diff)
		}
	}
	for _, text := range []string{``, `versions {` + meta + `} versions {` + meta + `}`, `versions {}`, `versions {pipeline {kubernetesMeta {namespace: "ns"}}}`} {
		if w := pipelineWord(message[pb.PipelineStatusResponse](t, text)); w.addressed {
			t.Errorf("%q says which object it is about", text)
		}
	}
}

func TestExperimentWord(t *testing.T) {
	const meta = `kubernetesMeta {namespace: "ns" generation: 1} `
	for _, test := range []struct {
		message string
		want    []string
	}{
		{meta + `active: true candidatesReady: true mirrorReady: true statusDescription: "fine"`,
			[]string{"live settled", "+CandidatesReady CandidatesReady", "+ExperimentReady ExperimentActive fine", "+MirrorReady MirrorReady"}},
		{meta + `candidatesReady: true statusDescription: "no model a"`,
			[]string{"idle", "+CandidatesReady CandidatesReady", "-ExperimentReady ExperimentInactive no model a", "-MirrorReady MirrorNotReady the mirror is not ready"}},
	} {
		w := experimentWord(message[pb.ExperimentStatusResponse](t, test.message))
		if diff := cmp.Diff(test.want, w.lines()); diff != "" {
			t.Errorf("%s:\n%s", test.message, diff)
		}
	}
}

// Whatever a scheduler sends, reading it does not panic, and makes conditions that
// the API server takes.
func FuzzWords(f *testing.F) {
	for _, seed := range []proto.Message{
		message[pb.ModelStatusResponse](&testing.T{}, `modelName: "m" versions {kubernetesMeta {namespace: "ns" generation: 1} state {state: ModelAvailable} modelDefn {meta {name: "m"}}}`),
		message[pb.PipelineStatusResponse](&testing.T{}, `pipelineName: "p" versions {pipeline {name: "p" steps {name: "a" inputs: "p"}} state {status: PipelineReady}}`),
		message[pb.ExperimentStatusResponse](&testing.T{}, `experimentName: "e" active: true`),
		message[pb.ServerStatusResponse](&testing.T{}, `serverName: "s" expectedReplicas: -1 type: ScalingRequest`),
	} {
		encoded, err := proto.Marshal(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var words []word
		if m := (&pb.ModelStatusResponse{}); proto.Unmarshal(data, m) == nil {
			words = append(words, modelWord(m))
		}
		if m := (&pb.PipelineStatusResponse{}); proto.Unmarshal(data, m) == nil {
			words = append(words, pipelineWord(m))
		}
		if m := (&pb.ExperimentStatusResponse{}); proto.Unmarshal(data, m) == nil {
			words = append(words, experimentWord(m))
		}
		for _, w := range words {
			for _, each := range w.state.Conditions {
				if each.Type == "" || each.Reason == "" || strings.ContainsAny(each.Reason, " -%") {
					t.Errorf("condition %+v", each)
				}
			}
		}
	})
}

// Definitions are digested where they are compared, in listings.
func TestDefinitions(t *testing.T) {
	model := message[pb.ModelStatusResponse](t, `versions {modelDefn {meta {name: "m"}}}`)
	pipeline := message[pb.PipelineStatusResponse](t, `versions {pipeline {name: "p"}}`)
	for _, test := range []struct {
		name string
		read word
		want digest
	}{
		{"model on a stream", modelWord(model), digest{}},
		{"model in a listing", withDefinition(modelWord, modelDefinition)(model), modelDigest(model.Versions[0].ModelDefn)},
		{"model without a definition", withDefinition(modelWord, modelDefinition)(message[pb.ModelStatusResponse](t, `versions {}`)), digest{}},
		{"model without a version", withDefinition(modelWord, modelDefinition)(&pb.ModelStatusResponse{}), digest{}},
		{"pipeline on a stream", pipelineWord(pipeline), digest{}},
		{"pipeline in a listing", withDefinition(pipelineWord, pipelineDefinition)(pipeline), pipelineDigest(pipeline.Versions[0].Pipeline)},
		{"pipeline without a version", withDefinition(pipelineWord, pipelineDefinition)(&pb.PipelineStatusResponse{}), digest{}},
	} {
		if test.read.definition != test.want {
			t.Errorf("%s: digest %x, want %x", test.name, test.read.definition, test.want)
		}
	}
}

func TestPipelineDigest(t *testing.T) {
	// Sent, and as the scheduler gives it back.
	sent := message[pb.Pipeline](t, `name: "p" allowCycles: true maxStepRevisits: 2 dataflowSpec {}
		kubernetesMeta {namespace: "ns" generation: 1}
		steps {name: "b" inputs: "a" inputs: "p" inputs: "a.inputs.t" triggers: "a" batch {}} steps {name: "a" joinWindowMs: 0}
		input {externalInputs: "q" externalInputs: "q.step.s" externalTriggers: "q.step.s.outputs.t"}
		output {steps: "b"}`)
	given := message[pb.Pipeline](t, `name: "p" uid: "x" version: 3
		steps {name: "a" joinWindowMs: 0} steps {name: "b" inputs: "a.outputs" inputs: "p.inputs" inputs: "a.inputs.t" triggers: "a.outputs"}
		input {externalInputs: "q.outputs" externalInputs: "q.step.s.outputs" externalTriggers: "q.step.s.outputs.t"}
		output {steps: "b.outputs"}`)
	before := proto.CloneOf(sent)
	if pipelineDigest(sent) != pipelineDigest(given) {
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
	given := message[pb.Model](t, `meta {name: "m" kubernetesMeta {generation: 9}} modelSpec {uri: "u" modelRuntimeInfo {mlserver {parallelWorkers: 1}}} deploymentSpec {replicas: 1}`)
	if modelDigest(sent) != modelDigest(given) {
		t.Error("what a server reports makes another digest")
	}
	given.DeploymentSpec.Replicas = 2
	if modelDigest(sent) == modelDigest(given) {
		t.Error("replicas make no difference")
	}
}
