package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// PodSpecFields are the fields of a pod that a Server or a runtime's override may set. They
// are those of the PodSpec of Kubernetes, but none is required, lists have no map keys in
// the schema, and fields that the upstream API does not have are missing; use patches for
// those.
type PodSpecFields struct {
	// +optional
	// +kubebuilder:validation:MaxItems=1024
	Volumes []corev1.Volume `json:"volumes,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxItems=256
	InitContainers []corev1.Container `json:"initContainers,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxItems=256
	Containers []corev1.Container `json:"containers,omitempty"`
	// +optional
	RestartPolicy corev1.RestartPolicy `json:"restartPolicy,omitempty"`
	// +optional
	TerminationGracePeriodSeconds *int64 `json:"terminationGracePeriodSeconds,omitempty"`
	// +optional
	ActiveDeadlineSeconds *int64 `json:"activeDeadlineSeconds,omitempty"`
	// +optional
	DNSPolicy corev1.DNSPolicy `json:"dnsPolicy,omitempty"`
	// +optional
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`
	// +optional
	AutomountServiceAccountToken *bool `json:"automountServiceAccountToken,omitempty"`
	// +optional
	NodeName string `json:"nodeName,omitempty"`
	// +optional
	HostNetwork bool `json:"hostNetwork,omitempty"`
	// +optional
	HostPID bool `json:"hostPID,omitempty"`
	// +optional
	HostIPC bool `json:"hostIPC,omitempty"`
	// +optional
	ShareProcessNamespace *bool `json:"shareProcessNamespace,omitempty"`
	// +optional
	SecurityContext *corev1.PodSecurityContext `json:"securityContext,omitempty"`
	// +optional
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets,omitempty"`
	// +optional
	Hostname string `json:"hostname,omitempty"`
	// +optional
	Subdomain string `json:"subdomain,omitempty"`
	// +optional
	Affinity *corev1.Affinity `json:"affinity,omitempty"`
	// +optional
	SchedulerName string `json:"schedulerName,omitempty"`
	// +optional
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`
	// +optional
	HostAliases []corev1.HostAlias `json:"hostAliases,omitempty"`
	// +optional
	PriorityClassName string `json:"priorityClassName,omitempty"`
	// +optional
	Priority *int64 `json:"priority,omitempty"`
	// +optional
	DNSConfig *corev1.PodDNSConfig `json:"dnsConfig,omitempty"`
	// +optional
	ReadinessGates []corev1.PodReadinessGate `json:"readinessGates,omitempty"`
	// +optional
	RuntimeClassName *string `json:"runtimeClassName,omitempty"`
	// +optional
	EnableServiceLinks *bool `json:"enableServiceLinks,omitempty"`
	// +optional
	PreemptionPolicy *corev1.PreemptionPolicy `json:"preemptionPolicy,omitempty"`
	// +optional
	Overhead corev1.ResourceList `json:"overhead,omitempty"`
	// +optional
	// +listType=map
	// +listMapKey=topologyKey
	// +listMapKey=whenUnsatisfiable
	TopologySpreadConstraints []corev1.TopologySpreadConstraint `json:"topologySpreadConstraints,omitempty"`
	// +optional
	SetHostnameAsFQDN *bool `json:"setHostnameAsFQDN,omitempty"`
}

// PodSpec is an override of a pod spec. Merge the result of Raw, not the fields, which do
// not distinguish zero values that are set from unset values.
type PodSpec struct {
	PodSpecFields `json:",inline"`

	raw []byte `json:"-"`
}

// UnmarshalJSON keeps a copy of data. For data that cannot be decoded into the fields, Raw
// returns the error.
func (p *PodSpec) UnmarshalJSON(data []byte) (err error) {
	p.raw, err = decodeRaw(data, &p.PodSpecFields)
	return err
}

// MarshalJSON returns the decoded JSON, or that of the fields if they were changed since.
func (p PodSpec) MarshalJSON() ([]byte, error) {
	data, _, err := encodeRaw(p.raw, &p.PodSpecFields)
	return data, err
}

// Raw returns the decoded JSON object as a new map with numbers as int64 or float64, or
// the fields if they were changed since. It returns nil for nil, and an error if the JSON
// cannot be decoded into the fields, such as for a number beyond the range of its field;
// all fields are zero in that case.
func (p *PodSpec) Raw() (map[string]any, error) {
	if p == nil {
		return nil, nil
	}
	return rawObject(p.raw, &p.PodSpecFields)
}

// CorePodSpec is the PodSpec of Kubernetes: the base that overrides are merged into. Merge
// the result of Raw, not the fields.
type CorePodSpec struct {
	corev1.PodSpec `json:",inline"`

	raw []byte `json:"-"`
}

// UnmarshalJSON keeps a copy of data. For data that cannot be decoded into the fields, Raw
// returns the error.
func (p *CorePodSpec) UnmarshalJSON(data []byte) (err error) {
	p.raw, err = decodeRaw(data, &p.PodSpec)
	return err
}

// MarshalJSON returns the decoded JSON, or that of the fields if they were changed since.
func (p CorePodSpec) MarshalJSON() ([]byte, error) {
	data, _, err := encodeRaw(p.raw, &p.PodSpec)
	return data, err
}

// Raw returns the decoded JSON object as a new map with numbers as int64 or float64, or
// the fields if they were changed since. It returns nil for nil, and an error if the JSON
// cannot be decoded into the fields, such as for a number beyond the range of its field;
// all fields are zero in that case.
func (p *CorePodSpec) Raw() (map[string]any, error) {
	if p == nil {
		return nil, nil
	}
	return rawObject(p.raw, &p.PodSpec)
}

// Container is the Container of Kubernetes.
type Container struct {
	corev1.Container `json:",inline"`

	raw []byte `json:"-"`
}

// UnmarshalJSON keeps a copy of data, also if it cannot be decoded into the fields.
func (c *Container) UnmarshalJSON(data []byte) (err error) {
	c.raw, err = decodeRaw(data, &c.Container)
	return err
}

// MarshalJSON returns the decoded JSON, or that of the fields if they were changed since.
func (c Container) MarshalJSON() ([]byte, error) {
	data, _, err := encodeRaw(c.raw, &c.Container)
	return data, err
}

// PersistentVolumeClaimSpec is the PersistentVolumeClaimSpec of Kubernetes.
type PersistentVolumeClaimSpec struct {
	corev1.PersistentVolumeClaimSpec `json:",inline"`

	raw []byte `json:"-"`
}

// UnmarshalJSON keeps a copy of data. For data that cannot be decoded into the fields, Raw
// returns the error.
func (s *PersistentVolumeClaimSpec) UnmarshalJSON(data []byte) (err error) {
	s.raw, err = decodeRaw(data, &s.PersistentVolumeClaimSpec)
	return err
}

// MarshalJSON returns the decoded JSON, or that of the fields if they were changed since.
func (s PersistentVolumeClaimSpec) MarshalJSON() ([]byte, error) {
	data, _, err := encodeRaw(s.raw, &s.PersistentVolumeClaimSpec)
	return data, err
}

// Raw returns the decoded JSON object as a new map with numbers as int64 or float64, or
// the fields if they were changed since. It returns nil for nil, and an error if the JSON
// cannot be decoded into the fields, such as for a number beyond the range of its field;
// all fields are zero in that case.
func (s *PersistentVolumeClaimSpec) Raw() (map[string]any, error) {
	if s == nil {
		return nil, nil
	}
	return rawObject(s.raw, &s.PersistentVolumeClaimSpec)
}

// Controllers compare objects with equality.Semantic, which panics at unexported fields
// without these functions. Two values are equal if their JSON is equal, regardless of
// the order of keys.
func init() {
	err := equality.Semantic.AddFuncs(
		func(a, b PodSpec) bool { return equalRaw(a.raw, &a.PodSpecFields, b.raw, &b.PodSpecFields) },
		func(a, b CorePodSpec) bool { return equalRaw(a.raw, &a.PodSpec, b.raw, &b.PodSpec) },
		func(a, b Container) bool { return equalRaw(a.raw, &a.Container, b.raw, &b.Container) },
		func(a, b PersistentVolumeClaimSpec) bool {
			return equalRaw(a.raw, &a.PersistentVolumeClaimSpec, b.raw, &b.PersistentVolumeClaimSpec)
		},
	)
	if err != nil {
		panic(err)
	}
}
