package merge

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"
)

// BenchmarkMerge merges an override over a Deployment with three containers.
func BenchmarkMerge(b *testing.B) {
	base := benchmarkObject(b, "testdata/bench/deployment.yaml")
	override := benchmarkObject(b, "testdata/bench/override.yaml")
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
		if _, err := StrategicMerge(deploymentKind, base, override); err != nil {
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

// fromYAML decodes a YAML object as apimachinery decodes JSON.
func fromYAML(t testing.TB, text string) map[string]any {
	t.Helper()
	asJSON, err := yaml.YAMLToJSONStrict([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]any
	if err := utiljson.Unmarshal(asJSON, &object); err != nil {
		t.Fatal(err)
	}
	return object
}

// largeMerges are bases and overrides with lists of n entries each.
var largeMerges = []struct {
	name string
	make func(n int) (base, override map[string]any)
}{
	{"env", func(n int) (base, override map[string]any) {
		return podWith("env", listOf(n, envVar)), podWith("env", listOf(n, envVar))
	}},
	{"setElementOrder", func(n int) (base, override map[string]any) {
		names := listOf(n, func(i int) any { return map[string]any{"name": envName(n - 1 - i)} })
		return podWith("env", listOf(n, envVar)), podWith(setElementOrderPrefix+"env", names)
	}},
	{"ports", func(n int) (base, override map[string]any) {
		// Each port is matched by name and gets the number of the next one.
		port := func(shift int) func(int) any {
			return func(i int) any {
				return map[string]any{"name": envName(i), "containerPort": int64(1 + (i+shift)%n)}
			}
		}
		return podWith("ports", listOf(n, port(0))), podWith("ports", listOf(n, port(1)))
	}},
	{"portsOfOneName", func(n int) (base, override map[string]any) {
		return podWith("ports", listOf(n, func(i int) any { return map[string]any{"name": "p", "containerPort": int64(1 + i)} })),
			podWith("ports", listOf(n, func(i int) any { return map[string]any{"name": envName(i), "containerPort": int64(1 + i)} }))
	}},
	{"set", func(n int) (base, override map[string]any) {
		finalizers := func(prefix string) map[string]any {
			return map[string]any{"metadata": map[string]any{
				"finalizers": listOf(n, func(i int) any { return prefix + envName(i) }),
			}}
		}
		override = finalizers("b")
		override["metadata"].(map[string]any)[deleteFromDirective+"finalizers"] = listOf(n, func(i int) any { return "a" + envName(i) })
		override["metadata"].(map[string]any)[setElementOrderPrefix+"finalizers"] = listOf(n, func(i int) any { return "b" + envName(n-1-i) })
		return finalizers("a"), override
	}},
}

// BenchmarkLargeMerge reports the cost of one entry of long lists.
func BenchmarkLargeMerge(b *testing.B) {
	for _, merge := range largeMerges {
		for _, entries := range []int{1_000, 10_000, 100_000} {
			b.Run(fmt.Sprintf("%s/%d", merge.name, entries), func(b *testing.B) {
				base, override := merge.make(entries)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := StrategicMerge(podKind, base, override); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(entries), "ns/entry")
			})
		}
	}
}

// podWith returns a Pod with one field of its container.
func podWith(field string, value any) map[string]any {
	return map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"name": "c", field: value}}}}
}

func listOf(n int, item func(i int) any) []any {
	list := make([]any, n)
	for i := range list {
		list[i] = item(i)
	}
	return list
}

func envName(i int) string { return "N" + strconv.Itoa(i) }

func envVar(i int) any { return map[string]any{"name": envName(i), "value": "v"} }
