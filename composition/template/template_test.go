package template

import (
	"fmt"
	"maps"
	"math/rand"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func siteTemplates(t testing.TB) *Set {
	t.Helper()
	templates, err := Load(os.DirFS("../testdata/templates"), testPrefix)
	if err != nil {
		t.Fatal(err)
	}
	return templates
}

// An instance equals the result of a plain Kustomize run with the same values, for all values that
// Kustomize itself can handle.
func TestInstantiateEqualsKustomize(t *testing.T) {
	templates := siteTemplates(t)
	random := rand.New(rand.NewSource(1))
	for range 60 {
		name, namespace := randomName(random), randomName(random)
		ref := Ref{Folder: "site", Parameters: map[string]string{"name": name, "greeting": randomText(random)}}
		if random.Intn(2) == 0 {
			ref.Components = []string{"account"}
		}
		children, err := templates.Instantiate(ref, namespace)
		if err != nil {
			t.Fatal(err)
		}
		values := map[string]string{namespaceParameter: namespace}
		maps.Copy(values, ref.Parameters)
		objects, err := templates.kustomize(ref.Folder, ref.Components, values)
		if err != nil {
			t.Fatal(err)
		}
		var instance []*unstructured.Unstructured
		for _, child := range children {
			instance = append(instance, child.Object)
		}
		for _, obj := range objects {
			templates.stripAnnotations(obj)
		}
		if diff := cmp.Diff(objects, instance); diff != "" {
			t.Fatalf("name %q, namespace %q: kustomize (-) and Instantiate (+) differ:\n%s", name, namespace, diff)
		}
	}
}

// A value is not parsed: one that is a bool, a number, null or a document boundary in YAML is still
// a string. Kustomize renders most of these incorrectly.
func TestInstantiateDoesNotParseValues(t *testing.T) {
	templates := siteTemplates(t)
	for _, value := range []string{"true", "null", "1e3", "0x10", "~", "2001-01-01", "a: b", "---", "- x", "{{ . }}", "$(X)", "'\"", "é\n\tz", ""} {
		children, err := templates.Instantiate(Ref{Folder: "site", Parameters: map[string]string{"name": value, "greeting": value}}, "team-a")
		if err != nil {
			t.Fatal(err)
		}
		for _, child := range children {
			switch child.Object.GetKind() {
			case "ConfigMap":
				got, _, err := unstructured.NestedString(child.Object.Object, "data", "index.html")
				if err != nil || got != value {
					t.Errorf("%q became %q (%v)", value, got, err)
				}
			default:
				if got := child.Object.GetName(); got != value {
					t.Errorf("name %q became %q", value, got)
				}
			}
		}
	}
}

func TestInstantiateReadsDirectives(t *testing.T) {
	children, err := siteTemplates(t).Instantiate(Ref{Folder: "site", Parameters: map[string]string{"name": "a", "greeting": "b"}}, "team-a")
	if err != nil {
		t.Fatal(err)
	}
	for _, child := range children {
		if want := child.Object.GetKind() == "ConfigMap"; child.RestartOnChange != want {
			t.Errorf("%s: RestartOnChange is %v, want %v", child.Ref(), child.RestartOnChange, want)
		}
		for key := range child.Object.GetAnnotations() {
			t.Errorf("%s: annotation %s would reach the cluster", child.Ref(), key)
		}
	}
}

func TestInstantiateRejects(t *testing.T) {
	broken := func(kustomization string) fstest.MapFS {
		return fstest.MapFS{"broken/kustomization.yaml": {Data: []byte(kustomization)}}
	}
	site, err := Load(os.DirFS("../testdata/templates"), testPrefix)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		files fstest.MapFS
		ref   Ref
		want  string
	}{
		"no value":          {ref: Ref{Folder: "site", Parameters: map[string]string{"name": "a"}}, want: `parameter "greeting" has no value`},
		"unknown parameter": {ref: Ref{Folder: "site", Parameters: map[string]string{"name": "a", "greeting": "b", "title": "c"}}, want: `has no parameter "title"`},
		"unknown component": {ref: Ref{Folder: "site", Components: []string{"nope"}, Parameters: map[string]string{"name": "a", "greeting": "b"}}, want: "components/nope"},
		"no folder":         {ref: Ref{Folder: "nope"}, want: "nope"},
		"missing resource":  {files: broken("resources: [absent.yaml]"), ref: Ref{Folder: "broken"}, want: "absent.yaml"},
		"not a file":        {files: broken("resources: {"), ref: Ref{Folder: "broken"}, want: "broken"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			templates := site
			if test.files != nil {
				if templates, err = Load(test.files, testPrefix); err != nil {
					t.Fatal(err)
				}
			}
			_, err := templates.Instantiate(test.ref, "team-a")
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want one with %q", err, test.want)
			}
		})
	}
}

// A parameter in a key cannot be instantiated, so compiling rejects it.
func TestCompileRejectsParametersInKeys(t *testing.T) {
	for _, content := range []any{
		map[string]any{placeholder(0): "x"},
		[]any{map[string]any{"a": map[string]any{"b" + placeholder(0): int64(1)}}},
		placeholderStart + "9" + placeholderEnd,
		placeholderStart + "x" + placeholderEnd,
		placeholderStart,
	} {
		if _, err := compileNode(content, 1); err == nil {
			t.Errorf("%v was compiled", content)
		}
	}
}

func randomName(random *rand.Rand) string {
	const letters = "abcdfghijkmpqrsuvwxz" // these letters form no keyword of YAML
	name := make([]byte, 1+random.Intn(20))
	for i := range name {
		name[i] = letters[random.Intn(len(letters))]
	}
	return "n-" + string(name)
}

func randomText(random *rand.Rand) string {
	var lines []string
	for range 1 + random.Intn(4) {
		lines = append(lines, fmt.Sprintf("%s: {\"%s\": %d}", randomName(random), randomName(random), random.Intn(1000)))
	}
	return strings.Join(lines, "\n")
}

func BenchmarkInstantiate(b *testing.B) {
	templates := siteTemplates(b)
	ref := Ref{Folder: "site", Components: []string{"account"}, Parameters: map[string]string{"name": "shop", "greeting": "hello"}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := templates.Instantiate(ref, "team-a"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkKustomize measures what each rendering would cost without compiled templates.
func BenchmarkKustomize(b *testing.B) {
	templates := siteTemplates(b)
	values := map[string]string{"name": "shop", "greeting": "hello", namespaceParameter: "team-a"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := templates.kustomize("site", []string{"account"}, values); err != nil {
			b.Fatal(err)
		}
	}
}

// testPrefix is the prefix of the annotations in the templates of the tests.
const testPrefix = "composition.seldon-operator.dev/"
