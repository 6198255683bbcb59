package patch

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/seldon-operator/seldon-operator/composition/internal/jsontest"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/kustomize/api/types"
)

// patchObjects returns the objects to which all examples apply their patches.
func patchObjects(t testing.TB) []*unstructured.Unstructured {
	t.Helper()
	var objects []*unstructured.Unstructured
	for _, item := range jsontest.ReadYAML(t, "testdata/objects.yaml") {
		objects = append(objects, &unstructured.Unstructured{Object: item.(map[string]any)})
	}
	return objects
}

func isReserved(key string) bool { return strings.HasPrefix(key, "example.com/") }

// patchesOf returns the patches of an example.
func patchesOf(t testing.TB, items []any) []Patch {
	t.Helper()
	var patches []Patch
	for i, item := range items {
		item := item.(map[string]any)
		patch := Patch{Source: "Source", Path: fmt.Sprintf("spec.patches[%d]", i), Text: item["patch"].(string)}
		if target, ok := item["target"]; ok {
			text, err := json.Marshal(target)
			if err != nil {
				t.Fatal(err)
			}
			patch.Target = &types.Selector{}
			if err := json.Unmarshal(text, patch.Target); err != nil {
				t.Fatal(err)
			}
		}
		denied, _ := item["denied"].([]any)
		for _, kind := range denied {
			group, name, found := strings.Cut(kind.(string), "/")
			if !found {
				group, name = "", kind.(string)
			}
			patch.DeniedKinds = append(patch.DeniedKinds, schema.GroupKind{Group: group, Kind: name})
		}
		patches = append(patches, patch)
	}
	return patches
}

func TestApply(t *testing.T) {
	for _, file := range []string{"strategic", "json6902", "form", "targets", "validate"} {
		for _, item := range jsontest.ReadYAML(t, filepath.Join("testdata", file+".yaml")) {
			example := item.(map[string]any)
			t.Run(file+"/"+example["name"].(string), func(t *testing.T) {
				objects, before := patchObjects(t), patchObjects(t)
				patches := patchesOf(t, example["patches"].([]any))
				result, unmatched, err := Apply(objects, patches, isReserved)

				if diff := cmp.Diff(before, objects); diff != "" {
					t.Errorf("the objects in the arguments changed:\n%s", diff)
				}
				if want, _, _ := unstructured.NestedStringSlice(example, "errors"); want != nil {
					if err == nil {
						t.Fatal("no error")
					}
					if diff := cmp.Diff(strings.Join(want, "\n"), err.Error()); diff != "" {
						t.Errorf("error (-want +got):\n%s\n%s", diff, err)
					}
					if result != nil {
						t.Error("a result together with an error")
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				want, _ := example["want"].(map[string]any)
				for i, object := range result {
					if object.GetName() != before[i].GetName() || object.GetKind() != before[i].GetKind() {
						t.Fatalf("%s is at the position of %s", nameOf(object), nameOf(before[i]))
					}
					changed, ok := want[nameOf(object)]
					switch {
					case ok:
						jsontest.RequireContains(t, nameOf(object), object.Object, changed)
						delete(want, nameOf(object))
					case file != "targets" && !reflect.DeepEqual(object, before[i]):
						t.Errorf("%s changed:\n%s", nameOf(object), cmp.Diff(before[i], object))
					}
					jsontest.RequireAppliable(t, object.GroupVersionKind(), object.Object)
				}
				if len(want) > 0 {
					t.Errorf("not among the objects: %v", want)
				}
				var paths []string
				for _, patch := range unmatched {
					paths = append(paths, patch.Path)
				}
				wantPaths, _, _ := unstructured.NestedStringSlice(example, "unmatched")
				if !slices.Equal(paths, wantPaths) {
					t.Errorf("unmatched %v, want %v", paths, wantPaths)
				}
			})
		}
	}
}

func TestError(t *testing.T) {
	patches := []Patch{
		{Source: "Widget team-a/w", Path: "spec.patches[0]", Target: &types.Selector{}, Text: "metadata: {name: a, uid: b}"},
		{Source: "Widget team-a/w", Path: "spec.patches[1]", Text: "{}"},
	}
	_, _, err := Apply(patchObjects(t)[:1], patches, nil)
	var all interface{ Unwrap() []error }
	if !errors.As(err, &all) || len(all.Unwrap()) != 2 {
		t.Fatalf("not two errors: %v", err)
	}
	var first, second *Error
	if !errors.As(all.Unwrap()[0], &first) || !errors.As(all.Unwrap()[1], &second) {
		t.Fatalf("not of type *Error: %v", err)
	}
	if first.Source != "Widget team-a/w" || first.Path != "spec.patches[0]" || first.Object != "Deployment/web" || !errors.Is(first, first.Err) {
		t.Errorf("%+v", first)
	}
	if second.Object != "" || second.Path != "spec.patches[1]" {
		t.Errorf("%+v", second)
	}
}

// TestWithoutReservedKeys checks that patches may change any label if no key is reserved.
func TestWithoutReservedKeys(t *testing.T) {
	patch := Patch{Target: &types.Selector{}, Text: "metadata: {labels: {example.com/owned: other}}"}
	result, _, err := Apply(patchObjects(t)[:1], []Patch{patch}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := result[0].GetLabels()["example.com/owned"]; got != "other" {
		t.Errorf("label is %q", got)
	}
}

func TestUnmatchedPatchHasTheTextOfItsDocument(t *testing.T) {
	text := "{apiVersion: v1, kind: ConfigMap, metadata: {name: conf}}\n---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: other}}\n"
	_, unmatched, err := Apply(patchObjects(t), []Patch{{Source: "s", Path: "p", Text: text}}, nil)
	if err != nil || len(unmatched) != 1 {
		t.Fatalf("%v, %v", unmatched, err)
	}
	if got := unmatched[0]; !strings.Contains(got.Text, "other") || strings.Contains(got.Text, "conf}") || got.Path != "p (document 2)" || got.Source != "s" {
		t.Errorf("%+v", got)
	}
}
