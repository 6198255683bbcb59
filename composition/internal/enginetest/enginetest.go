package enginetest

import (
	"maps"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/seldon-operator/seldon-operator/composition/object"
)

// Fixtures of the tests of several packages.
var (
	Options     = object.Options{FieldManager: "tester", KeyPrefix: "test.example.com/", PreservePodTemplateKey: func(key string) bool { return strings.HasPrefix(key, "tool/") }}
	Owner       = object.Owner{GroupVersionKind: schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Shop"}, Namespace: "ns", Name: "shop", UID: "owner"}
	StatefulSet = schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "StatefulSet"}
)

// NewStatefulSet returns a StatefulSet with a volume claim template of a size.
func NewStatefulSet(size string) *unstructured.Unstructured {
	return NewObject(StatefulSet, "set", map[string]any{"spec": map[string]any{
		"serviceName": "set",
		"selector":    map[string]any{"matchLabels": map[string]any{"app": "set"}},
		"template": map[string]any{
			"metadata": map[string]any{"labels": map[string]any{"app": "set"}},
			"spec":     map[string]any{"nodeName": "here"},
		},
		"volumeClaimTemplates": []any{map[string]any{
			"metadata": map[string]any{"name": "shelf"},
			"spec":     map[string]any{"resources": map[string]any{"requests": map[string]any{"storage": size}}},
		}},
	}})
}

// NewObject returns an object of a kind in the namespace of Owner.
func NewObject(kind schema.GroupVersionKind, name string, content map[string]any) *unstructured.Unstructured {
	obj := &unstructured.Unstructured{Object: map[string]any{}}
	maps.Copy(obj.Object, content)
	obj.SetGroupVersionKind(kind)
	obj.SetNamespace(Owner.Namespace)
	obj.SetName(name)
	return obj
}

// Live returns the live object after applied was applied with the field manager of Options.
func Live(applied *unstructured.Unstructured, uid types.UID) *unstructured.Unstructured {
	live := applied.DeepCopy()
	live.SetUID(uid)
	live.SetResourceVersion("1")
	fields := map[string]any{}
	for key, value := range object.StripIdentity(applied) {
		fields["f:"+key] = Fields(value)
	}
	metadata := live.Object["metadata"].(map[string]any)
	metadata["managedFields"] = []any{map[string]any{
		"manager": Options.FieldManager, "operation": "Apply", "apiVersion": applied.GetAPIVersion(), "fieldsType": "FieldsV1", "fieldsV1": fields,
	}}
	return live
}

// Fields returns the FieldsV1 of a value whose lists are all atomic.
func Fields(value any) map[string]any {
	fields := map[string]any{}
	if obj, isMap := value.(map[string]any); isMap {
		for key, below := range obj {
			fields["f:"+key] = Fields(below)
		}
	}
	return fields
}
