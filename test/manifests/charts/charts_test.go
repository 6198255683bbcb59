// Package charts_test holds the Helm charts to their word, with the program that
// users have: what their values do, that their output means the same as the
// Kustomize folders, and that the API server takes it.
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

// values of a chart, as a file with them is decoded.
type values = map[string]any

// run runs Helm, which asks no cluster.
func run(t *testing.T, input []byte, arguments ...string) (string, error) {
	t.Helper()
	return helm.Helm{Home: t.TempDir()}.Run(t.Context(), input, arguments...)
}

// template renders a chart in a namespace, with values and further flags of helm
// template.
func template(t *testing.T, chart, namespace string, with values, flags ...string) (string, error) {
	t.Helper()
	content, err := yaml.Marshal(with)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, content, append([]string{"template", "release", helm.Chart(chart), "--namespace", namespace, "--values", "-"}, flags...)...)
}

// objects are what a text with YAML documents holds, by kind and name and, for
// those elsewhere than in the namespace of the release, namespace.
type objects map[string]*unstructured.Unstructured

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
		if elsewhere := object.GetNamespace(); elsewhere != "" && elsewhere != namespace {
			key += "." + elsewhere
		}
		if found[key] != nil {
			t.Fatalf("render %s: %s is there twice", chart, key)
		}
		found[key] = object
	}
	return found
}

// at is what an object has at a path. Steps are separated by slashes; a step into
// a list is an item's name or its index, and ~1 stands for a slash.
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

// defaults are the values of a chart's values.yaml.
func defaults(t *testing.T, chart string) values {
	t.Helper()
	found := values{}
	if err := yaml.UnmarshalStrict(read(t, filepath.Join(helm.Chart(chart), "values.yaml")), &found); err != nil {
		t.Fatal(err)
	}
	return found
}

// leaves are the keys of values that are no maps themselves, with dots between
// their parts. An empty map is a leaf.
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

// Nobody gets to see a chart without knowing what its values do, and what they are
// if nothing is said.
func TestReadmesTellAllValues(t *testing.T) {
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
