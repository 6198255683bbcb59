package manifest

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write defaults.txt")

// defaults.txt has exactly the defaults of the CustomResourceDefinitions. The status is
// omitted: files have none.
func TestDefaultsFile(t *testing.T) {
	files, err := filepath.Glob("../../../config/crd/bases/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no CustomResourceDefinitions: %v", err)
	}
	var lines []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		definition := apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.Unmarshal(text, &definition); err != nil {
			t.Fatal(err)
		}
		spec := definition.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
		lines = append(lines, defaultsOf(t, definition.Spec.Names.Kind+".spec", spec)...)
	}
	want := strings.Join(lines, "\n") + "\n"
	if *update {
		if err := os.WriteFile("defaults.txt", []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if defaultsFile != want {
		t.Error("defaults.txt is stale: run go test ./cli/internal/manifest -run TestDefaultsFile -update")
	}
}

func defaultsOf(t *testing.T, path string, schema apiextensionsv1.JSONSchemaProps) []string {
	t.Helper()
	var lines []string
	if schema.Default != nil {
		lines = append(lines, fmt.Sprintf("%s = %s", path, schema.Default.Raw))
	}
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		lines = append(lines, defaultsOf(t, path+"."+name, schema.Properties[name])...)
	}
	if schema.Items != nil {
		lines = append(lines, defaultsOf(t, path+"[]", *schema.Items.Schema)...)
	}
	if below := schema.AdditionalProperties; below != nil && below.Schema != nil && len(defaultsOf(t, "", *below.Schema)) > 0 {
		t.Errorf("%s: defaults below a map are not implemented", path)
	}
	return lines
}

func TestSetDefaults(t *testing.T) {
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(`
kind: SeldonRuntime
spec:
  servers:
  - podSpec:
      containers:
      - ports: [{containerPort: 1}, {containerPort: 2, protocol: UDP}, {containerPort: 3, protocol: null}]
      volumes: null
`), &object.Object); err != nil {
		t.Fatal(err)
	}
	SetDefaults(object)
	got, err := yaml.Marshal(object.Object["spec"])
	if err != nil {
		t.Fatal(err)
	}
	const want = `deletionPolicy: Retain
servers:
- podSpec:
    containers:
    - ports:
      - containerPort: 1
        protocol: TCP
      - containerPort: 2
        protocol: UDP
      - containerPort: 3
        protocol: TCP
    volumes: null
`
	if string(got) != want {
		t.Errorf("got\n%s", got)
	}
}
