package merge

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestKeys(t *testing.T) {
	deployment := SchemaOf(schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"})
	pod := deployment.Field("spec").Field("template").Field("spec")
	container := pod.Field("containers").Items()
	for name, test := range map[string]struct {
		schema Schema
		known  bool
		want   [][]string
	}{
		"containers":   {pod.Field("containers"), true, [][]string{{"name"}}},
		"ports":        {container.Field("ports"), true, [][]string{{"name"}, {"containerPort", "protocol"}}},
		"mounts":       {container.Field("volumeMounts"), true, [][]string{{"mountPath"}}},
		"arguments":    {container.Field("args"), true, nil},
		"tolerations":  {pod.Field("tolerations"), true, nil},
		"unknown":      {pod.Field("no").Field("such").Items(), false, nil},
		"label":        {deployment.Field("metadata").Field("labels").Field("a"), true, nil},
		"items of one": {pod.Items(), false, nil},
		"another kind": {SchemaOf(schema.GroupVersionKind{Group: "a", Version: "v1", Kind: "B"}).Field("spec").Items(), false, nil},
	} {
		if diff := cmp.Diff(test.want, test.schema.Keys()); diff != "" || test.schema.Known() != test.known {
			t.Errorf("%s: known %t\n%s", name, test.schema.Known(), diff)
		}
	}
}
