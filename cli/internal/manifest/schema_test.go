package manifest

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/resource"
	"sigs.k8s.io/yaml"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// Every definition can be parsed, and the operator's kinds all have one.
func TestDefinitions(t *testing.T) {
	for kind := range kinds.KnownTypes(v1alpha1.GroupVersion) {
		if strings.HasSuffix(kind, "List") || strings.HasSuffix(kind, "Options") || kind == "WatchEvent" {
			continue
		}
		if known := definitionOf(kind); known == nil || known.rules() == nil && kind != v1alpha1.KindServerConfig {
			t.Errorf("%s has no definition or no rules", kind)
		}
	}
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
`
	if string(got) != want {
		t.Errorf("got\n%s", got)
	}
}

// What is invalid has its file, line and path; the valid objects are returned.
func TestInvalidFields(t *testing.T) {
	directory := write(t, map[string]string{"models.yaml": `# Models
apiVersion: mlops.seldon.io/v1alpha1
kind: Model
metadata: {name: valid}
spec: {storageUri: gs://a}
---
---
apiVersion: mlops.seldon.io/v1alpha1
kind: Model
metadata:
  name: Iris
spec:
  storageUri: gs://a
  replicas: -1
  minReplicas: "1"
  requirments: [sklearn]
---
apiVersion: v1
kind: List
items:
- apiVersion: mlops.seldon.io/v1alpha1
  kind: Pipeline
  metadata: {name: p}
  spec:
    steps:
    - name: a
    - {name: b, inputs: 3}
- apiVersion: mlops.seldon.io/v1alpha1
  kind: Model
  metadata: {name: cel}
  spec:
    storageUri: gs://a
    explainer: {type: x, modelRef: z}
    llm: {modelRef: z}
`})
	objects, err := Load(Options{FilenameOptions: resource.FilenameOptions{Filenames: []string{directory}}, Namespace: "n"})
	if len(objects) != 1 || objects[0].GetName() != "valid" || objects[0].Typed == nil {
		t.Errorf("valid are %v", objects)
	}
	file := filepath.Join(directory, "models.yaml")
	for _, want := range []string{
		":11: Model n/Iris: metadata.name: Invalid value: \"Iris\": a lowercase RFC 1123 subdomain",
		":14: Model n/Iris: spec.replicas: Invalid value: -1: should be greater than or equal to 0",
		":15: Model n/Iris: spec.minReplicas: is a string, must be an integer",
		":16: Model n/Iris: spec.requirments: is not a known field; correct or remove it",
		":27: Pipeline n/p: spec.steps[1].inputs: is an integer, must be a list",
		":34: Model n/cel: spec.llm: Forbidden: explainer and llm are mutually exclusive",
	} {
		if err == nil || !strings.Contains(err.Error(), file+want) {
			t.Errorf("%s is missing", want)
		}
	}
	if invalid, is := errors.AsType[*InvalidError](err); !is || invalid.Line == 0 {
		t.Errorf("the error is %T", err)
	}
	if t.Failed() {
		t.Log(err)
	}
}
