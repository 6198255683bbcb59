package composition

import (
	"os"
	"reflect"
	"testing"

	kustomizetypes "sigs.k8s.io/kustomize/api/types"

	"github.com/seldon-operator/seldon-operator/composition/internal/enginetest"
	"github.com/seldon-operator/seldon-operator/composition/object"
	"github.com/seldon-operator/seldon-operator/composition/patch"
	"github.com/seldon-operator/seldon-operator/composition/plan"
	"github.com/seldon-operator/seldon-operator/composition/template"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Bindings share what no parameter is part of, so nothing that works on one may
// change it in place.
func TestBindingsDoNotDisturbEachOther(t *testing.T) {
	templates, err := template.Load(os.DirFS("testdata/templates"), "composition.seldon-operator.dev/")
	if err != nil {
		t.Fatal(err)
	}
	frame := template.Ref{Folder: "site", Parameters: map[string]string{"name": "a", "greeting": "b"}}
	bind := func() map[string]*unstructured.Unstructured {
		children, err := templates.Instantiate(frame, "team-a")
		if err != nil {
			t.Fatal(err)
		}
		bound := map[string]*unstructured.Unstructured{}
		for _, child := range children {
			bound[child.Ref().Kind] = child.Object
		}
		return bound
	}
	containers := func(bound map[string]*unstructured.Unstructured) any {
		list, _, _ := unstructured.NestedFieldNoCopy(bound["Deployment"].Object, "spec", "template", "spec", "containers")
		return list
	}
	first := bind()
	before := map[string]object.Hash{}
	for kind, obj := range first {
		before[kind] = object.StableHash(obj.Object)
	}
	if again := bind(); reflect.ValueOf(containers(first)).Pointer() != reflect.ValueOf(containers(again)).Pointer() {
		t.Error("what has no parameter in it is copied")
	}

	rendering, err := Render(templates, Input{
		Namespace: "team-a", Templates: []template.Ref{frame},
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
	s := plan.State{Owner: enginetest.Owner, Options: enginetest.Options, Objects: rendering.Objects}
	s.ExternalConfigs = plan.ConfigHashes{{Kind: "ConfigMap", Name: "a"}: {Current: "1"}}
	for _, step := range plan.Compute(s).Steps {
		object.SetField(step.Object.Object, "x", "spec", "template", "spec", "nodeName")
	}
	for kind, obj := range bind() {
		if object.StableHash(obj.Object) != before[kind] {
			t.Errorf("%s was changed through another binding", kind)
		}
	}
}
