package template

import (
	"fmt"
	"testing"
	"testing/fstest"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

var deploymentGVK = schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}

// layered is the input of an instance without patches.
type layered struct {
	Namespace string
	Templates []Ref
	Layers    []Layer
}

// replicaTemplates returns templates of a workload and of a Service for each of its replicas.
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

// The number of Services of replicas is unbounded. A layer that does not change them is read for one
// of them, and none is cached.
func TestInstancesThatALayerDoesNotChangeAreNotCached(t *testing.T) {
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
			t.Fatalf("%d objects", got)
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

// Content of users that has the form of a placeholder is not replaced.
func TestContentIsNotTakenForPlaceholders(t *testing.T) {
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
