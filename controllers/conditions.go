package controllers

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition"
)

// Reasons of conditions, beside those that the engine gives.
const (
	reasonReady          = "Ready"
	reasonProgressing    = "Progressing"
	reasonConfigNotFound = "ConfigNotFound"
	reasonRenderFailed   = "RenderFailed"
	reasonInvalidPatch   = "InvalidPatch"
	reasonApplyFailed    = "ApplyFailed"
	reasonDuplicate      = "DuplicateRuntime"
	reasonTerminating    = "Terminating"
	// reasonReplicaFailure: pods of a child are refused.
	reasonReplicaFailure = "ReplicaFailure"
	// reasonReplicasUnavailable: children that were ready are not, without a change.
	reasonReplicasUnavailable = "ReplicasUnavailable"
	// reasonConflict: what is stored is newer than what was read, for long.
	reasonConflict = "Conflict"
	// reasonRetrying, of Reconciling: a request failed and is retried.
	reasonRetrying = "ProgressingWithRetry"
)

// Conditions that are there only while there is something to tell. The first
// three are part of the API; these add to them.
const (
	conditionOverrideTargetNotFound = "OverrideTargetNotFound"
	conditionReplicasLimited        = "ReplicasLimited"
	conditionPatchTargetNotFound    = "PatchTargetNotFound"
	conditionFieldsIgnored          = "FieldsIgnored"
	conditionNameTooLong            = "NameTooLong"
	conditionFieldManagerConflict   = "FieldManagerConflict"
	conditionOwnershipConflict      = "OwnershipConflict"
	conditionMetadataPending        = "MetadataPending"
	conditionRecreationFailed       = "RecreationFailed"
	conditionServersReady           = "ServersReady"
)

// Conditions of kstatus, absent rather than False and never both.
const (
	conditionReconciling = "Reconciling"
	conditionStalled     = "Stalled"
)

// verdict is a condition before it has an observedGeneration and a time.
type verdict struct {
	kind    string
	status  metav1.ConditionStatus
	reason  string
	message string
}

func isTrue(kind, reason, message string) verdict {
	return verdict{kind, metav1.ConditionTrue, reason, message}
}

func isFalse(kind, reason, message string) verdict {
	return verdict{kind, metav1.ConditionFalse, reason, message}
}

// maxMessage bounds a message; a condition's may have 32768 characters, but
// people read them in a terminal.
const maxMessage = 1024

// join makes one message of several: sorted, each once, bounded.
func join(messages []string) string {
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

// inputReason is the reason of an error of rendering.
func inputReason(err error) string {
	if _, is := errors.AsType[*composition.PatchError](err); is {
		return reasonInvalidPatch
	}
	return reasonRenderFailed
}

// requestReason is the API server's own reason where it gives one, Forbidden and
// Invalid among them. A conflict beside other errors is not what matters.
func requestReason(err error) string {
	if classify(err) == conflict {
		return reasonConflict
	}
	for _, each := range flatten(err) {
		if reason := apierrors.ReasonForError(each); reason != metav1.StatusReasonUnknown && reason != metav1.StatusReasonConflict {
			return string(reason)
		}
	}
	return reasonApplyFailed
}

// messageOf lists the errors that were joined, sorted and bounded.
func messageOf(err error) string {
	var messages []string
	for _, each := range flatten(err) {
		messages = append(messages, each.Error())
	}
	return join(messages)
}

func flatten(err error) []error {
	joined, isJoined := err.(interface{ Unwrap() []error })
	if !isJoined {
		if render, is := errors.AsType[*composition.RenderError](err); is {
			return flatten(render.Err)
		}
		return []error{err}
	}
	var all []error
	for _, each := range joined.Unwrap() {
		all = append(all, flatten(each)...)
	}
	return all
}

// heldConditions are those of children that stay held until somebody acts.
var heldConditions = map[composition.Reason]string{
	composition.ImmutableFieldChanged: v1alpha1.ConditionImmutableFieldChanged,
	composition.RestartRequired:       v1alpha1.ConditionRestartRequired,
	composition.OwnershipConflict:     conditionOwnershipConflict,
	composition.RecreationFailed:      conditionRecreationFailed,
	composition.FieldManagerConflict:  conditionFieldManagerConflict,
}

// notices are the conditions that tell what held children back.
func notices(outcome composition.Result) []verdict {
	byReason := map[composition.Reason][]string{}
	for _, step := range outcome.Blocked() {
		byReason[step.Reason] = append(byReason[step.Reason], step.Message)
	}
	var verdicts []verdict
	for reason, condition := range heldConditions {
		if messages := byReason[reason]; len(messages) > 0 {
			verdicts = append(verdicts, isTrue(condition, string(reason), join(messages)))
		}
	}
	if messages := byReason[composition.MetadataPending]; len(messages) > 0 {
		verdicts = append(verdicts, isTrue(conditionMetadataPending, conditionMetadataPending,
			join(messages)+"; to restart them now, set the annotation "+v1alpha1.ApplyMetadataAnnotation+": \"true\""))
	}
	var unmatched []string
	for _, patch := range outcome.UnmatchedPatches {
		unmatched = append(unmatched, fmt.Sprintf("%s: %s: its target matches no object", patch.Source, patch.Path))
	}
	if len(unmatched) > 0 {
		verdicts = append(verdicts, isTrue(conditionPatchTargetNotFound, conditionPatchTargetNotFound, join(unmatched)))
	}
	return verdicts
}

// restartsAllowed reports whether an annotation allows that adopted workloads restart
// their pods.
func restartsAllowed(object client.Object) bool {
	return object.GetAnnotations()[v1alpha1.AllowRestartAnnotation] == "true"
}
