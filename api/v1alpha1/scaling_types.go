package v1alpha1

import (
	"errors"
	"fmt"
	"math"
)

// UnlimitedReplicas is the maximum that is sent to the scheduler for a ScalingSpec without
// maxReplicas.
const UnlimitedReplicas uint32 = math.MaxUint32

// ErrScaling is wrapped by every error of ScalingSpec.Bounds.
var ErrScaling = errors.New("invalid scaling")

// MaxReplicas is the maximum number of replicas in the schema. Objects that were stored
// before the schema had this bound may have more.
const MaxReplicas int64 = 10000

// ScalingSpec is the desired number of replicas, and the bounds within which an autoscaler
// may change it.
//
// +kubebuilder:validation:XValidation:rule="!has(self.minReplicas) || !has(self.maxReplicas) || self.maxReplicas <= 0 || self.minReplicas <= self.maxReplicas",message="minReplicas exceeds maxReplicas: lower minReplicas or raise maxReplicas (0 means no limit)",fieldPath=".minReplicas"
// +kubebuilder:validation:XValidation:rule="!has(self.replicas) || !has(self.minReplicas) || self.replicas >= self.minReplicas",message="replicas is below minReplicas: raise replicas or lower minReplicas",fieldPath=".replicas"
// +kubebuilder:validation:XValidation:rule="!has(self.replicas) || !has(self.maxReplicas) || self.maxReplicas <= 0 || self.replicas <= self.maxReplicas",message="replicas exceeds maxReplicas: lower replicas or raise maxReplicas (0 means no limit)",fieldPath=".replicas"
type ScalingSpec struct {
	// Replicas is the desired number of replicas. Defaults to minReplicas if that is above
	// 0, else to 1.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000
	Replicas *int64 `json:"replicas,omitempty"`

	// MinReplicas is the lower bound for scaling. Defaults to 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000
	MinReplicas *int64 `json:"minReplicas,omitempty"`

	// MaxReplicas is the upper bound for scaling. There is no limit if it is unset, 0 or
	// negative.
	// +optional
	// +kubebuilder:validation:Minimum=-2147483648
	// +kubebuilder:validation:Maximum=2147483647
	MaxReplicas *int64 `json:"maxReplicas,omitempty"`
}

// Bounds returns the three numbers with defaults: replicas defaults to minReplicas if that
// is above 0 and to 1 otherwise, minReplicas to 0, maxReplicas to UnlimitedReplicas.
// Objects that were stored before the schema had bounds may have any number: a negative
// minReplicas or maxReplicas is treated as unset, and so are negative replicas unless
// minReplicas is above 0. Errors wrap ErrScaling; the numbers are 0 in that case.
func (s ScalingSpec) Bounds() (replicas, minReplicas, maxReplicas uint32, err error) {
	desired, lowest, highest := int64(1), int64(0), int64(UnlimitedReplicas)
	if s.MinReplicas != nil && *s.MinReplicas > 0 {
		lowest, desired = *s.MinReplicas, *s.MinReplicas
	}
	if s.Replicas != nil && (*s.Replicas >= 0 || lowest > 0) {
		desired = *s.Replicas
	}
	if s.MaxReplicas != nil && *s.MaxReplicas > 0 {
		highest = min(*s.MaxReplicas, highest)
	}
	switch {
	case lowest > highest:
		return 0, 0, 0, fmt.Errorf("%w: minReplicas %d exceeds maxReplicas %d: lower minReplicas or raise maxReplicas", ErrScaling, lowest, highest)
	case desired < lowest:
		return 0, 0, 0, fmt.Errorf("%w: replicas %d is below minReplicas %d: raise replicas or lower minReplicas", ErrScaling, desired, lowest)
	case desired > highest:
		return 0, 0, 0, fmt.Errorf("%w: replicas %d exceeds maxReplicas %d: lower replicas or raise maxReplicas", ErrScaling, desired, highest)
	}
	return uint32(desired), uint32(lowest), uint32(highest), nil
}
