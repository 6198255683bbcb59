package reconciler

import (
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/composition/plan"
)

// ResultConditions returns the conditions of an object that was rendered and applied:
// Ready, Reconciling or Stalled, Paused, and one for each kind of problem in the result.
// children are the child objects that count towards Ready. extraMessages are part of
// Ready's message.
func ResultConditions(options composition.Options, object Object, children map[composition.ObjectRef]ChildHealth, result composition.Result, extraMessages ...string) []metav1.Condition {
	conditions := warningConditions(options, result)
	if object.GetAnnotations()[options.PausedAnnotation()] == "true" {
		conditions = append(conditions, True(ConditionPaused, ConditionPaused, fmt.Sprintf(
			"nothing is written to child objects until the annotation %s is removed", options.PausedAnnotation())))
	}
	return append(conditions, readyConditions(options, object, slices.Collect(maps.Values(children)), result, extraMessages)...)
}

// readyConditions returns Ready with Reconciling or Stalled.
func readyConditions(options composition.Options, object Object, children []ChildHealth, result composition.Result, extraMessages []string) []metav1.Condition {
	// A blocked child object is reported before one that is not ready yet: it needs a person.
	for _, step := range result.Blocked() {
		if _, reported := blockedConditions[step.Reason]; reported {
			return append([]metav1.Condition{False(ConditionReady, string(step.Reason), blockedMessage(options, result))}, stalledConditions(result)...)
		}
	}
	ready := Aggregate(ConditionReady, children, extraMessages...)
	if ready.Reason == ReasonProgressing && hasLostReplicas(object, children) {
		ready.Reason = ReasonReplicasUnavailable
	}
	conditions := []metav1.Condition{ready}
	if ready.Reason == ReasonProgressing || ready.Reason == ReasonReplicaFailure {
		conditions = append(conditions, True(ConditionReconciling, ready.Reason, ready.Message))
	}
	return conditions
}

// blockedMessage returns the messages of all blocked steps, with what to do.
func blockedMessage(options composition.Options, result composition.Result) string {
	var messages []string
	var reasons []plan.Reason
	for _, step := range result.Blocked() {
		if step.Message != "" {
			messages, reasons = append(messages, step.Message), append(reasons, step.Reason)
		}
	}
	return JoinMessages(messages) + remedies(options, reasons...)
}

// stalledConditions returns Stalled if no further attempt completes a step.
func stalledConditions(result composition.Result) []metav1.Condition {
	var messages []string
	for _, step := range result.Blocked() {
		if step.Reason == plan.ImmutableFieldChanged {
			messages = append(messages, step.Message)
		}
	}
	if len(messages) == 0 {
		return nil
	}
	return []metav1.Condition{True(ConditionStalled, string(plan.ImmutableFieldChanged), JoinMessages(messages))}
}

// hasLostReplicas reports whether object, some of whose child objects are not ready, was
// ready before and none of them is rolling out a change.
func hasLostReplicas(object Object, children []ChildHealth) bool {
	before := meta.FindStatusCondition(object.GetConditions(), ConditionReady)
	if before == nil || before.Status != metav1.ConditionTrue && before.Reason != ReasonReplicasUnavailable {
		return false
	}
	return !slices.ContainsFunc(children, func(child ChildHealth) bool { return child.RollingOut })
}
