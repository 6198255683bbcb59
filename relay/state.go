package relay

import (
	"slices"
	"strings"
	"unicode"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// State is what the scheduler reported about a Model, Pipeline or Experiment, in the
// terms of its status.
type State struct {
	// Generation of the object that the scheduler has.
	Generation int64
	// Conditions of [Kind.Conditions], without Ready, which is True when all of them are.
	Conditions []Condition
	// Stable: the scheduler is not working on the object: it is available, or has failed.
	Stable bool
	// Model has the fields of Models; nil for other kinds.
	Model *ModelState
}

// Condition is one condition of an object.
type Condition struct {
	Type    string
	True    bool
	Reason  string // in CamelCase
	Message string // one line of at most [maxText] bytes, may be empty
}

// ModelState is what the status of a Model has beside conditions.
type ModelState struct {
	// Replicas is the number of replicas, available or not, and AvailableReplicas of
	// those that are, each from 0 to [math.MaxInt32].
	Replicas, AvailableReplicas int64
	// Server that the Model is loaded on, empty for none; a valid label value.
	Server string
	// Gateway is the state in the model gateway, with its reason in parentheses.
	Gateway string
}

// Problems returns the reason of the first condition that is not True, and the messages of
// all of these: the reason and the messages of the condition Ready. The reason is empty if
// all are True.
func (s *State) Problems() (reason string, messages []string) {
	for _, condition := range s.Conditions {
		if condition.True {
			continue
		}
		if reason == "" {
			reason = condition.Reason
		}
		if condition.Message != "" {
			messages = append(messages, condition.Message)
		}
	}
	return reason, messages
}

func (s *State) equal(other *State) bool {
	if s == nil || other == nil {
		return s == other
	}
	sameModel := s.Model == other.Model || s.Model != nil && other.Model != nil && *s.Model == *other.Model
	return sameModel && s.Generation == other.Generation && s.Stable == other.Stable &&
		slices.Equal(s.Conditions, other.Conditions)
}

// IsProgressing reports whether a condition with a reason changes without a change of the
// object: the scheduler is working on it.
func IsProgressing(reason string) bool {
	if state, is := pb.ModelStatus_ModelState_value[reason]; is {
		return isModelProgressing(pb.ModelStatus_ModelState(state))
	}
	switch reason {
	case "PipelineStatusUnknown", "PipelineCreate", "PipelineCreating", "PipelineRebalancing", "ModelsNotReady":
		return true
	default:
		return false
	}
}

// maxText is the number of bytes that are kept of a text from the scheduler, which is
// only bounded by the size of a gRPC message.
const maxText = 1024

// cleanText returns a text from the scheduler as a status may contain it: on one line,
// without control characters, and not longer than [maxText].
func cleanText(text string) string {
	const more = " …"
	text = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text))
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText-len(more)], "") + more
	}
	return text
}
