package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ServerConfigSpec is the base configuration of Servers.
type ServerConfigSpec struct {
	// PodSpec of a Server's pods: the inference server, the agent and rclone.
	PodSpec CorePodSpec `json:"podSpec"`

	// VolumeClaimTemplates of a Server's StatefulSet. Storage requests can be increased
	// later if the storage class allows expansion. No other field can change.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=256
	VolumeClaimTemplates []PersistentVolumeClaim `json:"volumeClaimTemplates,omitempty"`
}

// PersistentVolumeClaim is a volume claim template. It is not the type of Kubernetes,
// because the API server prunes metadata inside custom resources.
type PersistentVolumeClaim struct {
	// Name of the claim template, which volume mounts refer to.
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`

	// Spec of the volume claims.
	Spec PersistentVolumeClaimSpec `json:"spec"`
}

// ServerConfigStatus is empty.
type ServerConfigStatus struct{}

// ServerConfig is the base configuration of Servers: the pods of one type of inference
// server, such as MLServer. The operator reads ServerConfigs from its own namespace.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=mlc
// +kubebuilder:printcolumn:name="Server",type=string,JSONPath=`.spec.podSpec.containers[-1:].name`,description="Last container, by convention the inference server"
// +kubebuilder:printcolumn:name="Image",type=string,JSONPath=`.spec.podSpec.containers[-1:].image`,priority=1,description="Image of that container"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="has(self.spec) || (oldSelf.hasValue() && !has(oldSelf.value().spec))",optionalOldSelf=true,message="spec is missing: a ServerConfig needs at least spec.podSpec",reason=FieldValueRequired
type ServerConfig struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Spec ServerConfigSpec `json:"spec,omitempty"`
	// +optional
	Status ServerConfigStatus `json:"status,omitempty"`
}

// ServerConfigList is a list of ServerConfigs.
//
// +kubebuilder:object:root=true
type ServerConfigList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ServerConfig `json:"items"`
}
