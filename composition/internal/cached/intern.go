package cached

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

	"github.com/seldon-operator/seldon-operator/composition/object"
)

// Instances of one kind have child objects that differ in names and owners only: the same
// specs, labels, configurations and field ownership, once in each namespace. Caches share one
// copy of equal parts, and all reconciles share one copy of its unstructured form. Readers of
// a cache must not change its objects, so sharing has no effect on them.

// Sizes of the tables, in entries. A part that was evicted is no longer shared with new
// objects. Unstructured pod templates are the largest entries, about 30 KiB each.
const (
	internedValues    = 1024
	internedTemplates = 128
)

var (
	specs      = newInternTable[specKey, any](internedTemplates)
	stringMaps = newInternTable[object.Hash, map[string]string](internedValues)
	ownership  = newInternTable[object.Hash, *metav1.FieldsV1](internedValues)

	// Converted forms, by the hash of a pod template and by an entry of ownership.
	unstructuredTemplates = newInternTable[object.Hash, map[string]any](internedTemplates)
	decodedFields         = newInternTable[*metav1.FieldsV1, map[string]any](internedValues)
)

// internTable has the most recently used values by key. It is safe for concurrent use.
type internTable[K comparable, V any] struct{ values *lru.Cache }

func newInternTable[K comparable, V any](size int) internTable[K, V] {
	return internTable[K, V]{lru.New(size)}
}

// get returns the value of key. If there is none, it adds the one that create returns.
func (t internTable[K, V]) get(key K, create func() (V, error)) (V, error) {
	if value, found := t.values.Get(key); found {
		return value.(V), nil
	}
	value, err := create()
	if err == nil {
		t.values.Add(key, value)
	}
	return value, err
}

// intern returns the value of key. If there is none, it adds and returns value.
func (t internTable[K, V]) intern(key K, value V) V {
	value, _ = t.get(key, func() (V, error) { return value, nil })
	return value
}

// intern replaces parts of a typed object, which no reader has yet, by equal parts of other
// objects.
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

// specKey is the Go type of a spec and the hash of its content.
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
		return // not shared
	}
	copied := *spec // not a part of its object, which the table would keep in memory
	*spec = *specs.intern(specKey{reflect.TypeFor[T](), sha256.Sum256(text)}, &copied).(*T)
}

// internFields removes the UID of the object's controller from field ownership, because
// the ownership of the same child object of another owner differs only in it. See
// [managedfields.OwnWithoutOwnerRefs].
func internFields(fields *metav1.FieldsV1, obj metav1.Object) *metav1.FieldsV1 {
	if fields == nil {
		return nil
	}
	raw := fields.GetRawBytes()
	if owner := metav1.GetControllerOfNoCopy(obj); owner != nil && owner.UID != "" {
		raw = bytes.ReplaceAll(raw, []byte(owner.UID), nil)
	}
	return ownership.intern(sha256.Sum256(raw), metav1.NewFieldsV1(string(raw)))
}

func internMap(values map[string]string) map[string]string {
	if len(values) == 0 {
		return values
	}
	return stringMaps.intern(object.StableHash(values), values)
}

// templateOf returns the pod template of a typed workload; nil for other kinds.
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

// unstructuredTemplate returns the unstructured form of a pod template. It is shared and
// must not be changed.
func unstructuredTemplate(template *corev1.PodTemplateSpec) (map[string]any, error) {
	text, err := template.Marshal()
	if err != nil {
		return nil, err
	}
	return unstructuredTemplates.get(sha256.Sum256(text), func() (map[string]any, error) {
		return runtime.DefaultUnstructuredConverter.ToUnstructured(template)
	})
}

// unstructuredEntries returns the unstructured form of managedFields, without times. It
// shares fieldsV1, which must not be changed.
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
