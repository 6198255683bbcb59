// Package charts_test holds the Helm charts to their word, with the program that
// users have: what their values do, that their output means the same as the
// Kustomize folders, and that the API server takes it.
package charts_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

const (
	helm   = "../../bin/helm"
	charts = "../../charts"
	prefix = "seldon-core-v2-"

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

// run runs Helm, and returns what it wrote to standard output; the error has what
// it wrote elsewhere.
func run(t *testing.T, input []byte, arguments ...string) (string, error) {
	t.Helper()
	if _, err := os.Stat(helm); err != nil {
		t.Fatalf("%v: build it by make bin/helm", err)
	}
	command := exec.CommandContext(t.Context(), helm, arguments...)
	// Neither plugins nor settings of whoever runs the test.
	home := t.TempDir()
	command.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	command.Stdin = bytes.NewReader(input)
	var output, complaints bytes.Buffer
	command.Stdout, command.Stderr = &output, &complaints
	if err := command.Run(); err != nil {
		return output.String(), errors.New(strings.TrimSpace(complaints.String()))
	}
	return output.String(), nil
}

// template renders a chart in a namespace, with values and further flags of helm
// template.
func template(t *testing.T, chart, namespace string, with values, flags ...string) (string, error) {
	t.Helper()
	content, err := yaml.Marshal(with)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, content, append([]string{"template", "release", path(chart), "--namespace", namespace, "--values", "-"}, flags...)...)
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

func path(chart string) string { return filepath.Join(charts, prefix+chart) }

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
	if err := yaml.UnmarshalStrict(read(t, filepath.Join(path(chart), "values.yaml")), &found); err != nil {
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
		if output, err := run(t, nil, "lint", "--strict", path(chart)); err != nil {
			t.Errorf("%s: %v\n%s", chart, err, output)
		}
	}
}

// Nobody gets to see a chart without knowing what its values do, and what they are
// if nothing is said.
func TestReadmesTellAllValues(t *testing.T) {
	for _, chart := range all {
		readme := string(read(t, filepath.Join(path(chart), "README.md")))
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
