package composition

import (
	"fmt"
	"os"
	"testing"
)

// BenchmarkMerge lays an override over a Deployment with three containers.
func BenchmarkMerge(b *testing.B) {
	base := benchmarkObject(b, "testdata/merge_bench/deployment.yaml")
	override := benchmarkObject(b, "testdata/merge_bench/override.yaml")
	podSpec := base["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any)
	containers := podSpec["containers"].([]any)
	for _, name := range []string{"agent", "proxy"} {
		container := copyJSON(containers[0]).(map[string]any)
		container["name"] = name
		containers = append(containers, container)
	}
	podSpec["containers"] = containers
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Merge(deploymentKind, base, override); err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarkObject(b *testing.B, file string) map[string]any {
	b.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		b.Fatal(err)
	}
	return fromYAML(b, string(text))
}

// fromYAML decodes a YAML object into the JSON that the API machinery works with.
func fromYAML(t testing.TB, text string) map[string]any {
	t.Helper()
	documents, err := splitPatch(text)
	if err != nil || len(documents) != 1 {
		t.Fatalf("%d documents, %v in\n%s", len(documents), err, text)
	}
	return documents[0].value.(map[string]any)
}

// BenchmarkMergeLongLists merges lists of many items; the time per item hardly grows
// with their number.
func BenchmarkMergeLongLists(b *testing.B) {
	for _, count := range []int{1_000, 10_000, 100_000} {
		for name, lists := range longLists(count) {
			b.Run(fmt.Sprintf("%s/%d", name, count), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := Merge(podKind, lists.base, lists.override); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*count), "ns/item")
			})
		}
	}
}

type mergeInput struct{ base, override map[string]any }

// longLists are merges of lists that long, of all kinds that items are looked for in.
func longLists(count int) map[string]mergeInput {
	pod := func(spec map[string]any) map[string]any { return map[string]any{"spec": spec} }
	container := func(fields map[string]any) map[string]any {
		fields["name"] = "web"
		return pod(map[string]any{"containers": []any{fields}})
	}
	env, reversed, ports, moved := make([]any, count), make([]any, count), make([]any, count), make([]any, count)
	constraints, partial, finalizers := make([]any, count), make([]any, count), make([]any, count)
	for i := range count {
		name := fmt.Sprintf("V%d", i)
		env[i] = map[string]any{"name": name, "value": "x"}
		reversed[count-1-i] = map[string]any{"name": name}
		ports[i] = map[string]any{"name": name, "containerPort": int64(i + 1)}
		moved[i] = map[string]any{"name": name, "containerPort": int64(count - i)}
		constraints[i] = map[string]any{"topologyKey": name, "whenUnsatisfiable": "DoNotSchedule"}
		partial[i] = map[string]any{"topologyKey": name, "maxSkew": int64(1)}
		finalizers[i] = name
	}
	return map[string]mergeInput{
		"env":             {container(map[string]any{"env": env}), container(map[string]any{"env": env})},
		"setElementOrder": {container(map[string]any{"env": env}), container(map[string]any{"env": env, "$setElementOrder/env": reversed})},
		"ports":           {container(map[string]any{"ports": ports}), container(map[string]any{"ports": moved})},
		"partial keys":    {pod(map[string]any{"topologySpreadConstraints": constraints}), pod(map[string]any{"topologySpreadConstraints": partial})},
		"set": {
			map[string]any{"metadata": map[string]any{"finalizers": finalizers}},
			map[string]any{"metadata": map[string]any{"finalizers": finalizers}},
		},
		"deletion of set": {
			map[string]any{"metadata": map[string]any{"finalizers": finalizers}},
			map[string]any{"metadata": map[string]any{"$deleteFromPrimitiveList/finalizers": finalizers}},
		},
	}
}
