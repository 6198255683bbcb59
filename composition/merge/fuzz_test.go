package merge

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/seldon-operator/seldon-operator/composition/internal/jsontest"

	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// FuzzMerge merges the JSON of any pod spec over any other. StrategicMerge neither panics nor
// changes its arguments, and returns the same result each time. Without a base, its result is
// a valid apply configuration.
func FuzzMerge(f *testing.F) {
	for _, c := range mergeCases(f) {
		if c.kind != podKind {
			continue
		}
		base, err := json.Marshal(c.base["spec"])
		if err != nil {
			f.Fatal(err)
		}
		override, err := json.Marshal(c.override["spec"])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(base, override)
	}
	f.Add([]byte(`{"containers":[{"name":{}},{"name":[1]}]}`), []byte(`{"containers":[{"name":{}},{"name":[1]}]}`))
	f.Add([]byte(`{"volumes":[[]],"containers":null}`), []byte(`{"$retainKeys":[{}],"$setElementOrder/volumes":[null],"$deleteFromPrimitiveList/x":null}`))
	f.Add([]byte(`null`), []byte(`{"$patch":null,"overhead":{"$patch":"replace","cpu":1e400}}`))

	f.Fuzz(func(t *testing.T, baseSpec, overrideSpec []byte) {
		base, override := map[string]any{}, map[string]any{}
		var spec any
		if utiljson.Unmarshal(baseSpec, &spec) != nil {
			return
		}
		base["spec"] = spec
		spec = nil
		if utiljson.Unmarshal(overrideSpec, &spec) != nil {
			return
		}
		override["spec"] = spec

		for _, pair := range []struct{ base, override map[string]any }{{base, override}, {override, base}, {nil, override}} {
			baseBefore, overrideBefore := copyJSON(pair.base), copyJSON(pair.override)
			merged, err := StrategicMerge(podKind, pair.base, pair.override)
			again, errAgain := StrategicMerge(podKind, pair.base, pair.override)
			if !reflect.DeepEqual(baseBefore, copyJSON(pair.base)) || !reflect.DeepEqual(overrideBefore, copyJSON(pair.override)) {
				t.Error("an argument changed")
			}
			if !reflect.DeepEqual(merged, again) {
				t.Errorf("first %v, then %v", merged, again)
			}
			if fmt.Sprint(err) != fmt.Sprint(errAgain) {
				t.Errorf("first %v, then %v", err, errAgain)
			}
			if err == nil && pair.base == nil {
				jsontest.RequireAppliable(t, podKind, merged)
			}
			if _, err := StrategicMerge(widgetKind, pair.base, pair.override); err != nil && !strings.Contains(string(baseSpec)+string(overrideSpec), "$") {
				t.Errorf("kind without a schema: %v", err)
			}
		}
	})
}
