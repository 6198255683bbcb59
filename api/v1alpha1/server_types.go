package v1alpha1

import (
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ServerSpec describes inference servers made from a ServerConfig.
type ServerSpec struct {
	// ServerConfig is the name of a ServerConfig in the operator's namespace.
	// +kubebuilder:validation:MinLength=1
	ServerConfig string `json:"serverConfig"`

	// Capabilities replace those that the ServerConfig advertises. Models ask for
	// them in spec.requirements.
	// +optional
	// +kubebuilder:validation:MaxItems=1024
	Capabilities []string `json:"capabilities,omitempty"`

	// ExtraCapabilities are added to those that the ServerConfig advertises, and
	// ignored if Capabilities are given.
	// +optional
	// +kubebuilder:validation:MaxItems=1024
	ExtraCapabilities []string `json:"extraCapabilities,omitempty"`

	// ImageOverrides has no effect; use podSpec.
	// +optional
	ImageOverrides *ContainerOverrideSpec `json:"imageOverrides,omitempty"`

	// PodSpec is merged onto that of the ServerConfig.
	// +optional
	PodSpec *PodSpec `json:"podSpec,omitempty"`

	// StatefulSetPersistentVolumeClaimRetentionPolicy says what becomes of claims;
	// for Servers that run as StatefulSets.
	// +optional
	StatefulSetPersistentVolumeClaimRetentionPolicy *PersistentVolumeClaimRetentionPolicy `json:"statefulSetPersistentVolumeClaimRetentionPolicy,omitempty"`

	ScalingSpec `json:",inline"`

	// DeploymentStrategy is for Servers that run as Deployments.
	// +optional
	DeploymentStrategy *DeploymentStrategy `json:"deploymentStrategy,omitempty"`

	// DisableAutoUpdate keeps the Server at the ServerConfig that it was last
	// rolled out with, until its own spec changes or this is taken back.
	// +optional
	DisableAutoUpdate bool `json:"disableAutoUpdate,omitempty"`

	// Patches change any other field of the children.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	Patches []Patch `json:"patches,omitempty"`
}

// ContainerOverrideSpec has no effect. It is kept so that manifests that have
// it stay valid.
type ContainerOverrideSpec struct {
	// Agent has no effect.
	// +optional
	Agent *Container `json:"agent,omitempty"`
	// RClone has no effect.
	// +optional
	RClone *Container `json:"rclone,omitempty"`
}

// PersistentVolumeClaimRetentionPolicy is Kubernetes' type of nearly that name,
// with its values enumerated. The empty one means Retain.
type PersistentVolumeClaimRetentionPolicy struct {
	// WhenDeleted is what becomes of the claims when the Server is deleted. Unset
	// means Retain.
	// +optional
	// +kubebuilder:validation:Enum="";Retain;Delete
	WhenDeleted appsv1.PersistentVolumeClaimRetentionPolicyType `json:"whenDeleted,omitempty"`

	// WhenScaled is what becomes of the claims of replicas that are scaled down.
	// Unset means Retain.
	// +optional
	// +kubebuilder:validation:Enum="";Retain;Delete
	WhenScaled appsv1.PersistentVolumeClaimRetentionPolicyType `json:"whenScaled,omitempty"`
}

// DeploymentStrategy is Kubernetes' type of that name, with its values bounded.
type DeploymentStrategy struct {
	// Type of the strategy. Unset means RollingUpdate.
	// +optional
	// +kubebuilder:validation:Enum="";RollingUpdate;Recreate
	Type appsv1.DeploymentStrategyType `json:"type,omitempty"`

	// RollingUpdate is for the strategy of that name.
	// +optional
	RollingUpdate *RollingUpdateDeployment `json:"rollingUpdate,omitempty"`
}

// RollingUpdateDeployment bounds how many pods a rolling update replaces at a
// time: numbers, or percentages of the replicas.
//
// Their rules say `in` where `==` would do: Kubernetes 1.30 takes the cost of
// comparing types for that of comparing texts as long as a request.
type RollingUpdateDeployment struct {
	// MaxUnavailable is how many pods may be missing. Unset means 25%.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="!(type(self) in [int]) || (self >= 0 && self <= 2147483647)",message="maxUnavailable must be a number from 0 to 2147483647 or a percentage such as 25%"
	MaxUnavailable *IntOrString `json:"maxUnavailable,omitempty"`

	// MaxSurge is how many pods may be there on top of the replicas. Unset means
	// 25%.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="!(type(self) in [int]) || (self >= 0 && self <= 2147483647)",message="maxSurge must be a number from 0 to 2147483647 or a percentage such as 25%"
	MaxSurge *IntOrString `json:"maxSurge,omitempty"`
}

// ServerStatus is the observed state of a Server. Its own fields are written at
// zero too: the upstream operator's schema requires them.
type ServerStatus struct {
	// LoadedModelReplicas is the number of replicas of Models that are loaded.
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

// Server is a set of like inference servers that Models are scheduled on.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.replicas,statuspath=.status.replicas,selectorpath=.status.selector
// +kubebuilder:resource:shortName=mls
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="Whether the server's pods are ready"
// +kubebuilder:printcolumn:name="Replicas",type=integer,JSONPath=`.status.replicas`,description="Number of replicas"
// +kubebuilder:printcolumn:name="Loaded Models",type=integer,JSONPath=`.status.loadedModels`,description="Number of model replicas that are loaded"
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
