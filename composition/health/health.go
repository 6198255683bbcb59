package health

import (
	"fmt"
	"slices"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/seldon-operator/seldon-operator/composition/object"
)

// Status is the status of an object by the rules of kstatus, reduced to four values.
type Status string

const (
	// Current means that the object's controller has reached the desired state.
	Current Status = "Ready"
	// InProgress means that the object's controller has not reached the desired state yet.
	InProgress Status = "InProgress"
	// Failed means that the object's controller reports a failure that needs a change.
	Failed Status = "Failed"
	// NotFound means that the object does not exist.
	NotFound Status = "NotFound"
)

// Of computes the status of a live object by the rules of kstatus, which compare status with
// spec and observedGeneration: 0 of 0 replicas is Current only if 0 replicas are desired.
// message is the reason for any other status; it is empty for Current. A nil obj is NotFound.
//
// To kstatus an object with neither observedGeneration nor conditions is Current, because
// many kinds have no controller that sets them. reporting are the kinds, in addition to
// workloads, whose controllers set them: such an object has not been observed yet.
func Of(obj *unstructured.Unstructured, reporting ...schema.GroupKind) (health Status, message string) {
	if obj == nil {
		return NotFound, "does not exist"
	}
	if obj.GetDeletionTimestamp() != nil {
		return InProgress, "is being deleted"
	}
	if !isGenerationObserved(obj, reporting) {
		return InProgress, replicaMessage(obj, "its controller has not observed it yet")
	}
	result, err := status.Compute(obj)
	if err != nil {
		return InProgress, fmt.Sprintf("its status cannot be read: %v", err)
	}
	switch result.Status {
	case status.CurrentStatus:
		return Current, ""
	case status.FailedStatus:
		return Failed, result.Message
	default:
		return InProgress, replicaMessage(obj, result.Message)
	}
}

// replicaMessage returns the message of an object that is in progress. For a Deployment or
// StatefulSet it counts ready replicas, which change less often than the messages of kstatus:
// each change causes a status update of the owner.
func replicaMessage(obj *unstructured.Unstructured, message string) string {
	if kind := obj.GroupVersionKind().GroupKind(); !object.IsWorkload(kind) || kind.Kind == "DaemonSet" {
		return message
	}
	desired, found, _ := unstructured.NestedInt64(obj.Object, "spec", "replicas")
	if !found {
		desired = 1
	}
	ready, _, _ := unstructured.NestedInt64(obj.Object, "status", "readyReplicas")
	if ready >= desired {
		return message
	}
	return fmt.Sprintf("%d of %d replicas are ready", ready, desired)
}

// isGenerationObserved reports whether an object's controller has observed its latest
// generation, as far as it reports that. kstatus treats a status without observedGeneration
// as current, but a newly created object has an empty status. The controller of a custom
// resource may set observedGeneration in its conditions only.
func isGenerationObserved(obj *unstructured.Unstructured, reporting []schema.GroupKind) bool {
	kind := obj.GroupVersionKind().GroupKind()
	generation, found, _ := unstructured.NestedInt64(obj.Object, "status", "observedGeneration")
	if found || object.IsWorkload(kind) {
		return found && generation >= obj.GetGeneration()
	}
	if scheme.Scheme.Recognizes(obj.GroupVersionKind()) {
		return true // kstatus has rules for the built-in kinds.
	}
	conditions, _, _ := unstructured.NestedFieldNoCopy(obj.Object, "status", "conditions")
	list, _ := conditions.([]any)
	for _, each := range list {
		condition, _ := each.(map[string]any)
		if generation, found := condition["observedGeneration"].(int64); found && generation < obj.GetGeneration() {
			return false
		}
	}
	return len(list) > 0 || !slices.Contains(reporting, kind)
}
