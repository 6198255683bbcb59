package controllers

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/randfill"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition/reconciler"
)

// A patch of an empty status clears every field that a status may have. The fields are
// found by reflection, so that new ones are covered.
func TestStatusPatchClearsEveryField(t *testing.T) {
	for _, object := range []reconciler.Object{
		&v1alpha1.SeldonRuntime{}, &v1alpha1.Server{}, &v1alpha1.Model{}, &v1alpha1.Pipeline{}, &v1alpha1.Experiment{},
	} {
		t.Run(fmt.Sprintf("%T", object), func(t *testing.T) {
			stored := object.DeepCopyObject().(reconciler.Object)
			status := reflect.ValueOf(stored).Elem().FieldByName("Status")
			for _, field := range reflect.VisibleFields(status.Type()) {
				for value := status.FieldByIndex(field.Index); value.IsZero(); { // texts may be empty
					randfill.New().NilChance(0).NumElements(1, 1).Fill(value.Addr().Interface())
				}
			}
			text, err := json.Marshal(stored)
			if err != nil {
				t.Fatal(err)
			}
			patch, err := reconciler.StatusPatch(object)
			if err != nil {
				t.Fatal(err)
			}
			patched, err := jsonpatch.MergePatch(text, patch)
			if err != nil {
				t.Fatal(err)
			}
			var got struct{ Status map[string]any }
			if err := json.Unmarshal(patched, &got); err != nil {
				t.Fatal(err)
			}
			for name, value := range got.Status {
				if !reflect.ValueOf(value).IsZero() {
					t.Errorf("status.%s is still %v", name, value)
				}
			}
			for _, number := range []string{"replicas", "availableReplicas", "loadedModels"} {
				if field, has := fieldNamed(status.Type(), number); has {
					if _, sent := got.Status[number]; !sent {
						t.Errorf("status.%s (%s) is not written at zero", number, field.Name)
					}
				}
			}
		})
	}
}

// A status is sent without changes.
func TestStatusPatchContainsTheStatus(t *testing.T) {
	model := &v1alpha1.Model{}
	randfill.New().NilChance(0).NumElements(1, 1).Fill(&model.Status)
	patch, err := reconciler.StatusPatch(model)
	if err != nil {
		t.Fatal(err)
	}
	read := &v1alpha1.Model{}
	if err := json.Unmarshal(patch, read); err != nil {
		t.Fatal(err)
	}
	want, got := toJSON(t, model.Status), toJSON(t, read.Status)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func fieldNamed(of reflect.Type, name string) (reflect.StructField, bool) {
	for _, field := range reflect.VisibleFields(of) {
		if tag := field.Tag.Get("json"); tag == name || tag == name+",omitempty" {
			return field, true
		}
	}
	return reflect.StructField{}, false
}

func toJSON(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
