package merge

import (
	"math/rand"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// TestPositions compares the index with a linear search, with few identities that many items
// get and lose.
func TestPositions(t *testing.T) {
	for seed := range int64(200) {
		r := rand.New(rand.NewSource(seed))
		items := make([]int, 20) // 0 is no identity
		index := positions[int]{first: map[int]int{}}
		for step := range 400 {
			identity := 1 + r.Intn(4)
			has := func(i int) bool { return items[i] == identity }
			if i := r.Intn(len(items)); r.Intn(2) == 0 && items[i] != identity {
				items[i] = identity
				index.add(identity, i, has)
			} else if r.Intn(4) == 0 {
				items[i] = 0
			}
			if want, got := slices.Index(items, identity), index.find(identity, has); want != got {
				t.Fatalf("seed %d, step %d: identity %d of %v: want index %d, got %d", seed, step, identity, items, want, got)
			}
		}
	}
}

// A port may get the number of a port that the override deletes, in any order of the two.
func TestMergeAllowsTheNumberOfADeletedPort(t *testing.T) {
	port := func(name string, number int64) map[string]any {
		return map[string]any{"name": name, "containerPort": number}
	}
	pod := func(ports ...any) map[string]any {
		return map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"name": "c", "ports": ports}}}}
	}
	for _, base := range []map[string]any{pod(port("a", 1), port("b", 2)), pod(port("b", 2), port("a", 1))} {
		merged, err := StrategicMerge(podKind, base, pod(map[string]any{"name": "b", patchDirective: patchDelete}, port("a", 2)))
		if err != nil {
			t.Fatal(err)
		}
		container := merged["spec"].(map[string]any)["containers"].([]any)[0].(map[string]any)
		ports := container["ports"].([]any)
		if len(ports) != 1 || ports[0].(map[string]any)["containerPort"] != int64(2) {
			t.Errorf("want port a with the number 2, got %v", ports)
		}
	}
}

func TestMergeBoundsDepth(t *testing.T) {
	nested := func(levels int) map[string]any {
		var value any = "leaf"
		for range levels {
			value = map[string]any{"a": value}
		}
		return value.(map[string]any)
	}
	kind := podKind
	kind.Group = "example.com"
	if _, err := StrategicMerge(kind, nil, nested(maxDepth)); err != nil {
		t.Errorf("%d levels: %v", maxDepth, err)
	}
	_, err := StrategicMerge(kind, nil, nested(maxDepth+1))
	if err == nil || err.Error() != "a: is nested deeper than 100 levels" {
		t.Errorf("%d levels: %v", maxDepth+1, err)
	}
	list := map[string]any{"b": []any{}}
	for range maxDepth {
		list["b"] = []any{list["b"]}
	}
	if _, err := StrategicMerge(kind, nil, list); err == nil {
		t.Error("nested lists are not bounded")
	}
}

func TestMergeBoundsErrors(t *testing.T) {
	override := map[string]any{}
	for c := range strings.SplitSeq(strings.Repeat("x", maxFieldErrors+10), "") {
		override[strings.Repeat(c, len(override)+1)] = true
	}
	_, err := StrategicMerge(podKind, nil, override)
	if err == nil || !strings.HasSuffix(err.Error(), "; and 10 more") {
		t.Errorf("got %v", err)
	}
}

// TestMergeAllocatesLinearly checks that the allocated bytes per entry are about the same for a
// list eight times as long. An index for each entry would need eight times as many.
func TestMergeAllocatesLinearly(t *testing.T) {
	for _, merge := range largeMerges {
		perEntry := func(entries int) float64 {
			base, override := merge.make(entries)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if _, err := StrategicMerge(podKind, base, override); err != nil {
				t.Fatal(err)
			}
			runtime.ReadMemStats(&after)
			return float64(after.TotalAlloc-before.TotalAlloc) / float64(entries)
		}
		perEntry(500) // compiles the kind
		if few, many := perEntry(500), perEntry(4000); many > 3*few {
			t.Errorf("%s: %.0f bytes per entry of 500, %.0f of 4000", merge.name, few, many)
		}
	}
}
