package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ResourceType is the kind of the objects that an Experiment refers to.
//
// +kubebuilder:validation:Enum="";model;pipeline
type ResourceType string

// Resource types. The empty one is equivalent to model.
const (
	ResourceTypeModel    ResourceType = "model"
	ResourceTypePipeline ResourceType = "pipeline"
)

// ExperimentSpec is the desired state of an Experiment.
//
// +kubebuilder:validation:XValidation:rule="size(self.candidates) > 0 || has(self.mirror)",message="an experiment needs a candidate or a mirror: add one",fieldPath=".candidates",reason=FieldValueRequired
// +kubebuilder:validation:XValidation:rule="!has(self.default) || self.candidates.exists(c, c.name == self.default)",message="default must be the name of a candidate: add it to candidates or change default",fieldPath=".default"
// +kubebuilder:validation:XValidation:rule="!has(self.mirror) || !self.candidates.exists(c, c.name == self.mirror.name)",message="the mirror must not be a candidate too: choose another mirror or remove the candidate",fieldPath=".mirror"
type ExperimentSpec struct {
	// Default is the name of the candidate whose requests the experiment splits. Unset:
	// only requests to the experiment's own name are split.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Default *string `json:"default,omitempty"`

	// Candidates share the traffic in proportion to their weights.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=1024
	Candidates []ExperimentCandidate `json:"candidates"`

	// Mirror receives a copy of part of the traffic. Its responses are dropped.
	// +optional
	Mirror *ExperimentMirror `json:"mirror,omitempty"`

	// ResourceType of the candidates and the mirror. Defaults to model.
	// +optional
	ResourceType ResourceType `json:"resourceType,omitempty"`
}

// ExperimentCandidate is a Model or Pipeline that receives a share of the traffic.
type ExperimentCandidate struct {
	// Name of the Model or Pipeline.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// Weight relative to the sum of all weights, which does not have to be 100.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	Weight int64 `json:"weight"`
}

// ExperimentMirror is a Model or Pipeline that receives a copy of part of the traffic.
type ExperimentMirror struct {
	// Name of the Model or Pipeline.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// Percent of the traffic that is copied, from 0 to 100.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	Percent int64 `json:"percent"`
}

// ExperimentStatus is the observed state of an Experiment.
type ExperimentStatus struct {
	Status `json:",inline"`
}

// Experiment splits traffic between Models, or between Pipelines.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=mlx
// +kubebuilder:printcolumn:name="Experiment ready",type=string,JSONPath=`.status.conditions[?(@.type=='ExperimentReady')].status`,description="Whether the scheduler runs the experiment"
// +kubebuilder:printcolumn:name="Candidates ready",type=string,JSONPath=`.status.conditions[?(@.type=='CandidatesReady')].status`,priority=1,description="Whether the candidates are ready"
// +kubebuilder:printcolumn:name="Mirror ready",type=string,JSONPath=`.status.conditions[?(@.type=='MirrorReady')].status`,priority=1,description="Whether the mirror, if there is one, is ready"
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=='Ready')].message`,description="Why the experiment is ready or not"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="has(self.spec) || (oldSelf.hasValue() && !has(oldSelf.value().spec))",optionalOldSelf=true,message="spec is missing: an Experiment needs at least spec.candidates",reason=FieldValueRequired
type Experiment struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Spec ExperimentSpec `json:"spec,omitempty"`
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status ExperimentStatus `json:"status,omitempty"`
}

// ExperimentList is a list of Experiments.
//
// +kubebuilder:object:root=true
type ExperimentList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Experiment `json:"items"`
}
