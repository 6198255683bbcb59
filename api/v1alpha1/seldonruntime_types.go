package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SeldonRuntimeSpec is the desired state of a SeldonRuntime.
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

	// Config takes precedence over the configuration of the SeldonConfig, key by key.
	// +optional
	Config SeldonConfiguration `json:"config,omitzero"`

	// DisableAutoUpdate keeps the SeldonConfig that the runtime was last rolled out with,
	// until the runtime's spec changes or the field is unset.
	// +optional
	DisableAutoUpdate bool `json:"disableAutoUpdate,omitempty"`

	// Servers of this runtime. For each entry, the operator creates a Server of that name
	// in the runtime's namespace.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=256
	Servers []RuntimeServer `json:"servers,omitempty"`

	// Patches change other fields of the children. They are applied in their order, after
	// the patches of the SeldonConfig.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	Patches []Patch `json:"patches,omitempty"`

	// DeletionPolicy determines what happens to the Models, Pipelines, Experiments and
	// Servers in the namespace, except those of spec.servers, when the runtime is deleted.
	// +optional
	// +kubebuilder:default=Retain
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// DeletionPolicy determines what happens to the objects of users in the namespace of a
// runtime when the runtime is deleted.
//
// +kubebuilder:validation:Enum=Retain;Cascade;Block
type DeletionPolicy string

const (
	// DeletionPolicyRetain keeps the objects. They are served again once the namespace has
	// a runtime.
	DeletionPolicyRetain DeletionPolicy = "Retain"
	// DeletionPolicyCascade deletes Experiments, Pipelines, Models and Servers, in
	// this order, before the runtime.
	DeletionPolicyCascade DeletionPolicy = "Cascade"
	// DeletionPolicyBlock blocks the deletion of the runtime until they are deleted.
	DeletionPolicyBlock DeletionPolicy = "Block"
)

// OverrideSpec changes one component of the SeldonConfig.
type OverrideSpec struct {
	// Name of the component.
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`

	// Disable removes the component from the runtime, with its Services and
	// ServiceAccounts. Its volume claims are kept.
	// +optional
	Disable bool `json:"disable,omitempty"`

	// Replicas of the component. Defaults to those of the SeldonConfig. If both are unset,
	// the operator does not set the field, and an autoscaler may.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000
	Replicas *int64 `json:"replicas,omitempty"`

	// ServiceType of the component's Service, if it has one. Defaults to that of config.
	// +optional
	// +kubebuilder:validation:Enum="";ClusterIP;NodePort;LoadBalancer
	ServiceType corev1.ServiceType `json:"serviceType,omitempty"`

	// PodSpec is merged into that of the component.
	// +optional
	PodSpec *PodSpec `json:"podSpec,omitempty"`
}

// RuntimeServer is a Server that is created for a runtime.
type RuntimeServer struct {
	// Name of the Server, which its workload, Services and pods are named after.
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
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,description="Reason of the condition Ready"
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1,description="Why the runtime is ready or not"
// +kubebuilder:printcolumn:name="SeldonConfig",type=string,JSONPath=`.spec.seldonConfig`,description="SeldonConfig of the runtime"
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
