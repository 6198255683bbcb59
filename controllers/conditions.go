package controllers

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/composition/object"
	"github.com/seldon-operator/seldon-operator/composition/reconciler"
	"github.com/seldon-operator/seldon-operator/inputs"
	"github.com/seldon-operator/seldon-operator/templates"
)

// reasonDuplicate: the namespace has another, older SeldonRuntime.
const reasonDuplicate = "DuplicateRuntime"

// Types of conditions of SeldonRuntimes and Servers, beside those of the API and of
// package reconciler. All but ServersReady are absent unless they are True.
const (
	conditionServersReady           = "ServersReady"
	conditionOverrideTargetNotFound = "OverrideTargetNotFound"
	conditionReplicasLimited        = "ReplicasLimited"
	conditionFieldsIgnored          = "FieldsIgnored"
	conditionNameTooLong            = "NameTooLong"
)

// warningConditions are the types of conditions that exist only while something needs
// attention, beside those of package reconciler.
var warningConditions = []string{conditionOverrideTargetNotFound, conditionReplicasLimited, conditionFieldsIgnored, conditionNameTooLong}

// isWarningCondition reports whether a condition of that type exists only while something
// needs attention.
func isWarningCondition(conditionType string) bool {
	return reconciler.IsWarningCondition(conditionType) || slices.Contains(warningConditions, conditionType)
}

// warningsAs returns a condition whose type is its reason; none without messages.
func warningsAs(conditionType string, messages ...string) []metav1.Condition {
	messages = slices.DeleteFunc(messages, func(message string) bool { return message == "" })
	if len(messages) == 0 {
		return nil
	}
	return []metav1.Condition{reconciler.True(conditionType, conditionType, reconciler.JoinMessages(messages))}
}

// runtimeConditions returns the conditions of a runtime that was rendered and applied.
func runtimeConditions(owner *v1alpha1.SeldonRuntime, components templates.RuntimeComponents, children map[composition.ObjectRef]reconciler.ChildHealth, result composition.Result) []metav1.Condition {
	var conditions []metav1.Condition
	for name, kind := range components.Kinds {
		if conditionType, known := v1alpha1.ComponentCondition(name); known {
			ref := composition.ObjectRef{GroupVersionKind: kind, Namespace: owner.Namespace, Name: name}
			conditions = append(conditions, children[ref].Condition(conditionType))
		}
	}
	if servers := serversAmong(children); len(servers) > 0 {
		conditions = append(conditions, reconciler.Aggregate(conditionServersReady, servers))
	}
	var limits []string
	for _, bound := range components.ReplicaLimits {
		limits = append(limits, bound.String())
	}
	var disabled []string
	if len(components.Disabled) > 0 {
		disabled = append(disabled, "disabled: "+strings.Join(components.Disabled, ", "))
	}
	return slices.Concat(conditions,
		warningsAs(conditionOverrideTargetNotFound, components.UnknownOverrides...),
		warningsAs(conditionReplicasLimited, limits...),
		warningsAs(conditionNameTooLong, components.NamesTooLong...),
		reconciler.ResultConditions(inputs.EngineOptions, owner, children, result, disabled...))
}

// setComponentConditions sets those conditions of a runtime's components and Servers that
// it has, from the child objects that exist. It could not be rendered or applied.
func setComponentConditions(owner *v1alpha1.SeldonRuntime, children map[composition.ObjectRef]reconciler.ChildHealth) {
	groups := map[string][]reconciler.ChildHealth{}
	for ref, child := range children {
		if conditionType, known := v1alpha1.ComponentCondition(ref.Name); known && object.IsWorkload(ref.GroupKind()) {
			groups[conditionType] = append(groups[conditionType], child)
		}
	}
	conditions := []metav1.Condition{reconciler.NotFoundCondition(conditionServersReady)}
	if servers := serversAmong(children); len(servers) > 0 {
		conditions[0] = reconciler.Aggregate(conditionServersReady, servers)
	}
	for _, conditionType := range v1alpha1.ComponentConditions {
		switch group := groups[conditionType]; len(group) {
		case 0:
			conditions = append(conditions, reconciler.NotFoundCondition(conditionType))
		case 1:
			conditions = append(conditions, group[0].Condition(conditionType))
		default: // a workload of another kind that is not pruned yet
			conditions = append(conditions, reconciler.Aggregate(conditionType, group))
		}
	}
	reconciler.UpdateConditions(owner, conditions)
}

// serversAmong returns the Servers among child objects.
func serversAmong(children map[composition.ObjectRef]reconciler.ChildHealth) []reconciler.ChildHealth {
	var servers []reconciler.ChildHealth
	for ref, health := range children {
		if ref.Kind == "Server" {
			servers = append(servers, health)
		}
	}
	return servers
}

// serverConditions returns the conditions of a Server that was rendered and applied.
func serverConditions(server *v1alpha1.Server, warnings templates.ServerWarnings, children map[composition.ObjectRef]reconciler.ChildHealth, result composition.Result) []metav1.Condition {
	var conditions []metav1.Condition
	for ref, health := range children {
		if object.IsWorkload(ref.GroupKind()) {
			conditions = append(conditions, health.Condition(v1alpha1.ConditionWorkloadReady))
		}
	}
	return slices.Concat(conditions,
		warningsAs(conditionFieldsIgnored, warnings.FieldsIgnored...),
		warningsAs(conditionReplicasLimited, warnings.ReplicasLimited),
		warningsAs(conditionNameTooLong, warnings.NameTooLong),
		reconciler.ResultConditions(inputs.EngineOptions, server, children, result))
}

// setWorkloadCondition sets the condition of a Server's workload, if it has one, from the
// child objects that exist. The Server could not be rendered or applied.
func setWorkloadCondition(server *v1alpha1.Server, workload composition.ObjectRef, children map[composition.ObjectRef]reconciler.ChildHealth) {
	condition := reconciler.NotFoundCondition(v1alpha1.ConditionWorkloadReady)
	if child, exists := children[workload]; exists {
		condition = child.Condition(v1alpha1.ConditionWorkloadReady)
	}
	reconciler.UpdateConditions(server, []metav1.Condition{condition})
}

// eachItem calls do for each object of a list.
func eachItem(list client.ObjectList, do func(client.Object)) {
	_ = meta.EachListItem(list, func(item runtime.Object) error {
		do(item.(client.Object))
		return nil
	})
}
