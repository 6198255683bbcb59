package v1alpha1

import (
	"fmt"
	"math"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ModelSpec is the desired state of a Model.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.explainer) && has(self.llm))",message="explainer and llm are mutually exclusive: remove one of them",fieldPath=".llm",reason=FieldValueForbidden
type ModelSpec struct {
	InferenceArtifactSpec `json:",inline"`

	// Requirements are the capabilities that a Server must have to serve the model, all
	// of them. Without requirements, every Server can.
	// +optional
	// +kubebuilder:validation:MaxItems=1024
	Requirements []string `json:"requirements,omitempty"`

	// Memory that one replica needs: a quantity of bytes, at least 1 and below 2^63-1,
	// which is the maximum of a quantity. Fractions of a byte are rounded up.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self > 0 && self < 9223372036854775807 : !self.matches('[eE][-+]?[0-9]{3}') && isQuantity(self) && quantity(self).compareTo(quantity('1')) >= 0 && quantity(self).compareTo(quantity('9223372036854775807')) < 0",message="memory must be a quantity of bytes, at least 1 and below 8Ei, such as 500Mi"
	Memory *IntOrString `json:"memory,omitempty"`

	ScalingSpec `json:",inline"`

	// Server is the name of the Server to use. Unset: any Server that meets the
	// requirements.
	// +optional
	Server *string `json:"server,omitempty"`

	// PreLoaded has no effect.
	// +optional
	PreLoaded bool `json:"preloaded,omitempty"`

	// Dedicated has no effect.
	// +optional
	Dedicated bool `json:"dedicated,omitempty"`

	// Logger enables payload logging if it is set.
	// +optional
	Logger *LoggingSpec `json:"logger,omitempty"`

	// Explainer makes the Model an explainer of another Model or of a Pipeline.
	// +optional
	Explainer *ExplainerSpec `json:"explainer,omitempty"`

	// Parameters are passed to the inference server in this order.
	// +optional
	// +kubebuilder:validation:MaxItems=1024
	Parameters []ParameterSpec `json:"parameters,omitempty"`

	// Llm refers to a Model or Pipeline that serves a language model.
	// +optional
	Llm *LlmSpec `json:"llm,omitempty"`

	// Dataflow configures the Model's Kafka topics.
	// +optional
	Dataflow *DataflowSpec `json:"dataflow,omitempty"`
}

// InferenceArtifactSpec is the location and the type of a model's files.
type InferenceArtifactSpec struct {
	// ModelType is an additional requirement, after those of spec.requirements.
	// +optional
	ModelType *string `json:"modelType,omitempty"`

	// StorageURI is the location of the model's files, in the format of rclone:
	// remote:path or scheme://path, such as gs://bucket/folder.
	// +kubebuilder:validation:MinLength=1
	StorageURI string `json:"storageUri"`

	// ArtifactVersion is the number of the sub-folder to load. Unset: the Server that
	// loads the model selects one.
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

// ExplainerSpec is the type of an explainer and the object that it explains.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.modelRef) && size(self.modelRef) > 0 && has(self.pipelineRef) && size(self.pipelineRef) > 0)",message="modelRef and pipelineRef are mutually exclusive: remove one of them",fieldPath=".pipelineRef",reason=FieldValueForbidden
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

// LlmSpec refers to the Model or Pipeline that serves a language model.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.modelRef) && size(self.modelRef) > 0 && has(self.pipelineRef) && size(self.pipelineRef) > 0)",message="modelRef and pipelineRef are mutually exclusive: remove one of them",fieldPath=".pipelineRef",reason=FieldValueForbidden
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
	// Name of the parameter in the inference server.
	Name string `json:"name"`

	// Value of the parameter, which is always a string: "4", not 4.
	Value string `json:"value"`
}

// DataflowSpec configures the Kafka topics of a Model or Pipeline.
type DataflowSpec struct {
	// CleanTopicsOnDelete deletes the input and output topics and their content when the
	// object is deleted.
	// +optional
	CleanTopicsOnDelete bool `json:"cleanTopicsOnDelete,omitempty"`
}

// ModelStatus is the observed state of a Model.
type ModelStatus struct {
	// Replicas is the number of replicas, available or not.
	// +optional
	Replicas int64 `json:"replicas,omitempty"`

	// Selector is the label selector of the scale subresource.
	// +optional
	Selector string `json:"selector,omitempty"`

	// AvailableReplicas is the number of replicas that can serve requests.
	// +optional
	AvailableReplicas int64 `json:"availableReplicas,omitempty"`

	// ModelGwStatus is the state of the Model in the model gateway, followed by the
	// reason in parentheses if there is one.
	// +optional
	ModelGwStatus string `json:"modelgwReady,omitempty"`

	Status `json:",inline"`
}

// Model is a machine learning model that Servers load.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.replicas,statuspath=.status.replicas,selectorpath=.status.selector
// +kubebuilder:resource:shortName=mlm
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="ModelReady")].status`,description="Whether the scheduler reports the model available"
// +kubebuilder:printcolumn:name="Desired Replicas",type=integer,JSONPath=`.spec.replicas`,description="Number of desired replicas"
// +kubebuilder:printcolumn:name="Available Replicas",type=integer,JSONPath=`.status.availableReplicas`,description="Number of replicas that can serve requests"
// +kubebuilder:printcolumn:name="ModelGw Ready",type=string,JSONPath=`.status.modelgwReady`,description="State of the model in the model gateway"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="has(self.spec) || (oldSelf.hasValue() && !has(oldSelf.value().spec))",optionalOldSelf=true,message="spec is missing: a Model needs at least spec.storageUri",reason=FieldValueRequired
// +kubebuilder:validation:XValidation:rule="oldSelf.hasValue() || !self.metadata.name.contains('.')",optionalOldSelf=true,message="metadata.name must not contain a dot: the scheduler accepts lower-case letters, digits and '-' only"
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

// MemoryBytes returns spec.memory in bytes, rounded up, or nil if it is unset. It returns
// an error for a value that is not a quantity, negative or too large; the schema rejects
// these, but objects that were stored before may have them.
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
