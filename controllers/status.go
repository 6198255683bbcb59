package controllers

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/relay"
)

// conditioned is an object of ours with a status.
type conditioned interface {
	client.Object
	GetConditions() []metav1.Condition
	SetConditions([]metav1.Condition)
	SetObservedGeneration(generation int64)
}

func find(conditions []metav1.Condition, kind string) *metav1.Condition {
	return meta.FindStatusCondition(conditions, kind)
}

// setConditions replaces the conditions of object by verdicts and, from before,
// those that keep names. A condition whose status stays keeps its time.
func setConditions(object conditioned, verdicts []verdict, keep ...string) {
	before := object.GetConditions()
	var conditions []metav1.Condition
	for _, kind := range keep {
		if kept := find(before, kind); kept != nil {
			conditions = append(conditions, *kept)
		}
	}
	for _, verdict := range verdicts {
		if old := find(before, verdict.kind); old != nil {
			meta.RemoveStatusCondition(&conditions, verdict.kind)
			conditions = append(conditions, *old)
		}
		meta.SetStatusCondition(&conditions, metav1.Condition{
			Type: verdict.kind, Status: verdict.status, Reason: verdict.reason, Message: verdict.message,
			ObservedGeneration: object.GetGeneration(),
		})
	}
	slices.SortFunc(conditions, func(a, b metav1.Condition) int { return strings.Compare(a.Type, b.Type) })
	object.SetConditions(conditions)
}

// writeStatus writes the status of object if it is not that of before, and records
// what changed in Events. The patch holds the whole status; see statusPatch. An
// object that no longer exists needs no status.
func (e *environment) writeStatus(ctx context.Context, before, object conditioned) error {
	// A finalizer may have come or gone since.
	before.SetResourceVersion(object.GetResourceVersion())
	before.SetFinalizers(object.GetFinalizers())
	before.SetManagedFields(object.GetManagedFields())
	if equality.Semantic.DeepEqual(before, object) {
		return nil
	}
	patch, err := statusPatch(object)
	if err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	err = e.client.Status().Patch(ctx, object, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(statusManager))
	if apierrors.IsNotFound(err) {
		return nil
	}
	if apierrors.IsInvalid(err) {
		// Kubernetes before 1.33 does so for what is wrong in a spec from before there
		// was a rule against it.
		e.tell(object, corev1.EventTypeWarning, "StatusUpdateRejected", "correct this for the status to be written: "+err.Error())
	}
	if err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	e.versions.wrote(object)
	e.tellChanges(before.GetConditions(), object)
	return nil
}

// tellChanges emits an Event for each condition that appeared or changed. Progress is
// ordinary and emits none.
func (e *environment) tellChanges(before []metav1.Condition, object conditioned) {
	for _, condition := range object.GetConditions() {
		old := find(before, condition.Type)
		if old != nil && old.Status == condition.Status && old.Reason == condition.Reason {
			continue
		}
		if condition.Type == v1alpha1.ConditionReady && condition.Status == metav1.ConditionTrue && (old == nil || old.Status != metav1.ConditionTrue) {
			e.meters.turnedReady(object, old)
		}
		switch {
		case condition.Type == v1alpha1.ConditionReady && condition.Status == metav1.ConditionUnknown:
			// Not known of one, not known of many: the runtime tells.
		case condition.Type == v1alpha1.ConditionReady && condition.Reason == reasonProgressing:
		case condition.Type == v1alpha1.ConditionReady && isProgress(condition.Reason) && (old == nil || old.Status != metav1.ConditionTrue):
		case condition.Type == v1alpha1.ConditionReady:
			e.tellReadiness(object, condition)
		case condition.Status == metav1.ConditionTrue && isNotice(condition.Type):
			e.tell(object, corev1.EventTypeWarning, condition.Type, condition.Message)
		}
	}
}

// isProgress tells the reasons of not being ready that pass by themselves.
func isProgress(reason string) bool {
	return reason == reasonProgressing || relay.IsProgress(reason)
}

// isNotice tells the conditions that are there only when something is the matter.
func isNotice(kind string) bool {
	return slices.Contains([]string{
		v1alpha1.ConditionImmutableFieldChanged, v1alpha1.ConditionRestartRequired, conditionOwnershipConflict, conditionRecreationFailed, conditionFieldManagerConflict,
		conditionPatchTargetNotFound, conditionOverrideTargetNotFound, conditionReplicasLimited, conditionFieldsIgnored, conditionNameTooLong,
	}, kind)
}

// readinessReasons are the reasons of the Events that users' alerts know.
var readinessReasons = map[string][2]string{
	"SeldonRuntime": {"RuntimeReady", "SeldonRuntimeNotReady"},
	"Server":        {"ServerReady", "ServerNotReady"},
	"Model":         {"ModelReady", "ModelNotReady"},
	"Pipeline":      {"PipelineReady", "PipelineNotReady"},
	"Experiment":    {"ExperimentReady", "ExperimentNotReady"},
}

func (e *environment) tellReadiness(object conditioned, condition metav1.Condition) {
	reasons := readinessReasons[kindOf(object)]
	if condition.Status == metav1.ConditionTrue {
		e.tell(object, corev1.EventTypeNormal, reasons[0], "is ready")
		return
	}
	e.tell(object, corev1.EventTypeWarning, reasons[1], strings.TrimSuffix(condition.Reason+": "+condition.Message, ": "))
}

// tellOutcome tells, in Events and metrics, what a reconcile did beyond bringing
// up.
func (e *environment) tellOutcome(object conditioned, outcome composition.Result) {
	for _, each := range []struct {
		keys           []composition.ObjectRef
		reason, phrase string
	}{
		{outcome.Pruned, "Pruned", "deleted, because they are no longer wanted: "},
		{outcome.DriftCorrected, "DriftCorrected", "put back, because somebody changed what is ours: "},
		{outcome.Restarted, "ConfigurationChanged", "rolling pods, because a configuration that they read at start has changed: "},
	} {
		if len(each.keys) > 0 {
			var names []string
			for _, key := range each.keys {
				names = append(names, key.Kind+" "+key.Name)
			}
			e.tell(object, corev1.EventTypeNormal, each.reason, each.phrase+join(names))
			e.meters.changed(object.GetNamespace(), each.reason, each.keys)
		}
	}
	e.recordRemovals(object, outcome.Removed)
}

// recordRemovals emits an Event for each child that fields of others were removed
// from.
func (e *environment) recordRemovals(object conditioned, removed []composition.RemovedFields) {
	for _, each := range removed {
		e.tell(object, corev1.EventTypeNormal, "ConflictingFieldsRemoved", fmt.Sprintf(
			"removed from %s %s, because the desired state is invalid beside it: %s", each.Ref.Kind, each.Ref.Name, each))
		e.meters.changed(object.GetNamespace(), "ConflictingFieldsRemoved", []composition.ObjectRef{each.Ref})
	}
}

// maxNote is the number of bytes that the note of an Event may have. The API server
// rejects an Event with a longer one, and it is lost.
const maxNote = 1024

// tell emits an Event on object.
func (e *environment) tell(object client.Object, kind, reason, message string) {
	e.events.Eventf(object, nil, kind, reason, "Reconcile", "%s", shorten(message, maxNote))
}

// shorten cuts text to a number of bytes, at the border of a character.
func shorten(text string, limit int) string {
	const more = " …"
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit-len(more)], "") + more
}

func kindOf(object client.Object) string {
	switch object.(type) {
	case *v1alpha1.SeldonRuntime:
		return "SeldonRuntime"
	case *v1alpha1.Server:
		return "Server"
	case *v1alpha1.Model:
		return "Model"
	case *v1alpha1.Pipeline:
		return "Pipeline"
	case *v1alpha1.Experiment:
		return "Experiment"
	}
	return ""
}
