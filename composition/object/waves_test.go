package object

import (
	"math/rand"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
)

func TestWaves(t *testing.T) {
	// The kinds of a line are in one wave, after the waves of the lines above.
	const order = `
		Namespace CustomResourceDefinition.apiextensions.k8s.io PriorityClass.scheduling.k8s.io StorageClass.storage.k8s.io ResourceQuota LimitRange
		ServiceAccount Role.rbac.authorization.k8s.io ClusterRole.rbac.authorization.k8s.io
		RoleBinding.rbac.authorization.k8s.io ClusterRoleBinding.rbac.authorization.k8s.io
		ConfigMap Secret PersistentVolumeClaim NetworkPolicy.networking.k8s.io
		Service
		Deployment.apps StatefulSet.apps DaemonSet.apps Job.batch CronJob.batch
		PodDisruptionBudget.policy HorizontalPodAutoscaler.autoscaling Ingress.networking.k8s.io
		Shop.example.com Namespace.example.com Ingress.example.com
		ValidatingWebhookConfiguration.admissionregistration.k8s.io MutatingWebhookConfiguration.admissionregistration.k8s.io`
	last := Wave(-1)
	for line := range strings.SplitSeq(strings.TrimSpace(order), "\n") {
		kinds := strings.Fields(line)
		current := WaveOf(schema.ParseGroupKind(kinds[0]))
		if current <= last {
			t.Errorf("%s is not in a later wave than the kinds of the line above", kinds[0])
		}
		for _, kind := range kinds {
			if got := WaveOf(schema.ParseGroupKind(kind)); got != current {
				t.Errorf("%s is in wave %d, %s in wave %d", kind, got, kinds[0], current)
			}
		}
		last = current
	}
	if last != waveWebhooks || waveWebhooks.String() != "webhooks" {
		t.Error("the waves and their names do not match")
	}
	for kind := range waves {
		version := schema.GroupVersion{Group: kind.Group, Version: "v1"}
		if kind.Kind != "CustomResourceDefinition" && !scheme.Scheme.Recognizes(version.WithKind(kind.Kind)) {
			t.Errorf("%s is not a built-in kind", kind)
		}
	}
	for _, same := range [][2]schema.GroupKind{
		{{Kind: "ServiceAccount"}, {Group: "rbac.authorization.k8s.io", Kind: "Role"}},
		{{Kind: "ConfigMap"}, {Kind: "Secret"}},
		{{Group: "apps", Kind: "StatefulSet"}, {Group: "apps", Kind: "Deployment"}},
		{{Group: "apps", Kind: "StatefulSet"}, {Group: "apps", Kind: "DaemonSet"}},
		{{Group: "example.com", Kind: "Shop"}, {Group: "example.com", Kind: "Deployment"}},
		{{Group: "example.com", Kind: "Shop"}, {Group: "example.com", Kind: "Service"}},
	} {
		if WaveOf(same[0]) != WaveOf(same[1]) {
			t.Errorf("%s and %s are in different waves", same[0], same[1])
		}
	}
}

// The order of references is total: only equal references compare as equal.
func TestRefsHaveATotalOrder(t *testing.T) {
	var refs []Ref
	for _, group := range []string{"", "apps", "example.com"} {
		for _, kind := range []string{"ConfigMap", "Deployment", "Role"} {
			for _, name := range []string{"a", "b"} {
				for _, namespace := range []string{"n", "n/a"} {
					refs = append(refs, Ref{schema.GroupVersionKind{Group: group, Version: "v1", Kind: kind}, namespace, name})
				}
			}
		}
	}
	slices.SortFunc(refs, Ref.compare)
	for i := 1; i < len(refs); i++ {
		if refs[i-1].compare(refs[i]) >= 0 || refs[i].compare(refs[i-1]) <= 0 {
			t.Errorf("%v and %v are not ordered", refs[i-1], refs[i])
		}
	}
	shuffled := slices.Clone(refs)
	rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	slices.SortFunc(shuffled, CompareReverse)
	for i := 1; i < len(shuffled); i++ {
		a, b := shuffled[i-1], shuffled[i]
		if WaveOf(a.GroupKind()) < WaveOf(b.GroupKind()) {
			t.Errorf("%v is deleted before %v", a, b)
		}
		if WaveOf(a.GroupKind()) == WaveOf(b.GroupKind()) && a.compare(b) >= 0 {
			t.Errorf("%v and %v are out of order within their wave", a, b)
		}
	}
}
