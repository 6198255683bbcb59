package object

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// Key names a child among all kinds and namespaces.
type Ref struct {
	schema.GroupVersionKind
	Namespace string
	Name      string
}

// KeyOf is the key of an object.
func RefOf(object *unstructured.Unstructured) Ref {
	return Ref{
		GroupVersionKind: object.GroupVersionKind(),
		Namespace:        object.GetNamespace(),
		Name:             object.GetName(),
	}
}

// String is how messages name a child: `Deployment team-a/seldon-envoy`.
func (k Ref) String() string {
	return fmt.Sprintf("%s %s/%s", k.Kind, k.Namespace, k.Name)
}

// compare orders keys by wave, then by kind, namespace and name, so that plans
// and messages do not depend on the order of rendering.
func (k Ref) Compare(other Ref) int {
	return cmp.Or(
		cmp.Compare(WaveOf(k.GroupKind()), WaveOf(other.GroupKind())),
		k.compareNames(other),
	)
}

// compareReverse orders keys by wave, the last one first, then as compare does.
func CompareReverse(a, b Ref) int {
	return cmp.Or(cmp.Compare(WaveOf(b.GroupKind()), WaveOf(a.GroupKind())), a.compareNames(b))
}

func (k Ref) compareNames(other Ref) int {
	return cmp.Or(
		strings.Compare(k.Kind, other.Kind),
		strings.Compare(k.Namespace, other.Namespace),
		strings.Compare(k.Name, other.Name),
		strings.Compare(k.Group, other.Group),
		strings.Compare(k.Version, other.Version),
	)
}

// Child is a rendered object: the apply configuration, complete, and what its
// template says of it.
type Object struct {
	// Object holds the fields that we mean and no others.
	Object *unstructured.Unstructured
	// RollReaders: pods read this configuration only when they start.
	RestartOnChange bool
	// Seed is the dotted path of a field that others may change after we set it;
	// empty if there is none.
	InitialOnlyField string
}

// Key is the key of the child's object.
func (c Object) Ref() Ref { return RefOf(c.Object) }

// A wave is a group of children that are applied in parallel; what a wave needs
// is in an earlier one.
type wave int

const (
	// waveScopes has what others are in, are of, or are limited by.
	waveScopes wave = iota
	waveAccounts
	// waveBindings is after the roles that bindings refer to: the API server looks
	// them up to see whether the operator may grant them.
	waveBindings
	waveConfiguration
	waveServices
	waveWorkloads
	// waveReferrers has what refers to workloads and Services.
	waveReferrers
	waveDefault
	// waveWebhooks is after what answers them: until then they reject everything.
	waveWebhooks
)

// waves of the kinds, in the order of Flux (github.com/fluxcd/pkg, ssa/sort.go),
// but that claims and NetworkPolicies are before the pods that they are for.
var waves = map[schema.GroupKind]wave{
	{Kind: "Namespace"}: waveScopes,
	{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}: waveScopes,
	{Group: "scheduling.k8s.io", Kind: "PriorityClass"}:               waveScopes,
	{Group: "node.k8s.io", Kind: "RuntimeClass"}:                      waveScopes,
	{Group: "storage.k8s.io", Kind: "StorageClass"}:                   waveScopes,
	{Group: "networking.k8s.io", Kind: "IngressClass"}:                waveScopes,
	{Kind: "ResourceQuota"}:                                           waveScopes,
	{Kind: "LimitRange"}:                                              waveScopes,

	{Kind: "ServiceAccount"}:                                  waveAccounts,
	{Group: "rbac.authorization.k8s.io", Kind: "Role"}:        waveAccounts,
	{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole"}: waveAccounts,

	{Group: "rbac.authorization.k8s.io", Kind: "RoleBinding"}:        waveBindings,
	{Group: "rbac.authorization.k8s.io", Kind: "ClusterRoleBinding"}: waveBindings,

	{Kind: "ConfigMap"}:                                 waveConfiguration,
	{Kind: "Secret"}:                                    waveConfiguration,
	{Kind: "PersistentVolume"}:                          waveConfiguration,
	{Kind: "PersistentVolumeClaim"}:                     waveConfiguration,
	{Group: "networking.k8s.io", Kind: "NetworkPolicy"}: waveConfiguration,

	{Kind: "Service"}: waveServices,

	{Group: "apps", Kind: "Deployment"}:  waveWorkloads,
	{Group: "apps", Kind: "StatefulSet"}: waveWorkloads,
	{Group: "apps", Kind: "DaemonSet"}:   waveWorkloads,
	{Group: "apps", Kind: "ReplicaSet"}:  waveWorkloads,
	{Kind: "Pod"}:                        waveWorkloads,
	{Group: "batch", Kind: "Job"}:        waveWorkloads,
	{Group: "batch", Kind: "CronJob"}:    waveWorkloads,

	{Group: "policy", Kind: "PodDisruptionBudget"}:          waveReferrers,
	{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}: waveReferrers,
	{Group: "networking.k8s.io", Kind: "Ingress"}:           waveReferrers,

	{Group: "admissionregistration.k8s.io", Kind: "MutatingWebhookConfiguration"}:   waveWebhooks,
	{Group: "admissionregistration.k8s.io", Kind: "ValidatingWebhookConfiguration"}: waveWebhooks,
}

// waveOf places a kind; those that the table lacks are custom resources.
func WaveOf(kind schema.GroupKind) wave {
	if wave, found := waves[kind]; found {
		return wave
	}
	return waveDefault
}

// isWorkload tells the kinds that carry a pod template at spec.template.
func IsWorkload(kind schema.GroupKind) bool {
	return kind.Group == "apps" && slices.Contains([]string{"Deployment", "StatefulSet", "DaemonSet"}, kind.Kind)
}

// IsPVC reports whether ref is a PersistentVolumeClaim, which the engine never deletes.
func IsPVC(ref Ref) bool { return ref.Group == "" && ref.Kind == "PersistentVolumeClaim" }

// Owner is the object that an instance is composed for.
type Owner struct {
	schema.GroupVersionKind
	Namespace string
	Name      string
	UID       types.UID
}

// controls tells whether the owner is the controller of object.
func (o Owner) IsControllerOf(object metav1.Object) bool {
	ref := metav1.GetControllerOfNoCopy(object)
	return ref != nil && ref.UID == o.UID
}

// reference is the controller reference that every child carries.
func (o Owner) Reference() map[string]any {
	return map[string]any{
		"apiVersion":         o.GroupVersion().String(),
		"kind":               o.Kind,
		"name":               o.Name,
		"uid":                string(o.UID),
		"controller":         true,
		"blockOwnerDeletion": true,
	}
}

// sortChildren orders children as their keys are. A key is read off an object's
// fields, so each is read once, not at every comparison.
func Sort(children []Object) {
	type keyed struct {
		key   Ref
		child Object
	}
	sorted := make([]keyed, len(children))
	for i, child := range children {
		sorted[i] = keyed{child.Ref(), child}
	}
	slices.SortFunc(sorted, func(a, b keyed) int { return a.key.Compare(b.key) })
	for i := range sorted {
		children[i] = sorted[i].child
	}
}
