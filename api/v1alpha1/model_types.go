package v1alpha1

import (
	"fmt"
	"math"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ModelSpec describes a model: where it is, what it needs, how often it runs.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.explainer) && has(self.llm))",message="explainer and llm exclude each other: remove one of them",fieldPath=".llm",reason=FieldValueForbidden
type ModelSpec struct {
	InferenceArtifactSpec `json:",inline"`

	// Requirements are capabilities that a Server must have to serve the model,
	// all of them. Without any, each Server will do.
	// +optional
	// +kubebuilder:validation:MaxItems=1024
	Requirements []string `json:"requirements,omitempty"`

	// Memory that one replica needs: a quantity of bytes, at least 1 and below
	// 2^63-1, to which Kubernetes lowers any quantity above. A fraction of a byte
	// is rounded up.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self > 0 && self < 9223372036854775807 : !self.matches('[eE][-+]?[0-9]{3}') && isQuantity(self) && quantity(self).compareTo(quantity('1')) >= 0 && quantity(self).compareTo(quantity('9223372036854775807')) < 0",message="memory must be a quantity of bytes, at least 1 and below 8Ei, such as 500Mi"
	Memory *IntOrString `json:"memory,omitempty"`

	ScalingSpec `json:",inline"`

	// Server is the name of the Server to use; unset means any that fits.
	// +optional
	Server *string `json:"server,omitempty"`

	// PreLoaded has no effect.
	// +optional
	PreLoaded bool `json:"preloaded,omitempty"`

	// Dedicated has no effect.
	// +optional
	Dedicated bool `json:"dedicated,omitempty"`

	// Logger switches payload logging on by its presence.
	// +optional
	Logger *LoggingSpec `json:"logger,omitempty"`

	// Explainer makes this an explainer of another Model or of a Pipeline.
	// +optional
	Explainer *ExplainerSpec `json:"explainer,omitempty"`

	// Parameters are passed to the inference server in this order.
	// +optional
	// +kubebuilder:validation:MaxItems=1024
	Parameters []ParameterSpec `json:"parameters,omitempty"`

	// Llm ties the model to a Model or Pipeline that serves a language model.
	// +optional
	Llm *LlmSpec `json:"llm,omitempty"`

	// Dataflow configures the Model's Kafka topics.
	// +optional
	Dataflow *DataflowSpec `json:"dataflow,omitempty"`
}

// InferenceArtifactSpec says where a model's files are and what they hold.
type InferenceArtifactSpec struct {
	// ModelType is a further requirement, after those of spec.requirements.
	// +optional
	ModelType *string `json:"modelType,omitempty"`

	// StorageURI is where the model's files are, in rclone's form: remote:path or
	// scheme://path, such as gs://bucket/folder.
	// +kubebuilder:validation:MinLength=1
	StorageURI string `json:"storageUri"`

	// ArtifactVersion picks the sub-folder of that number. Unset leaves the choice
	// to the Server that loads the model.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	ArtifactVersion *int64 `json:"artifactVersion,omitempty"`

	// SchemaURI has no effect.
	// +optional
	SchemaURI *string `json:"schemaUri,omitempty"`

	// SecretName is the name of a Secret with rclone's configuration, in the
	// Model's namespace.
	// +optional
	SecretName *string `json:"secretName,omitempty"`
}

// LoggingSpec configures payload logging.
type LoggingSpec struct {
	// Percent has no effect.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	Percent *int64 `json:"percent,omitempty"`
}

// ExplainerSpec names what is explained, and how.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.modelRef) && size(self.modelRef) > 0 && has(self.pipelineRef) && size(self.pipelineRef) > 0)",message="modelRef and pipelineRef exclude each other: remove one of them",fieldPath=".pipelineRef",reason=FieldValueForbidden
type ExplainerSpec struct {
	// Type of explainer, for example anchor_tabular.
	// +optional
	Type string `json:"type,omitempty"`

	// ModelRef is the name of the Model that is explained.
	// +optional
	ModelRef *string `json:"modelRef,omitempty"`

	// PipelineRef is the name of the Pipeline that is explained.
	// +optional
	PipelineRef *string `json:"pipelineRef,omitempty"`
}

// LlmSpec names what serves the language model.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.modelRef) && size(self.modelRef) > 0 && has(self.pipelineRef) && size(self.pipelineRef) > 0)",message="modelRef and pipelineRef exclude each other: remove one of them",fieldPath=".pipelineRef",reason=FieldValueForbidden
type LlmSpec struct {
	// ModelRef is the name of a Model.
	// +optional
	ModelRef *string `json:"modelRef,omitempty"`

	// PipelineRef is the name of a Pipeline.
	// +optional
	PipelineRef *string `json:"pipelineRef,omitempty"`
}

// ParameterSpec is a named value.
type ParameterSpec struct {
	// Name of the parameter, as the inference server knows it.
	Name string `json:"name"`

	// Value of the parameter, always a text: write "4", not 4.
	Value string `json:"value"`
}

// DataflowSpec configures the Kafka topics of a Model or Pipeline.
type DataflowSpec struct {
	// CleanTopicsOnDelete removes the input and output topics, and what is in
	// them, together with the object.
	// +optional
	CleanTopicsOnDelete bool `json:"cleanTopicsOnDelete,omitempty"`
}

// ModelStatus is the observed state of a Model.
type ModelStatus struct {
	// Replicas that exist, available or not.
	// +optional
	Replicas int64 `json:"replicas,omitempty"`

	// Selector is the label selector of the scale subresource.
	// +optional
	Selector string `json:"selector,omitempty"`

	// AvailableReplicas is the number of replicas that serve.
	// +optional
	AvailableReplicas int64 `json:"availableReplicas,omitempty"`

	// ModelGwStatus is the state of the Model in the model gateway, followed by
	// its reason in parentheses where there is one.
	// +optional
	ModelGwStatus string `json:"modelgwReady,omitempty"`

	Status `json:",inline"`
}

// Model is a model to be served.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.replicas,statuspath=.status.replicas,selectorpath=.status.selector
// +kubebuilder:resource:shortName=mlm
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="ModelReady")].status`,description="Whether the scheduler reports the model available"
// +kubebuilder:printcolumn:name="Desired Replicas",type=integer,JSONPath=`.spec.replicas`,description="Number of replicas wanted"
// +kubebuilder:printcolumn:name="Available Replicas",type=integer,JSONPath=`.status.availableReplicas`,description="Number of replicas that serve"
// +kubebuilder:printcolumn:name="ModelGw Ready",type=string,JSONPath=`.status.modelgwReady`,description="State of the model in the model gateway"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="has(self.spec) || (oldSelf.hasValue() && !has(oldSelf.value().spec))",optionalOldSelf=true,message="spec is missing: a Model needs at least spec.storageUri",reason=FieldValueRequired
// +kubebuilder:validation:XValidation:rule="oldSelf.hasValue() || !self.metadata.name.contains('.')",optionalOldSelf=true,message="metadata.name must not contain a dot: the scheduler takes lower-case letters, digits and '-' only"
type Model struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Spec ModelSpec `json:"spec,omitempty"`
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status ModelStatus `json:"status,omitempty"`
}

// ModelList is a list of Models.
//
// +kubebuilder:object:root=true
type ModelList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Model `json:"items"`
}

// MemoryBytes returns spec.memory in bytes, a fraction rounded up, and nil if
// it is unset. The error is for objects that were stored before the schema
// refused values that are no quantity, negative, or too large to tell.
func (s *ModelSpec) MemoryBytes() (*uint64, error) {
	if s.Memory == nil {
		return nil, nil
	}
	if hasHugeExponent(s.Memory.String()) {
		return nil, fmt.Errorf("memory %q: %w", s.Memory, errExponent)
	}
	quantity, err := resource.ParseQuantity(s.Memory.String())
	if err != nil {
		return nil, fmt.Errorf("memory %q: %w", s.Memory, err)
	}
	if quantity.Sign() < 0 {
		return nil, fmt.Errorf("memory %q is negative", s.Memory)
	}
	if quantity.CmpInt64(math.MaxInt64) >= 0 {
		return nil, fmt.Errorf("memory %q is 8Ei or more", s.Memory)
	}
	bytes := uint64(quantity.Value())
	return &bytes, nil
}
