package object

import "k8s.io/apimachinery/pkg/runtime/schema"

// Wave is a group of objects that are applied in parallel. The objects that a wave
// depends on are in an earlier wave.
type Wave int

const (
	// waveScopes has namespaces, definitions and classes, and the limits of namespaces.
	waveScopes Wave = iota
	waveAccounts
	// waveBindings is after the roles that bindings refer to: the API server reads the role
	// to check whether the operator may grant it.
	waveBindings
	waveConfiguration
	waveServices
	waveWorkloads
	// waveReferrers has kinds that refer to workloads and Services.
	waveReferrers
	waveDefault
	// waveWebhooks is after the workloads that serve webhooks: until these run, all requests
	// are rejected.
	waveWebhooks
)

// String describes the kinds of a wave.
func (w Wave) String() string {
	return [...]string{
		"namespaces, definitions and classes", "accounts and roles", "role bindings", "configuration", "services", "workloads",
		"disruption budgets, autoscalers and ingresses", "custom resources", "webhooks",
	}[w]
}

// waves are the waves of the kinds, in the order of Flux (github.com/fluxcd/pkg,
// ssa/sort.go), except that claims and NetworkPolicies are before the pods that need them.
var waves = map[schema.GroupKind]Wave{
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

// WaveOf returns the wave of a kind. Kinds that are not in the table are custom resources.
func WaveOf(kind schema.GroupKind) Wave {
	if wave, found := waves[kind]; found {
		return wave
	}
	return waveDefault
}
