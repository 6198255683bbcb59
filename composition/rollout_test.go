package composition

import (
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// reader is a workload whose pods read ConfigMap config and Secret token.
func reader(spec string) func(t *testing.T) *unstructured.Unstructured {
	return func(t *testing.T) *unstructured.Unstructured {
		return testObject(schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}, "web",
			map[string]any{"spec": map[string]any{"template": map[string]any{"spec": decode(t, spec)}}})
	}
}

func TestReadBy(t *testing.T) {
	configurations := Configurations{"config": {Now: "1"}, "token": {Now: "2"}}
	for spec, want := range map[string][]string{
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
		if got := configurations.readBy(reader(spec)(t)); !slices.Equal(got, want) {
			t.Errorf("%s reads %v, want %v", spec, got, want)
		}
	}
}

func TestMarkRollouts(t *testing.T) {
	web := reader(`{"volumes":[{"name":"v","configMap":{"name":"config"}}]}`)
	config := func(data string) *unstructured.Unstructured {
		return testObject(schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, "config", map[string]any{"data": map[string]any{"key": data}})
	}
	configuration := func(data string) Configuration {
		return testPolicy.ConfigurationOf(nil, map[string]string{"key": data})
	}
	digestFor := func(data string) string {
		return Configurations{"config": configuration(data)}.digest([]string{"config"})
	}
	// theirs was adopted with the data given, and is now another.
	theirs := func(adopted string) Configurations {
		adoptedAs := map[string]string{testPolicy.adoptedAnnotation(): configuration(adopted).Now}
		return Configurations{"config": testPolicy.ConfigurationOf(adoptedAs, map[string]string{"key": "theirs"})}
	}
	liveWeb := func(origin string) *unstructured.Unstructured {
		live := web(t)
		if origin != "" {
			setField(live.Object, origin, "metadata", "annotations", testPolicy.originAnnotation())
		}
		return live
	}
	tests := map[string]struct {
		live         []*unstructured.Unstructured
		others       Configurations
		notRendered  bool
		origin, mark string
	}{
		"a new workload":                           {origin: digestFor("new")},
		"one made with it":                         {live: []*unstructured.Unstructured{liveWeb(digestFor("new"))}, origin: digestFor("new")},
		"one made with another":                    {live: []*unstructured.Unstructured{liveWeb(digestFor("old"))}, origin: digestFor("old"), mark: digestFor("new")},
		"an adopted one":                           {live: []*unstructured.Unstructured{liveWeb(""), config("new")}, origin: digestFor("new")},
		"an adopted one with another":              {live: []*unstructured.Unstructured{liveWeb(""), config("old")}, origin: digestFor("old"), mark: digestFor("new")},
		"another owner's configuration":            {others: Configurations{"config": configuration("theirs")}, notRendered: true, origin: digestFor("theirs")},
		"another owner's, adopted as it is":        {live: []*unstructured.Unstructured{liveWeb("")}, others: Configurations{"config": configuration("theirs")}, notRendered: true, origin: digestFor("theirs")},
		"another owner's, adopted with another":    {live: []*unstructured.Unstructured{liveWeb("")}, others: theirs("old"), notRendered: true, origin: digestFor("old"), mark: digestFor("theirs")},
		"another owner's, made after its adoption": {others: theirs("old"), notRendered: true, origin: digestFor("theirs")},
		"another owner's, read later than adopted": {live: []*unstructured.Unstructured{asLive(liveWeb(""), "1")}, others: theirs("old"), notRendered: true, origin: digestFor("theirs")},
		"one that nobody said is read only once":   {notRendered: true},
		"nothing rolls that remembers, unrendered": {live: []*unstructured.Unstructured{liveWeb(digestFor("old"))}, notRendered: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			workload := web(t)
			s := Situation{Policy: testPolicy, Children: []Child{{Object: workload}}, Live: map[Key]*unstructured.Unstructured{}}
			if !test.notRendered {
				s.Children = append(s.Children, Child{Object: config("new"), RollReaders: true})
			}
			for _, live := range test.live {
				s.Live[KeyOf(live)] = live
			}
			s.markRollouts(test.others)
			if got := workload.GetAnnotations()[testPolicy.originAnnotation()]; got != test.origin {
				t.Errorf("origin is %q, want %q", got, test.origin)
			}
			if got := testPolicy.rollMark(workload); got != test.mark {
				t.Errorf("mark is %q, want %q", got, test.mark)
			}
		})
	}
}
