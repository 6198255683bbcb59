// Package charts_test tests the Helm charts with Helm itself: each value has its
// documented effect, the output equals that of the Kustomize folders, and the API
// server accepts it.
package charts_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/seldon-operator/seldon-operator/test/framework/helm"
)

const (
	crds      = "crds"
	setup     = "setup"
	dataPlane = "runtime"
	servers   = "servers"
	certs     = "certs"
)

// all are the charts, in the order in which they are installed.
var all = []string{crds, certs, setup, dataPlane, servers}

// values are the values of a chart, as in a values file.
type values = map[string]any

// run runs Helm without a cluster.
func run(t *testing.T, input []byte, arguments ...string) (string, error) {
	t.Helper()
	return helm.Helm{Home: t.TempDir()}.Run(t.Context(), input, arguments...)
}

// template renders a chart in a namespace, with values and additional flags of helm
// template.
func template(t *testing.T, chart, namespace string, with values, flags ...string) (string, error) {
	t.Helper()
	content, err := yaml.Marshal(with)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, content, append([]string{"template", "release", helm.Chart(chart), "--namespace", namespace, "--values", "-"}, flags...)...)
}

// objects are rendered objects, by Kind/name, or Kind/name.namespace for an object
// outside of the namespace of the release.
type objects map[string]*unstructured.Unstructured

// render renders a chart, and fails the test on an error.
func render(t *testing.T, chart, namespace string, with values, flags ...string) objects {
	t.Helper()
	text, err := template(t, chart, namespace, with, flags...)
	if err != nil {
		t.Fatalf("render %s: %v", chart, err)
	}
	found := objects{}
	for document := range strings.SplitSeq("\n"+text, "\n---\n") {
		content := map[string]any{}
		if err := yaml.UnmarshalStrict([]byte(document), &content); err != nil {
			t.Fatalf("render %s: %v in\n%s", chart, err, document)
		}
		if len(content) == 0 {
			continue
		}
		object := &unstructured.Unstructured{Object: content}
		key := object.GetKind() + "/" + object.GetName()
		if other := object.GetNamespace(); other != "" && other != namespace {
			key += "." + other
		}
		if found[key] != nil {
			t.Fatalf("render %s: %s is rendered twice", chart, key)
		}
		found[key] = object
	}
	return found
}

// at returns the value at a path of an object. Steps are separated by slashes; a step
// into a list is an item's name or its index, and ~1 is an escaped slash.
func at(object *unstructured.Unstructured, path string) (any, bool) {
	var value any = object.Object
	for step := range strings.SplitSeq(path, "/") {
		step = strings.ReplaceAll(step, "~1", "/")
		switch inner := value.(type) {
		case map[string]any:
			next, has := inner[step]
			if !has {
				return nil, false
			}
			value = next
		case []any:
			i := slices.IndexFunc(inner, func(item any) bool {
				named, isMap := item.(map[string]any)
				return isMap && (named["name"] == step || inMetadata(named) == step)
			})
			if i < 0 {
				if _, err := fmt.Sscanf(step, "%d", &i); err != nil || i >= len(inner) {
					return nil, false
				}
			}
			value = inner[i]
		default:
			return nil, false
		}
	}
	return value, true
}

// inMetadata returns the name in the metadata of a list item.
func inMetadata(item map[string]any) any {
	metadata, _ := item["metadata"].(map[string]any)
	return metadata["name"]
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// defaults returns the values of a chart's values.yaml.
func defaults(t *testing.T, chart string) values {
	t.Helper()
	found := values{}
	if err := yaml.UnmarshalStrict(read(t, filepath.Join(helm.Chart(chart), "values.yaml")), &found); err != nil {
		t.Fatal(err)
	}
	return found
}

// leaves returns the values that are not maps themselves, by their keys with dots
// between the parts. An empty map is a leaf.
func leaves(of values) map[string]any {
	found := map[string]any{}
	for key, value := range of {
		inner, isMap := value.(map[string]any)
		if !isMap || len(inner) == 0 {
			found[key] = value
			continue
		}
		for below, value := range leaves(inner) {
			found[key+"."+below] = value
		}
	}
	return found
}

func TestLint(t *testing.T) {
	for _, chart := range all {
		if output, err := run(t, nil, "lint", "--strict", helm.Chart(chart)); err != nil {
			t.Errorf("%s: %v\n%s", chart, err, output)
		}
	}
}

// The README of each chart lists all values with their defaults.
func TestReadmesListAllValues(t *testing.T) {
	for _, chart := range all {
		readme := string(read(t, filepath.Join(helm.Chart(chart), "README.md")))
		for key, value := range leaves(defaults(t, chart)) {
			text := fmt.Sprint(value)
			switch content := value.(type) {
			case nil:
				text = "null"
			case string:
				if content == "" {
					text = `""`
				}
			case float64:
				text = strconv.FormatFloat(content, 'f', -1, 64)
			case []any, map[string]any:
				text = map[bool]string{true: "[]", false: "{}"}[fmt.Sprintf("%T", value) == "[]interface {}"]
			}
			if row := fmt.Sprintf("| `%s` | `%s` | ", key, text); !strings.Contains(readme, row) {
				t.Errorf("README.md of %s has no row that starts with %s", chart, row)
			}
		}
	}
}
