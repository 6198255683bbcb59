package fields

import (
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestOwnership(t *testing.T) {
	object := &unstructured.Unstructured{Object: decode(t, `
apiVersion: apps/v1
kind: Deployment
metadata:
  name: a
  finalizers: [x, z]
  managedFields:
  - {manager: operator, operation: Apply, time: "2026-01-02T03:04:05Z", fieldsType: FieldsV1, fieldsV1: {"f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"c"}': {".": {}, "f:image": {}, "f:name": {}, "f:ports": {'k:{"containerPort":1,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}}}}, "f:tolerations": {}}}}}}
  - {manager: editor, operation: Update, fieldsType: FieldsV1, fieldsV1: {"f:metadata": {"f:finalizers": {'v:"z"': {}}}, "f:spec": {"f:replicas": {}, "f:template": {"f:spec": {"f:containers": {'k:{"name":"c"}': {"f:image": {}}}}}}}}
  - {manager: editor, operation: Update, subresource: scale, fieldsType: FieldsV1, fieldsV1: {"f:spec": {"f:replicas": {}, "f:absent": {}}}}
spec:
  replicas: 1
  template:
    spec:
      containers:
      - {name: b, image: d}
      - {name: c, image: d, ports: [{containerPort: 1}]}
      tolerations: [{key: a}]
`)}
	ownership, err := OwnershipOf(object)
	if err != nil {
		t.Fatal(err)
	}
	const pod = "spec.template.spec."
	for path, want := range map[string][]string{
		pod + "containers[name=c].image":                  {"editor (Update)", "operator (Apply)"},
		pod + "containers[name=c].ports[containerPort=1]": {"operator (Apply)"},
		pod + "containers[name=b].image":                  nil,
		pod + "tolerations[0].key":                        {"operator (Apply)"},
		pod + "containers":                                {"editor (Update)", "operator (Apply)"},
		"spec.replicas":                                   {"editor (Update)", "editor (Update of scale)"},
		"metadata.finalizers[1]":                          {"editor (Update)"},
		"metadata.finalizers[0]":                          nil,
		pod + "containers[name=c].ports[0].containerPort": {"operator (Apply)"},
	} {
		_, steps, found, err := Find(object.Object, path)
		if err != nil || !found {
			t.Fatalf("%s: %t, %v", path, found, err)
		}
		var got []string
		for _, manager := range ownership.Of(steps) {
			got = append(got, manager.String())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", path, got, want)
		}
	}
}
