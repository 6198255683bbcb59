package templates_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"sigs.k8s.io/kustomize/api/krusty"
	kustomize "sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/templates"
)

// BenchmarkRuntime compares rendering one runtime of the default SeldonConfig,
// with compiled templates, to a plain Kustomize run that returns the same objects: the
// templates are resources and the layers are patches.
func BenchmarkRuntime(b *testing.B) {
	compiled, err := composition.LoadTemplates(templates.Files, templates.AnnotationPrefix)
	if err != nil {
		b.Fatal(err)
	}
	runtime := templates.Runtime{Runtime: sampleRuntime(), Config: defaultConfig(b)}

	// As an engine renders: objects share parts with the templates.
	b.Run("render", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			input, _, err := runtime.Input()
			if err != nil {
				b.Fatal(err)
			}
			if _, err := compiled.Render(input.Templates, input.Namespace, input.Layers); err != nil {
				b.Fatal(err)
			}
		}
	})
	// As a caller renders, who may change the objects.
	b.Run("render a copy", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			input, _, err := runtime.Input()
			if err != nil {
				b.Fatal(err)
			}
			if _, err := composition.Render(compiled, input, composition.Options{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("kustomize", func(b *testing.B) {
		fsys := asKustomization(b, compiled, runtime)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(fsys, "/"); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkHostile renders the most that a tenant can request: a Server that was stored
// with 100,000 replicas, one whose StatefulSet has them in its status, and a runtime with
// 256 Servers.
func BenchmarkHostile(b *testing.B) {
	compiled, err := composition.LoadTemplates(templates.Files, templates.AnnotationPrefix)
	if err != nil {
		b.Fatal(err)
	}
	server := serverOf(b, `podSpec: {containers: [{name: a, image: b}]}`, `replicas: 100000`)
	observed := server
	observed.ObservedReplicas = 100_000
	runtime := templates.Runtime{Runtime: sampleRuntime(), Config: defaultConfig(b)}
	for i := range 256 {
		runtime.Runtime.Spec.Servers = append(runtime.Runtime.Spec.Servers, v1alpha1.RuntimeServer{
			Name: fmt.Sprintf("server-%d", i), ServerSpec: v1alpha1.ServerSpec{ServerConfig: "mlserver"}})
	}
	for _, hostile := range []struct {
		name  string
		input func() (composition.Input, error)
	}{
		{"replicas", func() (composition.Input, error) { input, _, err := server.Input(); return input, err }},
		{"observed", func() (composition.Input, error) { input, _, err := observed.Input(); return input, err }},
		{"servers", func() (composition.Input, error) { input, _, err := runtime.Input(); return input, err }},
	} {
		b.Run(hostile.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				input, err := hostile.input()
				if err != nil {
					b.Fatal(err)
				}
				if _, err := composition.Render(compiled, input, composition.Options{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func sampleRuntime() *v1alpha1.SeldonRuntime {
	runtime := &v1alpha1.SeldonRuntime{Spec: v1alpha1.SeldonRuntimeSpec{SeldonConfig: "default"}}
	runtime.Namespace, runtime.Name = "team-a", "seldon"
	return runtime
}

func defaultConfig(t testing.TB) *v1alpha1.SeldonConfig {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "config", "seldonconfigs", "default.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	config := &v1alpha1.SeldonConfig{}
	if err := yaml.UnmarshalStrict(text, config); err != nil {
		t.Fatal(err)
	}
	config.Namespace, config.UID = "seldon-system", "1"
	return config
}

// asKustomization writes the input of a runtime as a Kustomize folder with patches.
func asKustomization(b *testing.B, compiled *composition.Templates, runtime templates.Runtime) filesys.FileSystem {
	b.Helper()
	input, _, err := runtime.Input()
	if err != nil {
		b.Fatal(err)
	}
	fsys := filesys.MakeFsInMemory()
	write := func(name string, content any) {
		text, err := yaml.Marshal(content)
		if err != nil {
			b.Fatal(err)
		}
		if err := fsys.WriteFile(name, text); err != nil {
			b.Fatal(err)
		}
	}
	root := kustomize.Kustomization{Namespace: input.Namespace}
	for i, frame := range input.Templates {
		children, err := compiled.Instantiate(frame, input.Namespace)
		if err != nil {
			b.Fatal(err)
		}
		for j, child := range children {
			name := fmt.Sprintf("resource-%d-%d.yaml", i, j)
			write("/"+name, child.Object.Object)
			root.Resources = append(root.Resources, name)
		}
	}
	for i, layer := range input.Layers {
		overlays, err := layer.Overlays()
		if err != nil {
			b.Fatal(err)
		}
		for j, overlay := range overlays {
			name := fmt.Sprintf("patch-%d-%d.yaml", i, j)
			content := map[string]any{"apiVersion": overlay.Kind.GroupVersion().String(), "kind": overlay.Kind.Kind}
			maps.Copy(content, overlay.Content)
			metadata, _ := content["metadata"].(map[string]any)
			named := map[string]any{"name": overlay.Name, "namespace": input.Namespace}
			maps.Copy(named, metadata)
			content["metadata"] = named
			write("/"+name, content)
			root.Patches = append(root.Patches, kustomize.Patch{Path: name})
		}
	}
	write("/kustomization.yaml", root)
	return fsys
}
