package merge

import (
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/seldon-operator/seldon-operator/composition/internal/jsontest"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	deploymentKind  = schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}
	statefulSetKind = schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "StatefulSet"}
	podKind         = schema.GroupVersionKind{Version: "v1", Kind: "Pod"}
	widgetKind      = schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Widget"}
)

// mergeCase is an example of a rule. testdata/cases has one file for each rule.
type mergeCase struct {
	kind                 schema.GroupVersionKind // written [<group>/]<version>/<kind>
	base, override, want map[string]any
	errors               []string
}

// mergeCases returns the examples of all rules by "<file>/<name>".
func mergeCases(t testing.TB) map[string]mergeCase {
	t.Helper()
	files, err := filepath.Glob("testdata/cases/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	all := map[string]mergeCase{}
	for _, file := range files {
		for _, item := range jsontest.ReadYAML(t, file) {
			item := item.(map[string]any)
			var c mergeCase
			kind := item["kind"].(string)
			split := strings.LastIndex(kind, "/")
			c.kind = schema.FromAPIVersionAndKind(kind[:split], kind[split+1:])
			c.base = item["base"].(map[string]any)
			c.override = item["override"].(map[string]any)
			c.want, _ = item["want"].(map[string]any)
			c.errors, _, _ = unstructured.NestedStringSlice(item, "errors")
			all[strings.TrimSuffix(filepath.Base(file), ".yaml")+"/"+item["name"].(string)] = c
		}
	}
	return all
}

func TestMerge(t *testing.T) {
	cases := mergeCases(t)
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		c := cases[name]
		t.Run(name, func(t *testing.T) {
			base, override := copyJSON(c.base), copyJSON(c.override)
			got, err := StrategicMerge(c.kind, c.base, c.override)

			if diff := cmp.Diff(base, any(c.base)); diff != "" {
				t.Errorf("base changed (-before +after):\n%s", diff)
			}
			if diff := cmp.Diff(override, any(c.override)); diff != "" {
				t.Errorf("override changed (-before +after):\n%s", diff)
			}
			if len(c.errors) > 0 {
				if err == nil {
					t.Fatalf("no error but %v", got)
				}
				if diff := cmp.Diff(strings.Join(c.errors, "; "), err.Error()); diff != "" {
					t.Errorf("error (-want +got):\n%s\n%s", diff, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
			again, err := StrategicMerge(c.kind, got, c.override)
			if err != nil {
				t.Fatalf("merged a second time: %v", err)
			}
			if diff := cmp.Diff(got, again); diff != "" {
				t.Errorf("merged a second time (-once +twice):\n%s", diff)
			}
			jsontest.RequireAppliable(t, c.kind, got)
		})
	}
}

// TestMergeSharesNothing changes every part of a result and checks that the arguments do not
// change.
func TestMergeSharesNothing(t *testing.T) {
	for name, c := range mergeCases(t) {
		base, override := copyJSON(c.base), copyJSON(c.override)
		got, err := StrategicMerge(c.kind, c.base, c.override)
		if err != nil {
			continue
		}
		spoil(got)
		if !reflect.DeepEqual(base, any(c.base)) || !reflect.DeepEqual(override, any(c.override)) {
			t.Errorf("%s: the result shares parts with an argument", name)
		}
	}
}

func spoil(value any) {
	switch value := value.(type) {
	case map[string]any:
		for _, member := range value {
			spoil(member)
		}
		value["spoiled"] = true
	case []any:
		for i, item := range value {
			spoil(item)
			value[i] = "spoiled"
		}
	}
}

func TestMergeWithoutArguments(t *testing.T) {
	got, err := StrategicMerge(podKind, nil, nil)
	if err != nil || got == nil || len(got) != 0 {
		t.Errorf("got %v, %v; want an empty object", got, err)
	}
}

// TestMergeDoesNotValidateTheBase: the base may have content that is an error in an override.
func TestMergeDoesNotValidateTheBase(t *testing.T) {
	base := map[string]any{"spec": map[string]any{
		"unknown":    int64(1),
		"volumes":    "none",
		"containers": []any{nil, "x", map[string]any{"image": "no name"}, map[string]any{"name": "a", "env": []any{int64(1)}}},
	}}
	override := map[string]any{"spec": map[string]any{
		"volumes":    []any{map[string]any{"name": "v"}},
		"containers": []any{map[string]any{"name": "a", "image": "x"}},
	}}
	want := map[string]any{"spec": map[string]any{
		"unknown":    int64(1),
		"volumes":    []any{map[string]any{"name": "v"}},
		"containers": []any{nil, "x", map[string]any{"image": "no name"}, map[string]any{"name": "a", "image": "x", "env": []any{int64(1)}}},
	}}
	got, err := StrategicMerge(podKind, base, override)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
