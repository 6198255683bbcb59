package patch

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/resid"
)

// manyServers returns objects of a kind whose schema is unknown, each with a long list.
func manyServers(count, items int) []*unstructured.Unstructured {
	list := make([]any, items)
	for i := range list {
		list[i] = int64(i)
	}
	objects := make([]*unstructured.Unstructured, count)
	for i := range objects {
		objects[i] = &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "mlops.seldon.io/v1alpha1", "kind": "Server",
			"metadata": map[string]any{"name": fmt.Sprintf("s%d", i)},
			"spec":     map[string]any{"list": list},
		}}
	}
	return objects
}

func TestLimits(t *testing.T) {
	servers := &types.Selector{ResId: resid.NewResId(resid.Gvk{Kind: "Server"}, "")}
	operations := func(count int) string {
		return "[" + strings.TrimSuffix(strings.Repeat(`{"op":"add","path":"/spec/a","value":1},`, count), ",") + "]"
	}
	tests := map[string]struct {
		objects, items int
		patches        []Patch
		want           string // "" if the patches are applied
	}{
		"the maximum length of text":               {1, 1, []Patch{{Target: servers, Text: "spec: {a: b} #" + strings.Repeat("x", 1<<20-14)}}, ""},
		"a last line as long as a reader's buffer": {1, 1, []Patch{{Target: servers, Text: "spec: {a: b} #" + strings.Repeat("x", 4096-14)}}, ""},
		"text of one patch": {1, 1, []Patch{{Path: "p", Text: strings.Repeat("x", 1<<20+1)}},
			"p: the patches up to this one are longer than 1048576 bytes together: shorten or remove some"},
		"text of several patches": {1, 1, []Patch{
			{Path: "p", Target: servers, Text: "spec: {a: b} #" + strings.Repeat("x", 1<<19)},
			{Path: "q", Target: servers, Text: "spec: {a: b} #" + strings.Repeat("x", 1<<19)},
		}, "q: the patches up to this one are longer than 1048576 bytes together: shorten or remove some"},
		"the maximum number of operations": {1, 1, []Patch{{Target: servers, Text: operations(1000)}}, ""},
		"operations of several patches": {1, 1, []Patch{
			{Path: "p", Target: servers, Text: operations(600)}, {Path: "q", Target: servers, Text: operations(401)},
		}, "q: the patches up to this one have more than 1000 JSON6902 operations together: use strategic merge patches"},
		"a patch of 256 Servers": {256, 1000, []Patch{{Target: servers, Text: "spec: {a: b}"}}, ""},
		"many patches that match large objects": {256, 1000, []Patch{
			{Target: servers, Text: "spec: {a: b}"}, {Path: "q", Target: servers, Text: "spec: {a: c}"},
		}, "q: Server/s239: the patches up to this one process more than 500000 fields: narrow their targets or join them"},
		"a large patch that matches many objects": {256, 1, []Patch{
			{Path: "p", Target: servers, Text: "spec: {a: [" + strings.TrimSuffix(strings.Repeat("1,", 5000), ",") + "]}"},
		}, "p: Server/s99: the patches up to this one process more than 500000 fields: narrow their targets or join them"},
		"a long regular expression": {1, 1, []Patch{
			{Path: "p", Target: &types.Selector{ResId: resid.NewResId(resid.Gvk{}, strings.Repeat("x", 5000))}, Text: "spec: {a: b}"},
		}, "p: target: has a field that is longer than 4096 bytes"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, _, err := Apply(manyServers(test.objects, test.items), test.patches, nil)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("want %q, got %q", test.want, got)
			}
		})
	}
}
