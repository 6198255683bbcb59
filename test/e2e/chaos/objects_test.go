package chaos

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// resource is an object of a kind that the scheduler manages.
type resource interface {
	client.Object
	GetConditions() []metav1.Condition
	GetObservedGeneration() int64
}

// manifest returns the object of a mutation.
func (m mutation) manifest() resource {
	metadata := metav1.ObjectMeta{Namespace: namespace, Name: m.name}
	one, two := fmt.Sprintf("model-%d", m.variant%namesPerKind), fmt.Sprintf("model-%d", (m.variant+1)%namesPerKind)
	switch m.kind {
	case "Model":
		model := &v1alpha1.Model{ObjectMeta: metadata}
		model.Spec.StorageURI = fmt.Sprintf("gs://models/%d", m.variant)
		return model
	case "Pipeline":
		pipeline := &v1alpha1.Pipeline{ObjectMeta: metadata}
		pipeline.Spec.Steps = []v1alpha1.PipelineStep{{Name: one}, {Name: two, Inputs: []string{one}}}
		if m.variant == namesPerKind {
			pipeline.Spec.Steps = pipeline.Spec.Steps[:1]
		}
		return pipeline
	default:
		experiment := &v1alpha1.Experiment{ObjectMeta: metadata}
		experiment.Spec.Candidates = []v1alpha1.ExperimentCandidate{{Name: one, Weight: int64(10 + m.variant)}, {Name: two, Weight: 50}}
		return experiment
	}
}

func copySpec(to, from client.Object) {
	switch to := to.(type) {
	case *v1alpha1.Model:
		to.Spec = from.(*v1alpha1.Model).Spec
	case *v1alpha1.Pipeline:
		to.Spec = from.(*v1alpha1.Pipeline).Spec
	case *v1alpha1.Experiment:
		to.Spec = from.(*v1alpha1.Experiment).Spec
	}
}

// content returns the part of the spec in which variants differ. For the scheduler's
// form of an object, pipelineContent and experimentContent return the same text.
func content(of client.Object) string {
	var parts []string
	switch of := of.(type) {
	case *v1alpha1.Model:
		return of.Spec.StorageURI
	case *v1alpha1.Pipeline:
		for _, step := range of.Spec.Steps {
			parts = append(parts, step.Name)
		}
	case *v1alpha1.Experiment:
		for _, candidate := range of.Spec.Candidates {
			parts = append(parts, fmt.Sprintf("%s:%d", candidate.Name, candidate.Weight))
		}
	}
	return unordered(parts)
}

func pipelineContent(of *pb.Pipeline) string {
	var parts []string
	for _, step := range of.GetSteps() {
		parts = append(parts, step.GetName())
	}
	return unordered(parts)
}

func experimentContent(of *pb.Experiment) string {
	var parts []string
	for _, candidate := range of.GetCandidates() {
		parts = append(parts, fmt.Sprintf("%s:%d", candidate.GetName(), candidate.GetWeight()))
	}
	return unordered(parts)
}

// unordered joins parts in sorted order, since the scheduler reorders steps.
func unordered(parts []string) string {
	slices.Sort(parts)
	return strings.Join(parts, " ")
}
