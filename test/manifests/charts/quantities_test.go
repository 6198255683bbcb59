package charts_test

import (
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"
)

// texts returns valid and invalid texts for a quantity.
func texts() []string {
	var found []string
	for _, sign := range []string{"", "+", "-"} {
		for _, number := range []string{"0", "1", "007", "1.5", "1.", ".5", "0.0", "", ".", "1.2.3", "1,5", "12345678901234567890"} {
			for _, suffix := range []string{
				"", "n", "u", "m", "k", "K", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "mi", "B", "MB", " Mi", "i",
				"e3", "E3", "e+3", "E-3", "e", "e3.5", "e3Ki", "e1000",
			} {
				found = append(found, sign+number+suffix)
			}
		}
	}
	return found
}

// number matches the start of a number that is not negative.
var number = regexp.MustCompile(`^[+]?[.]?[0-9]`)

// The charts accept the quantities that Kubernetes accepts, except for those that the
// API server rejects later: negative ones, a unit without a number, and a volume claim
// of zero. They are rendered unchanged.
func TestQuantities(t *testing.T) {
	places := placesOf(t, setup)
	keys := keysOf(t, setup, quantities)
	good, bad := map[string][]any{}, map[string][]any{}
	for _, key := range keys {
		if len(places[key]) == 0 {
			t.Fatalf("%s: testdata/%s.yaml does not list its places", key, setup)
		}
	}
	sort := func(key, text string, value any) {
		quantity, err := resource.ParseQuantity(text)
		claim := strings.HasSuffix(strings.ToLower(key), "storage")
		if err != nil || !number.MatchString(text) || claim && quantity.IsZero() {
			bad[key] = append(bad[key], value)
		} else {
			good[key] = append(good[key], value)
		}
	}
	for i, text := range texts() {
		sort(keys[i%len(keys)], text, text)
	}
	for _, zero := range []string{"0", "0Gi", ".0", "+0e3"} {
		sort("scheduler.resources.storage", zero, zero)
	}
	for i, number := range []float64{0, 1, 0.5, 0.001, 1e9, 1e-3, 128974848, 1e18, 1e30, -1, -0.5} {
		for _, key := range []string{keys[i%len(keys)], "controller.resources.memory", "scheduler.resources.storage"} {
			sort(key, fmt.Sprint(number), number)
		}
	}

	for with := range rounds(good) {
		rendered := render(t, setup, "seldon-mesh", with)
		for key, value := range leaves(with) {
			want := resource.MustParse(fmt.Sprint(value))
			for _, place := range places[key] {
				got, _ := rendered.place(place)
				text, isText := got.(string)
				if quantity, err := resource.ParseQuantity(text); !isText || err != nil || quantity.Cmp(want) != 0 {
					t.Errorf("%s is %v, and %s is %v", key, value, place, got)
				}
			}
		}
	}
	for with := range rounds(bad) {
		_, err := template(t, setup, "seldon-mesh", with)
		for key, value := range leaves(with) {
			if place := "at '/" + strings.ReplaceAll(key, ".", "/") + "'"; err == nil || !strings.Contains(err.Error(), place) {
				t.Errorf("%s is %q, and the error does not contain %q: %v", key, value, place, err)
			}
		}
	}
}

// rounds returns values with one of the candidates of each key, until all candidates
// were used.
func rounds(candidates map[string][]any) func(func(values) bool) {
	return func(yield func(values) bool) {
		for i, more := 0, true; more; i++ {
			with := values{}
			for key, each := range candidates {
				if i < len(each) {
					set(with, key, each[i])
				}
			}
			if more = len(with) > 0; more && !yield(with) {
				return
			}
		}
	}
}

// placesOf returns the places of the values that are rendered unchanged, by key,
// according to testdata.
func placesOf(t *testing.T, chart string) map[string][]string {
	t.Helper()
	var lists []effects
	if err := yaml.UnmarshalStrict(read(t, filepath.Join("testdata", chart+".yaml")), &lists); err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{}
	for _, list := range lists {
		for _, row := range list.Rows {
			if row.Is == nil && !row.Contains {
				found[row.Key] = append(found[row.Key], row.At...)
			}
		}
	}
	return found
}

// GOMEMLIMIT is 90 % of the memory limit, in whichever format that is written.
func TestGoMemoryLimit(t *testing.T) {
	for _, memory := range []any{
		"64Mi", "1.5Gi", "1Pi", "1Ei", "1e9", "1G", ".5Gi", "+1Gi", "70000k", "128974848000m", 128974848, 1e9,
		// No limit, or one that GOMEMLIMIT cannot express.
		0, "0", "100m", "1n", "1e30", "1e1000",
	} {
		with := values{}
		set(with, "controller.resources.memory", memory)
		got, has := render(t, setup, "seldon-mesh", with).place("controller env/GOMEMLIMIT")
		limit := resource.MustParse(fmt.Sprint(memory))
		want := math.Floor(limit.AsApproximateFloat64() * 0.9 / (1 << 20))
		if possible := want >= 1 && limit.AsApproximateFloat64() < 1<<63; has != possible || has && got != fmt.Sprintf("%.0fMiB", want) {
			t.Errorf("memory %v: GOMEMLIMIT is %v, want %.0fMiB", memory, got, want)
		}
	}
	if keys := keysOf(t, setup, quantities); !slices.Contains(keys, "controller.resources.memory") || len(keys) < 20 {
		t.Errorf("quantities are %v", keys)
	}
}
