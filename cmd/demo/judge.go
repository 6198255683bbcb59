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

// nodeOf is an object's own node, without children.
func nodeOf(object *unstructured.Unstructured) *node {
	n := &node{kind: object.GetKind(), name: object.GetName()}
	if object.GroupVersionKind().Group == v1alpha1.GroupVersion.Group {
		n.own, n.detail = judgedByReady(object)
	} else {
		n.own, n.detail = judgedByHealth(object)
	}
	n.detail = oneLine(n.detail)
	if isRelayed(object) {
		n.detail = strings.TrimSpace(n.detail + "  " + parts(object, n.own))
	}
	return n
}

func isRelayed(object *unstructured.Unstructured) bool {
	return slices.Contains(relayedKinds, object.GroupVersionKind())
}

// passes tells whether what a Ready condition that is False says is so for now. Of
// what the scheduler serves its reasons are the scheduler's many states, of which few
// are an end.
func passes(object *unstructured.Unstructured, reason string) bool {
	if !isRelayed(object) {
		return reason == "Progressing"
	}
	return !strings.Contains(reason, "Failed") && !slices.Contains([]string{relay.ReasonRejected, relay.ReasonInvalidSpec, "NoRuntime"}, reason)
}

// conditionsOf are the conditions of an object of ours.
func conditionsOf(object *unstructured.Unstructured) ([]metav1.Condition, error) {
	var decoded struct {
		Status struct {
			Conditions []metav1.Condition `json:"conditions"`
		} `json:"status"`
	}
	err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &decoded)
	return decoded.Status.Conditions, err
}

// judgedByReady is the state of an object of ours, by the operator's word on its
// newest spec.
func judgedByReady(object *unstructured.Unstructured) (state, string) {
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
		if isRelayed(object) {
			return waiting, "the scheduler has not spoken of it yet"
		}
		return waiting, "the operator has not seen it yet"
	case condition.Status == metav1.ConditionTrue:
		return ready, condition.Message
	case condition.Status == metav1.ConditionFalse && !passes(object, condition.Reason):
		return failed, why(condition)
	}
	return waiting, why(condition)
}

// why a condition is not True. The messages of some begin with the reason.
func why(condition *metav1.Condition) string {
	if strings.HasPrefix(condition.Message, condition.Reason) {
		return condition.Message
	}
	return condition.Reason + ": " + condition.Message
}

// parts are the conditions that an object's Ready is made of, each with a mark.
func parts(object *unstructured.Unstructured, own state) string {
	conditions, _ := conditionsOf(object) // judgedByReady tells of the error
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

// reachability is the node of a runtime's connection to its scheduler.
func reachability(object *unstructured.Unstructured) *node {
	n := &node{kind: v1alpha1.ConditionSchedulerReachable, own: waiting, detail: "the operator has not tried yet"}
	conditions, _ := conditionsOf(object) // judgedByReady tells of the error
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

// judgedByHealth is the state of any other object, by the rules that the
// operator itself goes by.
func judgedByHealth(object *unstructured.Unstructured) (state, string) {
	status, message := health.Of(object)
	switch status {
	case health.Current:
		return ready, inBrief(object)
	case health.Failed:
		return failed, message
	default:
		return waiting, message
	}
}

// inBrief says in a word how a ready object is, where there is one to say.
func inBrief(object *unstructured.Unstructured) string {
	switch object.GroupVersionKind() {
	case deploymentKind, statefulSetKind:
		wanted, _, _ := unstructured.NestedInt64(object.Object, "spec", "replicas")
		are, _, _ := unstructured.NestedInt64(object.Object, "status", "readyReplicas")
		return fmt.Sprintf("%d/%d", are, wanted)
	case podKind:
		phase, _, _ := unstructured.NestedString(object.Object, "status", "phase")
		return phase
	}
	return ""
}

// oneLine makes of any text one that stays where it is put on a terminal.
func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
}
