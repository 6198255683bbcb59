package v1alpha1_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// zeros sets fields to zero values, which a Go struct does not distinguish from unset fields.
const zeros = `{"hostNetwork":false,"nodeName":"","nodeSelector":{},"priority":0,"containers":[{"name":"a",` +
	`"args":[],"command":null,"env":[{"name":"EMPTY","value":""}],"image":"","stdin":false,` +
	`"resources":{"limits":{"memory":"1.5Gi"}},"ports":[]}],"terminationGracePeriodSeconds":0,"tolerations":[],"volumes":[]}`

// rawType is a type that keeps the JSON that it was decoded from.
type rawType interface {
	json.Marshaler
	json.Unmarshaler
	Raw() (map[string]any, error)
}

var rawTypes = map[string]func() rawType{
	"PodSpec":                   func() rawType { return &v1alpha1.PodSpec{} },
	"CorePodSpec":               func() rawType { return &v1alpha1.CorePodSpec{} },
	"PersistentVolumeClaimSpec": func() rawType { return &v1alpha1.PersistentVolumeClaimSpec{} },
}

func mustDecode(t *testing.T, data string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(data), into); err != nil {
		t.Fatal(err)
	}
}

func TestRawJSONRoundTrip(t *testing.T) {
	for name, fresh := range rawTypes {
		data := zeros
		if name == "PersistentVolumeClaimSpec" {
			data = `{"accessModes":[],"resources":{"requests":{"storage":"1.5Gi"}},"storageClassName":"","volumeName":""}`
		}
		value := fresh()
		mustDecode(t, data, value)
		checkRoundTrip(t, value, data)
	}
	var container v1alpha1.Container
	mustDecode(t, `{"name":"","args":[]}`, &container)
	if got := mustMarshal(t, container); got != `{"name":"","args":[]}` {
		t.Errorf("container is encoded as %s", got)
	}
}

// checkRoundTrip checks that value is encoded as the JSON that it was decoded from.
func checkRoundTrip(t *testing.T, value rawType, data string) {
	t.Helper()
	raw, err := value.Raw()
	if err != nil {
		t.Fatalf("%T: raw: %v", value, err)
	}
	var want map[string]any
	if err := utiljson.Unmarshal([]byte(data), &want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(raw, want) {
		t.Errorf("%T: raw is\n%v, want\n%v", value, raw, want)
	}
	// Unstructured objects can be copied only if their numbers are of two types.
	if !reflect.DeepEqual(runtime.DeepCopyJSON(raw), raw) {
		t.Errorf("%T: the copy of raw differs", value)
	}
	var compact map[string]any
	if err := utiljson.Unmarshal([]byte(mustMarshal(t, value)), &compact); err != nil || !reflect.DeepEqual(compact, want) {
		t.Errorf("%T: encoded as %v (%v), want %v", value, compact, err, want)
	}
	delete(raw, "containers")
	if again, err := value.Raw(); err != nil || !reflect.DeepEqual(again, want) {
		t.Errorf("%T: raw is shared with an earlier caller", value)
	}
}

func TestKeptJSONIsCopied(t *testing.T) {
	data := []byte(zeros)
	var spec v1alpha1.PodSpec
	if err := spec.UnmarshalJSON(data); err != nil {
		t.Fatal(err)
	}
	// Decoders reuse their buffers.
	copy(data, strings.Repeat(" ", len(data)))
	deep := spec.DeepCopy()
	checkRoundTrip(t, &spec, zeros)
	checkRoundTrip(t, deep, zeros)
}

func TestFieldsAreDecodedToo(t *testing.T) {
	var spec v1alpha1.PodSpec
	mustDecode(t, zeros, &spec)
	if len(spec.Containers) != 1 || spec.Containers[0].Name != "a" || spec.Priority == nil || spec.TerminationGracePeriodSeconds == nil {
		t.Errorf("decoded %+v", spec.PodSpecFields)
	}
	if got := spec.Containers[0].Resources.Limits.Memory().Value(); got != 3<<29 {
		t.Errorf("memory limit is %d", got)
	}
}

func TestChangedFieldsWin(t *testing.T) {
	var spec v1alpha1.CorePodSpec
	mustDecode(t, zeros, &spec)
	spec.Containers[0].Image = "new"
	raw, err := spec.Raw()
	if err != nil {
		t.Fatal(err)
	}
	container := raw["containers"].([]any)[0].(map[string]any)
	if container["image"] != "new" {
		t.Errorf("raw has image %v", container["image"])
	}
	if data := mustMarshal(t, spec); !strings.Contains(data, `"image":"new"`) {
		t.Errorf("encoded as %s", data)
	}
	spec.Containers[0].Image = ""
	checkRoundTrip(t, &spec, zeros)
}

func TestMadeInGo(t *testing.T) {
	spec := v1alpha1.PodSpec{PodSpecFields: v1alpha1.PodSpecFields{Containers: []corev1.Container{{Name: "a"}}}}
	if got, want := mustMarshal(t, spec), `{"containers":[{"name":"a","resources":{}}]}`; got != want {
		t.Errorf("encoded as %s, want %s", got, want)
	}
	raw, err := spec.Raw()
	if err != nil || len(raw["containers"].([]any)) != 1 {
		t.Errorf("raw is %v, %v", raw, err)
	}
	var none *v1alpha1.PodSpec
	if raw, err := none.Raw(); raw != nil || err != nil {
		t.Errorf("raw of nil is %v, %v", raw, err)
	}
}

func TestDecodingAgainForgets(t *testing.T) {
	var spec v1alpha1.PodSpec
	mustDecode(t, zeros, &spec)
	mustDecode(t, `{"nodeName":"n"}`, &spec)
	checkRoundTrip(t, &spec, `{"nodeName":"n"}`)
	if spec.Containers != nil {
		t.Error("containers of the earlier value are left")
	}
	var config v1alpha1.ServerConfigSpec
	mustDecode(t, `{"podSpec":null}`, &config)
	if got := mustMarshal(t, config); got != `{"podSpec":{"containers":null}}` {
		t.Errorf("a null pod spec is encoded as %s", got)
	}
}

// TestUndecodableFields checks that JSON which cannot be decoded into the fields does not
// fail decoding, and that Raw returns the error.
func TestUndecodableFields(t *testing.T) {
	for name, fresh := range rawTypes {
		data, complaint := `{"containers":[{"name":"a","ports":[{"containerPort":3000000000}]}]}`, "containerPort"
		if name == "PersistentVolumeClaimSpec" {
			data, complaint = `{"resources":{"requests":{"storage":"1e1.5"}}}`, "quantities must match"
		}
		value := fresh()
		mustDecode(t, data, value)
		if _, err := value.Raw(); err == nil || !strings.Contains(err.Error(), complaint) {
			t.Errorf("%s: raw of undecodable JSON: %v", name, err)
		}
		if got := mustMarshal(t, value); got != data {
			t.Errorf("%s: undecodable JSON is encoded as %s", name, got)
		}
	}
	for name, fresh := range rawTypes {
		for _, data := range []string{`[]`, `"a"`, `7`} {
			if err := json.Unmarshal([]byte(data), fresh()); err == nil {
				t.Errorf("%s decodes %s", name, data)
			}
		}
	}
}

// TestSemanticEquality compares objects as controllers do, with a function that panics at
// unexported fields without a function of their type.
func TestSemanticEquality(t *testing.T) {
	decode := func(podSpec string) *v1alpha1.Server {
		var server v1alpha1.Server
		mustDecode(t, `{"spec":{"serverConfig":"a","podSpec":`+podSpec+`,"imageOverrides":{"agent":{"name":"a"}}}}`, &server)
		return &server
	}
	const undecodable = `{"priority":1e30}`
	for _, test := range []struct {
		a, b  string
		equal bool
	}{
		{`{"nodeName":"n","hostNetwork":false}`, `{"hostNetwork":false,"nodeName":"n"}`, true},
		{`{"hostNetwork":false}`, `{}`, false},
		{`{"nodeName":"n"}`, `{"nodeName":"m"}`, false},
		{undecodable, undecodable, true},
		{undecodable, `{}`, false},
		{`null`, `{}`, false},
		{`null`, `null`, true},
	} {
		if got := equality.Semantic.DeepEqual(decode(test.a), decode(test.b)); got != test.equal {
			t.Errorf("%s and %s: equal is %v", test.a, test.b, got)
		}
	}
	changed := decode(`{"nodeName":"n"}`)
	changed.Spec.PodSpec.NodeName = "m"
	if equality.Semantic.DeepEqual(changed, decode(`{"nodeName":"n"}`)) {
		t.Error("a changed field is equal")
	}
	for _, kind := range []string{v1alpha1.KindServerConfig, v1alpha1.KindSeldonConfig, v1alpha1.KindServer} {
		object, err := complete(kind)
		if err != nil {
			t.Fatal(err)
		}
		scheme := runtime.NewScheme()
		if err := v1alpha1.AddToScheme(scheme); err != nil {
			t.Fatal(err)
		}
		a, err := scheme.New(object.GroupVersionKind())
		if err != nil {
			t.Fatal(err)
		}
		mustDecode(t, mustMarshal(t, object), a)
		if !equality.Semantic.DeepEqual(a, a.DeepCopyObject()) {
			t.Errorf("%s: a copy is not equal", kind)
		}
	}
}

func TestIntOrString(t *testing.T) {
	for _, data := range []string{`0`, `-1`, `2592000000`, `9223372036854775807`, `""`, `"1"`, `"25%"`} {
		var value v1alpha1.IntOrString
		mustDecode(t, data, &value)
		if got := mustMarshal(t, value); got != data {
			t.Errorf("%s is encoded as %s", data, got)
		}
		if got, want := value.String(), strings.Trim(data, `"`); got != want {
			t.Errorf("string of %s is %s", data, got)
		}
	}
	value := v1alpha1.FromInt(7)
	mustDecode(t, `null`, &value)
	if value != v1alpha1.FromInt(7) {
		t.Errorf("null changes a value to %v", value)
	}
	for _, data := range []string{`1.5`, `true`, `{}`} {
		if err := json.Unmarshal([]byte(data), &value); err == nil {
			t.Errorf("%s decodes", data)
		}
	}
}

// FuzzPodSpec decodes any JSON object: it must be encoded unchanged, also if Raw returns an
// error.
func FuzzPodSpec(f *testing.F) {
	f.Add([]byte(zeros))
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"unknown":{"a":[1,2.5,null,""]},"containers":[{"name":"a","livenessProbe":{"httpGet":{"port":0}}}]}`))
	f.Add([]byte(`{"containers":[{"ports":[{"containerPort":3000000000}]}]}`))
	f.Add([]byte(`{"overhead":{"memory":"1e1.5"},"priority":1e3}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var want map[string]any
		if utiljson.Unmarshal(data, &want) != nil || want == nil {
			return // no JSON object
		}
		for name, fresh := range rawTypes {
			value := fresh()
			if err := json.Unmarshal(data, value); err != nil {
				t.Fatalf("%s: decode: %v", name, err)
			}
			var got map[string]any
			if err := utiljson.Unmarshal([]byte(mustMarshal(t, value)), &got); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s: encoded as %v (%v), want %v", name, got, err, want)
			}
			if raw, err := value.Raw(); err == nil && !reflect.DeepEqual(raw, want) {
				t.Errorf("%s: raw is %v, want %v", name, raw, want)
			}
		}
	})
}
