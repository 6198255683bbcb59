package reconciler

import (
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/composition/health"
)

// ChildHealth is the health of one child object.
type ChildHealth struct {
	// Ref names the child object.
	Ref composition.ObjectRef
	// Reason is that of a condition about the child object: Ready, Progressing,
	// ReplicaFailure, NotFound or Failed.
	Reason string
	// Message describes what is missing; empty if the child object is ready.
	Message string
	// RollingOut: the controller of the child object is applying a change. A workload for
	// which this is false and that is not ready has lost replicas.
	RollingOut bool
}

// healthReasons are the reasons of conditions about child objects, from best to worst.
var healthReasons = []string{ReasonReady, ReasonProgressing, ReasonReplicaFailure, string(health.NotFound), string(health.Failed)}

// childHealths computes the health of each object.
// reporting are the kinds, beside workloads, whose controllers write a status, so that
// an object without one is not ready.
func childHealths(objects composition.LiveObjects, reporting []schema.GroupKind) map[composition.ObjectRef]ChildHealth {
	healths := map[composition.ObjectRef]ChildHealth{}
	for _, ref := range objects.Refs() {
		status, message := objects.Health(ref, reporting...)
		healths[ref] = childHealth(ref, status, message, objects.Get)
	}
	return healths
}

// childHealth returns the health of a child object, which get returns, by its status of
// kstatus.
func childHealth(ref composition.ObjectRef, status health.Status, message string, get func(composition.ObjectRef) *unstructured.Unstructured) ChildHealth {
	child := ChildHealth{Ref: ref, Reason: string(status), Message: message}
	if status != health.InProgress {
		return child
	}
	live := get(ref)
	child.Reason, child.RollingOut = ReasonProgressing, isRollingOut(live)
	if failure := conditionOf(live, string(appsv1.DeploymentReplicaFailure)); failure != nil && failure["status"] == string(metav1.ConditionTrue) {
		child.Reason, child.Message = ReasonReplicaFailure, fmt.Sprintf("%s: %v", message, failure["message"])
	}
	return child
}

// isRollingOut reports whether the controller of live, which is not ready, is still
// applying its newest spec.
func isRollingOut(live *unstructured.Unstructured) bool {
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
	return conditionOf(live, ConditionReconciling) != nil
}

// conditionOf returns the condition of a type in the status of live; nil if there is
// none.
func conditionOf(live *unstructured.Unstructured, conditionType string) map[string]any {
	conditions, _, _ := unstructured.NestedFieldNoCopy(live.Object, "status", "conditions")
	list, _ := conditions.([]any)
	for _, each := range list {
		if condition, _ := each.(map[string]any); condition["type"] == conditionType {
			return condition
		}
	}
	return nil
}

// String describes a child object that is not ready.
func (c ChildHealth) String() string {
	if c.Message == "" {
		return fmt.Sprintf("%s %s is %s", c.Ref.Kind, c.Ref.Name, c.Reason)
	}
	return fmt.Sprintf("%s %s: %s", c.Ref.Kind, c.Ref.Name, c.Message)
}

// Condition returns a condition of a type about this child object.
func (c ChildHealth) Condition(conditionType string) metav1.Condition {
	if c.Reason == ReasonReady {
		return True(conditionType, ReasonReady, fmt.Sprintf("%s %s is ready", c.Ref.Kind, c.Ref.Name))
	}
	return False(conditionType, c.Reason, c.String())
}

// NotFoundCondition returns a condition of a type about a child object that does not
// exist.
func NotFoundCondition(conditionType string) metav1.Condition {
	return False(conditionType, string(health.NotFound), "the child object does not exist; see the condition Ready")
}

// Aggregate returns a condition of a type about several child objects. Its reason is
// that of the worst of them; its message names all that are not ready, and contains
// extraMessages.
func Aggregate(conditionType string, children []ChildHealth, extraMessages ...string) metav1.Condition {
	worst := 0
	messages := slices.Clone(extraMessages)
	for _, child := range children {
		if child.Reason != ReasonReady {
			messages = append(messages, child.String())
			worst = max(worst, slices.Index(healthReasons, child.Reason))
		}
	}
	if worst == 0 {
		return True(conditionType, ReasonReady, JoinMessages(extraMessages))
	}
	return False(conditionType, healthReasons[worst], JoinMessages(messages))
}
