package composition

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/resid"
)

// longPatches are patches in flow and in block style that set environment variables,
// and their order.
func longPatches(count int) map[string]Patch {
	patch := func(before, variable, between, name, after string) Patch {
		var text strings.Builder
		text.WriteString(before)
		for i := range count {
			fmt.Fprintf(&text, variable, i)
		}
		text.WriteString(between)
		for i := range count {
			fmt.Fprintf(&text, name, count-1-i)
		}
		text.WriteString(after)
		return Patch{
			Source: "Source", Path: "spec.patches[0]", Text: text.String(),
			Target: &types.Selector{ResId: resid.ResId{Gvk: resid.Gvk{Kind: "Deployment"}}},
		}
	}
	return map[string]Patch{
		"flow": patch(`spec: {template: {spec: {containers: [{name: web, env: [`, "{name: V%d, value: x},", `], $setElementOrder/env: [`, "{name: V%d},", "]}]}}}"),
		"block": patch("spec:\n  template:\n    spec:\n      containers:\n      - name: web\n        env:\n", "        - name: V%d\n          value: x\n",
			"        $setElementOrder/env:\n", "        - name: V%d\n", ""),
	}
}

// BenchmarkLongPatch applies the longest patches that are allowed.
func BenchmarkLongPatch(b *testing.B) {
	deployment := &unstructured.Unstructured{Object: benchmarkObject(b, "testdata/merge_bench/deployment.yaml")}
	for name, patch := range longPatches(8_000) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(patch.Text)))
			for b.Loop() {
				if _, _, err := ApplyPatches([]*unstructured.Unstructured{deployment}, []Patch{patch}, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestPatchesAreBounded(t *testing.T) {
	var objects []*unstructured.Unstructured
	for i := range 100 {
		objects = append(objects, testWorkload("Deployment", fmt.Sprintf("d%d", i), ""))
	}
	_, _, err := ApplyPatches(objects, []Patch{longPatches(20_000)["flow"]}, nil)
	if err == nil || err.Error() != "Source: spec.patches[0]: the patches up to this one exceed 512 KiB: shorten them" {
		t.Errorf("a long patch: %v", err)
	}
	patch := longPatches(8_000)["flow"]
	_, _, err = ApplyPatches(objects, []Patch{patch}, nil)
	want := "Source: spec.patches[0]: the patches up to this one, each counted for every object that it changes, exceed 2048 KiB: shorten them, or narrow their targets"
	if err == nil || err.Error() != want {
		t.Errorf("a long patch of many objects: %v", err)
	}
	patch.Text = "[" + strings.Repeat(`{op: remove, path: /spec/replicas},`, maxOperations+1) + "]"
	if _, _, err := ApplyPatches(objects, []Patch{patch}, nil); err == nil || !strings.Contains(err.Error(), "has 1001 operations, and 1000 are allowed") {
		t.Errorf("many operations: %v", err)
	}
	patch.Text = "metadata: {labels: {"
	for i := range 5000 {
		patch.Text += fmt.Sprintf("k%d: 1, ", i)
	}
	patch.Text += "}}"
	if _, _, err := ApplyPatches(objects[:1], []Patch{patch}, nil); err == nil || !strings.HasSuffix(err.Error(), "; and 4980 more") || len(err.Error()) > 4096 {
		t.Errorf("a message of many errors has %d characters", len(fmt.Sprint(err)))
	}
}
