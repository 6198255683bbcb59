package controllers

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seldon-operator/seldon-operator/composition/health"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition"
)

// childHealth is the health of one child, with its name for messages.
type childHealth struct {
	key     composition.ObjectRef
	reason  string // one of healthReasons
	message string
	// rolling: its controller is bringing a change about. A workload whose controller
	// has done so and that lacks replicas lost them.
	rolling bool
}

// serverKind is the only kind of children, beside workloads, whose controller
// reports on it: one that was created a moment ago is not ready.
var serverKind = v1alpha1.GroupVersion.WithKind("Server").GroupKind()

// healthReasons are the reasons of conditions of children, the worst last.
var healthReasons = []string{reasonReady, reasonProgressing, reasonReplicaFailure, string(health.NotFound), string(health.Failed)}

// healthOf computes the health of every child.
func healthOf(children map[composition.ObjectRef]*unstructured.Unstructured) map[composition.ObjectRef]childHealth {
	healths := make(map[composition.ObjectRef]childHealth, len(children))
	for key, live := range children {
		status, message := health.Of(live, serverKind)
		child := childHealth{key: key, reason: string(status), message: message}
		if status == health.InProgress {
			child.reason, child.rolling = reasonProgressing, isRolling(live)
			if refused := conditionOf(live, string(appsv1.DeploymentReplicaFailure)); refused != nil && refused["status"] == string(metav1.ConditionTrue) {
				child.reason, child.message = reasonReplicaFailure, fmt.Sprintf("%s: %v", message, refused["message"])
			}
		}
		healths[key] = child
	}
	return healths
}

// isRolling returns whether the controller of live, which is not ready, has yet to
// bring its newest spec about.
func isRolling(live *unstructured.Unstructured) bool {
	number := func(fields ...string) int64 {
		value, _, _ := unstructured.NestedInt64(live.Object, fields...)
		return value
	}
	text := func(fields ...string) string {
		value, _, _ := unstructured.NestedString(live.Object, fields...)
		return value
	}
	if number("status", "observedGeneration") < live.GetGeneration() {
		return true
	}
	switch live.GetKind() {
	case "Deployment":
		progress := conditionOf(live, string(appsv1.DeploymentProgressing))
		return number("status", "replicas") != number("spec", "replicas") || progress == nil || progress["reason"] != "NewReplicaSetAvailable"
	case "StatefulSet":
		return number("status", "replicas") != number("spec", "replicas") || text("status", "currentRevision") != text("status", "updateRevision")
	}
	return conditionOf(live, conditionReconciling) != nil
}

// conditionOf is a condition in the status of live; nil if there is none of the type.
func conditionOf(live *unstructured.Unstructured, kind string) map[string]any {
	conditions, _, _ := unstructured.NestedFieldNoCopy(live.Object, "status", "conditions")
	list, _ := conditions.([]any)
	for _, each := range list {
		if condition, _ := each.(map[string]any); condition["type"] == kind {
			return condition
		}
	}
	return nil
}

// String describes a child that is not ready.
func (c childHealth) String() string {
	if c.message == "" {
		return fmt.Sprintf("%s %s is %s", c.key.Kind, c.key.Name, c.reason)
	}
	return fmt.Sprintf("%s %s: %s", c.key.Kind, c.key.Name, c.message)
}

// verdict is a condition about this child alone.
func (c childHealth) verdict(condition string) verdict {
	if c.reason == reasonReady {
		return isTrue(condition, reasonReady, fmt.Sprintf("%s %s is ready", c.key.Kind, c.key.Name))
	}
	return isFalse(condition, c.reason, c.String())
}

// summary is a condition about several children: its reason is that of the worst of
// them, and its message names all that are not ready.
func summary(condition string, children []childHealth, also []string) verdict {
	worst := 0
	messages := slices.Clone(also)
	for _, child := range children {
		if child.reason != reasonReady {
			messages = append(messages, child.String())
			worst = max(worst, slices.Index(healthReasons, child.reason))
		}
	}
	if worst == 0 {
		return isTrue(condition, reasonReady, join(also))
	}
	return isFalse(condition, healthReasons[worst], join(messages))
}

// readiness is Ready with Reconciling or Stalled, and Paused where that holds.
func readiness(object conditioned, children []childHealth, outcome composition.Result, disabled []string) []verdict {
	var verdicts []verdict
	if object.GetAnnotations()[v1alpha1.PausedAnnotation] == "true" {
		verdicts = append(verdicts, isTrue(v1alpha1.ConditionPaused, v1alpha1.ConditionPaused, fmt.Sprintf(
			"nothing is written to the children until the annotation %s is taken away", v1alpha1.PausedAnnotation)))
	}
	// A blocked child outweighs one on its way: it needs a person.
	for _, step := range outcome.Blocked() {
		if _, told := heldConditions[step.Reason]; told {
			verdicts = append(verdicts, isFalse(v1alpha1.ConditionReady, string(step.Reason), join(heldMessages(outcome))))
			return append(verdicts, stalled(outcome)...)
		}
	}
	var also []string
	if len(disabled) > 0 {
		also = append(also, "disabled: "+strings.Join(disabled, ", "))
	}
	ready := summary(v1alpha1.ConditionReady, children, also)
	if ready.reason == reasonProgressing && lostReplicas(object, children) {
		ready.reason = reasonReplicasUnavailable
	}
	verdicts = append(verdicts, ready)
	if ready.reason == reasonProgressing || ready.reason == reasonReplicaFailure {
		verdicts = append(verdicts, isTrue(conditionReconciling, ready.reason, ready.message))
	}
	return verdicts
}

// stalled is a condition for steps that no further attempt completes.
func stalled(outcome composition.Result) []verdict {
	var messages []string
	for _, step := range outcome.Blocked() {
		if step.Reason == composition.ImmutableFieldChanged {
			messages = append(messages, step.Message)
		}
	}
	if len(messages) == 0 {
		return nil
	}
	return []verdict{isTrue(conditionStalled, string(composition.ImmutableFieldChanged), join(messages))}
}

// lostReplicas returns whether object, some of whose children are not ready, was
// ready before and none of them is rolling out a change.
func lostReplicas(object conditioned, children []childHealth) bool {
	before := find(object.GetConditions(), v1alpha1.ConditionReady)
	if before == nil || before.Status != metav1.ConditionTrue && before.Reason != reasonReplicasUnavailable {
		return false
	}
	return !slices.ContainsFunc(children, func(child childHealth) bool { return child.rolling })
}

// followChildren sets the conditions of parts that object has by the children that
// exist, when it could not be rendered. part names the condition that describes a
// child; empty if none does. The conditions keep their observedGeneration: the children
// are those of the generation that was applied last.
func followChildren(object conditioned, children map[composition.ObjectRef]childHealth, part func(composition.ObjectRef) string, parts ...string) {
	described := map[string][]childHealth{}
	for key, child := range children {
		kind := part(key)
		described[kind] = append(described[kind], child)
	}
	conditions := slices.Clone(object.GetConditions())
	for _, kind := range parts {
		known := find(conditions, kind)
		if known == nil {
			continue
		}
		now := isFalse(kind, string(health.NotFound), "does not exist")
		switch group := described[kind]; {
		case len(group) == 1 && kind != conditionServersReady:
			now = group[0].verdict(kind)
		case len(group) > 0:
			now = summary(kind, group, nil)
		}
		meta.SetStatusCondition(&conditions, metav1.Condition{
			Type: kind, Status: now.status, Reason: now.reason, Message: now.message, ObservedGeneration: known.ObservedGeneration,
		})
	}
	object.SetConditions(conditions)
}

func heldMessages(outcome composition.Result) []string {
	var messages []string
	for _, step := range outcome.Blocked() {
		if step.Message != "" {
			messages = append(messages, step.Message)
		}
	}
	return messages
}

// eachItem calls do with each object of a list.
func eachItem(list client.ObjectList, do func(client.Object)) {
	_ = meta.EachListItem(list, func(item runtime.Object) error {
		do(item.(client.Object))
		return nil
	})
}
