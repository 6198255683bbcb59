package charts_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/seldon-operator/seldon-operator/test/framework/helm"
)

// Kinds of values.
const (
	switches   = "a switch"
	numbers    = "a whole number"
	quantities = "a quantity"
)

// keysOf returns the keys of a chart whose values are of a kind, according to its
// schema.
func keysOf(t *testing.T, chart, kind string) []string {
	t.Helper()
	var schema map[string]any
	if err := json.Unmarshal(read(t, filepath.Join(helm.Chart(chart), "values.schema.json")), &schema); err != nil {
		t.Fatal(err)
	}
	definition := func(of map[string]any) (string, map[string]any) {
		name, _ := of["$ref"].(string)
		found, _, _ := unstructured.NestedMap(schema, strings.Split(strings.TrimPrefix(name, "#/"), "/")...)
		return name, found
	}
	var is func(any) bool
	is = func(value any) bool {
		of, isMap := value.(map[string]any)
		if !isMap {
			return false
		}
		all, _ := of["allOf"].([]any)
		other, _ := of["anyOf"].([]any)
		if name, referred := definition(of); kind == quantities && name == "#/definitions/quantity" || len(referred) > 0 && is(referred) ||
			slices.ContainsFunc(append(all, other...), is) {
			return true
		}
		enum, _ := of["enum"].([]any)
		switch kind {
		case switches:
			return slices.Contains(enum, any(true)) || strings.Contains(fmt.Sprint(of["type"]), "boolean")
		case numbers:
			return strings.Contains(fmt.Sprint(of["type"]), "integer")
		default:
			return false
		}
	}
	var found []string
	var walk func(string, map[string]any)
	walk = func(at string, of map[string]any) {
		properties, _ := of["properties"].(map[string]any)
		for name, value := range properties {
			if is(value) {
				found = append(found, at+name)
			}
			if of, isMap := value.(map[string]any); isMap {
				_, referred := definition(of)
				walk(at+name+".", of)
				walk(at+name+".", referred)
			}
		}
	}
	walk("", schema)
	slices.Sort(found)
	return found
}

// A boolean or number in quotes, as --set-string and Argo CD write it, has the same
// effect as without quotes. Each switch is inverted alone, or with -short a few together
// that are not next to each other, since a switch may be above those next to it.
func TestQuotesHaveNoEffect(t *testing.T) {
	for _, chart := range all {
		t.Run(chart, func(t *testing.T) {
			// Some switches require that metrics are enabled.
			const metrics = "controller.metrics.enabled"
			plain := leaves(defaults(t, chart))
			switches, numbers := keysOf(t, chart, switches), keysOf(t, chart, numbers)
			compare := func(what string, with values) (quoted values) {
				t.Helper()
				if chart == setup && what != metrics {
					set(with, metrics, true)
				}
				quoted = values{}
				for key, value := range leaves(with) {
					set(quoted, key, text(value))
				}
				// Equal texts, the usual case, need not be parsed.
				one, errOne := template(t, chart, "seldon-mesh", with)
				other, errOther := template(t, chart, "seldon-mesh", quoted)
				if errOne != nil || errOther != nil || one != other {
					diff := cmp.Diff(render(t, chart, "seldon-mesh", with), render(t, chart, "seldon-mesh", quoted))
					if diff != "" {
						t.Errorf("%s without (-), with quotes (+):\n%s", what, diff)
					}
				}
				return quoted
			}
			defaults, inverted, wrong := values{}, values{}, values{}
			for _, key := range switches {
				on, _ := plain[key].(bool)
				set(defaults, key, on)
				set(wrong, key, "yes")
				set(inverted, key, !on)
			}
			batches := len(switches)
			if testing.Short() {
				batches = min(batches, 5)
			}
			for first := range batches {
				var batch []string
				with := values{}
				for i := first; i < len(switches); i += batches {
					if batches < len(switches) && switches[i] == metrics {
						continue // the others need it
					}
					batch = append(batch, switches[i])
					on, _ := plain[switches[i]].(bool)
					set(with, switches[i], !on)
				}
				compare(strings.Join(batch, ", "), with)
			}
			if batches < len(switches) && slices.Contains(switches, metrics) {
				compare(metrics, values{"controller": values{"metrics": values{"enabled": plain[metrics] != true}}})
			}
			for _, key := range numbers {
				set(defaults, key, 7)
				set(wrong, key, "many")
			}
			for what, with := range map[string]values{"all defaults": defaults, "all inverted": inverted} {
				quoted := compare(what, with)
				if diff := cmp.Diff(notes(t, chart, with), notes(t, chart, quoted)); diff != "" {
					t.Errorf("%s: notes without (-), with quotes (+):\n%s", what, diff)
				}
			}

			_, err := template(t, chart, "seldon-mesh", wrong)
			for key := range leaves(wrong) {
				if place := "at '/" + strings.ReplaceAll(key, ".", "/") + "'"; err == nil || !strings.Contains(err.Error(), place) {
					t.Errorf("wrong type: want an error with %q, got %v", place, err)
				}
			}
		})
	}
}
