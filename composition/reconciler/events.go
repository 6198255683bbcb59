package reconciler

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/composition"
)

// recordConditionEvents records an Event for each condition of object that was added or
// changed its status or reason. Progress is normal and has no Event.
func (b *Base) recordConditionEvents(before []metav1.Condition, object Object) {
	for _, condition := range object.GetConditions() {
		old := meta.FindStatusCondition(before, condition.Type)
		if old != nil && old.Status == condition.Status && old.Reason == condition.Reason {
			continue
		}
		wasReady := old != nil && old.Status == metav1.ConditionTrue
		switch {
		case condition.Type != ConditionReady:
			if condition.Status == metav1.ConditionTrue && (IsWarningCondition(condition.Type) || slices.Contains(b.WarningConditions, condition.Type)) {
				b.RecordEvent(object, corev1.EventTypeWarning, condition.Type, condition.Message)
			}
		case condition.Status == metav1.ConditionTrue:
			if !wasReady {
				b.Metrics.BecameReady(b.kind.Kind, object, old)
			}
			b.recordReadyEvent(object, condition)
		case condition.Status == metav1.ConditionUnknown:
			// The state of many objects is unknown at once, for a cause outside of them.
		case condition.Reason == ReasonProgressing:
		case b.IsProgressing != nil && b.IsProgressing(condition.Reason) && !wasReady:
		default:
			b.recordReadyEvent(object, condition)
		}
	}
}

// recordReadyEvent records that an object became ready, or why it is not.
func (b *Base) recordReadyEvent(object Object, ready metav1.Condition) {
	if ready.Status == metav1.ConditionTrue {
		b.RecordEvent(object, corev1.EventTypeNormal, b.ReadyReason, b.kind.Kind+" "+object.GetName()+" is ready")
		return
	}
	b.RecordEvent(object, corev1.EventTypeWarning, b.kind.Kind+"NotReady", strings.TrimSuffix(ready.Reason+": "+ready.Message, ": "))
}

// recordResultEvents records and counts what a reconcile did, beside creating and
// updating child objects.
func (b *Base) recordResultEvents(object Object, result composition.Result) {
	for _, each := range []struct {
		refs           []composition.ObjectRef
		reason, phrase string
	}{
		{result.Pruned, "Pruned", "deleted objects that are not part of the desired state any more: "},
		{result.DriftCorrected, "DriftCorrected", "reverted changes of other field managers to: "},
		{result.Restarted, "ConfigurationChanged", "started a rolling restart, because a configuration that pods read at start has changed: "},
	} {
		if len(each.refs) > 0 {
			var names []string
			for _, ref := range each.refs {
				names = append(names, ref.Kind+" "+ref.Name)
			}
			b.RecordEvent(object, corev1.EventTypeNormal, each.reason, each.phrase+JoinMessages(names))
			b.Metrics.ChildrenChanged(object.GetNamespace(), each.reason, each.refs)
		}
	}
	for _, removed := range result.Removed {
		const reason = "ConflictingFieldsRemoved"
		b.RecordEvent(object, corev1.EventTypeNormal, reason, fmt.Sprintf(
			"removed from %s %s, because the desired state is invalid together with it: %s", removed.Ref.Kind, removed.Ref.Name, removed))
		b.Metrics.ChildrenChanged(object.GetNamespace(), reason, []composition.ObjectRef{removed.Ref})
	}
}

// maxNote is the maximum length of an Event's note, in bytes. The API server rejects an
// Event with a longer one, which is then lost.
const maxNote = 1024

// RecordEvent records an Event on object, of the type Normal or Warning. A message of
// more than 1 KiB is truncated.
func (b *Base) RecordEvent(object client.Object, eventType, reason, message string) {
	b.Recorder.Eventf(object, nil, eventType, reason, "Reconcile", "%s", truncate(message, maxNote))
}

// truncate shortens text to a number of bytes, at the boundary of a character.
func truncate(text string, limit int) string {
	const more = " …"
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit-len(more)], "") + more
}
