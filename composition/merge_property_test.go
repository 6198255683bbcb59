package composition

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

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// randomPods makes Pods out of few names, so that two of them have much in common.
type randomPods struct {
	*rand.Rand

	// plain Pods use nothing for which Merge has rules beyond those of Kubernetes' own
	// strategic merge: no item twice, each name always with the same union member
	// and port number, nothing empty.
	plain bool
	// override says that the Pod is laid over another one; it may remove things.
	override bool

	// ports are those of the Pod, by name: a Pod that gives a port two numbers says nothing.
	ports map[string]map[string]any
}

func (r *randomPods) pick(names ...string) string { return names[r.Intn(len(names))] }

func (r *randomPods) chance(percent int) bool { return r.Intn(100) < percent }

// items makes a list with items of the given names: in random order, some of
// them missing and, unless plain, some of them twice.
func (r *randomPods) items(make func(name string) map[string]any, names ...string) []any {
	list := []any{}
	for _, i := range r.Perm(len(names)) {
		if r.chance(60) {
			list = append(list, make(names[i]))
		}
		if !r.plain && r.chance(10) {
			list = append(list, make(names[i]))
		}
	}
	return list
}

// set gives an object a field, sometimes; for an override also null or an empty value.
func (r *randomPods) set(object map[string]any, name string, percent int, value func() any) {
	switch {
	case r.chance(percent):
		object[name] = value()
	case r.override && r.chance(5):
		object[name] = nil
	}
	if r.plain {
		if list, ok := object[name].([]any); ok && len(list) == 0 {
			delete(object, name)
		}
		if m, ok := object[name].(map[string]any); ok && len(m) == 0 {
			delete(object, name)
		}
	}
}

func (r *randomPods) pod() map[string]any {
	spec := map[string]any{}
	r.set(spec, "containers", 95, func() any { return r.items(r.container, "a", "b", "c", "d") })
	r.set(spec, "initContainers", 40, func() any { return r.items(r.container, "i", "j") })
	r.set(spec, "volumes", 60, func() any { return r.items(r.volume, "v", "w", "x") })
	r.set(spec, "imagePullSecrets", 30, func() any {
		return r.items(func(name string) map[string]any { return map[string]any{"name": name} }, "s", "t")
	})
	r.set(spec, "tolerations", 30, func() any {
		return []any{map[string]any{"key": r.pick("a", "b"), "operator": "Exists"}}
	})
	r.set(spec, "nodeSelector", 40, r.labels)
	r.set(spec, "hostNetwork", 30, func() any { return r.chance(50) })
	r.set(spec, "terminationGracePeriodSeconds", 30, func() any { return int64(r.Intn(3)) })
	r.set(spec, "serviceAccountName", 30, func() any { return r.pick("", "a", "b") })
	r.set(spec, "securityContext", 30, func() any {
		context := map[string]any{"runAsNonRoot": r.chance(50)}
		r.set(context, "runAsUser", 50, func() any { return int64(r.Intn(2)) })
		return context
	})
	return map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "p"}, "spec": spec}
}

func (r *randomPods) labels() any {
	object := map[string]any{}
	for _, key := range []string{"a", "b", "c"} {
		r.set(object, key, 50, func() any { return r.pick("", "1", "2") })
	}
	return object
}

func (r *randomPods) container(name string) map[string]any {
	c := map[string]any{"name": name}
	r.set(c, "image", 60, func() any { return r.pick("one", "two") })
	r.set(c, "tty", 20, func() any { return r.chance(50) })
	r.set(c, "args", 30, func() any { return []any{r.pick("--a", "--b"), r.pick("--a", "--b")} })
	r.set(c, "env", 60, func() any { return r.items(r.env, "A", "B", "C", "D") })
	r.set(c, "ports", 50, func() any { return r.items(r.port, "http", "grpc", "dns") })
	r.set(c, "volumeMounts", 40, func() any {
		return r.items(func(path string) map[string]any {
			return map[string]any{"mountPath": path, "name": r.pick("v", "w")}
		}, "/a", "/b")
	})
	r.set(c, "resources", 40, func() any {
		limits := map[string]any{}
		r.set(limits, "cpu", 50, func() any { return r.pick("0", "100m") })
		r.set(limits, "memory", 50, func() any { return r.pick("1Gi", "64Mi") })
		return map[string]any{"limits": limits}
	})
	r.set(c, "readinessProbe", 40, r.probe)
	r.set(c, "lifecycle", 20, func() any { return map[string]any{"preStop": r.handler("sleep")} })
	return c
}

func (r *randomPods) env(name string) map[string]any {
	if name == "A" || !r.plain && r.chance(50) {
		return map[string]any{"name": name, "value": r.pick("", "1", "2")}
	}
	path := map[string]any{"fieldPath": r.pick("metadata.name", "metadata.namespace")}
	if name == "B" || !r.plain && r.chance(50) {
		return map[string]any{"name": name, "valueFrom": map[string]any{"fieldRef": path}}
	}
	key := map[string]any{"name": r.pick("c", "d"), "key": "k"}
	return map[string]any{"name": name, "valueFrom": map[string]any{"configMapKeyRef": key}}
}

func (r *randomPods) port(name string) map[string]any {
	number := map[string]int64{"http": 80, "grpc": 81, "dns": 53}[name]
	port := map[string]any{"name": name, "containerPort": number}
	if r.plain {
		r.set(port, "protocol", 50, func() any { return "TCP" })
		return port
	}
	if r.ports[name] == nil {
		if r.ports == nil {
			r.ports = map[string]map[string]any{}
		}
		if r.chance(20) {
			port["containerPort"] = int64(79 + r.Intn(4))
		}
		if r.chance(50) {
			port["protocol"] = r.pick("TCP", "UDP")
		}
		r.ports[name] = port
	}
	port = maps.Clone(r.ports[name])
	if r.chance(30) {
		delete(port, "name")
	}
	return port
}

func (r *randomPods) volume(name string) map[string]any {
	source := map[string]string{"v": "emptyDir", "w": "configMap", "x": "secret"}[name]
	if !r.plain {
		source = r.pick("emptyDir", "configMap", "secret")
	}
	value := map[string]any{}
	switch source {
	case "emptyDir":
		r.set(value, "medium", 50, func() any { return "Memory" })
		if r.plain {
			value["sizeLimit"] = r.pick("1Gi", "2Gi")
		}
	case "configMap":
		value["name"] = r.pick("c", "d")
	case "secret":
		value["secretName"] = r.pick("c", "d")
	}
	return map[string]any{"name": name, source: value}
}

func (r *randomPods) probe() any {
	probe := r.handler("grpc")
	r.set(probe, "periodSeconds", 50, func() any { return int64(r.Intn(3)) })
	return probe
}

func (r *randomPods) handler(other string) map[string]any {
	kind := "httpGet"
	if !r.plain {
		kind = r.pick("httpGet", "exec", "tcpSocket", other)
	}
	switch kind {
	case "exec":
		return map[string]any{"exec": map[string]any{"command": []any{r.pick("a", "b")}}}
	case "sleep":
		return map[string]any{"sleep": map[string]any{"seconds": int64(r.Intn(2))}}
	case "grpc":
		return map[string]any{"grpc": map[string]any{"port": int64(r.Intn(2))}}
	default:
		get := map[string]any{"port": any("http")}
		if r.chance(50) {
			get["port"] = int64(80)
		}
		return map[string]any{kind: get}
	}
}

// forRandomPods calls check with many pairs of a base and an override.
func forRandomPods(t *testing.T, plain bool, check func(t *testing.T, base, override map[string]any)) {
	t.Helper()
	for seed := range int64(1500) {
		source := rand.New(rand.NewSource(seed))
		base := (&randomPods{Rand: source, plain: plain}).pod()
		override := (&randomPods{Rand: source, plain: plain, override: true}).pod()
		check(t, base, override)
		if t.Failed() {
			t.Fatalf("seed %d\nbase: %s\noverride: %s", seed, brieflyJSON(base), brieflyJSON(override))
		}
	}
}

func brieflyJSON(value any) string {
	text, _ := json.Marshal(value)
	return string(text)
}

// mergePods merges, and tells false if two ports came to one number, which is
// the only thing that may be wrong with random Pods.
func mergePods(t *testing.T, base, override map[string]any) (map[string]any, bool) {
	t.Helper()
	merged, err := Merge(podKind, base, override)
	if err == nil {
		return merged, true
	}
	for line := range strings.Lines(err.Error()) {
		if !strings.Contains(line, "which is that of") {
			t.Error(err)
		}
	}
	return nil, false
}

func TestMergeProperties(t *testing.T) {
	merges := 0
	forRandomPods(t, false, func(t *testing.T, base, override map[string]any) {
		baseBefore, overrideBefore := copyJSON(base), copyJSON(override)
		merged, ok := mergePods(t, base, override)
		if !reflect.DeepEqual(baseBefore, any(base)) || !reflect.DeepEqual(overrideBefore, any(override)) {
			t.Error("an argument changed")
		}
		if !ok {
			return
		}
		merges++
		requireAppliable(t, podKind, merged)
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
			t.Errorf("no PodSpec: %v", err)
		}
	})
	if merges < 1000 {
		t.Errorf("only %d Pods could be merged", merges)
	}
}

// requireOneOfEachUnion checks a merged Pod as the API server does.
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

// TestMergeHoldsWhatTheOverrideSays: what is in the override is in the result,
// down to the last scalar.
func TestMergeHoldsWhatTheOverrideSays(t *testing.T) {
	forRandomPods(t, true, func(t *testing.T, base, override map[string]any) {
		merged, ok := mergePods(t, base, override)
		if !ok {
			t.Fatal("ports collide")
		}
		requireHolds(t, "", merged, override)
	})
}

func requireHolds(t *testing.T, path string, merged, override any) {
	t.Helper()
	switch override := override.(type) {
	case nil:
		if merged != nil {
			t.Errorf("%s: %v is still there", path, merged)
		}
	case map[string]any:
		object, _ := merged.(map[string]any)
		for key, value := range override {
			requireHolds(t, path+"."+key, object[key], value)
		}
	case []any:
		list, _ := merged.([]any)
		for i, item := range override {
			at := fmt.Sprintf("%s[%d]", path, i)
			object, keyed := item.(map[string]any)
			if !keyed || strings.HasSuffix(path, ".tolerations") {
				if len(list) != len(override) {
					t.Errorf("%s: %v is not %v", path, list, override)
					return
				}
				requireHolds(t, at, list[i], item)
				continue
			}
			same := slices.IndexFunc(list, func(other any) bool {
				key := "name"
				if object["mountPath"] != nil {
					key = "mountPath"
				}
				return other.(map[string]any)[key] == object[key]
			})
			if same < 0 {
				t.Errorf("%s: lost", at)
				continue
			}
			requireHolds(t, at, list[same], item)
		}
	default:
		if merged != override {
			t.Errorf("%s: %v is not %v", path, merged, override)
		}
	}
}

// TestMergeAgreesWithKubernetes compares Merge, where it has no rules of its own to
// add, with the strategic merge patch of the API server.
func TestMergeAgreesWithKubernetes(t *testing.T) {
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
			t.Errorf("-Kubernetes +Merge:\n%s", diff)
		}
	})
}

// unordered sorts keyed lists, whose order Kubernetes does not keep, and leaves out
// what is empty, of which it keeps the shell.
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
