package reconciler

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/composition/plan"
)

// Types of conditions of every object.
const (
	// ConditionReady summarizes the other conditions.
	ConditionReady = "Ready"
	// ConditionReconciling is True while the object is not as desired and no error
	// prevents that it will be (kstatus). It is absent otherwise.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is True while only a change of the object or of its inputs helps
	// (kstatus). It is absent otherwise.
	ConditionStalled = "Stalled"
)

// Types of conditions of objects that expand into child objects. They are absent unless
// they are True.
const (
	// ConditionPaused: an annotation prevents writes to child objects.
	ConditionPaused = "Paused"
	// ConditionImmutableFieldChanged: the desired value of an immutable field of a child
	// object differs from the live one.
	ConditionImmutableFieldChanged = "ImmutableFieldChanged"
	// ConditionRestartRequired: an adopted workload is not changed, because that would
	// restart its pods.
	ConditionRestartRequired = "RestartRequired"
	// ConditionOwnershipConflict: an object with the name of a child object exists and is
	// not controlled by the owner.
	ConditionOwnershipConflict = "OwnershipConflict"
	// ConditionFieldManagerConflict: another field manager changes the same fields of a
	// child object again and again.
	ConditionFieldManagerConflict = "FieldManagerConflict"
	// ConditionRecreationFailed: a StatefulSet was deleted to be recreated, and the API
	// server rejects it.
	ConditionRecreationFailed = "RecreationFailed"
	// ConditionMetadataPending: labels or annotations of the owner reach pods with the next
	// rollout.
	ConditionMetadataPending = "MetadataPending"
	// ConditionPatchTargetNotFound: the target of a patch matches no object.
	ConditionPatchTargetNotFound = "PatchTargetNotFound"
)

// Reasons of conditions, beside those of the engine and of the API server.
const (
	// ReasonReady: the object is as desired.
	ReasonReady = "Ready"
	// ReasonProgressing: the object is not yet as desired.
	ReasonProgressing = "Progressing"
	// ReasonConfigNotFound: an object that the input refers to does not exist.
	ReasonConfigNotFound = "ConfigNotFound"
	// ReasonRenderFailed: the input cannot be rendered.
	ReasonRenderFailed = "RenderFailed"
	// ReasonInvalidPatch: a patch of the input cannot be applied or is not allowed.
	ReasonInvalidPatch = "InvalidPatch"
	// ReasonApplyFailed: a request failed, and the API server gives no reason.
	ReasonApplyFailed = "ApplyFailed"
	// ReasonTerminating: the object is being deleted and waits for something.
	ReasonTerminating = "Terminating"
	// ReasonReplicaFailure: pods of a child object cannot be created.
	ReasonReplicaFailure = "ReplicaFailure"
	// ReasonReplicasUnavailable: child objects that were ready are not, without a change.
	ReasonReplicasUnavailable = "ReplicasUnavailable"
	// ReasonConflict: for 30 seconds or more, what was read is older than what is stored.
	ReasonConflict = "Conflict"
	// ReasonRetrying, of Reconciling: a request failed and is retried (kstatus).
	ReasonRetrying = "ProgressingWithRetry"
)

// True returns a condition with the status True, to be passed to [SetConditions].
func True(conditionType, reason, message string) metav1.Condition {
	return metav1.Condition{Type: conditionType, Status: metav1.ConditionTrue, Reason: reason, Message: message}
}

// False returns a condition with the status False, to be passed to [SetConditions].
func False(conditionType, reason, message string) metav1.Condition {
	return metav1.Condition{Type: conditionType, Status: metav1.ConditionFalse, Reason: reason, Message: message}
}

// SetConditions replaces the conditions of object by conditions and, of its present
// ones, those of the types keep, sorted by type. The new ones get the object's
// generation as observedGeneration, and a transition time of now if their status
// differs from the present one.
func SetConditions(object Object, conditions []metav1.Condition, keep ...string) {
	before := object.GetConditions()
	var after []metav1.Condition
	for _, conditionType := range keep {
		if kept := meta.FindStatusCondition(before, conditionType); kept != nil {
			after = append(after, *kept)
		}
	}
	for _, condition := range conditions {
		if old := meta.FindStatusCondition(before, condition.Type); old != nil {
			meta.RemoveStatusCondition(&after, condition.Type)
			after = append(after, *old)
		}
		condition.ObservedGeneration = object.GetGeneration()
		meta.SetStatusCondition(&after, condition)
	}
	slices.SortFunc(after, func(a, b metav1.Condition) int { return strings.Compare(a.Type, b.Type) })
	object.SetConditions(after)
}

// UpdateConditions replaces those of conditions that object has already, and leaves
// their observedGeneration: they describe child objects of the generation that was
// applied last.
func UpdateConditions(object Object, conditions []metav1.Condition) {
	after := slices.Clone(object.GetConditions())
	for _, condition := range conditions {
		if present := meta.FindStatusCondition(after, condition.Type); present != nil {
			condition.ObservedGeneration = present.ObservedGeneration
			meta.SetStatusCondition(&after, condition)
		}
	}
	object.SetConditions(after)
}

// AllButReady returns the types of object's conditions except Ready, Reconciling and
// Stalled, which describe the object as a whole.
func AllButReady(object Object) []string {
	var types []string
	for _, condition := range object.GetConditions() {
		switch condition.Type {
		case ConditionReady, ConditionReconciling, ConditionStalled:
		default:
			types = append(types, condition.Type)
		}
	}
	return types
}

// maxMessage is the number of bytes after which [JoinMessages] omits messages. A
// condition may have 32768 characters, but people read messages in a terminal.
const maxMessage = 1024

// JoinMessages joins messages with "; ": sorted, without duplicates, and bounded to
// about 1 KiB.
func JoinMessages(messages []string) string {
	messages = slices.Clone(messages)
	slices.Sort(messages)
	messages = slices.Compact(messages)
	var text strings.Builder
	for i, message := range messages {
		if text.Len()+len(message) > maxMessage && i > 0 {
			fmt.Fprintf(&text, "; and %d more", len(messages)-i)
			break
		}
		if i > 0 {
			text.WriteString("; ")
		}
		text.WriteString(message)
	}
	return text.String()
}

// blockedConditions are the types of the conditions for child objects that stay blocked
// until a person acts.
var blockedConditions = map[plan.Reason]string{
	plan.ImmutableFieldChanged: ConditionImmutableFieldChanged,
	plan.RestartRequired:       ConditionRestartRequired,
	plan.OwnershipConflict:     ConditionOwnershipConflict,
	plan.RecreationFailed:      ConditionRecreationFailed,
	plan.FieldManagerConflict:  ConditionFieldManagerConflict,
}

// IsWarningCondition reports whether conditions of that type, of this package, exist
// only while something needs attention. A Warning Event is recorded when they turn True.
func IsWarningCondition(conditionType string) bool {
	if conditionType == ConditionPatchTargetNotFound {
		return true
	}
	for _, each := range blockedConditions {
		if each == conditionType {
			return true
		}
	}
	return false
}

// remedies returns what to do about child objects that are blocked for reasons, to be
// appended to their messages.
func remedies(options composition.Options, reasons ...plan.Reason) string {
	var text strings.Builder
	slices.Sort(reasons)
	for _, reason := range slices.Compact(reasons) {
		if remedy := plan.Remedy(options, reason, "this object"); remedy != "" {
			text.WriteString("; " + remedy)
		}
	}
	return text.String()
}

// warningConditions returns the conditions for blocked child objects, pending metadata
// and patches without a target.
func warningConditions(options composition.Options, result composition.Result) []metav1.Condition {
	byReason := map[plan.Reason][]string{}
	for _, step := range result.Blocked() {
		byReason[step.Reason] = append(byReason[step.Reason], step.Message)
	}
	var conditions []metav1.Condition
	for reason, conditionType := range blockedConditions {
		if messages := byReason[reason]; len(messages) > 0 {
			conditions = append(conditions, True(conditionType, string(reason), JoinMessages(messages)+remedies(options, reason)))
		}
	}
	if messages := byReason[plan.MetadataPending]; len(messages) > 0 {
		conditions = append(conditions, True(ConditionMetadataPending, ConditionMetadataPending,
			JoinMessages(messages)+remedies(options, plan.MetadataPending)))
	}
	var unmatched []string
	for _, patch := range result.UnmatchedPatches {
		unmatched = append(unmatched, fmt.Sprintf("%s: %s: its target matches no child object", patch.Source, patch.Path))
	}
	if len(unmatched) > 0 {
		conditions = append(conditions, True(ConditionPatchTargetNotFound, ConditionPatchTargetNotFound,
			JoinMessages(unmatched)+"; correct the target, or remove the patch"))
	}
	return conditions
}
