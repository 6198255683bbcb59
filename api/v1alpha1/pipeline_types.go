package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// JoinType says which of several inputs a step waits for: inner for all of
// them, outer for those that arrive within the window, any for the first one.
//
// +kubebuilder:validation:Enum=inner;outer;any
type JoinType string

// Join types.
const (
	JoinTypeInner JoinType = "inner"
	JoinTypeOuter JoinType = "outer"
	JoinTypeAny   JoinType = "any"
)

// PipelineSpec describes a graph of steps, each of them a Model.
type PipelineSpec struct {
	// Input makes other Pipelines the input of this one.
	// +optional
	Input *PipelineInput `json:"input,omitempty"`

	// Steps of the pipeline, in any order.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=1024
	Steps []PipelineStep `json:"steps"`

	// Output says which steps' outputs are the pipeline's. Without it the pipeline
	// has no output.
	// +optional
	Output *PipelineOutput `json:"output,omitempty"`

	// Dataflow configures the Pipeline's Kafka topics.
	// +optional
	Dataflow *DataflowSpec `json:"dataflow,omitempty"`

	// AllowCycles permits steps to feed each other in circles.
	// +optional
	AllowCycles bool `json:"allowCycles,omitempty"`

	// MaxStepRevisits bounds how often one request may pass a step. 0 means that
	// the scheduler decides.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	MaxStepRevisits int64 `json:"maxStepRevisits,omitempty"`
}

// PipelineStep is one Model in a pipeline.
type PipelineStep struct {
	// Name of the Model; a step is known by it.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// Inputs are steps, or tensors of theirs: `step`, `step.outputs`,
	// `step.inputs.tensor`.
	// +optional
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:MaxItems=1024
	Inputs []string `json:"inputs,omitempty"`

	// JoinWindowMs is how long to wait for inputs to join, in milliseconds.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	JoinWindowMs *int64 `json:"joinWindowMs,omitempty"`

	// TensorMap renames tensors: from the name that arrives to the one wanted.
	// +optional
	TensorMap map[string]string `json:"tensorMap,omitempty"`

	// Triggers are steps that must have run, although their output is not used.
	// +optional
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:MaxItems=1024
	Triggers []string `json:"triggers,omitempty"`

	// InputsJoinType says which inputs to wait for: `inner` for all of them,
	// `outer` for those that arrive within joinWindowMs, `any` for the first.
	// +optional
	// +kubebuilder:default=inner
	InputsJoinType *JoinType `json:"inputsJoinType,omitempty"`

	// TriggersJoinType says which triggers to wait for. Unset means inner.
	// +optional
	TriggersJoinType *JoinType `json:"triggersJoinType,omitempty"`

	// Batch gathers requests before the step.
	// +optional
	Batch *PipelineBatch `json:"batch,omitempty"`
}

// PipelineBatch says how many requests to gather, and for how long.
type PipelineBatch struct {
	// Size is the number of requests.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	Size *int64 `json:"size,omitempty"`

	// WindowMs is the time to gather for, in milliseconds.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	WindowMs *int64 `json:"windowMs,omitempty"`

	// Rolling has no effect.
	// +optional
	Rolling bool `json:"rolling,omitempty"`
}

// PipelineInput makes other Pipelines, or steps of theirs, the input.
//
// +kubebuilder:validation:XValidation:rule="has(self.externalInputs) && size(self.externalInputs) > 0",message="input needs at least one of externalInputs: name a pipeline there, or leave out input",fieldPath=".externalInputs",reason=FieldValueRequired
type PipelineInput struct {
	// ExternalInputs are `pipeline.outputs`, `pipeline.step.step.outputs` and the
	// like.
	// +optional
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:MaxItems=1024
	ExternalInputs []string `json:"externalInputs,omitempty"`

	// ExternalTriggers have the same form.
	// +optional
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:MaxItems=1024
	ExternalTriggers []string `json:"externalTriggers,omitempty"`

	// JoinWindowMs is how long to wait for inputs to join, in milliseconds.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	JoinWindowMs *int64 `json:"joinWindowMs,omitempty"`

	// JoinType says which inputs to wait for: `inner` for all of them, `outer` for
	// those that arrive within joinWindowMs, `any` for the first.
	// +optional
	// +kubebuilder:default=inner
	JoinType *JoinType `json:"joinType,omitempty"`

	// TriggersJoinType says which triggers to wait for.
	// +optional
	// +kubebuilder:default=inner
	TriggersJoinType *JoinType `json:"triggersJoinType,omitempty"`

	// TensorMap renames tensors: from the name that arrives to the one wanted.
	// +optional
	TensorMap map[string]string `json:"tensorMap,omitempty"`
}

// PipelineOutput says which steps' outputs are the pipeline's.
type PipelineOutput struct {
	// Steps, or tensors of theirs, as in a step's inputs.
	// +optional
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:MaxItems=1024
	Steps []string `json:"steps,omitempty"`

	// JoinWindowMs is how long to wait for outputs to join, in milliseconds.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	JoinWindowMs int64 `json:"joinWindowMs,omitempty"`

	// StepsJoin says which steps to wait for: `inner` for all of them, `outer` for
	// those that arrive within joinWindowMs, `any` for the first.
	// +optional
	// +kubebuilder:default=inner
	StepsJoin *JoinType `json:"stepsJoin,omitempty"`

	// TensorMap renames tensors: from the name that arrives to the one wanted.
	// +optional
	TensorMap map[string]string `json:"tensorMap,omitempty"`
}

// PipelineStatus is the observed state of a Pipeline.
type PipelineStatus struct {
	Status `json:",inline"`
}

// Pipeline is a graph of Models.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=mlp
// +kubebuilder:printcolumn:name="Pipeline ready",type=string,JSONPath=`.status.conditions[?(@.type=='Ready')].status`,description="Whether the pipeline and its models are ready"
// +kubebuilder:printcolumn:name="Models ready",type=string,JSONPath=`.status.conditions[?(@.type=='ModelsReady')].status`,priority=1,description="Whether the models of the steps are ready"
// +kubebuilder:printcolumn:name="PipelineGw ready",type=string,JSONPath=`.status.conditions[?(@.type=='PipelineGwReady')].status`,priority=1,description="Whether the pipeline gateway has the pipeline"
// +kubebuilder:printcolumn:name="Dataflow ready",type=string,JSONPath=`.status.conditions[?(@.type=='PipelineReady')].status`,priority=1,description="Whether the dataflow engine runs the pipeline"
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=='Ready')].message`,description="Why the pipeline is ready or not"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="has(self.spec) || (oldSelf.hasValue() && !has(oldSelf.value().spec))",optionalOldSelf=true,message="spec is missing: a Pipeline needs at least spec.steps",reason=FieldValueRequired
// +kubebuilder:validation:XValidation:rule="oldSelf.hasValue() || !self.metadata.name.contains('.')",optionalOldSelf=true,message="metadata.name must not contain a dot: the scheduler takes lower-case letters, digits and '-' only"
// +kubebuilder:validation:XValidation:rule="!has(self.spec) || !has(self.spec.steps) || !self.spec.steps.exists(s, s.name == self.metadata.name) || (oldSelf.hasValue() && has(oldSelf.value().spec) && has(oldSelf.value().spec.steps) && oldSelf.value().spec.steps == self.spec.steps)",optionalOldSelf=true,message="a step must not have the pipeline's own name: rename the pipeline or the step's model"
type Pipeline struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Spec PipelineSpec `json:"spec,omitempty"`
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status PipelineStatus `json:"status,omitempty"`
}

// PipelineList is a list of Pipelines.
//
// +kubebuilder:object:root=true
type PipelineList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Pipeline `json:"items"`
}
