package cached

import (
	"fmt"
	"reflect"

	"github.com/seldon-operator/seldon-operator/composition/internal/managedfields"
	"github.com/seldon-operator/seldon-operator/composition/object"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// asUnstructured converts a cached object, which is not changed. The two share
// parts that are not to be changed either.
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

// contentOfTyped is the unstructured form of a typed object. What is most of the
// work and the same for many objects is not converted anew.
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

// typedFrom is an object as the Go type of its kind.
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

// CacheTransform is the transform for caches that children are read from. It
// drops the managedFields of other managers, and lets equal parts of different
// objects be one.
//
// Objects of such a cache must not be written by `Update`: the API server takes
// the managedFields of an update as given, so that the ownership of all other managers
// would be lost. Apply, patch, or read from the API server first. Nor may they be
// changed, since they share parts.
func Transform(options object.Options) func(obj any) (any, error) {
	return func(obj any) (any, error) {
		if obj, isObject := obj.(metav1.Object); isObject {
			managedfields.Trim(obj, options.FieldManager)
			intern(obj)
		}
		return obj, nil
	}
}
