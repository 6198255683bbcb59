package tree

import (
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition/health"
)

// nothing is the status of an object for which Ready says all.
const nothing = "-"

// reporting are the kinds whose controller is the operator.
var reporting = []schema.GroupKind{
	runtimeKind.GroupKind(), serverKind.GroupKind(), modelKind.GroupKind(), pipelineKind.GroupKind(), experimentKind.GroupKind(),
}

// newNode returns the node of an object without children.
func newNode(object *unstructured.Unstructured) *Node {
	created := object.GetCreationTimestamp()
	n := &Node{
		APIVersion: object.GetAPIVersion(), Kind: object.GetKind(), Namespace: object.GetNamespace(), Name: object.GetName(), UID: object.GetUID(),
		Terminating: object.GetDeletionTimestamp() != nil, Ready: False, Revision: revisionOf(object),
	}
	if !created.IsZero() {
		n.CreatedAt = &created
	}
	status, message := health.Of(object, reporting...)
	n.Failed = status == health.Failed
	if status == health.Current {
		n.Ready = True
	}
	n.Status = message
	if n.Kind == podKind.Kind {
		restarts := restartsOf(object)
		n.Restarts = &restarts
		// kstatus counts a failed pod as current, since it does not change any more.
		if phase, _, _ := unstructured.NestedString(object.Object, "status", "phase"); phase == "Failed" {
			n.Ready = False
		}
		if reason := podReason(object); reason != "" {
			n.Status = reason
		}
	}
	ready := findCondition(object, v1alpha1.ConditionReady)
	switch {
	case n.Terminating:
		n.Status = terminating(object)
	case n.Ready == True && n.Kind != podKind.Kind:
		n.Status = summary(object)
	case ready == nil || ready.Status == metav1.ConditionTrue || n.Kind == podKind.Kind || isOutdated(object, ready):
	default:
		if ready.Status == metav1.ConditionUnknown {
			n.Ready = Unknown
		}
		n.Status = ready.Reason + ": " + ready.Message
	}
	n.Status = oneLine(n.Status)
	return n
}

// oneLine joins the lines of a text; "-" for none.
func oneLine(text string) string {
	if text = strings.TrimSuffix(strings.Join(strings.Fields(text), " "), ":"); text == "" {
		return nothing
	}
	return text
}

// isOutdated reports whether a condition describes an earlier generation.
func isOutdated(object *unstructured.Unstructured, condition *metav1.Condition) bool {
	return condition.ObservedGeneration != 0 && condition.ObservedGeneration < object.GetGeneration()
}

// terminating returns the status of an object that is being deleted.
func terminating(object *unstructured.Unstructured) string {
	if finalizers := object.GetFinalizers(); len(finalizers) > 0 {
		return "Terminating: waits for the removal of " + strings.Join(finalizers, ", ")
	}
	return "Terminating"
}

// summary returns the status of an object that is ready.
func summary(object *unstructured.Unstructured) string {
	replicas, _, _ := unstructured.NestedInt64(object.Object, "status", "replicas")
	switch object.GroupVersionKind() {
	case deploymentKind, statefulSetKind:
		return count(replicas, "replica", "replicas")
	case serverKind:
		models, _, _ := unstructured.NestedInt64(object.Object, "status", "loadedModels")
		return count(replicas, "replica", "replicas") + ", " + count(models, "model replica", "model replicas")
	case modelKind:
		available, _, _ := unstructured.NestedInt64(object.Object, "status", "availableReplicas")
		return count(available, "replica", "replicas")
	default:
		return nothing
	}
}

func count(number int64, one, many string) string {
	if number == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", number, many)
}

// revisionOf returns the revision of a workload's pods, or of a pod.
func revisionOf(object *unstructured.Unstructured) string {
	switch object.GroupVersionKind() {
	case deploymentKind:
		return object.GetAnnotations()["deployment.kubernetes.io/revision"]
	case statefulSetKind:
		revision, _, _ := unstructured.NestedString(object.Object, "status", "updateRevision")
		return revision
	case podKind:
		if hash := object.GetLabels()[appsv1.DefaultDeploymentUniqueLabelKey]; hash != "" {
			return hash
		}
		return object.GetLabels()[appsv1.ControllerRevisionHashLabelKey]
	default:
		return ""
	}
}

// isWarning reports whether a condition is a warning, such as Paused or RestartRequired, which
// exists only while it is True and does not count towards Ready.
func isWarning(condition metav1.Condition) bool {
	positive := strings.HasSuffix(condition.Type, "Ready") || condition.Type == v1alpha1.ConditionSchedulerReachable || condition.Type == v1alpha1.ConditionSchedulerSynced
	return !positive && condition.Type != "Reconciling" && condition.Type != "Stalled" && condition.Status == metav1.ConditionTrue
}

// conditionsOf returns the nodes of the conditions of an owner that do not count towards its
// condition Ready.
func conditionsOf(object *unstructured.Unstructured) []*Node {
	if !slices.Contains(reporting, object.GroupVersionKind().GroupKind()) {
		return nil
	}
	var nodes []*Node
	for _, condition := range conditions(object) {
		n := &Node{Kind: kindCondition, Name: condition.Type, Namespace: object.GetNamespace(), Ready: Ready(condition.Status), Status: oneLine(condition.Reason + ": " + condition.Message)}
		switch {
		case condition.Type == v1alpha1.ConditionSchedulerReachable || condition.Type == v1alpha1.ConditionSchedulerSynced:
			if n.Ready == True {
				n.Status = nothing
			}
		case isWarning(condition):
			n.Ready, n.Status = NotApplicable, oneLine(condition.Message)
		default:
			continue
		}
		nodes = append(nodes, n)
	}
	slices.SortFunc(nodes, func(a, b *Node) int { return strings.Compare(a.Name, b.Name) })
	return nodes
}

// conditions returns the conditions of an object.
func conditions(object *unstructured.Unstructured) []metav1.Condition {
	list, _, _ := unstructured.NestedFieldNoCopy(object.Object, "status", "conditions")
	items, _ := list.([]any)
	var found []metav1.Condition
	for _, item := range items {
		fields, _ := item.(map[string]any)
		text := func(name string) string { value, _ := fields[name].(string); return value }
		generation, _ := fields["observedGeneration"].(int64)
		found = append(found, metav1.Condition{
			Type: text("type"), Status: metav1.ConditionStatus(text("status")), Reason: text("reason"), Message: text("message"), ObservedGeneration: generation,
		})
	}
	return found
}

func findCondition(object *unstructured.Unstructured, conditionType string) *metav1.Condition {
	for _, condition := range conditions(object) {
		if condition.Type == conditionType {
			return &condition
		}
	}
	return nil
}

// containers returns the statuses of the containers of a pod; init containers first.
func containers(pod *unstructured.Unstructured) (statuses []map[string]any, initContainers int) {
	for _, field := range []string{"initContainerStatuses", "containerStatuses"} {
		list, _, _ := unstructured.NestedFieldNoCopy(pod.Object, "status", field)
		items, _ := list.([]any)
		for _, item := range items {
			if status, ok := item.(map[string]any); ok {
				statuses = append(statuses, status)
			}
		}
		if field == "initContainerStatuses" {
			initContainers = len(statuses)
		}
	}
	return statuses, initContainers
}

func restartsOf(pod *unstructured.Unstructured) int64 {
	statuses, _ := containers(pod)
	var sum int64
	for _, status := range statuses {
		restarts, _ := status["restartCount"].(int64)
		sum += restarts
	}
	return sum
}

// podReason returns the status of a pod as kubectl get shows it: the reason of the first
// container that is not running, the reason of the pod, or its phase. Unlike kubectl it adds
// the message.
func podReason(pod *unstructured.Unstructured) string {
	statuses, initContainers := containers(pod)
	for i, status := range statuses {
		prefix := ""
		if i < initContainers {
			prefix = "Init:"
		}
		for _, state := range []string{"waiting", "terminated"} {
			details, found, _ := unstructured.NestedMap(status, "state", state)
			if !found {
				continue
			}
			reason, _ := details["reason"].(string)
			message, _ := details["message"].(string)
			code, _ := details["exitCode"].(int64)
			switch {
			case state == "terminated" && i < initContainers && code == 0, reason == "PodInitializing":
				continue
			case reason == "":
				reason = fmt.Sprintf("ExitCode:%d", code)
			}
			if message != "" {
				reason += ": " + message
			}
			return prefix + reason
		}
	}
	if reason, _, _ := unstructured.NestedString(pod.Object, "status", "reason"); reason != "" {
		return reason
	}
	if scheduled := findCondition(pod, "PodScheduled"); scheduled != nil && scheduled.Status == metav1.ConditionFalse {
		return scheduled.Reason + ": " + scheduled.Message
	}
	phase, _, _ := unstructured.NestedString(pod.Object, "status", "phase")
	if ready := findCondition(pod, "Ready"); phase == "Running" && ready != nil && ready.Status != metav1.ConditionTrue {
		if ready.Message != "" {
			return "Running: " + ready.Message
		}
		return "Running: not ready"
	}
	return phase
}
