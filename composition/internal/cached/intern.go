package cached

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"reflect"

	"github.com/seldon-operator/seldon-operator/composition/object"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/lru"
)

// Instances of one kind have children that are the same but for their names and
// owners: the same specs of workloads, labels, configurations and field ownership, once
// in each namespace. Of what is equal, caches keep one copy, and one copy of its
// unstructured form is enough for all reconciles. Whoever reads a cache may not
// change what it gives, so nobody sees that it is shared.

// Bounds of the pools. What falls out of one is not shared with what comes later.
// Unstructured templates are the largest entries, at some 30 KiB.
const (
	pooledValues    = 1024
	pooledTemplates = 128
)

var (
	specs     = newPool[specKey, any](pooledTemplates)
	mapPool   = newPool[object.Hash, map[string]string](pooledValues)
	ownership = newPool[object.Hash, *metav1.FieldsV1](pooledValues)

	// By template, and by entry of fieldsPool.
	unstructuredTemplates = newPool[object.Hash, map[string]any](pooledTemplates)
	decodedFields         = newPool[*metav1.FieldsV1, map[string]any](pooledValues)
)

// pool keeps the values that were used last, by key.
type internTable[K comparable, V any] struct{ values *lru.Cache }

func newPool[K comparable, V any](size int) internTable[K, V] {
	return internTable[K, V]{lru.New(size)}
}

// get gives the pooled value, made by missing if there is none.
func (p internTable[K, V]) get(key K, missing func() (V, error)) (V, error) {
	if value, found := p.values.Get(key); found {
		return value.(V), nil
	}
	value, err := missing()
	if err == nil {
		p.values.Add(key, value)
	}
	return value, err
}

// same gives the pooled value, which is value if there is none.
func (p internTable[K, V]) same(key K, value V) V {
	value, _ = p.get(key, func() (V, error) { return value, nil })
	return value
}

// share replaces parts of a typed object, which nobody has seen yet, by equal ones
// of other objects.
func intern(obj metav1.Object) {
	entries := obj.GetManagedFields()
	for i := range entries {
		entries[i].FieldsV1 = internFields(entries[i].FieldsV1, obj)
	}
	obj.SetLabels(internMap(obj.GetLabels()))
	obj.SetAnnotations(internMap(obj.GetAnnotations()))
	switch obj := obj.(type) {
	case *appsv1.Deployment:
		internSpec(&obj.Spec)
	case *appsv1.StatefulSet:
		internSpec(&obj.Spec)
	case *appsv1.DaemonSet:
		internSpec(&obj.Spec)
	case *corev1.ConfigMap:
		obj.Data = internMap(obj.Data)
	}
}

// specKey is the Go type of a spec, and the digest of its content.
type specKey struct {
	kind    reflect.Type
	content object.Hash
}

func internSpec[T any, P interface {
	*T
	Marshal() ([]byte, error)
}](spec P) {
	text, err := spec.Marshal()
	if err != nil {
		return // as it is will do
	}
	copied := *spec // not a part of its object, which the pool would keep
	*spec = *specs.same(specKey{reflect.TypeFor[T](), sha256.Sum256(text)}, &copied).(*T)
}

// shareFields leaves out of field ownership the UID of the object's controller,
// which is all that tells it from that of the same child of another owner; see
// ownedContent.
func internFields(fields *metav1.FieldsV1, obj metav1.Object) *metav1.FieldsV1 {
	if fields == nil {
		return nil
	}
	raw := fields.GetRawBytes()
	if owner := metav1.GetControllerOfNoCopy(obj); owner != nil && owner.UID != "" {
		raw = bytes.ReplaceAll(raw, []byte(owner.UID), nil)
	}
	return ownership.same(sha256.Sum256(raw), metav1.NewFieldsV1(string(raw)))
}

func internMap(values map[string]string) map[string]string {
	if len(values) == 0 {
		return values
	}
	return mapPool.same(object.StableHash(values), values)
}

// templateOf is the pod template of a typed workload; nil of anything else.
func templateOf(obj any) *corev1.PodTemplateSpec {
	switch obj := obj.(type) {
	case *appsv1.Deployment:
		return &obj.Spec.Template
	case *appsv1.StatefulSet:
		return &obj.Spec.Template
	case *appsv1.DaemonSet:
		return &obj.Spec.Template
	}
	return nil
}

// unstructuredTemplate is a pod template's unstructured form, which is shared and
// not to be changed.
func unstructuredTemplate(template *corev1.PodTemplateSpec) (map[string]any, error) {
	text, err := template.Marshal()
	if err != nil {
		return nil, err
	}
	return unstructuredTemplates.get(sha256.Sum256(text), func() (map[string]any, error) {
		return runtime.DefaultUnstructuredConverter.ToUnstructured(template)
	})
}

// unstructuredEntries is the unstructured form of managedFields, less their times.
// It shares fieldsV1, which is not to be changed.
func unstructuredEntries(entries []metav1.ManagedFieldsEntry) ([]any, error) {
	list := make([]any, 0, len(entries))
	for _, entry := range entries {
		fields, err := decodedFields.get(entry.FieldsV1, func() (fields map[string]any, err error) {
			if entry.FieldsV1 != nil {
				err = json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields)
			}
			return fields, err
		})
		if err != nil {
			return nil, err
		}
		list = append(list, map[string]any{
			"manager": entry.Manager, "operation": string(entry.Operation), "subresource": entry.Subresource, "fieldsV1": fields,
		})
	}
	return list, nil
}
