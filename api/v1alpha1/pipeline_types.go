package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// JoinType selects the inputs that a step waits for: inner for all of them, outer for
// those that arrive within the window, any for the first one.
//
// +kubebuilder:validation:Enum=inner;outer;any
type JoinType string

// Join types.
const (
	JoinTypeInner JoinType = "inner"
	JoinTypeOuter JoinType = "outer"
	JoinTypeAny   JoinType = "any"
)

// PipelineSpec is the desired state of a Pipeline.
type PipelineSpec struct {
	// Input uses other Pipelines as the input of this one.
	// +optional
	Input *PipelineInput `json:"input,omitempty"`

	// Steps of the pipeline, in any order.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=1024
	Steps []PipelineStep `json:"steps"`

	// Output selects the steps whose outputs are the output of the pipeline. Unset: the
	// pipeline has no output.
	// +optional
	Output *PipelineOutput `json:"output,omitempty"`

	// Dataflow configures the Pipeline's Kafka topics.
	// +optional
	Dataflow *DataflowSpec `json:"dataflow,omitempty"`

	// AllowCycles permits cycles in the graph of steps.
	// +optional
	AllowCycles bool `json:"allowCycles,omitempty"`

	// MaxStepRevisits is the maximum number of times that one request can pass a step.
	// 0: the default of the scheduler.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	MaxStepRevisits int64 `json:"maxStepRevisits,omitempty"`
}

// PipelineStep is one Model in a pipeline.
type PipelineStep struct {
	// Name of the Model, which is also the name of the step.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// Inputs are steps, or their tensors: `step`, `step.outputs`, `step.inputs.tensor`.
	// +optional
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:MaxItems=1024
	Inputs []string `json:"inputs,omitempty"`

	// JoinWindowMs is the time to wait for inputs to join, in milliseconds.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	JoinWindowMs *int64 `json:"joinWindowMs,omitempty"`

	// TensorMap renames tensors: the keys are received names, the values new names.
	// +optional
	TensorMap map[string]string `json:"tensorMap,omitempty"`

	// Triggers are steps that must have run before this step. Their output is not used.
	// +optional
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:MaxItems=1024
	Triggers []string `json:"triggers,omitempty"`

	// InputsJoinType selects the inputs to wait for: `inner` for all of them, `outer` for
	// those that arrive within joinWindowMs, `any` for the first.
	// +optional
	// +kubebuilder:default=inner
	InputsJoinType *JoinType `json:"inputsJoinType,omitempty"`

	// TriggersJoinType selects the triggers to wait for. Defaults to inner.
	// +optional
	TriggersJoinType *JoinType `json:"triggersJoinType,omitempty"`

	// Batch collects requests before the step.
	// +optional
	Batch *PipelineBatch `json:"batch,omitempty"`
}

// PipelineBatch is the number of requests in a batch, and the time to collect them.
type PipelineBatch struct {
	// Size is the number of requests.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	Size *int64 `json:"size,omitempty"`

	// WindowMs is the time to collect requests, in milliseconds.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	WindowMs *int64 `json:"windowMs,omitempty"`

	// Rolling has no effect.
	// +optional
	Rolling bool `json:"rolling,omitempty"`
}

// PipelineInput uses other Pipelines, or their steps, as the input.
//
// +kubebuilder:validation:XValidation:rule="has(self.externalInputs) && size(self.externalInputs) > 0",message="input needs at least one of externalInputs: name a pipeline there, or leave out input",fieldPath=".externalInputs",reason=FieldValueRequired
type PipelineInput struct {
	// ExternalInputs are outputs or inputs of Pipelines or their steps, such as
	// `pipeline.outputs` and `pipeline.step.step.outputs`.
	// +optional
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:MaxItems=1024
	ExternalInputs []string `json:"externalInputs,omitempty"`

	// ExternalTriggers are triggers with the same syntax.
	// +optional
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:MaxItems=1024
	ExternalTriggers []string `json:"externalTriggers,omitempty"`

	// JoinWindowMs is the time to wait for inputs to join, in milliseconds.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	JoinWindowMs *int64 `json:"joinWindowMs,omitempty"`

	// JoinType selects the inputs to wait for: `inner` for all of them, `outer` for those
	// that arrive within joinWindowMs, `any` for the first.
	// +optional
	// +kubebuilder:default=inner
	JoinType *JoinType `json:"joinType,omitempty"`

	// TriggersJoinType selects the triggers to wait for.
	// +optional
	// +kubebuilder:default=inner
	TriggersJoinType *JoinType `json:"triggersJoinType,omitempty"`

	// TensorMap renames tensors: the keys are received names, the values new names.
	// +optional
	TensorMap map[string]string `json:"tensorMap,omitempty"`
}

// PipelineOutput selects the steps whose outputs are the output of the pipeline.
type PipelineOutput struct {
	// Steps, or their tensors, with the syntax of a step's inputs.
	// +optional
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:MaxItems=1024
	Steps []string `json:"steps,omitempty"`

	// JoinWindowMs is the time to wait for outputs to join, in milliseconds.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	JoinWindowMs int64 `json:"joinWindowMs,omitempty"`

	// StepsJoin selects the steps to wait for: `inner` for all of them, `outer` for those
	// that arrive within joinWindowMs, `any` for the first.
	// +optional
	// +kubebuilder:default=inner
	StepsJoin *JoinType `json:"stepsJoin,omitempty"`

	// TensorMap renames tensors: the keys are received names, the values new names.
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
// +kubebuilder:printcolumn:name="PipelineGw ready",type=string,JSONPath=`.status.conditions[?(@.type=='PipelineGwReady')].status`,priority=1,description="Whether the pipeline gateway serves the pipeline"
// +kubebuilder:printcolumn:name="Dataflow ready",type=string,JSONPath=`.status.conditions[?(@.type=='PipelineReady')].status`,priority=1,description="Whether the dataflow engine runs the pipeline"
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=='Ready')].message`,description="Why the pipeline is ready or not"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="has(self.spec) || (oldSelf.hasValue() && !has(oldSelf.value().spec))",optionalOldSelf=true,message="spec is missing: a Pipeline needs at least spec.steps",reason=FieldValueRequired
// +kubebuilder:validation:XValidation:rule="oldSelf.hasValue() || !self.metadata.name.contains('.')",optionalOldSelf=true,message="metadata.name must not contain a dot: the scheduler accepts lower-case letters, digits and '-' only"
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
