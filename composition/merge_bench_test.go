package composition

import (
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
