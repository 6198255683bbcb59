package patch

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// hostilePatch is about as large as an API object may be: 20,000 environment variables and a
// $setElementOrder list of the same length.
func hostilePatch() Patch {
	var text strings.Builder
	text.WriteString("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - name: c\n    env:\n")
	for i := range 20_000 {
		_, _ = fmt.Fprintf(&text, "    - {name: N%d, value: v}\n", i)
	}
	text.WriteString("    $setElementOrder/env:\n")
	for i := range 20_000 {
		_, _ = fmt.Fprintf(&text, "    - {name: N%d}\n", 20_000-1-i)
	}
	return Patch{Source: "SeldonRuntime team-a/seldon", Path: "spec.patches[0]", Text: text.String()}
}

// BenchmarkHostilePatch measures the cost of such a patch at each rendering.
func BenchmarkHostilePatch(b *testing.B) {
	patch := hostilePatch()
	var env []any
	for i := range 10 {
		env = append(env, map[string]any{"name": fmt.Sprintf("N%d", i), "value": "v"})
	}
	object := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"name": "c", "env": env}}}}}
	object.SetAPIVersion("v1")
	object.SetKind("Pod")
	object.SetName("p")
	b.ReportAllocs()
	b.SetBytes(int64(len(patch.Text)))
	for b.Loop() {
		if _, _, err := Apply([]*unstructured.Unstructured{object}, []Patch{patch}, nil); err != nil {
			b.Fatal(err)
		}
	}
}
