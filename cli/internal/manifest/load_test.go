package manifest

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/resource"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// write writes files into a directory and returns it.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	directory := t.TempDir()
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(directory, name)), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(directory, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return directory
}

const runtimeFile = `apiVersion: mlops.seldon.io/v1alpha1
kind: SeldonRuntime
metadata:
  name: seldon
spec:
  seldonConfig: default
`

func TestLoad(t *testing.T) {
	directory := write(t, map[string]string{
		"a.yaml": runtimeFile + "status: {conditions: []}\n---\n# nothing\n---\n" + `apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Secret, metadata: {name: s}}
- {apiVersion: v1, kind: Namespace, metadata: {name: team-a}}
- {apiVersion: mlops.seldon.io/v1alpha1, kind: ServerConfig, metadata: {name: c}, spec: {podSpec: {containers: []}}}
`,
		"kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nmetadata: {name: k}\nresources: [a.yaml]\n",
	})
	server := httptest.NewServer(http.FileServer(http.Dir(directory)))
	t.Cleanup(server.Close)
	for name, options := range map[string]Options{
		"a folder":      {FilenameOptions: resource.FilenameOptions{Filenames: []string{directory}}},
		"a file":        {FilenameOptions: resource.FilenameOptions{Filenames: []string{filepath.Join(directory, "a.yaml")}}},
		"Kustomize":     {FilenameOptions: resource.FilenameOptions{Kustomize: directory}},
		"a pattern":     {FilenameOptions: resource.FilenameOptions{Filenames: []string{filepath.Join(directory, "a*")}}},
		"the input":     {FilenameOptions: resource.FilenameOptions{Filenames: []string{"-"}}, In: open(t, filepath.Join(directory, "a.yaml"))},
		"subdirectory":  {FilenameOptions: resource.FilenameOptions{Filenames: []string{filepath.Dir(directory)}, Recursive: true}},
		"a JSON object": {FilenameOptions: resource.FilenameOptions{Filenames: []string{"-"}}, In: strings.NewReader(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"}}`)},
		"a URL":         {FilenameOptions: resource.FilenameOptions{Filenames: []string{server.URL + "/a.yaml"}}},
	} {
		options.Namespace = "team-a"
		objects, err := Load(options)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := map[string]Object{}
		for _, object := range objects {
			got[describe(object.Unstructured)] = object
		}
		if secret := got["Secret team-a/s"]; secret.Unstructured == nil || secret.Typed != nil {
			t.Errorf("%s: %v has no Secret", name, objects)
		}
		if name == "a JSON object" {
			if source := got["Secret team-a/s"].Source; source != "standard input" {
				t.Errorf("source is %q", source)
			}
			continue
		}
		if len(objects) != 4 || got["Namespace team-a"].Unstructured == nil || got["ServerConfig c"].Unstructured == nil {
			t.Errorf("%s: got %v", name, objects)
		}
		runtime := got["SeldonRuntime team-a/seldon"]
		typed, is := runtime.Typed.(*v1alpha1.SeldonRuntime)
		if !is || typed.Spec.DeletionPolicy != v1alpha1.DeletionPolicyRetain || typed.Namespace != "team-a" || runtime.Object["status"] != nil {
			t.Errorf("%s: runtime is %v", name, runtime.Object)
		}
		if name == "a file" && runtime.Source != filepath.Join(directory, "a.yaml")+", object 1" {
			t.Errorf("source is %q", runtime.Source)
		}
	}
}

func open(t *testing.T, name string) *os.File {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return file
}

func TestInvalidInput(t *testing.T) {
	const header = "apiVersion: mlops.seldon.io/v1alpha1\n"
	for name, test := range map[string]struct{ text, want string }{
		"unknown field": {
			runtimeFile + "  seldonConfg: x\n",
			"in: SeldonRuntime n/seldon: spec.seldonConfg: is not a known field; correct or remove it",
		},
		"wrong type": {
			strings.Replace(runtimeFile, "default", "1", 1),
			"in: SeldonRuntime n/seldon: spec.seldonConfig: is an integer, must be a string",
		},
		"unknown field of a pod": {
			runtimeFile + "  overrides:\n  - name: a\n    podSpec: {containers: [{name: b, images: c}]}\n",
			"in: SeldonRuntime n/seldon: spec.overrides[0].podSpec.containers[0].images: is not a known field; correct or remove it",
		},
		"field of a pod that overrides do not have": {
			runtimeFile + "  overrides:\n  - name: a\n    podSpec: {ephemeralContainers: []}\n",
			"spec.overrides[0].podSpec.ephemeralContainers: is not a known field; correct or remove it",
		},
		"wrong type in a pod": {
			header + "kind: ServerConfig\nmetadata: {name: c}\nspec: {podSpec: {hostPID: 3}}\n",
			"in: ServerConfig c: spec.podSpec.hostPID: is an integer, must be true or false",
		},
		"unknown kind":    {header + "kind: SeldonRuntme\nmetadata: {name: a, namespace: b}\n", "in: SeldonRuntme b/a: the operator has no kind SeldonRuntme in version v1alpha1"},
		"unknown version": {"apiVersion: mlops.seldon.io/v1\nkind: Model\nmetadata: {name: a}\n", "in: Model n/a: the operator has no kind Model in version v1"},
		"no name":         {header + "kind: Model\nmetadata: {generateName: a}\n", "metadata.name: is missing"},
		"no kind":         {"a: b\n", "Object 'Kind' is missing"},
		"no YAML":         {"a: [\n", "error parsing in"},
		"duplicate": {
			runtimeFile + "---\n" + runtimeFile,
			"in, object 2: SeldonRuntime n/seldon is also in in, object 1; keep one of the two",
		},
		"two configurations of a name": {
			header + "kind: SeldonConfig\nmetadata: {name: a, namespace: b}\n---\n" + header + "kind: SeldonConfig\nmetadata: {name: a, namespace: c}\n",
			`in, object 2: SeldonConfig c/a is also in in, object 1, in namespace "b": the operator reads`,
		},
	} {
		_, err := Parse("in", strings.NewReader(test.text), "n")
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", name, err, test.want)
		}
	}
	_, err := Parse("in", strings.NewReader(runtimeFile), "")
	const want = "in: SeldonRuntime seldon: metadata.namespace: is missing; set it, or use --namespace or a context with a namespace"
	if err == nil || err.Error() != want {
		t.Errorf("without a namespace: got %v, want %s", err, want)
	}
	for want, options := range map[string]Options{
		"no files are given; use --filename or --kustomize": {},
		`the path "absent" does not exist`:                  {FilenameOptions: resource.FilenameOptions{Filenames: []string{"absent"}}},
		"standard input cannot be used":                     {FilenameOptions: resource.FilenameOptions{Filenames: []string{"-", "-"}}},
	} {
		if _, err := Load(options); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
