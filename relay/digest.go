package relay

import (
	"crypto/sha256"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// digest is a hash of a definition, to compare what the scheduler has with what a custom
// resource specifies; zero for none.
type digest [16]byte

func digestOf(message proto.Message) digest {
	// A message that was received, or translated from a valid custom resource, can be
	// encoded.
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
	if err != nil {
		return digest{}
	}
	sum := sha256.Sum256(encoded)
	return digest(sum[:16])
}

// withDefinition returns a parser that also sets the digest of the definition that the
// scheduler has.
func withDefinition[M any](parse func(*M) statusEvent, definition func(*M) digest) func(*M) statusEvent {
	return func(message *M) statusEvent {
		event := parse(message)
		event.definition = definition(message)
		return event
	}
}

// modelDefinition returns the digest of the newest version of a Model; zero for none.
func modelDefinition(message *pb.ModelStatusResponse) digest {
	if versions := message.GetVersions(); len(versions) > 0 && versions[0].GetModelDefn() != nil {
		return modelDigest(versions[0].GetModelDefn())
	}
	return digest{}
}

// pipelineDefinition returns the digest of the only version of a Pipeline; zero for none.
func pipelineDefinition(message *pb.PipelineStatusResponse) digest {
	if versions := message.GetVersions(); len(versions) == 1 && versions[0].GetPipeline() != nil {
		return pipelineDigest(versions[0].GetPipeline())
	}
	return digest{}
}

// modelDigest returns the digest of a Model without its origin, and without what servers
// add to it.
func modelDigest(model *pb.Model) digest {
	model = proto.CloneOf(model)
	if model.Meta != nil {
		model.Meta.KubernetesMeta = nil
	}
	if model.ModelSpec != nil {
		model.ModelSpec.ModelRuntimeInfo = nil
	}
	return digestOf(model)
}

// pipelineDigest returns the digest of a Pipeline in the form in which the scheduler
// reports it: steps sorted by name, references normalized, without what it does not report.
func pipelineDigest(pipeline *pb.Pipeline) digest {
	pipeline = proto.CloneOf(pipeline)
	pipeline.Uid, pipeline.Version, pipeline.KubernetesMeta = "", 0, nil
	pipeline.AllowCycles, pipeline.MaxStepRevisits, pipeline.DataflowSpec = false, 0, nil
	slices.SortStableFunc(pipeline.Steps, func(a, b *pb.PipelineStep) int { return strings.Compare(a.GetName(), b.GetName()) })
	for _, step := range pipeline.Steps {
		normalizeReferences(pipeline.Name, step.GetInputs())
		normalizeReferences(pipeline.Name, step.GetTriggers())
		if proto.Size(step.GetBatch()) == 0 {
			step.Batch = nil
		}
	}
	normalizeReferences(pipeline.Name, pipeline.GetOutput().GetSteps())
	normalizeExternalReferences(pipeline.GetInput().GetExternalInputs())
	normalizeExternalReferences(pipeline.GetInput().GetExternalTriggers())
	if proto.Size(pipeline.GetInput()) == 0 {
		pipeline.Input = nil
	}
	if proto.Size(pipeline.GetOutput()) == 0 {
		pipeline.Output = nil
	}
	return digestOf(pipeline)
}

// normalizeReferences adds the suffix that a bare name stands for: the outputs of a step,
// or the inputs of the pipeline itself.
func normalizeReferences(pipeline string, references []string) {
	for i, reference := range references {
		switch {
		case reference == pipeline:
			references[i] += ".inputs"
		case !strings.Contains(reference, "."):
			references[i] += ".outputs"
		}
	}
}

// normalizeExternalReferences adds the suffix of `pipeline` and `pipeline.step.name`, which
// stand for outputs.
func normalizeExternalReferences(references []string) {
	for i, reference := range references {
		parts := strings.Split(reference, ".")
		if len(parts) == 1 || len(parts) == 3 && parts[1] == "step" {
			references[i] += ".outputs"
		}
	}
}

// experimentDigest returns the digest of an Experiment without its origin.
func experimentDigest(experiment *pb.Experiment) digest {
	experiment = proto.CloneOf(experiment)
	experiment.KubernetesMeta = nil
	return digestOf(experiment)
}
