// Package jsontest has helpers for tests that work on decoded JSON.
package jsontest

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

// Decode decodes JSON as apimachinery does: numbers are int64 or float64. It fails t if
// text is not JSON.
func Decode(t testing.TB, text string) any {
	t.Helper()
	var value any
	if err := utiljson.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return value
}

// ReadYAML decodes a file with a YAML list as apimachinery decodes JSON: numbers are int64
// or float64. It fails t if it cannot.
func ReadYAML(t testing.TB, file string) []any {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	var items []any
	if err := utiljson.Unmarshal(asJSON, &items); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return items
}

// RequireAppliable fails t unless merged decodes strictly into the Go type of gvk and is a
// valid apply configuration: each item of a list map has its keys, and no two items have the
// same. Kinds that are not built in always pass.
func RequireAppliable(t testing.TB, gvk schema.GroupVersionKind, merged map[string]any) {
	t.Helper()
	object, err := scheme.Scheme.New(gvk)
	if err != nil {
		return
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(merged, object, true); err != nil {
		t.Errorf("cannot be decoded: %v", err)
	}
	u := &unstructured.Unstructured{Object: maps.Clone(merged)}
	u.SetGroupVersionKind(gvk)
	if _, err := applyconfigurations.NewTypeConverter(scheme.Scheme).ObjectToTyped(u); err != nil {
		t.Errorf("cannot be applied: %v\n%v", err, merged)
	}
}

// RequireContains fails t unless merged has every value of override at the same path. Items
// of lists are matched by name or mountPath. path is the start of paths in messages.
func RequireContains(t *testing.T, path string, merged, override any) {
	t.Helper()
	switch override := override.(type) {
	case nil:
		if merged != nil {
			t.Errorf("%s: %v is not removed", path, merged)
		}
	case map[string]any:
		object, _ := merged.(map[string]any)
		for key, value := range override {
			RequireContains(t, path+"."+key, object[key], value)
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
				RequireContains(t, at, list[i], item)
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
				t.Errorf("%s: is missing", at)
				continue
			}
			RequireContains(t, at, list[same], item)
		}
	default:
		if merged != override {
			t.Errorf("%s: %v is not %v", path, merged, override)
		}
	}
}
