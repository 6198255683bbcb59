package health

import (
	"fmt"
	"slices"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/seldon-operator/seldon-operator/composition/object"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
)

// Health of a child, in the words of kstatus less what an owner has no use for.
type Status string

const (
	// Healthy: the child is as its spec wants it, by its own controller's word.
	Current Status = "Ready"
	// Progressing: its controller has not got there yet.
	InProgress Status = "InProgress"
	// Failed: its controller says that it will not get there by itself.
	Failed Status = "Failed"
	// NotFound: it does not exist.
	NotFound Status = "NotFound"
)

// HealthOf computes the health of a live object by kstatus' rules, which compare
// with spec and observedGeneration: 0 of 0 replicas is ready only if 0 is wanted.
// message says what is lacking; it is empty for a healthy object.
//
// To kstatus an object with neither observedGeneration nor conditions is healthy:
// many kinds have no controller that writes them. reporting are the kinds, in
// addition to workloads, whose controllers do, so that such an object was not
// observed yet.
func Of(obj *unstructured.Unstructured, reporting ...schema.GroupKind) (health Status, message string) {
	if obj == nil {
		return NotFound, "does not exist"
	}
	if obj.GetDeletionTimestamp() != nil {
		return InProgress, "is being deleted"
	}
	if !isGenerationObserved(obj, reporting) {
		return InProgress, replicaMessage(obj, "its controller has not seen it yet")
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

// progress is the message of an object on its way. For a workload with replicas it
// counts what is ready, which changes less often than the stages that kstatus
// tells, and each change costs its owner a write of status.
func replicaMessage(obj *unstructured.Unstructured, message string) string {
	if kind := obj.GroupVersionKind().GroupKind(); !object.IsWorkload(kind) || kind.Kind == "DaemonSet" {
		return message
	}
	wanted, found, _ := unstructured.NestedInt64(obj.Object, "spec", "replicas")
	if !found {
		wanted = 1
	}
	ready, _, _ := unstructured.NestedInt64(obj.Object, "status", "readyReplicas")
	if ready >= wanted {
		return message
	}
	return fmt.Sprintf("%d of %d replicas are ready", ready, wanted)
}

// observed reports whether an object's controller has acted on its newest spec, as
// far as it reports that. kstatus takes a status without observedGeneration for a
// current one, and that of an object created a moment ago is empty. The controller
// of a custom resource may write observedGeneration in its conditions only.
func isGenerationObserved(obj *unstructured.Unstructured, reporting []schema.GroupKind) bool {
	kind := obj.GroupVersionKind().GroupKind()
	generation, found, _ := unstructured.NestedInt64(obj.Object, "status", "observedGeneration")
	if found || object.IsWorkload(kind) {
		return found && generation >= obj.GetGeneration()
	}
	if scheme.Scheme.Recognizes(obj.GroupVersionKind()) {
		return true // kstatus has rules of its own for Kubernetes' kinds.
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
