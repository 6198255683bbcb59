package plan

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/seldon-operator/seldon-operator/composition/object"
)

// Objects depend on each other: a workload on its account, configuration, claims and
// Services, a binding on its role. Therefore an object that the API server rejects blocks
// only the objects that refer to it, and what the live form of a blocked object uses is
// retained: its pods continue to run, and are recreated, with that.

// Reference names an object in the namespace of the object that refers to it.
type Reference struct {
	schema.GroupKind
	Name string
}

// ReferenceTo returns the reference to an object in the same namespace.
func ReferenceTo(ref object.Ref) Reference { return Reference{ref.GroupKind(), ref.Name} }

// Kinds that objects refer to.
var (
	serviceAccountKind = schema.GroupKind{Kind: "ServiceAccount"}
	configMapKind      = schema.GroupKind{Kind: "ConfigMap"}
	secretKind         = schema.GroupKind{Kind: "Secret"}
	pvcKind            = schema.GroupKind{Kind: "PersistentVolumeClaim"}
	ServiceKind        = schema.GroupKind{Kind: "Service"}
	RoleBindingKind    = schema.GroupKind{Group: "rbac.authorization.k8s.io", Kind: "RoleBinding"}
)

// references returns the objects that obj refers to by name. It supports workloads and role
// bindings; for other kinds and nil the set is empty.
func references(obj *unstructured.Unstructured) sets.Set[Reference] {
	found := sets.New[Reference]()
	if obj == nil {
		return found
	}
	add := func(kind schema.GroupKind, name any) {
		if text, isText := name.(string); isText && text != "" {
			found.Insert(Reference{kind, text})
		}
	}
	kind := obj.GroupVersionKind().GroupKind()
	switch {
	case kind == RoleBindingKind:
		role, _, _ := unstructured.NestedStringMap(obj.Object, "roleRef")
		add(schema.GroupKind{Group: role["apiGroup"], Kind: role["kind"]}, role["name"])
		for name := range subjects(obj) {
			add(serviceAccountKind, name)
		}
	case object.IsWorkload(kind):
		service, _, _ := unstructured.NestedString(obj.Object, "spec", "serviceName")
		add(ServiceKind, service)
		pod, _, _ := unstructured.NestedFieldNoCopy(obj.Object, "spec", "template", "spec")
		fields, _ := pod.(map[string]any)
		add(serviceAccountKind, fields["serviceAccountName"])
		secrets, _ := fields["imagePullSecrets"].([]any)
		for _, each := range secrets {
			secret, _ := each.(map[string]any)
			add(secretKind, secret["name"])
		}
		walkPodReferences(pod, add)
	}
	return found
}

// walkPodReferences calls add for the ConfigMaps, Secrets and claims of a pod spec: in volumes,
// projected volumes and environment variables.
func walkPodReferences(value any, add func(kind schema.GroupKind, name any)) {
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			walkPodReferences(item, add)
		}
	case map[string]any:
		for key, below := range value {
			fields, _ := below.(map[string]any)
			switch key {
			case "configMap", "configMapRef", "configMapKeyRef":
				add(configMapKind, fields["name"])
			case "secretRef", "secretKeyRef":
				add(secretKind, fields["name"])
			case "secret":
				add(secretKind, fields["secretName"])
				add(secretKind, fields["name"])
			case "persistentVolumeClaim":
				add(pvcKind, fields["claimName"])
			}
			walkPodReferences(below, add)
		}
	}
}

// subjects returns the names of the ServiceAccounts of a role binding.
func subjects(binding *unstructured.Unstructured) sets.Set[string] {
	names := sets.New[string]()
	list, _, _ := unstructured.NestedSlice(binding.Object, "subjects")
	for _, each := range list {
		subject, _ := each.(map[string]any)
		if name, isText := subject["name"].(string); isText && subject["kind"] == serviceAccountKind.Kind {
			names.Insert(name)
		}
	}
	return names
}

// uses reports whether user or its pods need obj: user refers to it, it binds a role to user's
// account, or it is a Service that selects user's pods.
func uses(user, obj *unstructured.Unstructured) bool {
	named := references(user)
	ref := object.RefOf(obj)
	if named.Has(ReferenceTo(ref)) {
		return true
	}
	switch ref.GroupKind() {
	case RoleBindingKind:
		for account := range subjects(obj) {
			if named.Has(Reference{serviceAccountKind, account}) {
				return true
			}
		}
	case ServiceKind:
		selector, _, _ := unstructured.NestedStringMap(obj.Object, "spec", "selector")
		return user != nil && len(selector) > 0 && object.IsWorkload(user.GroupVersionKind().GroupKind()) &&
			labels.SelectorFromSet(selector).Matches(podLabels(user))
	}
	return false
}

// podLabels returns the labels of a workload's pods.
func podLabels(workload *unstructured.Unstructured) labels.Set {
	found, _, _ := unstructured.NestedStringMap(workload.Object, "spec", "template", "metadata", "labels")
	return found
}

// replaces reports whether the object of step replaces the workload of another kind at ref,
// for example a StatefulSet that was a Deployment.
func replaces(step Step, ref object.Ref) bool {
	return object.IsWorkload(step.Ref.GroupKind()) && object.IsWorkload(ref.GroupKind()) &&
		step.Ref.Name == ref.Name && step.Ref.GroupKind() != ref.GroupKind()
}

// RetainInUse returns prunes with Retain for the objects that unsettled objects use, and for
// those that the retained objects use. Unsettled are the steps whose object is not as desired:
// blocked, rejected, or blocked by the rejection of another. prunes is not changed.
func RetainInUse(unsettled, prunes []Step) []Step {
	if len(unsettled) == 0 {
		return prunes
	}
	retained := make([]Step, len(prunes))
	copy(retained, prunes)
	users := append([]Step(nil), unsettled...)
	for len(users) > 0 {
		user := users[0]
		users = users[1:]
		for i, prune := range retained {
			if prune.Action != Delete || !replaces(user, prune.Ref) && !uses(user.Live, prune.Live) {
				continue
			}
			retained[i].Action, retained[i].Reason = Retain, InUse
			users = append(users, retained[i])
		}
	}
	return retained
}

// BlockedBy returns the rejected object that a step's object refers to; ok is false if there
// is none. A rejected Service blocks nothing, because pods run without it.
func BlockedBy(step Step, rejected sets.Set[Reference]) (name Reference, ok bool) {
	if len(rejected) == 0 {
		return Reference{}, false
	}
	// The first by name, so that the message does not depend on the order of a map.
	for each := range references(step.Object).Intersection(rejected) {
		if each.GroupKind == ServiceKind {
			continue
		}
		if !ok || each.Kind+each.Name < name.Kind+name.Name {
			name, ok = each, true
		}
	}
	return name, ok
}
