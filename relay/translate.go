package relay

import (
	"errors"
	"fmt"
	"math"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// ModelMessage returns the scheduler's message for a Model. It returns an error for a
// Model that was stored before the schema rejected it: with both explainer and llm, with
// replicas out of order (wrapping [v1alpha1.ErrScaling]), with a memory that is not a
// number of bytes, or with numbers out of the message's range.
func ModelMessage(model *v1alpha1.Model) (*pb.Model, error) {
	spec := &model.Spec
	if spec.Explainer != nil && spec.Llm != nil {
		return nil, fmt.Errorf("spec.llm: explainer and llm are mutually exclusive; remove one of them")
	}
	replicas, minReplicas, maxReplicas, err := spec.Bounds()
	if err != nil {
		return nil, fmt.Errorf("spec: %w", err)
	}
	memory, err := spec.MemoryBytes()
	if err != nil {
		return nil, fmt.Errorf("spec.memory: %w", err)
	}
	convert := &uint32Converter{}
	message := &pb.Model{
		Meta: &pb.MetaData{Name: model.Name, KubernetesMeta: kubernetesMeta(model)},
		ModelSpec: &pb.ModelSpec{
			Uri:             spec.StorageURI,
			ArtifactVersion: convert.optional("spec.artifactVersion", spec.ArtifactVersion),
			Requirements:    requirements(spec),
			MemoryBytes:     memory,
			Server:          spec.Server,
		},
		DeploymentSpec: &pb.DeploymentSpec{
			Replicas: replicas, MinReplicas: minReplicas, MaxReplicas: maxReplicas,
			LogPayloads: spec.Logger != nil,
		},
		DataflowSpec: dataflow(spec.Dataflow),
	}
	if spec.SecretName != nil {
		message.ModelSpec.StorageConfig = &pb.StorageConfig{
			Config: &pb.StorageConfig_StorageSecretName{StorageSecretName: *spec.SecretName},
		}
	}
	for _, parameter := range spec.Parameters {
		message.ModelSpec.Parameters = append(message.ModelSpec.Parameters,
			&pb.ParameterSpec{Name: parameter.Name, Value: parameter.Value})
	}
	switch {
	case spec.Explainer != nil:
		message.ModelSpec.ModelSpec = &pb.ModelSpec_Explainer{Explainer: &pb.ExplainerSpec{
			Type: spec.Explainer.Type, ModelRef: spec.Explainer.ModelRef, PipelineRef: spec.Explainer.PipelineRef,
		}}
	case spec.Llm != nil:
		message.ModelSpec.ModelSpec = &pb.ModelSpec_Llm{Llm: &pb.LlmSpec{
			ModelRef: spec.Llm.ModelRef, PipelineRef: spec.Llm.PipelineRef,
		}}
	}
	return message, convert.err
}

// requirements returns the requirements of the spec, and then the type of the Model.
func requirements(spec *v1alpha1.ModelSpec) []string {
	all := append([]string(nil), spec.Requirements...)
	if spec.ModelType != nil {
		all = append(all, *spec.ModelType)
	}
	return all
}

// PipelineMessage returns the scheduler's message for a Pipeline, with the names of steps
// and inputs as in the spec. It returns an error for numbers out of the message's range,
// in a Pipeline that was stored before the schema rejected it.
func PipelineMessage(pipeline *v1alpha1.Pipeline) (*pb.Pipeline, error) {
	spec := &pipeline.Spec
	convert := &uint32Converter{}
	message := &pb.Pipeline{
		Name:            pipeline.Name,
		KubernetesMeta:  kubernetesMeta(pipeline),
		AllowCycles:     spec.AllowCycles,
		MaxStepRevisits: convert.number("spec.maxStepRevisits", spec.MaxStepRevisits),
		DataflowSpec:    dataflow(spec.Dataflow),
	}
	for i, step := range spec.Steps {
		path := fmt.Sprintf("spec.steps[%d].", i)
		translated := &pb.PipelineStep{
			Name:         step.Name,
			Inputs:       step.Inputs,
			Triggers:     step.Triggers,
			TensorMap:    step.TensorMap,
			JoinWindowMs: convert.optional(path+"joinWindowMs", step.JoinWindowMs),
			InputsJoin:   pb.PipelineStep_JoinOp(join(step.InputsJoinType)),
			TriggersJoin: pb.PipelineStep_JoinOp(join(step.TriggersJoinType)),
		}
		if step.Batch != nil {
			translated.Batch = &pb.Batch{
				Size:     convert.optional(path+"batch.size", step.Batch.Size),
				WindowMs: convert.optional(path+"batch.windowMs", step.Batch.WindowMs),
			}
		}
		message.Steps = append(message.Steps, translated)
	}
	if input := spec.Input; input != nil {
		message.Input = &pb.PipelineInput{
			ExternalInputs:   input.ExternalInputs,
			ExternalTriggers: input.ExternalTriggers,
			JoinWindowMs:     convert.optional("spec.input.joinWindowMs", input.JoinWindowMs),
			JoinType:         pb.PipelineInput_JoinOp(join(input.JoinType)),
			TriggersJoin:     pb.PipelineInput_JoinOp(join(input.TriggersJoinType)),
			TensorMap:        input.TensorMap,
		}
	}
	if output := spec.Output; output != nil {
		message.Output = &pb.PipelineOutput{
			Steps:        output.Steps,
			JoinWindowMs: convert.number("spec.output.joinWindowMs", output.JoinWindowMs),
			StepsJoin:    pb.PipelineOutput_JoinOp(join(output.StepsJoin)),
			TensorMap:    output.TensorMap,
		}
	}
	return message, convert.err
}

// ExperimentMessage returns the scheduler's message for an Experiment. Errors are as those
// of [PipelineMessage].
func ExperimentMessage(experiment *v1alpha1.Experiment) (*pb.Experiment, error) {
	spec := &experiment.Spec
	convert := &uint32Converter{}
	message := &pb.Experiment{
		Name:           experiment.Name,
		Default:        spec.Default,
		KubernetesMeta: kubernetesMeta(experiment),
	}
	if spec.ResourceType == v1alpha1.ResourceTypePipeline {
		message.ResourceType = pb.ResourceType_PIPELINE
	}
	for i, candidate := range spec.Candidates {
		message.Candidates = append(message.Candidates, &pb.ExperimentCandidate{
			Name: candidate.Name, Weight: convert.number(fmt.Sprintf("spec.candidates[%d].weight", i), candidate.Weight),
		})
	}
	if spec.Mirror != nil {
		message.Mirror = &pb.ExperimentMirror{
			Name: spec.Mirror.Name, Percent: convert.number("spec.mirror.percent", spec.Mirror.Percent),
		}
	}
	return message, convert.err
}

// ServerMessage returns the scheduler's notification about a Server whose workload has
// the given number of replicas; nil for the replicas of the spec. A Server that is being deleted
// has 0 replicas. The error wraps [v1alpha1.ErrScaling].
func ServerMessage(server *v1alpha1.Server, workloadReplicas *int64) (*pb.ServerNotify, error) {
	message := &pb.ServerNotify{Name: server.Name, KubernetesMeta: kubernetesMeta(server)}
	if server.DeletionTimestamp != nil {
		return message, nil
	}
	replicas, minReplicas, maxReplicas, err := server.Spec.Bounds()
	if err != nil {
		return nil, fmt.Errorf("spec: %w", err)
	}
	if workloadReplicas != nil {
		// The replicas exist, whether or not they are within the bounds.
		replicas = uint32(max(0, *workloadReplicas))
		minReplicas, maxReplicas = min(minReplicas, replicas), max(maxReplicas, replicas)
	}
	message.ExpectedReplicas, message.MinReplicas, message.MaxReplicas = replicas, minReplicas, maxReplicas
	return message, nil
}

func kubernetesMeta(object metav1.Object) *pb.KubernetesMeta {
	return &pb.KubernetesMeta{Namespace: object.GetNamespace(), Generation: object.GetGeneration()}
}

func dataflow(spec *v1alpha1.DataflowSpec) *pb.DataflowSpec {
	if spec == nil {
		return nil
	}
	return &pb.DataflowSpec{CleanTopicsOnDelete: spec.CleanTopicsOnDelete}
}

// uint32Converter converts the numbers of custom resources to those of messages, and
// collects an error for each that is out of range.
type uint32Converter struct{ err error }

func (c *uint32Converter) number(path string, value int64) uint32 {
	if value < 0 || value > math.MaxUint32 {
		c.err = errors.Join(c.err, fmt.Errorf("%s: %d is not between 0 and %d", path, value, uint32(math.MaxUint32)))
		return 0
	}
	return uint32(value)
}

func (c *uint32Converter) optional(path string, value *int64) *uint32 {
	if value == nil {
		return nil
	}
	return new(c.number(path, *value))
}

// join returns the number of a type of join, which is the same in the three enumerations
// of the scheduler's API.
func join(joinType *v1alpha1.JoinType) int32 {
	if joinType == nil {
		return 0
	}
	return map[v1alpha1.JoinType]int32{v1alpha1.JoinTypeOuter: 1, v1alpha1.JoinTypeAny: 2}[*joinType]
}
