package plan

import (
	"github.com/seldon-operator/seldon-operator/composition/object"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
)

// Children depend on each other: a workload on its account, configuration, claims
// and Services, a binding on its role. So a child that the API server rejects stops
// only what refers to it, and a child that is blocked keeps what its live form
// uses: its pods go on running, and are created again, with that.

// Reference names an object in the namespace of the object that refers to it.
type Reference struct {
	schema.GroupKind
	Name string
}

func ReferenceTo(key object.Ref) Reference { return Reference{key.GroupKind(), key.Name} }

var (
	serviceAccountKind = schema.GroupKind{Kind: "ServiceAccount"}
	configMapKind      = schema.GroupKind{Kind: "ConfigMap"}
	secretKind         = schema.GroupKind{Kind: "Secret"}
	claimKind          = schema.GroupKind{Kind: "PersistentVolumeClaim"}
	ServiceKind        = schema.GroupKind{Kind: "Service"}
	RoleBindingKind    = schema.GroupKind{Group: "rbac.authorization.k8s.io", Kind: "RoleBinding"}
)

// references lists what object refers to by name. It knows workloads and role
// bindings; other kinds give an empty set.
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

// walkPodReferences finds the ConfigMaps, Secrets and claims in a pod spec: in
// volumes, projected volumes, environment variables and their sources.
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
				add(claimKind, fields["claimName"])
			}
			walkPodReferences(below, add)
		}
	}
}

// subjects are the ServiceAccounts that a role binding grants its role to.
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

// uses reports whether the pods of user, or user itself, need object: it refers to
// it, its account has its role from it, or it is the Service in front of its pods.
func uses(user, obj *unstructured.Unstructured) bool {
	named := references(user)
	key := object.RefOf(obj)
	if named.Has(ReferenceTo(key)) {
		return true
	}
	switch key.GroupKind() {
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

// podLabels are the labels of a workload's pods.
func podLabels(workload *unstructured.Unstructured) labels.Set {
	found, _, _ := unstructured.NestedStringMap(workload.Object, "spec", "template", "metadata", "labels")
	return found
}

// replaces reports whether the child of step takes the place of the workload of
// another kind at key: a Deployment that became a StatefulSet, say.
func replaces(step Step, key object.Ref) bool {
	return object.IsWorkload(step.Ref.GroupKind()) && object.IsWorkload(key.GroupKind()) &&
		step.Ref.Name == key.Name && step.Ref.GroupKind() != key.GroupKind()
}

// retainInUse turns the deletion of what unsettled children use into Retain, and
// that of what those retained use in turn. Unsettled are the steps whose child is
// not as desired: blocked, rejected, or stopped by a rejected one.
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

// stoppedBy names the rejected child that a step's object refers to; ok is false
// if there is none. Pods run without their Service, so that it stops nothing.
func BlockedBy(step Step, rejected sets.Set[Reference]) (name Reference, ok bool) {
	if len(rejected) == 0 {
		return Reference{}, false
	}
	// The smallest, so that the message does not depend on the order of a map.
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
