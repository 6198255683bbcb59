package composition

import (
	"fmt"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes/scheme"
)

// Health of a child, in the words of kstatus less what an owner has no use for.
type Health string

const (
	// Healthy: the child is as its spec wants it, by its own controller's word.
	Healthy Health = "Ready"
	// Progressing: its controller has not got there yet.
	Progressing Health = "InProgress"
	// Failed: its controller says that it will not get there by itself.
	Failed Health = "Failed"
	// Missing: it does not exist.
	Missing Health = "Missing"
)

// HealthOf tells the health of a live object by kstatus' rules, which compare
// with spec and observedGeneration: 0 of 0 replicas is ready only if 0 is wanted.
// message says what is lacking; it is empty for a healthy object.
func HealthOf(object *unstructured.Unstructured) (health Health, message string) {
	if object == nil {
		return Missing, "does not exist"
	}
	if object.GetDeletionTimestamp() != nil {
		return Progressing, "is being deleted"
	}
	if expectsObservation(object) && !observed(object) {
		return Progressing, progress(object, "its controller has not seen it yet")
	}
	result, err := status.Compute(object)
	if err != nil {
		return Progressing, fmt.Sprintf("its status cannot be read: %v", err)
	}
	switch result.Status {
	case status.CurrentStatus:
		return Healthy, ""
	case status.FailedStatus:
		return Failed, result.Message
	default:
		return Progressing, progress(object, result.Message)
	}
}

// progress is the message of an object on its way. For a workload with replicas it
// counts what is ready, which changes less often than the stages that kstatus
// tells, and each change costs its owner a write of status.
func progress(object *unstructured.Unstructured, message string) string {
	if kind := object.GroupVersionKind().GroupKind(); !isWorkload(kind) || kind.Kind == "DaemonSet" {
		return message
	}
	wanted, found, _ := unstructured.NestedInt64(object.Object, "spec", "replicas")
	if !found {
		wanted = 1
	}
	ready, _, _ := unstructured.NestedInt64(object.Object, "status", "readyReplicas")
	if ready >= wanted {
		return message
	}
	return fmt.Sprintf("%d of %d replicas are ready", ready, wanted)
}

// expectsObservation tells the kinds whose controllers write observedGeneration:
// workloads and, by kstatus' own convention, custom resources.
func expectsObservation(object *unstructured.Unstructured) bool {
	gvk := object.GroupVersionKind()
	return isWorkload(gvk.GroupKind()) || !scheme.Scheme.Recognizes(gvk)
}

// observed tells whether an object's controller has acted on its newest spec.
// kstatus takes a status without observedGeneration for a current one; that of an
// object made a moment ago is empty. A custom resource's controller that does not
// write it may say it in its conditions, and has spoken once there are any.
func observed(object *unstructured.Unstructured) bool {
	generation, found, _ := unstructured.NestedInt64(object.Object, "status", "observedGeneration")
	if found || isWorkload(object.GroupVersionKind().GroupKind()) {
		return found && generation >= object.GetGeneration()
	}
	conditions, _, _ := unstructured.NestedFieldNoCopy(object.Object, "status", "conditions")
	list, _ := conditions.([]any)
	for _, each := range list {
		condition, _ := each.(map[string]any)
		if generation, said := condition["observedGeneration"].(int64); said && generation < object.GetGeneration() {
			return false
		}
	}
	return len(list) > 0
}
