package plan

import (
	"slices"
	"testing"

	"github.com/seldon-operator/seldon-operator/composition/internal/enginetest"
	"github.com/seldon-operator/seldon-operator/composition/internal/jsontest"
	"github.com/seldon-operator/seldon-operator/composition/object"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// reader is a workload whose pods read ConfigMap config and Secret token.
func reader(spec string) func(t *testing.T) *unstructured.Unstructured {
	return func(t *testing.T) *unstructured.Unstructured {
		return enginetest.NewObject(schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}, "web",
			map[string]any{"spec": map[string]any{"template": map[string]any{"spec": jsontest.Decode(t, spec)}}})
	}
}

func TestReadBy(t *testing.T) {
	configurations := ConfigHashes{
		{"ConfigMap", "config"}: {Current: "1"}, {"Secret", "token"}: {Current: "2"}, {"Secret", "both"}: {Current: "3"}, {"ConfigMap", "both"}: {},
	}
	for spec, want := range map[string][]string{
		`{"volumes":[{"name":"v","configMap":{"name":"token"}},{"name":"w","secret":{"secretName":"config"}}]}`: nil,
		`{"volumes":[{"name":"v","configMap":{"name":"both"}},{"name":"w","secret":{"secretName":"both"}}]}`:    {"both", "both"},
		`{}`: nil,
		`{"volumes":[{"name":"v","configMap":{"name":"config"}}]}`:                                                                                                             {"config"},
		`{"volumes":[{"name":"v","configMap":{"name":"other"}}]}`:                                                                                                              nil,
		`{"volumes":[{"name":"v","secret":{"secretName":"token"}}]}`:                                                                                                           {"token"},
		`{"volumes":[{"name":"v","projected":{"sources":[{"secret":{"name":"token"}},{"configMap":{"name":"config"}}]}}]}`:                                                     {"config", "token"},
		`{"containers":[{"env":[{"name":"config","valueFrom":{"configMapKeyRef":{"name":"config","key":"a"}}}]}]}`:                                                             {"config"},
		`{"initContainers":[{"envFrom":[{"configMapRef":{"name":"config"}},{"secretRef":{"name":"token"}}]}]}`:                                                                 {"config", "token"},
		`{"containers":[{"env":[{"name":"A","valueFrom":{"secretKeyRef":{"name":"token","key":"a"}}},{"name":"B","valueFrom":{"secretKeyRef":{"name":"token","key":"b"}}}]}]}`: {"token"},
		`{"serviceAccountName":"config","nodeSelector":{"secret":"token","configMap":"config"},"containers":[{"name":"config"}]}`:                                              nil,
	} {
		var got []string
		for _, key := range configurations.referencedBy(reader(spec)(t)) {
			got = append(got, key.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s reads %v, want %v", spec, got, want)
		}
	}
}

func TestConfigurationOf(t *testing.T) {
	digest := func(obj client.Object) string {
		t.Helper()
		configuration, err := HashConfig(enginetest.Options, obj)
		if err != nil {
			t.Fatal(err)
		}
		return configuration.Current
	}
	typed := &corev1.ConfigMap{Data: map[string]string{"a": "b"}, BinaryData: map[string][]byte{"c": {1, 2}}}
	rendered := &unstructured.Unstructured{Object: map[string]any{
		"data": map[string]any{"a": "b"}, "binaryData": map[string]any{"c": "AQI="},
	}}
	if digest(typed) != digest(rendered) {
		t.Error("the digest depends on the form of the object")
	}
	before := digest(typed)
	typed.BinaryData["c"] = []byte{3}
	if digest(typed) == before {
		t.Error("binaryData does not count")
	}
}

func TestMarkRollouts(t *testing.T) {
	web := reader(`{"volumes":[{"name":"v","configMap":{"name":"config"}}]}`)
	name := ConfigRef{"ConfigMap", "config"}
	config := func(data string) *unstructured.Unstructured {
		return enginetest.NewObject(schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, "config", map[string]any{"data": map[string]any{"key": data}})
	}
	owned := func(obj *unstructured.Unstructured) *unstructured.Unstructured {
		obj.SetOwnerReferences([]metav1.OwnerReference{{UID: enginetest.Owner.UID, Controller: new(true)}})
		return obj
	}
	configuration := func(data string) ConfigHash { return ConfigHashOf(enginetest.Options, config(data)) }
	digestFor := func(data string) string {
		digest, _ := ConfigHashes{name: configuration(data)}.hash([]ConfigRef{name})
		return digest
	}
	// theirs was adopted with the data given, and is now another.
	theirs := func(adopted string) ConfigHashes {
		obj := config("theirs")
		obj.SetAnnotations(map[string]string{enginetest.Options.HashAtAdoptionAnnotation(): configuration(adopted).Current})
		return ConfigHashes{name: ConfigHashOf(enginetest.Options, obj)}
	}
	absent := ConfigHashes{name: {}}
	liveWeb := func(origin string) *unstructured.Unstructured {
		live := web(t)
		if origin != "" {
			object.SetField(live.Object, origin, "metadata", "annotations", enginetest.Options.HashAtCreationAnnotation())
		}
		return live
	}
	marked := func(live *unstructured.Unstructured, mark string) *unstructured.Unstructured {
		object.SetField(live.Object, mark, "spec", "template", "metadata", "annotations", enginetest.Options.ConfigHashAnnotation())
		return live
	}
	type lives = []*unstructured.Unstructured
	tests := map[string]struct {
		live         lives
		others       ConfigHashes
		notRendered  bool
		origin, mark string
	}{
		"a new workload":                           {origin: digestFor("new")},
		"one made with it":                         {live: lives{liveWeb(digestFor("new"))}, origin: digestFor("new")},
		"one made with another":                    {live: lives{liveWeb(digestFor("old"))}, origin: digestFor("old"), mark: digestFor("new")},
		"an adopted one":                           {live: lives{liveWeb(""), owned(config("new"))}, origin: digestFor("new")},
		"an adopted one with another":              {live: lives{liveWeb(""), owned(config("old"))}, origin: digestFor("old"), mark: digestFor("new")},
		"one whose configuration was deleted":      {live: lives{enginetest.Live(liveWeb(""), "1")}, origin: digestFor("new")},
		"a configuration whose name is taken":      {live: lives{marked(liveWeb(digestFor("old")), "x"), config("old")}, origin: digestFor("old"), mark: "x"},
		"another owner's configuration":            {others: ConfigHashes{name: configuration("theirs")}, notRendered: true, origin: digestFor("theirs")},
		"another owner's, adopted as it is":        {live: lives{liveWeb("")}, others: ConfigHashes{name: configuration("theirs")}, notRendered: true, origin: digestFor("theirs")},
		"another owner's, adopted with another":    {live: lives{liveWeb("")}, others: theirs("old"), notRendered: true, origin: digestFor("old"), mark: digestFor("theirs")},
		"another owner's, made after its adoption": {others: theirs("old"), notRendered: true, origin: digestFor("theirs")},
		"another owner's, read later than adopted": {live: lives{enginetest.Live(liveWeb(""), "1")}, others: theirs("old"), notRendered: true, origin: digestFor("theirs")},
		"another owner's, absent":                  {live: lives{liveWeb(digestFor("old"))}, others: absent, notRendered: true, origin: digestFor("old")},
		"another owner's, absent after a change":   {live: lives{marked(liveWeb(digestFor("old")), "x")}, others: absent, notRendered: true, origin: digestFor("old"), mark: "x"},
		"another owner's, absent at creation":      {others: absent, notRendered: true},
		"another owner's, absent at adoption":      {live: lives{liveWeb("")}, others: absent, notRendered: true, origin: hashAtAdoption},
		"another owner's, adopted later":           {live: lives{enginetest.Live(liveWeb(hashAtAdoption), "1")}, others: theirs("old"), notRendered: true, origin: digestFor("old"), mark: digestFor("theirs")},
		"another owner's, adopted later as it is":  {live: lives{enginetest.Live(liveWeb(hashAtAdoption), "1")}, others: theirs("theirs"), notRendered: true, origin: digestFor("theirs")},
		"another owner's, made after the workload": {live: lives{enginetest.Live(liveWeb(""), "1")}, others: ConfigHashes{name: configuration("theirs")}, notRendered: true, origin: digestFor("theirs")},
		"one that nobody said is read only once":   {notRendered: true},
		"nothing rolls that remembers, unrendered": {live: lives{liveWeb(digestFor("old"))}, notRendered: true},
		"a Secret of the configuration's name":     {others: ConfigHashes{{"Secret", "config"}: {Current: "1"}}, notRendered: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			workload := web(t)
			s := State{Owner: enginetest.Owner, Options: enginetest.Options, ExternalConfigs: test.others, Objects: []object.Object{{Object: workload}}, Live: map[object.Ref]*unstructured.Unstructured{}}
			if !test.notRendered {
				s.Objects = append(s.Objects, object.Object{Object: config("new"), RestartOnChange: true})
			}
			for _, live := range test.live {
				s.Live[object.RefOf(live)] = live
			}
			workload = s.WithConfigHashes()[0].Object
			if got := workload.GetAnnotations()[enginetest.Options.HashAtCreationAnnotation()]; got != test.origin {
				t.Errorf("origin is %q, want %q", got, test.origin)
			}
			if got := podTemplateHash(enginetest.Options, workload); got != test.mark {
				t.Errorf("mark is %q, want %q", got, test.mark)
			}
		})
	}
}
