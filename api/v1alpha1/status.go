package v1alpha1

import (
	stdjson "encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/json"
)

// Status is what the five kinds with conditions have in common.
type Status struct {
	// ObservedGeneration is the metadata.generation that this status speaks of.
	// 0 means that the upstream operator, which never sets it, wrote the status;
	// -1, the default of an object without a status, that no operator has yet: to
	// kstatus an object without it would be as it should be.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions, keyed by type. The schema asks for `type` and `status` only: those
	// of the upstream operator may lack a reason, and may have a `severity`.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +patchStrategy=merge
	// +patchMergeKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty" patchStrategy:"merge" patchMergeKey:"type"`

	// Annotations is room that the upstream operator's status type has. Nothing
	// writes it.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
}

// GetObservedGeneration returns the generation that the status speaks of.
func (m *Model) GetObservedGeneration() int64 { return m.Status.ObservedGeneration }

// SetObservedGeneration replaces it.
func (m *Model) SetObservedGeneration(generation int64) { m.Status.ObservedGeneration = generation }

// GetConditions returns the conditions, to be read only.
func (m *Model) GetConditions() []metav1.Condition { return m.Status.Conditions }

// SetConditions replaces the conditions.
func (m *Model) SetConditions(conditions []metav1.Condition) { m.Status.Conditions = conditions }

// GetObservedGeneration returns the generation that the status speaks of.
func (p *Pipeline) GetObservedGeneration() int64 { return p.Status.ObservedGeneration }

// SetObservedGeneration replaces it.
func (p *Pipeline) SetObservedGeneration(generation int64) { p.Status.ObservedGeneration = generation }

// GetConditions returns the conditions, to be read only.
func (p *Pipeline) GetConditions() []metav1.Condition { return p.Status.Conditions }

// SetConditions replaces the conditions.
func (p *Pipeline) SetConditions(conditions []metav1.Condition) { p.Status.Conditions = conditions }

// GetObservedGeneration returns the generation that the status speaks of.
func (e *Experiment) GetObservedGeneration() int64 { return e.Status.ObservedGeneration }

// SetObservedGeneration replaces it.
func (e *Experiment) SetObservedGeneration(generation int64) {
	e.Status.ObservedGeneration = generation
}

// GetConditions returns the conditions, to be read only.
func (e *Experiment) GetConditions() []metav1.Condition { return e.Status.Conditions }

// SetConditions replaces the conditions.
func (e *Experiment) SetConditions(conditions []metav1.Condition) { e.Status.Conditions = conditions }

// GetObservedGeneration returns the generation that the status speaks of.
func (s *Server) GetObservedGeneration() int64 { return s.Status.ObservedGeneration }

// SetObservedGeneration replaces it.
func (s *Server) SetObservedGeneration(generation int64) { s.Status.ObservedGeneration = generation }

// GetConditions returns the conditions, to be read only.
func (s *Server) GetConditions() []metav1.Condition { return s.Status.Conditions }

// SetConditions replaces the conditions.
func (s *Server) SetConditions(conditions []metav1.Condition) { s.Status.Conditions = conditions }

// GetObservedGeneration returns the generation that the status speaks of.
func (r *SeldonRuntime) GetObservedGeneration() int64 { return r.Status.ObservedGeneration }

// SetObservedGeneration replaces it.
func (r *SeldonRuntime) SetObservedGeneration(generation int64) {
	r.Status.ObservedGeneration = generation
}

// GetConditions returns the conditions, to be read only.
func (r *SeldonRuntime) GetConditions() []metav1.Condition { return r.Status.Conditions }

// SetConditions replaces the conditions.
func (r *SeldonRuntime) SetConditions(conditions []metav1.Condition) {
	r.Status.Conditions = conditions
}

// UnmarshalJSON decodes a status whatever the times of its conditions hold.
func (s *ModelStatus) UnmarshalJSON(data []byte) error {
	type plain ModelStatus
	return decodeStatus(data, (*plain)(s))
}

// UnmarshalJSON decodes a status whatever the times of its conditions hold.
func (s *PipelineStatus) UnmarshalJSON(data []byte) error {
	type plain PipelineStatus
	return decodeStatus(data, (*plain)(s))
}

// UnmarshalJSON decodes a status whatever the times of its conditions hold.
func (s *ExperimentStatus) UnmarshalJSON(data []byte) error {
	type plain ExperimentStatus
	return decodeStatus(data, (*plain)(s))
}

// UnmarshalJSON decodes a status whatever the times of its conditions hold.
func (s *ServerStatus) UnmarshalJSON(data []byte) error {
	type plain ServerStatus
	return decodeStatus(data, (*plain)(s))
}

// UnmarshalJSON decodes a status whatever the times of its conditions hold.
func (s *SeldonRuntimeStatus) UnmarshalJSON(data []byte) error {
	type plain SeldonRuntimeStatus
	return decodeStatus(data, (*plain)(s))
}

// decodeStatus decodes data into status, a pointer to a status type without an
// UnmarshalJSON of its own. The schema lets a condition's lastTransitionTime be
// any string, and metav1.Time refuses most: such a time becomes the zero time.
func decodeStatus[T any](data []byte, status *T) error {
	before := *status
	err := json.Unmarshal(data, status)
	if err == nil {
		return nil
	}
	repaired, repairErr := withoutBadTimes(data)
	if repairErr != nil {
		return err
	}
	*status = before
	return json.Unmarshal(repaired, status)
}

func withoutBadTimes(data []byte) ([]byte, error) {
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
