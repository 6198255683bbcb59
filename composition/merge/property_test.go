package merge

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand"
	"reflect"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/seldon-operator/seldon-operator/composition/internal/jsontest"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// seeds returns the seeds of random inputs: the numbers below count; with -short a sixth of
// them, and as many random ones. A failure prints its seed.
func seeds(count int64) (list []int64) {
	fixed, random := count, int64(0)
	if testing.Short() {
		fixed, random = count/6, count/6
	}
	for seed := range fixed {
		list = append(list, seed)
	}
	for range random {
		list = append(list, rand.Int63())
	}
	return list
}

// forRandomPods calls check with many pairs of a random base and override, and returns
// their number.
func forRandomPods(t *testing.T, plain bool, check func(t *testing.T, base, override map[string]any)) int {
	t.Helper()
	all := seeds(1500)
	for _, seed := range all {
		source := rand.New(rand.NewSource(seed))
		base := (&randomPods{Rand: source, plain: plain}).pod()
		override := (&randomPods{Rand: source, plain: plain, override: true}).pod()
		check(t, base, override)
		if t.Failed() {
			t.Fatalf("seed %d\nbase: %s\noverride: %s", seed, toJSON(base), toJSON(override))
		}
	}
	return len(all)
}

func toJSON(value any) string {
	text, _ := json.Marshal(value)
	return string(text)
}

// mergePods merges two random Pods. It returns false for the only errors that they may cause:
// two ports with one number, or one port twice.
func mergePods(t *testing.T, base, override map[string]any) (map[string]any, bool) {
	t.Helper()
	merged, err := StrategicMerge(podKind, base, override)
	if err == nil {
		return merged, true
	}
	for message := range strings.SplitSeq(err.Error(), "; ") {
		if !strings.Contains(message, "has the same") && !strings.Contains(message, "twice") {
			t.Error(err)
		}
	}
	return nil, false
}

func TestMergeProperties(t *testing.T) {
	merges := 0
	pods := forRandomPods(t, false, func(t *testing.T, base, override map[string]any) {
		baseBefore, overrideBefore := copyJSON(base), copyJSON(override)
		merged, ok := mergePods(t, base, override)
		if !reflect.DeepEqual(baseBefore, any(base)) || !reflect.DeepEqual(overrideBefore, any(override)) {
			t.Error("an argument changed")
		}
		if !ok {
			return
		}
		merges++
		jsontest.RequireAppliable(t, podKind, merged)
		if again, ok := mergePods(t, merged, override); !ok || !reflect.DeepEqual(merged, again) {
			t.Errorf("not idempotent (-once +twice):\n%s", cmp.Diff(merged, again))
		}
		requireOneOfEachUnion(t, merged)
		for _, list := range []string{"containers", "initContainers", "volumes", "imagePullSecrets"} {
			requireOrder(t, list, names(base, list), names(override, list), names(merged, list))
		}
		spec := merged["spec"].(map[string]any)
		text, err := json.Marshal(spec)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &corev1.PodSpec{}); err != nil {
			t.Errorf("not a PodSpec: %v", err)
		}
	})
	if merges < pods*2/3 {
		t.Errorf("only %d of %d Pods could be merged", merges, pods)
	}
}

// requireOneOfEachUnion checks the unions of a merged Pod as the API server does.
func requireOneOfEachUnion(t *testing.T, pod map[string]any) {
	t.Helper()
	var typed corev1.Pod
	text, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	if err := utiljson.Unmarshal(text, &typed); err != nil {
		t.Fatal(err)
	}
	one := func(what string, union any) {
		set := 0
		for _, member := range reflect.ValueOf(union).Fields() {
			if !member.IsNil() {
				set++
			}
		}
		if set > 1 {
			t.Errorf("%s has %d members", what, set)
		}
	}
	for _, volume := range typed.Spec.Volumes {
		one("volume", volume.VolumeSource)
	}
	for _, c := range append(typed.Spec.Containers, typed.Spec.InitContainers...) {
		if c.ReadinessProbe != nil {
			one("probe", c.ReadinessProbe.ProbeHandler)
		}
		if c.Lifecycle != nil && c.Lifecycle.PreStop != nil {
			one("hook", *c.Lifecycle.PreStop)
		}
		for _, env := range c.Env {
			if env.ValueFrom != nil {
				one("env", *env.ValueFrom)
				if env.Value != "" {
					t.Errorf("env %s has value and valueFrom", env.Name)
				}
			}
		}
	}
}

// names returns the names of a list's items, each once; nil if it is null or missing.
func names(pod map[string]any, list string) []string {
	var found []string
	items, _ := pod["spec"].(map[string]any)[list].([]any)
	for _, item := range items {
		if name := item.(map[string]any)["name"].(string); !slices.Contains(found, name) {
			found = append(found, name)
		}
	}
	return found
}

func requireOrder(t *testing.T, list string, base, override, merged []string) {
	t.Helper()
	want := slices.Clone(base)
	for _, name := range override {
		if !slices.Contains(base, name) {
			want = append(want, name)
		}
	}
	if !slices.Equal(want, merged) && len(merged) > 0 {
		t.Errorf("%s: base %v, override %v, merged %v", list, base, override, merged)
	}
}

// TestMergeContainsTheOverride checks that every scalar of the override is in the result.
func TestMergeContainsTheOverride(t *testing.T) {
	forRandomPods(t, true, func(t *testing.T, base, override map[string]any) {
		merged, ok := mergePods(t, base, override)
		if !ok {
			t.Fatal("ports collide")
		}
		jsontest.RequireContains(t, "", merged, override)
	})
}

// TestMergeEqualsKubernetes compares StrategicMerge, where it has no additional rules, with the
// strategic merge patch of the API server.
func TestMergeEqualsKubernetes(t *testing.T) {
	forRandomPods(t, true, func(t *testing.T, base, override map[string]any) {
		merged, ok := mergePods(t, base, override)
		if !ok {
			t.Fatal("ports collide")
		}
		baseJSON, _ := json.Marshal(base)
		overrideJSON, _ := json.Marshal(override)
		patched, err := strategicpatch.StrategicMergePatch(baseJSON, overrideJSON, corev1.Pod{})
		if err != nil {
			t.Fatal(err)
		}
		var want map[string]any
		if err := utiljson.Unmarshal(patched, &want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(unordered(want), unordered(merged)); diff != "" {
			t.Errorf("-Kubernetes +StrategicMerge:\n%s", diff)
		}
	})
}

// unordered sorts list maps, whose order Kubernetes does not preserve, and removes empty
// values, which it does not remove.
func unordered(value any) any {
	switch value := value.(type) {
	case map[string]any:
		sorted := map[string]any{}
		for key, member := range value {
			if member = unordered(member); member != nil {
				sorted[key] = member
			}
		}
		if len(sorted) == 0 {
			return nil
		}
		return sorted
	case []any:
		var sorted []any
		for _, item := range value {
			if item = unordered(item); item != nil {
				sorted = append(sorted, item)
			}
		}
		sort.SliceStable(sorted, func(i, j int) bool { return sortKey(sorted[i]) < sortKey(sorted[j]) })
		if len(sorted) == 0 {
			return nil
		}
		return sorted
	default:
		return value
	}
}

func sortKey(item any) string {
	object, ok := item.(map[string]any)
	if !ok {
		return ""
	}
	for _, key := range slices.Sorted(maps.Keys(object)) {
		if key == "name" || key == "mountPath" {
			return fmt.Sprint(object[key])
		}
	}
	return ""
}

// TestMergeOfInvalidInput puts values of any type, and directives, at random places of both
// Pods: the result is an error or an object, the same each time, and never a panic.
func TestMergeOfInvalidInput(t *testing.T) {
	merges, all := 0, seeds(3000)
	for _, seed := range all {
		r := rand.New(rand.NewSource(seed))
		base := (&randomPods{Rand: r}).pod()
		override := (&randomPods{Rand: r, override: true}).pod()
		for range 1 + r.Intn(3) {
			spoilAt(r, base)
			spoilAt(r, override)
		}
		baseBefore, overrideBefore := copyJSON(base), copyJSON(override)
		merged, err := StrategicMerge(podKind, base, override)
		again, errAgain := StrategicMerge(podKind, base, override)
		if !reflect.DeepEqual(merged, again) || fmt.Sprint(err) != fmt.Sprint(errAgain) {
			t.Errorf("seed %d: first %v, %v, then %v, %v", seed, merged, err, again, errAgain)
		}
		if !reflect.DeepEqual(baseBefore, any(base)) || !reflect.DeepEqual(overrideBefore, any(override)) {
			t.Errorf("seed %d: an argument changed", seed)
		}
		if err == nil {
			merges++
		}
		// Without a base, a result without an error is a valid object.
		if alone, err := StrategicMerge(podKind, nil, override); err == nil {
			jsontest.RequireAppliable(t, podKind, alone)
		}
		if t.Failed() {
			t.Fatalf("seed %d\nbase: %s\noverride: %s", seed, toJSON(base), toJSON(override))
		}
	}
	if merges < len(all)/30 || merges > len(all)*29/30 {
		t.Errorf("%d of %d could be merged: the test needs both outcomes", merges, len(all))
	}
}
