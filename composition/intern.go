package composition

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"reflect"

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
	specPool   = newPool[specKey, any](pooledTemplates)
	mapPool    = newPool[Hash, map[string]string](pooledValues)
	fieldsPool = newPool[Hash, *metav1.FieldsV1](pooledValues)

	// By template, and by entry of fieldsPool.
	unstructuredTemplates = newPool[Hash, map[string]any](pooledTemplates)
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
func share(object metav1.Object) {
	entries := object.GetManagedFields()
	for i := range entries {
		entries[i].FieldsV1 = shareFields(entries[i].FieldsV1, object)
	}
	object.SetLabels(shareMap(object.GetLabels()))
	object.SetAnnotations(shareMap(object.GetAnnotations()))
	switch object := object.(type) {
	case *appsv1.Deployment:
		shareSpec(&object.Spec)
	case *appsv1.StatefulSet:
		shareSpec(&object.Spec)
	case *appsv1.DaemonSet:
		shareSpec(&object.Spec)
	case *corev1.ConfigMap:
		object.Data = shareMap(object.Data)
	}
}

// specKey is the Go type of a spec, and the digest of its content.
type specKey struct {
	kind    reflect.Type
	content Hash
}

func shareSpec[T any, P interface {
	*T
	Marshal() ([]byte, error)
}](spec P) {
	text, err := spec.Marshal()
	if err != nil {
		return // as it is will do
	}
	copied := *spec // not a part of its object, which the pool would keep
	*spec = *specPool.same(specKey{reflect.TypeFor[T](), sha256.Sum256(text)}, &copied).(*T)
}

// shareFields leaves out of field ownership the UID of the object's controller,
// which is all that tells it from that of the same child of another owner; see
// ownedContent.
func shareFields(fields *metav1.FieldsV1, object metav1.Object) *metav1.FieldsV1 {
	if fields == nil {
		return nil
	}
	raw := fields.GetRawBytes()
	if owner := metav1.GetControllerOfNoCopy(object); owner != nil && owner.UID != "" {
		raw = bytes.ReplaceAll(raw, []byte(owner.UID), nil)
	}
	return fieldsPool.same(sha256.Sum256(raw), metav1.NewFieldsV1(string(raw)))
}

func shareMap(values map[string]string) map[string]string {
	if len(values) == 0 {
		return values
	}
	return mapPool.same(StableHash(values), values)
}

// templateOf is the pod template of a typed workload; nil of anything else.
func templateOf(object any) *corev1.PodTemplateSpec {
	switch object := object.(type) {
	case *appsv1.Deployment:
		return &object.Spec.Template
	case *appsv1.StatefulSet:
		return &object.Spec.Template
	case *appsv1.DaemonSet:
		return &object.Spec.Template
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
