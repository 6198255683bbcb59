package template

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/seldon-operator/seldon-operator/composition/internal/managedfields"
	"github.com/seldon-operator/seldon-operator/composition/merge"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var deploymentGVK = schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}

// layered is what an instance is rendered from without patches.
type layered struct {
	Namespace string
	Templates []Ref
	Layers    []Layer
}

// replicaTemplates are a workload, and a Service as each replica of it has one.
func replicaTemplates(t *testing.T) *Set {
	t.Helper()
	parameters := "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: parameters\n  annotations: {config.kubernetes.io/local-config: \"true\"}\ndata: {name: x}\n"
	folder := func(kind string) string {
		return "resources: [parameters.yaml, object.yaml]\nreplacements:\n" +
			"- source: {kind: ConfigMap, name: parameters, fieldPath: data.name}\n  targets: [{select: {kind: " + kind + "}, fieldPaths: [metadata.name]}]\n"
	}
	templates, err := Load(fstest.MapFS{
		"workload/kustomization.yaml": {Data: []byte(folder("Deployment"))}, "workload/parameters.yaml": {Data: []byte(parameters)},
		"workload/object.yaml":       {Data: []byte("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: one}\nspec: {template: {spec: {}}}\n")},
		"replica/kustomization.yaml": {Data: []byte(folder("Service"))}, "replica/parameters.yaml": {Data: []byte(parameters)},
		"replica/object.yaml": {Data: []byte("apiVersion: v1\nkind: Service\nmetadata: {name: one}\n")},
	}, testPrefix)
	if err != nil {
		t.Fatal(err)
	}
	return templates
}

// The Services of replicas have names without number, and a layer leaves all of them
// alone: it is read for one of them, and none is kept.
func TestFramesThatALayerLeavesAloneAreNotKept(t *testing.T) {
	templates, reads := replicaTemplates(t), 0
	render := func(namespace string) {
		t.Helper()
		input := layered{Namespace: namespace, Templates: []Ref{{Folder: "workload", Parameters: map[string]string{"name": "w"}}}}
		for replica := range 2 * mergedCacheSize {
			input.Templates = append(input.Templates, Ref{Folder: "replica", Parameters: map[string]string{"name": fmt.Sprintf("w-%d", replica)}})
		}
		input.Layers = []Layer{{Source: "Config a", Version: "1", Overlays: func() ([]Overlay, error) {
			reads++
			return []Overlay{{Kind: deploymentGVK, Name: "w", Content: map[string]any{"spec": map[string]any{"replicas": int64(2)}}}}, nil
		}}}
		objects, err := templates.Render(input.Templates, input.Namespace, input.Layers)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(objects); got != 2*mergedCacheSize+1 {
			t.Fatalf("%d children", got)
		}
	}
	render("a")
	if reads != 2 {
		t.Errorf("the layer was read %d times at first, want once for each template", reads)
	}
	render("b")
	if reads != 2 {
		t.Errorf("the layer was read again")
	}
}

// Users' content may hold whatever an earlier version's placeholders looked like.
func TestUsersCannotWritePlaceholders(t *testing.T) {
	templates := replicaTemplates(t)
	for _, text := range []string{"p7hole", "p7hole0q7", "p0123456789abcdefh0q", "{{.Namespace}}", "$(NAMESPACE)"} {
		input := layered{Namespace: "team", Templates: []Ref{{Folder: "workload", Parameters: map[string]string{"name": "w"}}}, Layers: []Layer{{
			Source: "Config a", Version: text, Overlays: func() ([]Overlay, error) {
				return []Overlay{{Kind: deploymentGVK, Name: "w", Content: map[string]any{"metadata": map[string]any{"annotations": map[string]any{"text": text}}}}}, nil
			},
		}}}
		objects, err := templates.Render(input.Templates, input.Namespace, input.Layers)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got := objects[0].Object.GetAnnotations()["text"]; got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

func TestSeedsNameFields(t *testing.T) {
	for path, want := range map[string]string{
		"spec.replicas":              "",
		"spec.strategy.type":         "",
		"spec.replica":               "has no field spec.replica",
		"spec..replicas":             "has no field spec..replicas",
		"replicas":                   "has no field replicas",
		"metadata.labels.a":          "goes through a list or a map",
		"spec.template.spec.volumes": "goes through a list or a map",
	} {
		err := merge.ValidateScalarPath(deploymentGVK, path)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if err := merge.ValidateScalarPath(schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Site"}, "spec.size"); err != nil {
		t.Errorf("a kind that is not built in: %v", err)
	}
}

// BenchmarkOwnership compares a long list with the ownership of its fields.
func BenchmarkOwnership(b *testing.B) {
	for _, count := range []int{1_000, 10_000, 100_000} {
		var ports []any
		owned := map[string]any{}
		for i := range count {
			ports = append(ports, map[string]any{"containerPort": int64(i)})
			owned[fmt.Sprintf(`k:{"containerPort":%d,"protocol":"TCP"}`, i)] = map[string]any{".": map[string]any{}, "f:containerPort": map[string]any{}}
		}
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			for b.Loop() {
				if where, same := managedfields.OwnsExactly(ports, owned, ""); !same {
					b.Fatal(where)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*count), "ns/item")
		})
	}
}
