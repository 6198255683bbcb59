package cached

import (
	"fmt"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/composition/internal/managedfields"
	"github.com/seldon-operator/seldon-operator/composition/object"
)

// FromTyped returns the unstructured form of a cached object. It shares parts with obj and
// with other objects, so neither may be changed.
func FromTyped(obj client.Object, gvk schema.GroupVersionKind) (*unstructured.Unstructured, error) {
	if converted, is := obj.(*unstructured.Unstructured); is {
		return converted, nil
	}
	content, err := toUnstructured(obj)
	if err != nil {
		return nil, fmt.Errorf("read %s %s: %w", gvk.Kind, obj.GetName(), err)
	}
	converted := &unstructured.Unstructured{Object: content}
	converted.SetGroupVersionKind(gvk)
	return converted, nil
}

// toUnstructured returns the unstructured form of a typed object. Pod templates and
// managedFields, which are expensive to convert and equal in many objects, are converted once.
func toUnstructured(obj client.Object) (map[string]any, error) {
	shallow := reflect.New(reflect.TypeOf(obj).Elem())
	shallow.Elem().Set(reflect.ValueOf(obj).Elem())
	rest := shallow.Interface().(client.Object)
	rest.SetManagedFields(nil)
	template := templateOf(obj)
	if template != nil {
		*templateOf(rest) = corev1.PodTemplateSpec{}
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(rest)
	if err != nil {
		return nil, err
	}
	if template != nil {
		converted, err := unstructuredTemplate(template)
		if err != nil {
			return nil, err
		}
		content["spec"].(map[string]any)["template"] = converted
	}
	if entries := obj.GetManagedFields(); len(entries) > 0 {
		converted, err := unstructuredEntries(entries)
		if err != nil {
			return nil, err
		}
		content["metadata"].(map[string]any)["managedFields"] = converted
	}
	return content, nil
}

// ToTyped returns an object as the Go type of its kind. It fails if types does not have it.
func ToTyped(obj *unstructured.Unstructured, types *runtime.Scheme) (client.Object, error) {
	typed, err := types.New(obj.GroupVersionKind())
	if err != nil {
		return nil, err
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(obj.Object, typed); err != nil {
		return nil, err
	}
	return typed.(client.Object), nil
}

// Transform returns the transform for caches from which child objects are read. It trims
// the managedFields of other managers, and shares equal parts of different objects.
//
// Objects of such a cache must not be changed, since they share parts. Nor may they be
// written by `Update`: the API server takes the managedFields of an update as they are, so
// that the ownership of all other managers would be lost. Apply, patch, or read the object
// from the API server first.
func Transform(options object.Options) func(obj any) (any, error) {
	return func(obj any) (any, error) {
		if obj, isObject := obj.(metav1.Object); isObject {
			managedfields.Trim(obj, options)
			intern(obj)
		}
		return obj, nil
	}
}
