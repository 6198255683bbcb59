package v1alpha1

import (
	stdjson "encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/json"
)

// Status has the fields that the status types of the five kinds with conditions share.
type Status struct {
	// ObservedGeneration is the metadata.generation that the status describes. 0: the
	// status was written by the upstream operator, which does not set the field. -1: no
	// operator has written a status. This is the default, because kstatus considers an
	// object without the field as current.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions, keyed by type. The schema only requires `type` and `status`: conditions
	// of the upstream operator may have no reason, and may have a `severity`.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +patchStrategy=merge
	// +patchMergeKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty" patchStrategy:"merge" patchMergeKey:"type"`

	// Annotations is a field of the upstream operator's status type. It is not written.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
}

// GetObservedGeneration returns the generation that the status describes.
func (m *Model) GetObservedGeneration() int64 { return m.Status.ObservedGeneration }

// SetObservedGeneration sets the generation that the status describes.
func (m *Model) SetObservedGeneration(generation int64) { m.Status.ObservedGeneration = generation }

// GetConditions returns the conditions, which must not be modified.
func (m *Model) GetConditions() []metav1.Condition { return m.Status.Conditions }

// SetConditions replaces the conditions.
func (m *Model) SetConditions(conditions []metav1.Condition) { m.Status.Conditions = conditions }

// GetObservedGeneration returns the generation that the status describes.
func (p *Pipeline) GetObservedGeneration() int64 { return p.Status.ObservedGeneration }

// SetObservedGeneration sets the generation that the status describes.
func (p *Pipeline) SetObservedGeneration(generation int64) { p.Status.ObservedGeneration = generation }

// GetConditions returns the conditions, which must not be modified.
func (p *Pipeline) GetConditions() []metav1.Condition { return p.Status.Conditions }

// SetConditions replaces the conditions.
func (p *Pipeline) SetConditions(conditions []metav1.Condition) { p.Status.Conditions = conditions }

// GetObservedGeneration returns the generation that the status describes.
func (e *Experiment) GetObservedGeneration() int64 { return e.Status.ObservedGeneration }

// SetObservedGeneration sets the generation that the status describes.
func (e *Experiment) SetObservedGeneration(generation int64) {
	e.Status.ObservedGeneration = generation
}

// GetConditions returns the conditions, which must not be modified.
func (e *Experiment) GetConditions() []metav1.Condition { return e.Status.Conditions }

// SetConditions replaces the conditions.
func (e *Experiment) SetConditions(conditions []metav1.Condition) { e.Status.Conditions = conditions }

// GetObservedGeneration returns the generation that the status describes.
func (s *Server) GetObservedGeneration() int64 { return s.Status.ObservedGeneration }

// SetObservedGeneration sets the generation that the status describes.
func (s *Server) SetObservedGeneration(generation int64) { s.Status.ObservedGeneration = generation }

// GetConditions returns the conditions, which must not be modified.
func (s *Server) GetConditions() []metav1.Condition { return s.Status.Conditions }

// SetConditions replaces the conditions.
func (s *Server) SetConditions(conditions []metav1.Condition) { s.Status.Conditions = conditions }

// GetObservedGeneration returns the generation that the status describes.
func (r *SeldonRuntime) GetObservedGeneration() int64 { return r.Status.ObservedGeneration }

// SetObservedGeneration sets the generation that the status describes.
func (r *SeldonRuntime) SetObservedGeneration(generation int64) {
	r.Status.ObservedGeneration = generation
}

// GetConditions returns the conditions, which must not be modified.
func (r *SeldonRuntime) GetConditions() []metav1.Condition { return r.Status.Conditions }

// SetConditions replaces the conditions.
func (r *SeldonRuntime) SetConditions(conditions []metav1.Condition) {
	r.Status.Conditions = conditions
}

// UnmarshalJSON decodes a status, also if the times of its conditions are invalid.
func (s *ModelStatus) UnmarshalJSON(data []byte) error {
	type plain ModelStatus
	return decodeStatus(data, (*plain)(s))
}

// UnmarshalJSON decodes a status, also if the times of its conditions are invalid.
func (s *PipelineStatus) UnmarshalJSON(data []byte) error {
	type plain PipelineStatus
	return decodeStatus(data, (*plain)(s))
}

// UnmarshalJSON decodes a status, also if the times of its conditions are invalid.
func (s *ExperimentStatus) UnmarshalJSON(data []byte) error {
	type plain ExperimentStatus
	return decodeStatus(data, (*plain)(s))
}

// UnmarshalJSON decodes a status, also if the times of its conditions are invalid.
func (s *ServerStatus) UnmarshalJSON(data []byte) error {
	type plain ServerStatus
	return decodeStatus(data, (*plain)(s))
}

// UnmarshalJSON decodes a status, also if the times of its conditions are invalid.
func (s *SeldonRuntimeStatus) UnmarshalJSON(data []byte) error {
	type plain SeldonRuntimeStatus
	return decodeStatus(data, (*plain)(s))
}

// decodeStatus decodes data into status, which must have a type without UnmarshalJSON. The
// schema accepts any string as a condition's lastTransitionTime, but metav1.Time only
// accepts RFC 3339: other strings become the zero time.
func decodeStatus[T any](data []byte, status *T) error {
	before := *status
	err := json.Unmarshal(data, status)
	if err == nil {
		return nil
	}
	repaired, repairErr := dropInvalidTimes(data)
	if repairErr != nil {
		return err
	}
	*status = before
	return json.Unmarshal(repaired, status)
}

// dropInvalidTimes removes every lastTransitionTime that metav1.Time cannot decode from the
// conditions of a status.
func dropInvalidTimes(data []byte) ([]byte, error) {
	var status map[string]stdjson.RawMessage
	if err := json.Unmarshal(data, &status); err != nil {
		return nil, fmt.Errorf("decode status: %w", err)
	}
	var conditions []map[string]stdjson.RawMessage
	if err := json.Unmarshal(status["conditions"], &conditions); err != nil {
		return nil, fmt.Errorf("decode conditions: %w", err)
	}
	for _, condition := range conditions {
		var when metav1.Time
		if raw, ok := condition["lastTransitionTime"]; ok && when.UnmarshalJSON(raw) != nil {
			delete(condition, "lastTransitionTime")
		}
	}
	raw, err := json.Marshal(conditions)
	if err != nil {
		return nil, fmt.Errorf("encode conditions: %w", err)
	}
	status["conditions"] = raw
	return json.Marshal(status)
}
