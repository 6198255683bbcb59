package relay_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/randfill"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/relay"
)

// The content of a custom resource is in its message: it is sent, received, and read back
// into a custom resource, which is equal except for fields that the message does not have.
func FuzzMessagesReadBack(f *testing.F) {
	for _, seed := range []string{"", "a", "a longer one, that fills more of the fields", "0123456789abcdefghijklmnopqrstuvwxyz"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		fill := randfill.NewFromGoFuzz(data).NilChance(0.4).NumElements(0, 4).Funcs(
			// What the schema accepts.
			func(s *string, c randfill.Continue) { *s = c.String(8) },
			func(n *int64, c randfill.Continue) { *n = int64(c.Uint32()) },
			func(n **int64, c randfill.Continue) {
				if c.Bool() {
					*n = new(int64(c.Uint32()))
				}
			},
			func(j *v1alpha1.JoinType, c randfill.Continue) {
				*j = []v1alpha1.JoinType{v1alpha1.JoinTypeInner, v1alpha1.JoinTypeOuter, v1alpha1.JoinTypeAny}[c.Intn(3)]
			},
			func(r *v1alpha1.ResourceType, c randfill.Continue) {
				*r = []v1alpha1.ResourceType{v1alpha1.ResourceTypeModel, v1alpha1.ResourceTypePipeline}[c.Intn(2)]
			},
			func(m *v1alpha1.IntOrString, c randfill.Continue) { *m = v1alpha1.FromInt(1 + int64(c.Uint32())) },
			func(s *v1alpha1.ScalingSpec, c randfill.Continue) {
				lowest, more, most := int64(c.Intn(9)), int64(c.Intn(9)), int64(c.Intn(9))
				*s = v1alpha1.ScalingSpec{MinReplicas: new(lowest), Replicas: new(lowest + more), MaxReplicas: new(lowest + more + most + 1)}
			},
			func(m *metav1.ObjectMeta, c randfill.Continue) {
				*m = metav1.ObjectMeta{Name: c.String(8), Namespace: c.String(8), Generation: int64(c.Uint32())}
			},
		)

		model := v1alpha1.Model{}
		fill.Fill(&model.ObjectMeta)
		fill.Fill(&model.Spec)
		if model.Spec.Explainer != nil {
			model.Spec.Llm = nil
		}
		sent, err := relay.ModelMessage(&model)
		compare(t, sent, err, model.Spec, func(m *pb.Model) v1alpha1.ModelSpec { return modelSpec(m, model.Spec) })

		pipeline := v1alpha1.Pipeline{}
		fill.Fill(&pipeline.ObjectMeta)
		fill.Fill(&pipeline.Spec)
		flow, err := relay.PipelineMessage(&pipeline)
		compare(t, flow, err, pipeline.Spec, func(p *pb.Pipeline) v1alpha1.PipelineSpec { return pipelineSpec(p, pipeline.Spec) })

		experiment := v1alpha1.Experiment{}
		fill.Fill(&experiment.ObjectMeta)
		fill.Fill(&experiment.Spec)
		started, err := relay.ExperimentMessage(&experiment)
		compare(t, started, err, experiment.Spec, experimentSpec)
		if started.GetKubernetesMeta().GetGeneration() != experiment.Generation || started.GetName() != experiment.Name {
			t.Errorf("%v is not about %s", started, experiment.Name)
		}
	})
}

// compare sends a message, and compares what is read back.
func compare[M proto.Message, S any](t *testing.T, sent M, err error, want S, read func(M) S) {
	t.Helper()
	if err != nil {
		t.Fatalf("%+v: %v", want, err)
	}
	encoded, err := proto.Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}
	received := sent.ProtoReflect().New().Interface().(M)
	if err := proto.Unmarshal(encoded, received); err != nil {
		t.Fatal(err)
	}
	emptyIsNil := cmp.FilterValues(func(a, b any) bool { return empty(a) && empty(b) }, cmp.Ignore())
	if diff := cmp.Diff(want, read(received), emptyIsNil); diff != "" {
		t.Errorf("read back:\n%s", diff)
	}
}

// empty reports whether a list or map has no elements.
func empty(value any) bool {
	switch value := value.(type) {
	case []string:
		return len(value) == 0
	case map[string]string:
		return len(value) == 0
	case []v1alpha1.ParameterSpec:
		return len(value) == 0
	case []v1alpha1.PipelineStep:
		return len(value) == 0
	case []v1alpha1.ExperimentCandidate:
		return len(value) == 0
	}
	return false
}

func wide(value *uint32) *int64 {
	if value == nil {
		return nil
	}
	return new(int64(*value))
}

func flow(spec *pb.DataflowSpec) *v1alpha1.DataflowSpec {
	if spec == nil {
		return nil
	}
	return &v1alpha1.DataflowSpec{CleanTopicsOnDelete: spec.CleanTopicsOnDelete}
}

// modelSpec converts a message back; lost has the fields that the message does not have.
func modelSpec(m *pb.Model, lost v1alpha1.ModelSpec) v1alpha1.ModelSpec {
	spec := m.GetModelSpec()
	read := v1alpha1.ModelSpec{PreLoaded: lost.PreLoaded, Dedicated: lost.Dedicated, Server: spec.Server, Dataflow: flow(m.DataflowSpec)}
	read.StorageURI, read.ArtifactVersion, read.SchemaURI = spec.Uri, wide(spec.ArtifactVersion), lost.SchemaURI
	read.Requirements = spec.Requirements
	if lost.ModelType != nil {
		last := len(spec.Requirements) - 1
		read.Requirements, read.ModelType = spec.Requirements[:last], &spec.Requirements[last]
	}
	if spec.StorageConfig != nil {
		read.SecretName = new(spec.StorageConfig.GetStorageSecretName())
	}
	if spec.MemoryBytes != nil {
		read.Memory = new(v1alpha1.FromInt(int64(*spec.MemoryBytes)))
	}
	for _, parameter := range spec.Parameters {
		read.Parameters = append(read.Parameters, v1alpha1.ParameterSpec{Name: parameter.Name, Value: parameter.Value})
	}
	if explainer := spec.GetExplainer(); explainer != nil {
		read.Explainer = &v1alpha1.ExplainerSpec{Type: explainer.Type, ModelRef: explainer.ModelRef, PipelineRef: explainer.PipelineRef}
	}
	if llm := spec.GetLlm(); llm != nil {
		read.Llm = &v1alpha1.LlmSpec{ModelRef: llm.ModelRef, PipelineRef: llm.PipelineRef}
	}
	if m.DeploymentSpec.LogPayloads {
		read.Logger = lost.Logger
	}
	deployment := m.DeploymentSpec
	read.ScalingSpec = v1alpha1.ScalingSpec{
		Replicas: new(int64(deployment.Replicas)), MinReplicas: new(int64(deployment.MinReplicas)), MaxReplicas: new(int64(deployment.MaxReplicas)),
	}
	return read
}

func joinType[J ~int32](kind J, set *v1alpha1.JoinType) *v1alpha1.JoinType {
	if set == nil && kind == 0 {
		return nil
	}
	return new([]v1alpha1.JoinType{v1alpha1.JoinTypeInner, v1alpha1.JoinTypeOuter, v1alpha1.JoinTypeAny}[kind])
}

func pipelineSpec(p *pb.Pipeline, lost v1alpha1.PipelineSpec) v1alpha1.PipelineSpec {
	read := v1alpha1.PipelineSpec{AllowCycles: p.AllowCycles, MaxStepRevisits: int64(p.MaxStepRevisits), Dataflow: flow(p.DataflowSpec)}
	for i, step := range p.Steps {
		was := lost.Steps[i]
		each := v1alpha1.PipelineStep{
			Name: step.Name, Inputs: step.Inputs, Triggers: step.Triggers, TensorMap: step.TensorMap, JoinWindowMs: wide(step.JoinWindowMs),
			InputsJoinType: joinType(step.InputsJoin, was.InputsJoinType), TriggersJoinType: joinType(step.TriggersJoin, was.TriggersJoinType),
		}
		if step.Batch != nil {
			each.Batch = &v1alpha1.PipelineBatch{Size: wide(step.Batch.Size), WindowMs: wide(step.Batch.WindowMs), Rolling: was.Batch.Rolling}
		}
		read.Steps = append(read.Steps, each)
	}
	if input := p.Input; input != nil {
		read.Input = &v1alpha1.PipelineInput{
			ExternalInputs: input.ExternalInputs, ExternalTriggers: input.ExternalTriggers, JoinWindowMs: wide(input.JoinWindowMs), TensorMap: input.TensorMap,
			JoinType: joinType(input.JoinType, lost.Input.JoinType), TriggersJoinType: joinType(input.TriggersJoin, lost.Input.TriggersJoinType),
		}
	}
	if output := p.Output; output != nil {
		read.Output = &v1alpha1.PipelineOutput{
			Steps: output.Steps, JoinWindowMs: int64(output.JoinWindowMs), TensorMap: output.TensorMap, StepsJoin: joinType(output.StepsJoin, lost.Output.StepsJoin),
		}
	}
	return read
}

func experimentSpec(e *pb.Experiment) v1alpha1.ExperimentSpec {
	read := v1alpha1.ExperimentSpec{Default: e.Default, ResourceType: v1alpha1.ResourceTypeModel}
	if e.ResourceType == pb.ResourceType_PIPELINE {
		read.ResourceType = v1alpha1.ResourceTypePipeline
	}
	for _, candidate := range e.Candidates {
		read.Candidates = append(read.Candidates, v1alpha1.ExperimentCandidate{Name: candidate.Name, Weight: int64(candidate.Weight)})
	}
	if e.Mirror != nil {
		read.Mirror = &v1alpha1.ExperimentMirror{Name: e.Mirror.Name, Percent: int64(e.Mirror.Percent)}
	}
	return read
}
