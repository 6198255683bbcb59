package fakescheduler

import (
	"cmp"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// normalisePipeline validates a pipeline and returns the definition that the scheduler stores and
// publishes: steps sorted by name, references with their suffix, and without
// dataflowSpec, allowCycles and maxStepRevisits.
func normalisePipeline(requested *pb.Pipeline) (*pb.Pipeline, error) {
	p := proto.CloneOf(requested)
	name := p.GetName()
	if !validName.MatchString(name) {
		return nil, failedPrecondition("pipeline name %q is invalid", name)
	}
	if len(p.GetSteps()) == 0 {
		return nil, failedPrecondition("pipeline %s has no steps", name)
	}
	steps := map[string]*pb.PipelineStep{}
	for _, step := range p.GetSteps() {
		if step.GetName() == name {
			return nil, failedPrecondition("pipeline %s has a step of its own name", name)
		}
		if steps[step.GetName()] != nil {
			return nil, failedPrecondition("pipeline %s has step %s twice", name, step.GetName())
		}
		steps[step.GetName()] = step
	}
	for _, step := range p.GetSteps() {
		if err := normaliseStep(name, step, steps); err != nil {
			return nil, err
		}
	}
	if err := normaliseEnds(p, steps); err != nil {
		return nil, err
	}
	if !p.GetAllowCycles() && cyclic(steps) {
		return nil, failedPrecondition("pipeline %s has a cycle", name)
	}
	slices.SortFunc(p.Steps, func(a, b *pb.PipelineStep) int { return cmp.Compare(a.GetName(), b.GetName()) })
	p.DataflowSpec, p.AllowCycles, p.MaxStepRevisits = nil, false, 0
	return p, nil
}

// normaliseStep checks a step's inputs and triggers, and adds their suffix.
func normaliseStep(pipeline string, step *pb.PipelineStep, steps map[string]*pb.PipelineStep) error {
	for _, references := range [][]string{step.GetInputs(), step.GetTriggers()} {
		for i, reference := range references {
			from, _ := cutName(reference)
			if from == pipeline {
				references[i] = suffixed(reference, "inputs")
			} else {
				references[i] = suffixed(reference, "outputs")
			}
			if !wellFormed(references[i]) {
				return failedPrecondition("pipeline %s step %s has the malformed input or trigger %q", pipeline, step.GetName(), reference)
			}
			if from != pipeline && steps[from] == nil {
				return failedPrecondition("pipeline %s step %s refers to the unknown step %s", pipeline, step.GetName(), from)
			}
		}
	}
	for _, trigger := range step.GetTriggers() {
		if slices.Contains(step.GetInputs(), trigger) {
			return failedPrecondition("pipeline %s step %s has %s as input and as trigger", pipeline, step.GetName(), trigger)
		}
	}
	return nil
}

// normaliseEnds does so for the pipeline's own input and output.
func normaliseEnds(p *pb.Pipeline, steps map[string]*pb.PipelineStep) error {
	if p.Output != nil {
		for i, reference := range p.Output.Steps {
			p.Output.Steps[i] = suffixed(reference, "outputs")
			from, _ := cutName(reference)
			if !wellFormed(p.Output.Steps[i]) || steps[from] == nil {
				return failedPrecondition("pipeline %s has the malformed or unknown output %q", p.GetName(), reference)
			}
		}
	}
	if p.Input == nil {
		return nil
	}
	if len(p.Input.ExternalInputs) == 0 {
		return failedPrecondition("pipeline %s has an input without external inputs", p.GetName())
	}
	for _, references := range [][]string{p.Input.ExternalInputs, p.Input.ExternalTriggers} {
		for i, reference := range references {
			var ok bool
			if references[i], ok = normaliseExternal(reference); !ok {
				return failedPrecondition("pipeline %s has the malformed external input or trigger %q", p.GetName(), reference)
			}
		}
	}
	return nil
}

// normaliseExternal accepts pipeline or pipeline.step.step, each with a suffix and
// a tensor or without.
func normaliseExternal(reference string) (string, bool) {
	pipeline, rest := cutName(reference)
	prefix := ""
	if after, found := strings.CutPrefix(rest, "step."); found {
		prefix, reference = pipeline+".step.", after
	}
	reference = suffixed(reference, "outputs")
	return prefix + reference, pipeline != "" && wellFormed(reference)
}

// suffixed is a reference that has no suffix yet with one.
func suffixed(reference, suffix string) string {
	if reference == "" || strings.Contains(reference, ".") {
		return reference
	}
	return reference + "." + suffix
}

// wellFormed is whether a reference is name.(inputs|outputs)[.tensor].
func wellFormed(reference string) bool {
	parts := strings.Split(reference, ".")
	return (len(parts) == 2 || len(parts) == 3 && parts[2] != "") &&
		parts[0] != "" && (parts[1] == "inputs" || parts[1] == "outputs")
}

// cyclic is whether following inputs and triggers leads back to a step.
func cyclic(steps map[string]*pb.PipelineStep) bool {
	const visiting, visited = 1, 2
	marks := map[string]int{}
	var visit func(step *pb.PipelineStep) bool
	visit = func(step *pb.PipelineStep) bool {
		if step == nil || marks[step.GetName()] == visited {
			return false
		}
		if marks[step.GetName()] == visiting {
			return true
		}
		marks[step.GetName()] = visiting
		for _, reference := range slices.Concat(step.GetInputs(), step.GetTriggers()) {
			from, _ := cutName(reference)
			if visit(steps[from]) {
				return true
			}
		}
		marks[step.GetName()] = visited
		return false
	}
	for _, step := range steps {
		if visit(step) {
			return true
		}
	}
	return false
}

// cutName splits a reference at the first dot.
func cutName(reference string) (string, string) {
	name, rest, _ := strings.Cut(reference, ".")
	return name, rest
}
