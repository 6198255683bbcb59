package v1alpha1

import (
	"errors"
	"fmt"
	"math"
)

// UnlimitedReplicas is the upper bound of a ScalingSpec without maxReplicas, as
// the scheduler is told it.
const UnlimitedReplicas uint32 = math.MaxUint32

// ErrScaling is what every error of ScalingSpec.Bounds wraps.
var ErrScaling = errors.New("invalid scaling")

// MaxReplicas is the greatest number of replicas that the schema accepts. Objects
// that were stored before it had this bound may have more.
const MaxReplicas int64 = 10000

// ScalingSpec says how many replicas are wanted, and within which bounds a
// scaler may change that number.
//
// +kubebuilder:validation:XValidation:rule="!has(self.minReplicas) || !has(self.maxReplicas) || self.maxReplicas <= 0 || self.minReplicas <= self.maxReplicas",message="minReplicas exceeds maxReplicas: lower minReplicas or raise maxReplicas (0 means no limit)",fieldPath=".minReplicas"
// +kubebuilder:validation:XValidation:rule="!has(self.replicas) || !has(self.minReplicas) || self.replicas >= self.minReplicas",message="replicas is below minReplicas: raise replicas or lower minReplicas",fieldPath=".replicas"
// +kubebuilder:validation:XValidation:rule="!has(self.replicas) || !has(self.maxReplicas) || self.maxReplicas <= 0 || self.replicas <= self.maxReplicas",message="replicas exceeds maxReplicas: lower replicas or raise maxReplicas (0 means no limit)",fieldPath=".replicas"
type ScalingSpec struct {
	// Replicas wanted. Unset means minReplicas if that is above 0, else 1.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000
	Replicas *int64 `json:"replicas,omitempty"`

	// MinReplicas is the lower bound for scaling. Unset means 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000
	MinReplicas *int64 `json:"minReplicas,omitempty"`

	// MaxReplicas is the upper bound for scaling. Unset, 0 and less mean no limit, as
	// a huge number does.
	// +optional
	// +kubebuilder:validation:Minimum=-2147483648
	// +kubebuilder:validation:Maximum=2147483647
	MaxReplicas *int64 `json:"maxReplicas,omitempty"`
}

// Bounds fills the gaps of the specification: replicas defaults to min if that
// is above 0 and to 1 otherwise, min to 0, max to UnlimitedReplicas. Objects
// stored before the schema had bounds may hold anything, so a negative replicas
// counts as unset unless min contradicts it, and a negative min or max as unset.
// Errors wrap ErrScaling; the numbers are then 0.
func (s ScalingSpec) Bounds() (replicas, minReplicas, maxReplicas uint32, err error) {
	wanted, lowest, highest := int64(1), int64(0), int64(UnlimitedReplicas)
	if s.MinReplicas != nil && *s.MinReplicas > 0 {
		lowest, wanted = *s.MinReplicas, *s.MinReplicas
	}
	if s.Replicas != nil && (*s.Replicas >= 0 || lowest > 0) {
		wanted = *s.Replicas
	}
	if s.MaxReplicas != nil && *s.MaxReplicas > 0 {
		highest = min(*s.MaxReplicas, highest)
	}
	switch {
	case lowest > highest:
		return 0, 0, 0, fmt.Errorf("%w: minReplicas %d exceeds maxReplicas %d", ErrScaling, lowest, highest)
	case wanted < lowest:
		return 0, 0, 0, fmt.Errorf("%w: replicas %d is below minReplicas %d", ErrScaling, wanted, lowest)
	case wanted > highest:
		return 0, 0, 0, fmt.Errorf("%w: replicas %d exceeds maxReplicas %d", ErrScaling, wanted, highest)
	}
	return uint32(wanted), uint32(lowest), uint32(highest), nil
}
