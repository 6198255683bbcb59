package plan

import (
	"encoding/json"
	"testing"

	"github.com/seldon-operator/seldon-operator/composition/internal/enginetest"
	"github.com/seldon-operator/seldon-operator/composition/internal/jsontest"
	"github.com/seldon-operator/seldon-operator/composition/internal/managedfields"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
)

func TestIsSubset(t *testing.T) {
	tests := map[string]struct {
		desired, live string
		differing     string // "" if desired is a subset
	}{
		"the same":                   {`{"a":{"b":1}}`, `{"a":{"b":1}}`, ""},
		"an additional field":        {`{"a":1}`, `{"a":1,"b":2}`, ""},
		"another value":              {`{"a":{"b":1,"c":2}}`, `{"a":{"b":1,"c":3}}`, ".a.c"},
		"a value is missing":         {`{"a":{"b":1}}`, `{"a":{}}`, ".a.b"},
		"a map is missing":           {`{"a":{"b":1}}`, `{}`, ".a"},
		"a scalar in place of a map": {`{"a":{"b":1}}`, `{"a":1}`, ".a"},
		"an empty map is missing":    {`{"a":{}}`, `{}`, ""},
		"zero values are omitted":    {`{"a":false,"b":"","c":0,"d":null}`, `{}`, ""},
		"a zero value that differs":  {`{"a":false}`, `{"a":true}`, ".a"},
		"null matches any value":     {`{"a":null}`, `{"a":1}`, ""},
		"integer and float":          {`{"a":1}`, `{"a":1.0}`, ""},
		"a number and a string":      {`{"a":1}`, `{"a":"1"}`, ".a"},
		"additional items":           {`[{"n":"a"},{"n":"b"}]`, `[{"n":"x"},{"n":"a","more":1},{"n":"y"},{"n":"b"}]`, ""},
		"items in another order":     {`[{"n":"a"},{"n":"b"}]`, `[{"n":"b"},{"n":"a"}]`, "[]"},
		"an item is missing":         {`["a","b"]`, `["a"]`, "[]"},
		"a repeated item":            {`["a","a"]`, `["a"]`, "[]"},
		"a list is missing":          {`{"a":["b"]}`, `{}`, ".a[]"},
		"an empty list is missing":   {`{"a":[]}`, `{}`, ""},
		"the same item matches once": {`[{"a":1},{"a":1,"b":2}]`, `[{"a":1,"b":2},{"a":1,"b":2}]`, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			differing, ok := isSubset(jsontest.Decode(t, test.desired), jsontest.Decode(t, test.live), "")
			if ok != (test.differing == "") || differing != test.differing {
				t.Errorf("got %v, %q, want %q", ok, differing, test.differing)
			}
		})
	}
}

func TestFirstDifference(t *testing.T) {
	for _, test := range [][3]string{
		{`{"a":1}`, `{"a":2}`, "x.a"},
		{`{"a":1}`, `{"a":1,"b":2}`, "x.b"},
		{`{"a":1,"b":2}`, `{"a":1}`, "x.b"},
		{`{"a":1}`, `{"a":1}`, "x"},
	} {
		if got := FirstDifference(jsontest.Decode(t, test[0]), jsontest.Decode(t, test[1]), "x"); got != test[2] {
			t.Errorf("%s and %s differ at %s, want %s", test[0], test[1], got, test[2])
		}
	}
}

// An object is up to date if its values differ only in the form that the API server returns.
func TestIsUpToDateIgnoresTheForm(t *testing.T) {
	object := func(text string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: jsontest.Decode(t, text).(map[string]any)}
	}
	const head = `"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","namespace":"ns","uid":"1"}`
	pod := func(container string) string {
		return `{` + head + `,"spec":{"template":{"spec":{"containers":[` + container + `]}}}}`
	}
	desired := object(pod(`{"name":"web","resources":{"limits":{"cpu":"0.5","memory":"1024Mi"}},"tty":false}`))
	live := enginetest.Live(desired, "1")
	live.Object["spec"] = object(pod(`{"name":"web","resources":{"limits":{"cpu":"500m","memory":"1Gi"}},"imagePullPolicy":"Always"}`)).Object["spec"]
	if differing, ok := isUpToDate(desired, live, enginetest.Options.FieldManager, scheme.Scheme); !ok {
		t.Errorf("not up to date: %s", differing)
	}
	live.Object["spec"] = object(pod(`{"name":"web","resources":{"limits":{"cpu":"400m","memory":"1Gi"}}}`)).Object["spec"]
	if differing, ok := isUpToDate(desired, live, enginetest.Options.FieldManager, scheme.Scheme); ok || differing != ".spec.template.spec.containers[]" {
		t.Errorf("up to date, or differing at %q", differing)
	}
	if _, ok := isUpToDate(desired, live, "other", scheme.Scheme); ok {
		t.Error("up to date without an apply of the field manager")
	}
	// A value that the Go type does not have is in doubt, not a panic.
	if _, ok := isUpToDate(object(`{`+head+`,"spec":"what"}`), live, enginetest.Options.FieldManager, scheme.Scheme); ok {
		t.Error("an invalid object is up to date")
	}
}

// A custom resource is compared in the form of its Go type.
func TestIsUpToDateIgnoresTheFormOfCustomResources(t *testing.T) {
	kind := schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Shop"}
	types := runtime.NewScheme()
	types.AddKnownTypeWithName(kind, &corev1.PersistentVolumeClaim{}) // for its quantities
	desired := enginetest.NewObject(kind, "shop", jsontest.Decode(t, `{"spec":{"resources":{"requests":{"storage":"1024Mi"}}}}`).(map[string]any))
	live := enginetest.Live(desired, "1")
	live.Object["spec"] = jsontest.Decode(t, `{"resources":{"requests":{"storage":"1Gi"}}}`)
	if differing, ok := isUpToDate(desired, live, enginetest.Options.FieldManager, types); !ok {
		t.Errorf("not up to date: %s", differing)
	}
	if _, ok := isUpToDate(desired, live, enginetest.Options.FieldManager, scheme.Scheme); ok {
		t.Error("up to date without the Go type")
	}
}

func TestSameScalar(t *testing.T) {
	same := [][2]any{{int64(1), int64(1)}, {int64(2000000), float64(2000000)}, {float64(3), int64(3)}, {"a", "a"}, {true, true}, {nil, nil}}
	for _, pair := range same {
		if !sameScalar(pair[0], pair[1]) {
			t.Errorf("%v (%T) and %v (%T) are not the same", pair[0], pair[0], pair[1], pair[1])
		}
	}
	different := [][2]any{{int64(1), "1"}, {int64(1), true}, {"a", nil}, {nil, false}, {float64(1.5), int64(1)},
		{map[string]any{}, map[string]any{}}, {[]any{}, []any{}}, {"a", map[string]any{}}}
	for _, pair := range different {
		if sameScalar(pair[0], pair[1]) {
			t.Errorf("%v (%T) and %v (%T) are the same", pair[0], pair[0], pair[1], pair[1])
		}
	}
}

// FuzzIsSubset checks that nothing panics for any JSON and any managedFields, and that a value
// is a subset of itself.
func FuzzIsSubset(f *testing.F) {
	f.Add(`{"a":[{"name":"x","v":1}],"b":[1,"y",null]}`, `{"f:a":{"k:{\"name\":\"x\"}":{".":{},"f:v":{}}},"f:b":{"v:1":{}}}`)
	f.Add(`[[{}],[[]],""]`, `{"v:[{}]":{},"k:{}":{},"k:null":{}}`)
	f.Add(`{"":{"":0}}`, `{"f:":{"f:":{"f:":null}}}`)
	f.Fuzz(func(t *testing.T, left, right string) {
		var a, b any
		if json.Unmarshal([]byte(left), &a) != nil || json.Unmarshal([]byte(right), &b) != nil {
			return
		}
		owned, _ := b.(map[string]any)
		managedfields.OwnsExactly(a, owned, "")
		isSubset(a, b, "")
		isSubset(b, a, "")
		FirstDifference(a, b, "")
		if where, ok := isSubset(a, a, ""); !ok {
			t.Errorf("%s is not a subset of itself: %s", left, where)
		}
		if fields, isMap := a.(map[string]any); isMap {
			if where, same := managedfields.OwnsExactly(fields, enginetest.Fields(fields), ""); !same {
				t.Errorf("%s does not own exactly its fields: %s", left, where)
			}
		}
	})
}
