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

// reader returns a function that returns a workload with a pod spec.
func reader(spec string) func(t *testing.T) *unstructured.Unstructured {
	return func(t *testing.T) *unstructured.Unstructured {
		return enginetest.NewObject(schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}, "web",
			map[string]any{"spec": map[string]any{"template": map[string]any{"spec": jsontest.Decode(t, spec)}}})
	}
}

func TestReferencedBy(t *testing.T) {
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

func TestHashConfig(t *testing.T) {
	hash := func(obj client.Object) string {
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
	if hash(typed) != hash(rendered) {
		t.Error("the hash depends on the form of the object")
	}
	before := hash(typed)
	typed.BinaryData["c"] = []byte{3}
	if hash(typed) == before {
		t.Error("binaryData is not part of the hash")
	}
}

func TestWithConfigHashes(t *testing.T) {
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
	hashFor := func(data string) string {
		hash, _ := ConfigHashes{name: configuration(data)}.hash([]ConfigRef{name})
		return hash
	}
	// external is a configuration of another owner that was adopted with other data.
	external := func(adopted string) ConfigHashes {
		obj := config("external")
		obj.SetAnnotations(map[string]string{enginetest.Options.HashAtAdoptionAnnotation(): configuration(adopted).Current})
		return ConfigHashes{name: ConfigHashOf(enginetest.Options, obj)}
	}
	absent := ConfigHashes{name: {}}
	liveWeb := func(atCreation string) *unstructured.Unstructured {
		live := web(t)
		if atCreation != "" {
			object.SetField(live.Object, atCreation, "metadata", "annotations", enginetest.Options.HashAtCreationAnnotation())
		}
		return live
	}
	withHash := func(live *unstructured.Unstructured, hash string) *unstructured.Unstructured {
		object.SetField(live.Object, hash, "spec", "template", "metadata", "annotations", enginetest.Options.ConfigHashAnnotation())
		return live
	}
	type lives = []*unstructured.Unstructured
	tests := map[string]struct {
		live        lives
		external    ConfigHashes
		notRendered bool
		// atCreation and hash are the annotations of the workload and of its pod template.
		atCreation, hash string
	}{
		"a new workload":                                 {atCreation: hashFor("new")},
		"created with the same configuration":            {live: lives{liveWeb(hashFor("new"))}, atCreation: hashFor("new")},
		"created with another configuration":             {live: lives{liveWeb(hashFor("old"))}, atCreation: hashFor("old"), hash: hashFor("new")},
		"adopted":                                        {live: lives{liveWeb(""), owned(config("new"))}, atCreation: hashFor("new")},
		"adopted with another configuration":             {live: lives{liveWeb(""), owned(config("old"))}, atCreation: hashFor("old"), hash: hashFor("new")},
		"the configuration was deleted":                  {live: lives{enginetest.Live(liveWeb(""), "1")}, atCreation: hashFor("new")},
		"the configuration has another owner":            {live: lives{withHash(liveWeb(hashFor("old")), "x"), config("old")}, atCreation: hashFor("old"), hash: "x"},
		"external configuration":                         {external: ConfigHashes{name: configuration("external")}, notRendered: true, atCreation: hashFor("external")},
		"external, adopted unchanged":                    {live: lives{liveWeb("")}, external: ConfigHashes{name: configuration("external")}, notRendered: true, atCreation: hashFor("external")},
		"external, adopted with other content":           {live: lives{liveWeb("")}, external: external("old"), notRendered: true, atCreation: hashFor("old"), hash: hashFor("external")},
		"external, workload created after its adoption":  {external: external("old"), notRendered: true, atCreation: hashFor("external")},
		"external, first read after its adoption":        {live: lives{enginetest.Live(liveWeb(""), "1")}, external: external("old"), notRendered: true, atCreation: hashFor("external")},
		"external, absent":                               {live: lives{liveWeb(hashFor("old"))}, external: absent, notRendered: true, atCreation: hashFor("old")},
		"external, absent after a change":                {live: lives{withHash(liveWeb(hashFor("old")), "x")}, external: absent, notRendered: true, atCreation: hashFor("old"), hash: "x"},
		"external, absent at creation":                   {external: absent, notRendered: true},
		"external, absent at adoption":                   {live: lives{liveWeb("")}, external: absent, notRendered: true, atCreation: hashAtAdoption},
		"external, adopted after the workload":           {live: lives{enginetest.Live(liveWeb(hashAtAdoption), "1")}, external: external("old"), notRendered: true, atCreation: hashFor("old"), hash: hashFor("external")},
		"external, adopted unchanged after the workload": {live: lives{enginetest.Live(liveWeb(hashAtAdoption), "1")}, external: external("external"), notRendered: true, atCreation: hashFor("external")},
		"external, created after the workload":           {live: lives{enginetest.Live(liveWeb(""), "1")}, external: ConfigHashes{name: configuration("external")}, notRendered: true, atCreation: hashFor("external")},
		"configuration without RestartOnChange":          {notRendered: true},
		"no configuration any more":                      {live: lives{liveWeb(hashFor("old"))}, notRendered: true},
		"a Secret of the same name as the configuration": {external: ConfigHashes{{"Secret", "config"}: {Current: "1"}}, notRendered: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			workload := web(t)
			s := State{Owner: enginetest.Owner, Options: enginetest.Options, ExternalConfigs: test.external, Objects: []object.Object{{Object: workload}}, Live: map[object.Ref]*unstructured.Unstructured{}}
			if !test.notRendered {
				s.Objects = append(s.Objects, object.Object{Object: config("new"), RestartOnChange: true})
			}
			for _, live := range test.live {
				s.Live[object.RefOf(live)] = live
			}
			workload = s.WithConfigHashes()[0].Object
			if got := workload.GetAnnotations()[enginetest.Options.HashAtCreationAnnotation()]; got != test.atCreation {
				t.Errorf("the hash at creation is %q, want %q", got, test.atCreation)
			}
			if got := podTemplateHash(enginetest.Options, workload); got != test.hash {
				t.Errorf("the hash of the pod template is %q, want %q", got, test.hash)
			}
		})
	}
}
