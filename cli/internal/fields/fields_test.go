package fields

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
)

func decode(t *testing.T, text string) map[string]any {
	t.Helper()
	object := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &object); err != nil {
		t.Fatal(err)
	}
	return object
}

var (
	deployment = schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}
	configMap  = schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}
	secret     = schema.GroupVersionKind{Version: "v1", Kind: "Secret"}
	service    = schema.GroupVersionKind{Version: "v1", Kind: "Service"}
	server     = schema.GroupVersionKind{Group: "mlops.seldon.io", Version: "v1alpha1", Kind: "Server"}
)

func TestDiff(t *testing.T) {
	for name, test := range map[string]struct {
		kind          schema.GroupVersionKind
		before, after string
		want          string
	}{
		"equal": {deployment, "spec: {replicas: 1}", "spec: {replicas: 1.0}", ""},
		"scalar and map": {
			deployment, "spec: {replicas: 1, paused: true}", "spec: {replicas: 2, strategy: {type: Recreate}}",
			"spec.paused: true -> (none)\nspec.replicas: 1 -> 2\nspec.strategy: (none) -> {\"type\":\"Recreate\"}",
		},
		"items by name": {
			deployment,
			"spec: {template: {spec: {containers: [{name: a, image: b}, {name: c, image: d}]}}}",
			"spec: {template: {spec: {containers: [{name: c, image: e}, {name: f}, {name: a, image: b}]}}}",
			"spec.template.spec.containers[name=c].image: d -> e\nspec.template.spec.containers[name=f]: (none) -> {\"name\":\"f\"}",
		},
		"a removed item": {
			deployment, "spec: {template: {spec: {volumes: [{name: a}]}}}", "spec: {template: {spec: {volumes: []}}}",
			"spec.template.spec.volumes[name=a]: {\"name\":\"a\"} -> (none)",
		},
		"ports by name, number, and protocol": {
			deployment,
			"spec: {template: {spec: {containers: [{name: a, ports: [{name: x, containerPort: 1}]}, {name: b, ports: [{containerPort: 1}, {containerPort: 2}]}, {name: c, ports: [{containerPort: 1}, {containerPort: 1, protocol: UDP}]}]}}}",
			"spec: {template: {spec: {containers: [{name: a, ports: [{name: x, containerPort: 2}]}, {name: b, ports: [{containerPort: 1, hostPort: 3}, {containerPort: 2}]}, {name: c, ports: [{containerPort: 1, hostPort: 4}, {containerPort: 1, protocol: UDP}]}]}}}",
			"spec.template.spec.containers[name=a].ports[name=x].containerPort: 1 -> 2\n" +
				"spec.template.spec.containers[name=b].ports[containerPort=1].hostPort: (none) -> 3\n" +
				"spec.template.spec.containers[name=c].ports[containerPort=1,protocol=TCP].hostPort: (none) -> 4",
		},
		"mounts by path": {
			deployment,
			"spec: {template: {spec: {containers: [{name: a, volumeMounts: [{name: v, mountPath: /x}, {name: v, mountPath: /y}]}]}}}",
			"spec: {template: {spec: {containers: [{name: a, volumeMounts: [{name: v, mountPath: /x}, {name: v, mountPath: /y, readOnly: true}]}]}}}",
			"spec.template.spec.containers[name=a].volumeMounts[mountPath=/y].readOnly: (none) -> true",
		},
		"arguments by index": {
			deployment,
			"spec: {template: {spec: {containers: [{name: a, args: [x, w, z]}]}}}",
			"spec: {template: {spec: {containers: [{name: a, args: [x, z]}]}}}",
			"spec.template.spec.containers[name=a].args[1]: w -> (none)",
		},
		"repeated names by index": {
			deployment,
			"spec: {template: {spec: {containers: [{name: a, env: [{name: x, value: y}, {name: x, value: z}]}]}}}",
			"spec: {template: {spec: {containers: [{name: a, env: [{name: x, value: y}, {name: x, value: w}]}]}}}",
			"spec.template.spec.containers[name=a].env[1].value: z -> w",
		},
		"a kind without a schema": {
			server, "spec: {podSpec: {containers: [{name: a, image: b}]}}", "spec: {podSpec: {containers: [{name: a, image: c}]}}",
			"spec.podSpec.containers[name=a].image: b -> c",
		},
		"unusual keys": {
			configMap, "data: {kafka.json: a, plain: b}\nmetadata: {annotations: {kubernetes.io/x: v}}", "data: {kafka.json: '{}'}",
			"data[kafka.json]: a -> \"{}\"\ndata.plain: b -> (none)\nmetadata: {\"annotations\":{\"kubernetes.io/x\":\"v\"}} -> (none)",
		},
		"annotations": {
			configMap, "metadata: {annotations: {kubernetes.io/x: v}}", "metadata: {annotations: {kubernetes.io/x: '1'}}",
			"metadata.annotations[kubernetes.io/x]: v -> \"1\"",
		},
		"values of a Secret": {
			secret, "data: {a: aGVsbG8=, b: aGVsbG8=}", "data: {a: aGVsbG8h, c: YQ==}",
			"data.a: (5 bytes) -> (6 bytes, changed)\ndata.b: (5 bytes) -> (none)\ndata.c: (none) -> (1 bytes)",
		},
		"a Secret": {secret, "{}", "stringData: {a: hello}", "stringData: (none) -> {\"a\":\"(5 bytes)\"}"},
	} {
		var lines []string
		for _, change := range Mask(test.kind.GroupKind(), Diff(test.kind, decode(t, test.before), decode(t, test.after))) {
			lines = append(lines, change.Path+": "+Format(change.Old, 0)+" -> "+Format(change.New, 0))
		}
		if diff := cmp.Diff(test.want, strings.Join(lines, "\n")); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

// Each path of a difference leads to its value.
func TestFind(t *testing.T) {
	object := decode(t, `
metadata: {annotations: {kubernetes.io/x: v}}
spec: {ports: [{port: 80, name: http}, {port: 80, protocol: UDP}], selector: {app.kubernetes.io/name: a}, list: [x]}
data: {"0": zero}`)
	for path, want := range map[string]any{
		"metadata.annotations[kubernetes.io/x]": "v", "spec.ports[port=80,protocol=UDP].port": int64(80), "spec.ports[0].name": "http",
		"spec.ports[name=http].port": int64(80), "spec.ports[port=80,protocol=TCP].name": "http", "data[0]": "zero", "data.0": "zero", "spec.list[0]": "x",
	} {
		if got, _, found, err := Find(object, path); err != nil || !found || !Equal(got, want) {
			t.Errorf("%s: got %v, %t, %v", path, got, found, err)
		}
	}
	for path, steps := range map[string]int{"spec.absent.field": 1, "spec.ports[name=x].port": 2, "metadata.annotations[z]": 2, "status": 0, "spec.list[0].a": 3} {
		if got, existing, found, err := Find(object, path); err != nil || found || got != nil || len(existing) != steps {
			t.Errorf("%s: got %v, %v, %t, %v", path, got, existing, found, err)
		}
	}
	for _, path := range []string{"a[", "a..b", ".a"} {
		if _, _, _, err := Find(object, path); err == nil {
			t.Errorf("%s is valid", path)
		}
	}
	for _, change := range Diff(service, nil, object) {
		if _, _, found, err := Find(object, change.Path); err != nil || !found {
			t.Errorf("%s is not found: %v", change.Path, err)
		}
	}
}

func TestFormat(t *testing.T) {
	for want, value := range map[string]any{
		"a b": "a b", `"a\nb"`: "a\nb", `""`: "", `"1.5"`: "1.5", `"true"`: "true", "true": true, "3": int64(3), `{"a":["<b>"]}`: map[string]any{"a": []any{"<b>"}}, `" a"`: " a",
		"(none)": nil, `"(none)"`: "(none)", "abcd...": "abcdefghi", `"{\"a\":1}"`: `{"a":1}`,
	} {
		width := 0
		if value == "abcdefghi" {
			width = 7
		}
		if got := Format(value, width); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestWithoutBookkeeping(t *testing.T) {
	object := decode(t, "{metadata: {name: a, uid: b, resourceVersion: '1', generation: 2, creationTimestamp: c, managedFields: []}, spec: {}, status: {}}")
	if diff := cmp.Diff(decode(t, "{metadata: {name: a}, spec: {}}"), WithoutBookkeeping(object)); diff != "" {
		t.Error(diff)
	}
	if object["status"] == nil {
		t.Error("the object was changed")
	}
}
