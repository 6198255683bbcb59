package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// PodSpecFields are the fields of a pod that a Server or a runtime's override
// may set. It is Kubernetes' PodSpec with nothing required, with lists that the
// API server does not key, and without the fields that the existing API does
// not have; those are for patches.
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

// PodSpec is an override of a pod spec. Merge its Raw, not its fields: these
// have forgotten which of their zero values were written.
type PodSpec struct {
	PodSpecFields `json:",inline"`

	kept []byte `json:"-"`
}

// UnmarshalJSON keeps data; see Raw for data that does not fit the type.
func (p *PodSpec) UnmarshalJSON(data []byte) (err error) {
	p.kept, err = decodeKept(data, &p.PodSpecFields)
	return err
}

// MarshalJSON gives back what was decoded, unless a field was changed since.
func (p PodSpec) MarshalJSON() ([]byte, error) {
	data, _, err := encodeKept(p.kept, &p.PodSpecFields)
	return data, err
}

// Raw returns what the user wrote as a new JSON object, numbers as int64 or
// float64, or the fields if they were changed since. It is nil for nil. The
// error says what of it does not fit the type, such as a number beyond its
// field's range; the fields are then all zero.
func (p *PodSpec) Raw() (map[string]any, error) {
	if p == nil {
		return nil, nil
	}
	return rawKept(p.kept, &p.PodSpecFields)
}

// CorePodSpec is Kubernetes' PodSpec: the base that overrides are merged onto.
// Merge its Raw, not its fields.
type CorePodSpec struct {
	corev1.PodSpec `json:",inline"`

	kept []byte `json:"-"`
}

// UnmarshalJSON keeps data; see Raw for data that does not fit the type.
func (p *CorePodSpec) UnmarshalJSON(data []byte) (err error) {
	p.kept, err = decodeKept(data, &p.PodSpec)
	return err
}

// MarshalJSON gives back what was decoded, unless a field was changed since.
func (p CorePodSpec) MarshalJSON() ([]byte, error) {
	data, _, err := encodeKept(p.kept, &p.PodSpec)
	return data, err
}

// Raw returns what the user wrote as a new JSON object, numbers as int64 or
// float64, or the fields if they were changed since. It is nil for nil. The
// error says what of it does not fit the type, such as a number beyond its
// field's range; the fields are then all zero.
func (p *CorePodSpec) Raw() (map[string]any, error) {
	if p == nil {
		return nil, nil
	}
	return rawKept(p.kept, &p.PodSpec)
}

// Container is Kubernetes' type of that name.
type Container struct {
	corev1.Container `json:",inline"`

	kept []byte `json:"-"`
}

// UnmarshalJSON keeps data, also if it does not fit the type.
func (c *Container) UnmarshalJSON(data []byte) (err error) {
	c.kept, err = decodeKept(data, &c.Container)
	return err
}

// MarshalJSON gives back what was decoded, unless a field was changed since.
func (c Container) MarshalJSON() ([]byte, error) {
	data, _, err := encodeKept(c.kept, &c.Container)
	return data, err
}

// PersistentVolumeClaimSpec is Kubernetes' type of that name.
type PersistentVolumeClaimSpec struct {
	corev1.PersistentVolumeClaimSpec `json:",inline"`

	kept []byte `json:"-"`
}

// UnmarshalJSON keeps data; see Raw for data that does not fit the type.
func (s *PersistentVolumeClaimSpec) UnmarshalJSON(data []byte) (err error) {
	s.kept, err = decodeKept(data, &s.PersistentVolumeClaimSpec)
	return err
}

// MarshalJSON gives back what was decoded, unless a field was changed since.
func (s PersistentVolumeClaimSpec) MarshalJSON() ([]byte, error) {
	data, _, err := encodeKept(s.kept, &s.PersistentVolumeClaimSpec)
	return data, err
}

// Raw returns what the user wrote as a new JSON object, numbers as int64 or
// float64, or the fields if they were changed since. It is nil for nil. The
// error says what of it does not fit the type, such as a number beyond its
// field's range; the fields are then all zero.
func (s *PersistentVolumeClaimSpec) Raw() (map[string]any, error) {
	if s == nil {
		return nil, nil
	}
	return rawKept(s.kept, &s.PersistentVolumeClaimSpec)
}

// Without these, equality.Semantic panics at the unexported field, and it is
// what controllers compare objects with. Two values are equal if they say the
// same, whatever the order of their keys.
func init() {
	err := equality.Semantic.AddFuncs(
		func(a, b PodSpec) bool { return equalKept(a.kept, &a.PodSpecFields, b.kept, &b.PodSpecFields) },
		func(a, b CorePodSpec) bool { return equalKept(a.kept, &a.PodSpec, b.kept, &b.PodSpec) },
		func(a, b Container) bool { return equalKept(a.kept, &a.Container, b.kept, &b.Container) },
		func(a, b PersistentVolumeClaimSpec) bool {
			return equalKept(a.kept, &a.PersistentVolumeClaimSpec, b.kept, &b.PersistentVolumeClaimSpec)
		},
	)
	if err != nil {
		panic(err)
	}
}
