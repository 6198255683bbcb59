package composition

import (
	"os"
	"reflect"
	"testing"

	kustomizetypes "sigs.k8s.io/kustomize/api/types"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/seldon-operator/seldon-operator/composition/internal/enginetest"
	"github.com/seldon-operator/seldon-operator/composition/object"
	"github.com/seldon-operator/seldon-operator/composition/patch"
	"github.com/seldon-operator/seldon-operator/composition/plan"
	"github.com/seldon-operator/seldon-operator/composition/template"
)

// Instances of a template share all parts without parameters, so these must not be changed in
// place.
func TestInstancesDoNotChangeEachOther(t *testing.T) {
	templates, err := template.Load(os.DirFS("testdata/templates"), "composition.seldon-operator.dev/")
	if err != nil {
		t.Fatal(err)
	}
	ref := template.Ref{Folder: "site", Parameters: map[string]string{"name": "a", "greeting": "b"}}
	instantiate := func() map[string]*unstructured.Unstructured {
		children, err := templates.Instantiate(ref, "team-a")
		if err != nil {
			t.Fatal(err)
		}
		instance := map[string]*unstructured.Unstructured{}
		for _, child := range children {
			instance[child.Ref().Kind] = child.Object
		}
		return instance
	}
	containers := func(instance map[string]*unstructured.Unstructured) any {
		list, _, _ := unstructured.NestedFieldNoCopy(instance["Deployment"].Object, "spec", "template", "spec", "containers")
		return list
	}
	first := instantiate()
	before := map[string]object.Hash{}
	for kind, obj := range first {
		before[kind] = object.StableHash(obj.Object)
	}
	if again := instantiate(); reflect.ValueOf(containers(first)).Pointer() != reflect.ValueOf(containers(again)).Pointer() {
		t.Error("a part without parameters is copied")
	}

	rendered, err := Render(templates, Input{
		Namespace: "team-a", Templates: []template.Ref{ref},
		Layers: []template.Layer{{Overlays: func() ([]template.Overlay, error) {
			return []template.Overlay{{Kind: first["Deployment"].GroupVersionKind(), Name: "a", Content: map[string]any{"spec": map[string]any{"template": map[string]any{
				"spec": map[string]any{"containers": []any{map[string]any{"name": "web", "image": "other"}}},
			}}}}}, nil
		}}},
		Patches: []patch.Patch{{Target: &kustomizetypes.Selector{}, Text: `[{op: add, path: /metadata/annotations, value: {a: b}}]`}},
	}, enginetest.Options)
	if err != nil {
		t.Fatal(err)
	}
	s := plan.State{Owner: enginetest.Owner, Options: enginetest.Options, Objects: rendered.Objects}
	s.ExternalConfigs = plan.ConfigHashes{{Kind: "ConfigMap", Name: "a"}: {Current: "1"}}
	for _, step := range plan.Compute(s).Steps {
		object.SetField(step.Object.Object, "x", "spec", "template", "spec", "nodeName")
	}
	for kind, obj := range instantiate() {
		if object.StableHash(obj.Object) != before[kind] {
			t.Errorf("%s was changed through another instance", kind)
		}
	}
}
