package composition

import (
	"math/rand"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestWaves(t *testing.T) {
	order := []schema.GroupKind{
		{Kind: "ServiceAccount"}, {Group: "rbac.authorization.k8s.io", Kind: "RoleBinding"}, {Kind: "ConfigMap"}, {Kind: "Service"}, {Group: "apps", Kind: "StatefulSet"}, {Group: "example.com", Kind: "Shop"},
	}
	for i := 1; i < len(order); i++ {
		if waveOf(order[i-1]) >= waveOf(order[i]) {
			t.Errorf("%s does not come before %s", order[i-1], order[i])
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
		if waveOf(same[0]) != waveOf(same[1]) {
			t.Errorf("%s and %s are in different waves", same[0], same[1])
		}
	}
}

// The order of keys is total: two keys are equal in it only if they are the same.
func TestKeysHaveOneOrder(t *testing.T) {
	var keys []Key
	for _, group := range []string{"", "apps", "example.com"} {
		for _, kind := range []string{"ConfigMap", "Deployment", "Role"} {
			for _, name := range []string{"a", "b"} {
				for _, namespace := range []string{"n", "n/a"} {
					keys = append(keys, Key{schema.GroupVersionKind{Group: group, Version: "v1", Kind: kind}, namespace, name})
				}
			}
		}
	}
	slices.SortFunc(keys, Key.compare)
	for i := 1; i < len(keys); i++ {
		if keys[i-1].compare(keys[i]) >= 0 || keys[i].compare(keys[i-1]) <= 0 {
			t.Errorf("%v and %v have no order", keys[i-1], keys[i])
		}
	}
	shuffled := slices.Clone(keys)
	rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	slices.SortFunc(shuffled, compareReverse)
	for i := 1; i < len(shuffled); i++ {
		a, b := shuffled[i-1], shuffled[i]
		if waveOf(a.GroupKind()) < waveOf(b.GroupKind()) {
			t.Errorf("%v is deleted before %v", a, b)
		}
		if waveOf(a.GroupKind()) == waveOf(b.GroupKind()) && a.compare(b) >= 0 {
			t.Errorf("%v and %v are out of order within their wave", a, b)
		}
	}
}
