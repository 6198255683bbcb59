package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SeldonRuntimeSpec describes one installation of the data plane.
type SeldonRuntimeSpec struct {
	// SeldonConfig is the name of a SeldonConfig in the operator's namespace.
	// +kubebuilder:validation:MinLength=1
	SeldonConfig string `json:"seldonConfig"`

	// Overrides change components of the SeldonConfig.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=256
	Overrides []OverrideSpec `json:"overrides,omitempty"`

	// Config goes before the configuration of the SeldonConfig, key by key.
	// +optional
	Config SeldonConfiguration `json:"config,omitzero"`

	// DisableAutoUpdate keeps the runtime at the SeldonConfig that it was last
	// rolled out with, until its own spec changes or this is taken back.
	// +optional
	DisableAutoUpdate bool `json:"disableAutoUpdate,omitempty"`

	// Servers of this runtime; each becomes a Server of that name in the
	// runtime's namespace.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=256
	Servers []RuntimeServer `json:"servers,omitempty"`

	// Patches change any other field of the children, in their order, after those
	// of the SeldonConfig.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	Patches []Patch `json:"patches,omitempty"`

	// DeletionPolicy says what becomes of the Models, Pipelines, Experiments and
	// Servers in the namespace, other than spec.servers, when the runtime is
	// deleted.
	// +optional
	// +kubebuilder:default=Retain
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// DeletionPolicy says what a runtime's deletion does to what users made.
//
// +kubebuilder:validation:Enum=Retain;Cascade;Block
type DeletionPolicy string

const (
	// DeletionPolicyRetain keeps what users made; it is served again when a
	// runtime comes back.
	DeletionPolicyRetain DeletionPolicy = "Retain"
	// DeletionPolicyCascade deletes Experiments, Pipelines, Models and Servers, in
	// this order, before the runtime.
	DeletionPolicyCascade DeletionPolicy = "Cascade"
	// DeletionPolicyBlock lets the runtime's deletion wait until they are gone.
	DeletionPolicyBlock DeletionPolicy = "Block"
)

// OverrideSpec changes one component of the SeldonConfig.
type OverrideSpec struct {
	// Name of the component.
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`

	// Disable removes the component from the runtime, with its Services and
	// accounts. Its volume claims stay.
	// +optional
	Disable bool `json:"disable,omitempty"`

	// Replicas of the component. Unset inherits those of the SeldonConfig; where
	// that has none either, nobody sets them, and an autoscaler may.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000
	Replicas *int64 `json:"replicas,omitempty"`

	// ServiceType of the component's Service, if it has one. Unset inherits.
	// +optional
	// +kubebuilder:validation:Enum="";ClusterIP;NodePort;LoadBalancer
	ServiceType corev1.ServiceType `json:"serviceType,omitempty"`

	// PodSpec is merged onto that of the component.
	// +optional
	PodSpec *PodSpec `json:"podSpec,omitempty"`
}

// RuntimeServer is a Server that a runtime makes.
type RuntimeServer struct {
	// Name of the Server. Its workload, Services and pods are named after it.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="size(self) <= 52",message="name must have at most 52 characters: pods have the name and a revision hash in a label, whose value has at most 63"
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="name must consist of lower-case letters, digits and '-', begin with a letter and not end with '-': Services are named after it"
	Name string `json:"name"`

	ServerSpec `json:",inline"`
}

// SeldonRuntimeStatus is the observed state of a SeldonRuntime.
type SeldonRuntimeStatus struct {
	Status `json:",inline"`
}

// SeldonRuntime is one installation of the data plane in a namespace.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="Whether every component is ready"
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,description="Why the runtime is ready or not, in a word"
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1,description="Why the runtime is ready or not"
// +kubebuilder:printcolumn:name="SeldonConfig",type=string,JSONPath=`.spec.seldonConfig`,description="SeldonConfig that the runtime is made from"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="has(self.spec) || (oldSelf.hasValue() && !has(oldSelf.value().spec))",optionalOldSelf=true,message="spec is missing: a SeldonRuntime needs at least spec.seldonConfig",reason=FieldValueRequired
type SeldonRuntime struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Spec SeldonRuntimeSpec `json:"spec,omitempty"`
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status SeldonRuntimeStatus `json:"status,omitempty"`
}

// SeldonRuntimeList is a list of SeldonRuntimes.
//
// +kubebuilder:object:root=true
type SeldonRuntimeList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []SeldonRuntime `json:"items"`
}
