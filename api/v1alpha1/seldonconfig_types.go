package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// SeldonConfigSpec is the base configuration of SeldonRuntimes.
type SeldonConfigSpec struct {
	// Components of a runtime. A runtime has exactly these, which may include names that
	// the operator does not know.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=256
	Components []ComponentDefn `json:"components,omitempty"`

	// Config is the configuration that runtimes inherit.
	// +optional
	Config SeldonConfiguration `json:"config,omitzero"`

	// Patches change other fields of the runtimes' children. They are applied before the
	// patches of a runtime.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	Patches []Patch `json:"patches,omitempty"`
}

// ComponentDefn is one workload of a runtime: a StatefulSet if it has volume claim
// templates, else a Deployment.
type ComponentDefn struct {
	// Name of the component and of its workload.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="size(self) <= 52",message="name must have at most 52 characters: pods have the name and a revision hash in a label, whose value has at most 63"
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="name must consist of lower-case letters, digits and '-', begin with a letter and not end with '-', as names of Services do"
	Name string `json:"name"`

	// Labels of the workload and its pods.
	// +optional
	Labels map[string]string `json:"labels,omitempty"`

	// Annotations of the workload and its pods.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`

	// Replicas of the workload. A SeldonRuntime's override takes precedence. If both are
	// unset, the operator does not set the field: a new workload has 1 replica, and an
	// autoscaler may change the number.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000
	Replicas *int64 `json:"replicas,omitempty"`

	// PodSpec of the component's pods.
	// +optional
	PodSpec *CorePodSpec `json:"podSpec,omitempty"`

	// VolumeClaimTemplates of the component's StatefulSet. Storage requests can be
	// increased later if the storage class allows expansion. No other field can change.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=256
	VolumeClaimTemplates []PersistentVolumeClaim `json:"volumeClaimTemplates,omitempty"`
}

// SeldonConfigStatus is empty.
type SeldonConfigStatus struct{}

// SeldonConfig is the base configuration of SeldonRuntimes: components, their pods and
// their configuration. The operator reads SeldonConfigs from its own namespace.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Kafka",type=string,JSONPath=`.spec.config.kafkaConfig.bootstrap\.servers`,description="Kafka brokers of runtimes that set none"
// +kubebuilder:printcolumn:name="Service Type",type=string,JSONPath=`.spec.config.serviceConfig.serviceType`,priority=1,description="Type of the Services of runtimes that set none"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="has(self.spec) || (oldSelf.hasValue() && !has(oldSelf.value().spec))",optionalOldSelf=true,message="spec is missing: list the components of a runtime in spec.components",reason=FieldValueRequired
type SeldonConfig struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Spec SeldonConfigSpec `json:"spec,omitempty"`
	// +optional
	Status SeldonConfigStatus `json:"status,omitempty"`
}

// SeldonConfigList is a list of SeldonConfigs.
//
// +kubebuilder:object:root=true
type SeldonConfigList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []SeldonConfig `json:"items"`
}
