package v1alpha1

import (
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ServerSpec is the desired state of a Server.
type ServerSpec struct {
	// ServerConfig is the name of a ServerConfig in the operator's namespace.
	// +kubebuilder:validation:MinLength=1
	ServerConfig string `json:"serverConfig"`

	// Capabilities replace those of the ServerConfig. Models request them in
	// spec.requirements.
	// +optional
	// +kubebuilder:validation:MaxItems=1024
	Capabilities []string `json:"capabilities,omitempty"`

	// ExtraCapabilities are added to those of the ServerConfig. They are ignored if
	// capabilities are set.
	// +optional
	// +kubebuilder:validation:MaxItems=1024
	ExtraCapabilities []string `json:"extraCapabilities,omitempty"`

	// ImageOverrides has no effect; use podSpec.
	// +optional
	ImageOverrides *ContainerOverrideSpec `json:"imageOverrides,omitempty"`

	// PodSpec is merged into that of the ServerConfig.
	// +optional
	PodSpec *PodSpec `json:"podSpec,omitempty"`

	// StatefulSetPersistentVolumeClaimRetentionPolicy determines when volume claims are
	// deleted, for Servers that run as StatefulSets.
	// +optional
	StatefulSetPersistentVolumeClaimRetentionPolicy *PersistentVolumeClaimRetentionPolicy `json:"statefulSetPersistentVolumeClaimRetentionPolicy,omitempty"`

	ScalingSpec `json:",inline"`

	// DeploymentStrategy of Servers that run as Deployments.
	// +optional
	DeploymentStrategy *DeploymentStrategy `json:"deploymentStrategy,omitempty"`

	// DisableAutoUpdate keeps the ServerConfig that the Server was last rolled out with,
	// until the Server's spec changes or the field is unset.
	// +optional
	DisableAutoUpdate bool `json:"disableAutoUpdate,omitempty"`

	// Patches change other fields of the children.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	Patches []Patch `json:"patches,omitempty"`
}

// ContainerOverrideSpec has no effect. It exists so that manifests with it stay valid.
type ContainerOverrideSpec struct {
	// Agent has no effect.
	// +optional
	Agent *Container `json:"agent,omitempty"`
	// RClone has no effect.
	// +optional
	RClone *Container `json:"rclone,omitempty"`
}

// PersistentVolumeClaimRetentionPolicy is the StatefulSetPersistentVolumeClaimRetentionPolicy
// of Kubernetes with enumerated values. The empty value is equivalent to Retain.
type PersistentVolumeClaimRetentionPolicy struct {
	// WhenDeleted is the policy for volume claims when the Server is deleted. Defaults to
	// Retain.
	// +optional
	// +kubebuilder:validation:Enum="";Retain;Delete
	WhenDeleted appsv1.PersistentVolumeClaimRetentionPolicyType `json:"whenDeleted,omitempty"`

	// WhenScaled is the policy for volume claims of replicas that are scaled down. Defaults
	// to Retain.
	// +optional
	// +kubebuilder:validation:Enum="";Retain;Delete
	WhenScaled appsv1.PersistentVolumeClaimRetentionPolicyType `json:"whenScaled,omitempty"`
}

// DeploymentStrategy is the DeploymentStrategy of Kubernetes with bounded values.
type DeploymentStrategy struct {
	// Type of the strategy. Defaults to RollingUpdate.
	// +optional
	// +kubebuilder:validation:Enum="";RollingUpdate;Recreate
	Type appsv1.DeploymentStrategyType `json:"type,omitempty"`

	// RollingUpdate has parameters of the strategy RollingUpdate.
	// +optional
	RollingUpdate *RollingUpdateDeployment `json:"rollingUpdate,omitempty"`
}

// RollingUpdateDeployment limits the number of pods that a rolling update replaces at the
// same time, as numbers or as percentages of the replicas.
//
// The CEL rules use `in` instead of `==`: Kubernetes 1.30 estimates the cost of comparing
// types as that of comparing strings with the length of a request.
type RollingUpdateDeployment struct {
	// MaxUnavailable is the maximum number of unavailable pods. Defaults to 25%.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="!(type(self) in [int]) || (self >= 0 && self <= 2147483647)",message="maxUnavailable must be a number from 0 to 2147483647 or a percentage such as 25%"
	MaxUnavailable *IntOrString `json:"maxUnavailable,omitempty"`

	// MaxSurge is the maximum number of pods in addition to the replicas. Defaults to 25%.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="!(type(self) in [int]) || (self >= 0 && self <= 2147483647)",message="maxSurge must be a number from 0 to 2147483647 or a percentage such as 25%"
	MaxSurge *IntOrString `json:"maxSurge,omitempty"`
}

// ServerStatus is the observed state of a Server. Its own fields are also written if they
// are zero, because the schema of the upstream operator requires them.
type ServerStatus struct {
	// LoadedModelReplicas is the number of loaded replicas of Models.
	// +optional
	LoadedModelReplicas int64 `json:"loadedModels"`

	// Replicas of the workload.
	// +optional
	Replicas int64 `json:"replicas"`

	// Selector is the label selector of the scale subresource.
	// +optional
	Selector string `json:"selector"`

	Status `json:",inline"`
}

// Server is a set of equal inference servers that Models are scheduled on.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.replicas,statuspath=.status.replicas,selectorpath=.status.selector
// +kubebuilder:resource:shortName=mls
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="Whether the server's pods are ready"
// +kubebuilder:printcolumn:name="Replicas",type=integer,JSONPath=`.status.replicas`,description="Number of replicas"
// +kubebuilder:printcolumn:name="Loaded Models",type=integer,JSONPath=`.status.loadedModels`,description="Number of loaded model replicas"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="has(self.spec) || (oldSelf.hasValue() && !has(oldSelf.value().spec))",optionalOldSelf=true,message="spec is missing: a Server needs at least spec.serverConfig",reason=FieldValueRequired
// +kubebuilder:validation:XValidation:rule="oldSelf.hasValue() || size(self.metadata.name) <= 52",optionalOldSelf=true,message="metadata.name must have at most 52 characters: pods have the name and a revision hash in a label, whose value has at most 63"
// +kubebuilder:validation:XValidation:rule="oldSelf.hasValue() || self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",optionalOldSelf=true,message="metadata.name must consist of lower-case letters, digits and '-', begin with a letter and not end with '-': Services are named after it"
type Server struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Spec ServerSpec `json:"spec,omitempty"`
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status ServerStatus `json:"status,omitempty"`
}

// ServerList is a list of Servers.
//
// +kubebuilder:object:root=true
type ServerList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Server `json:"items"`
}
