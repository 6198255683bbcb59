package relay

import (
	"crypto/sha256"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// digest of a definition, to compare what the scheduler has with what a custom
// resource wants; the zero value stands for none.
type digest [16]byte

func digestOf(message proto.Message) digest {
	// A message that came over the wire, or was made from a checked custom
	// resource, can be encoded.
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
	if err != nil {
		return digest{}
	}
	sum := sha256.Sum256(encoded)
	return digest(sum[:16])
}

// withDefinition returns a reader of messages that also digests the definition of what
// the scheduler has.
func withDefinition[M any](read func(*M) word, definition func(*M) digest) func(*M) word {
	return func(message *M) word {
		w := read(message)
		w.definition = definition(message)
		return w
	}
}

// modelDefinition digests the newest version of a model; zero if there is none.
func modelDefinition(message *pb.ModelStatusResponse) digest {
	if versions := message.GetVersions(); len(versions) > 0 && versions[0].GetModelDefn() != nil {
		return modelDigest(versions[0].GetModelDefn())
	}
	return digest{}
}

// pipelineDefinition digests the only version of a pipeline; zero if there is none.
func pipelineDefinition(message *pb.PipelineStatusResponse) digest {
	if versions := message.GetVersions(); len(versions) == 1 && versions[0].GetPipeline() != nil {
		return pipelineDigest(versions[0].GetPipeline())
	}
	return digest{}
}

// modelDigest leaves out whose it is, and what servers add when they report it.
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

// pipelineDigest is of a pipeline as the scheduler gives it back: steps by name,
// names completed, without what it does not give back.
func pipelineDigest(pipeline *pb.Pipeline) digest {
	pipeline = proto.CloneOf(pipeline)
	pipeline.Uid, pipeline.Version, pipeline.KubernetesMeta = "", 0, nil
	pipeline.AllowCycles, pipeline.MaxStepRevisits, pipeline.DataflowSpec = false, 0, nil
	slices.SortStableFunc(pipeline.Steps, func(a, b *pb.PipelineStep) int { return strings.Compare(a.GetName(), b.GetName()) })
	for _, step := range pipeline.Steps {
		completeAll(pipeline.Name, step.GetInputs())
		completeAll(pipeline.Name, step.GetTriggers())
		if proto.Size(step.GetBatch()) == 0 {
			step.Batch = nil
		}
	}
	completeAll(pipeline.Name, pipeline.GetOutput().GetSteps())
	completeExternal(pipeline.GetInput().GetExternalInputs())
	completeExternal(pipeline.GetInput().GetExternalTriggers())
	if proto.Size(pipeline.GetInput()) == 0 {
		pipeline.Input = nil
	}
	if proto.Size(pipeline.GetOutput()) == 0 {
		pipeline.Output = nil
	}
	return digestOf(pipeline)
}

// completeAll completes bare names: a step's means its outputs, the pipeline's own
// its inputs.
func completeAll(pipeline string, references []string) {
	for i, reference := range references {
		switch {
		case reference == pipeline:
			references[i] += ".inputs"
		case !strings.Contains(reference, "."):
			references[i] += ".outputs"
		}
	}
}

// completeExternal completes `pipeline` and `pipeline.step.name`, which mean outputs.
func completeExternal(references []string) {
	for i, reference := range references {
		parts := strings.Split(reference, ".")
		if len(parts) == 1 || len(parts) == 3 && parts[1] == "step" {
			references[i] += ".outputs"
		}
	}
}

// experimentDigest leaves out whose it is.
func experimentDigest(experiment *pb.Experiment) digest {
	experiment = proto.CloneOf(experiment)
	experiment.KubernetesMeta = nil
	return digestOf(experiment)
}
