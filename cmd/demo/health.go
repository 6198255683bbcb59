package main

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/seldon-operator/seldon-operator/composition/health"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/relay"
)

// nodeOf returns the node of an object, without children.
func nodeOf(object *unstructured.Unstructured) *node {
	n := &node{kind: object.GetKind(), name: object.GetName()}
	if object.GroupVersionKind().Group == v1alpha1.GroupVersion.Group {
		n.own, n.detail = healthFromReady(object)
	} else {
		n.own, n.detail = healthFromStatus(object)
	}
	n.detail = oneLine(n.detail)
	if isResource(object) {
		n.detail = strings.TrimSpace(n.detail + "  " + parts(object, n.own))
	}
	return n
}

func isResource(object *unstructured.Unstructured) bool {
	return slices.Contains(resourceKinds, object.GroupVersionKind())
}

// isTransient returns whether the reason of a Ready condition that is False is expected
// to change by itself. The reasons of Models, Pipelines and Experiments are the many
// states of the scheduler, of which few are terminal.
func isTransient(object *unstructured.Unstructured, reason string) bool {
	if !isResource(object) {
		return reason == "Progressing"
	}
	return !strings.Contains(reason, "Failed") && !slices.Contains([]string{relay.ReasonRejected, relay.ReasonInvalidSpec, "NoRuntime"}, reason)
}

// conditionsOf returns the conditions of a custom resource.
func conditionsOf(object *unstructured.Unstructured) ([]metav1.Condition, error) {
	var decoded struct {
		Status struct {
			Conditions []metav1.Condition `json:"conditions"`
		} `json:"status"`
	}
	err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &decoded)
	return decoded.Status.Conditions, err
}

// healthFromReady returns the state of a custom resource by its Ready condition, if that
// is about the current generation.
func healthFromReady(object *unstructured.Unstructured) (state, string) {
	if object.GetDeletionTimestamp() != nil {
		return waiting, "is being deleted"
	}
	conditions, err := conditionsOf(object)
	if err != nil {
		return waiting, fmt.Sprintf("its status cannot be read: %v", err)
	}
	condition := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
	switch {
	case condition == nil || condition.ObservedGeneration < object.GetGeneration():
		if isResource(object) {
			return waiting, "the scheduler has not reported it yet"
		}
		return waiting, "the operator has not seen it yet"
	case condition.Status == metav1.ConditionTrue:
		return ready, condition.Message
	case condition.Status == metav1.ConditionFalse && !isTransient(object, condition.Reason):
		return failed, why(condition)
	}
	return waiting, why(condition)
}

// why returns reason and message of a condition. Some messages start with the reason.
func why(condition *metav1.Condition) string {
	if strings.HasPrefix(condition.Message, condition.Reason) {
		return condition.Message
	}
	return condition.Reason + ": " + condition.Message
}

// parts returns the conditions other than Ready, each with a mark.
func parts(object *unstructured.Unstructured, own state) string {
	conditions, _ := conditionsOf(object) // healthFromReady returns the error
	var marked []string
	for _, condition := range conditions {
		mark := marks[ready]
		switch {
		case condition.Type == v1alpha1.ConditionReady:
			continue
		case condition.Status != metav1.ConditionTrue:
			mark = marks[max(own, waiting)]
		}
		marked = append(marked, mark+" "+condition.Type)
	}
	return strings.Join(marked, ", ")
}

// reachabilityNode returns the node of a runtime's connection to its scheduler.
func reachabilityNode(object *unstructured.Unstructured) *node {
	n := &node{kind: v1alpha1.ConditionSchedulerReachable, own: waiting, detail: "the operator has not connected yet"}
	conditions, _ := conditionsOf(object) // healthFromReady returns the error
	condition := meta.FindStatusCondition(conditions, v1alpha1.ConditionSchedulerReachable)
	switch {
	case condition == nil:
	case condition.Status == metav1.ConditionTrue:
		n.own, n.detail = ready, condition.Message
	case condition.Reason == relay.ReasonConnecting:
		n.detail = condition.Message
	default:
		n.own, n.detail = failed, why(condition)
	}
	n.detail = oneLine(n.detail)
	return n
}

// healthFromStatus returns the state of any other object, by the health rules of the
// operator.
func healthFromStatus(object *unstructured.Unstructured) (state, string) {
	status, message := health.Of(object)
	switch status {
	case health.Current:
		return ready, summaryOf(object)
	case health.Failed:
		return failed, message
	default:
		return waiting, message
	}
}

// summaryOf returns a short description of a ready object, or "".
func summaryOf(object *unstructured.Unstructured) string {
	switch object.GroupVersionKind() {
	case deploymentKind, statefulSetKind:
		desired, _, _ := unstructured.NestedInt64(object.Object, "spec", "replicas")
		ready, _, _ := unstructured.NestedInt64(object.Object, "status", "readyReplicas")
		return fmt.Sprintf("%d/%d", ready, desired)
	case podKind:
		phase, _, _ := unstructured.NestedString(object.Object, "status", "phase")
		return phase
	}
	return ""
}

// oneLine replaces line breaks and control characters in a text.
func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
}
