package patch

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/seldon-operator/seldon-operator/composition/internal/jsontest"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/resid"
)

// FuzzPatch applies any text as a patch. Apply does not panic, does not change its arguments,
// and returns the same result each time, in which only allowed changes have been made.
func FuzzPatch(f *testing.F) {
	for _, file := range []string{"strategic", "json6902", "form", "validate"} {
		for _, item := range jsontest.ReadYAML(f, "testdata/"+file+".yaml") {
			for _, patch := range patchesOf(f, item.(map[string]any)["patches"].([]any)) {
				kind := ""
				if patch.Target != nil {
					kind = patch.Target.Kind
				}
				f.Add(kind, patch.Text)
			}
		}
	}

	all := patchObjects(f)
	f.Fuzz(func(t *testing.T, kind, text string) {
		patch := Patch{Source: "Source", Path: "spec.patches[0]", Text: text}
		if kind != "" {
			patch.Target = &types.Selector{ResId: resid.ResId{Gvk: resid.Gvk{Kind: kind}}}
		}
		before, objects := all, make([]*unstructured.Unstructured, len(all))
		for i, object := range all {
			objects[i] = object.DeepCopy()
		}
		result, _, err := Apply(objects, []Patch{patch}, isReserved)
		again, _, errAgain := Apply(objects, []Patch{patch}, isReserved)
		if diff := cmp.Diff(before, objects); diff != "" {
			t.Fatalf("the objects in the arguments changed:\n%s", diff)
		}
		if !reflect.DeepEqual(result, again) || fmt.Sprint(err) != fmt.Sprint(errAgain) {
			t.Fatalf("first %v, %v, then %v, %v", result, err, again, errAgain)
		}
		if err != nil {
			return
		}
		for i, object := range result {
			was := before[i]
			if object.GetAPIVersion() != was.GetAPIVersion() || object.GetKind() != was.GetKind() ||
				object.GetName() != was.GetName() || object.GetNamespace() != was.GetNamespace() ||
				!reflect.DeepEqual(object.GetOwnerReferences(), was.GetOwnerReferences()) ||
				!reflect.DeepEqual(object.GetFinalizers(), was.GetFinalizers()) ||
				!reflect.DeepEqual(specSelector(object.Object), specSelector(was.Object)) {
				t.Errorf("%s became %v", nameOf(was), object)
			}
			jsontest.RequireAppliable(t, object.GroupVersionKind(), object.Object)
		}
	})
}
