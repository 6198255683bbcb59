package manifest

import (
	"cmp"
	"context"
	gojson "encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// Reader reads objects of files, and what is not among them from another reader. It is safe
// for concurrent use.
//
// An object that both have is as if the file had been applied: it has the spec of the
// file, and of the live object the identity and the status; of labels, annotations and other
// metadata those of both, the file's taking precedence.
//
// A SeldonConfig or ServerConfig in a file is found by its name in any namespace.
type Reader struct {
	scheme   *runtime.Scheme
	objects  map[schema.GroupKind]map[objectName]*unstructured.Unstructured
	fallback client.Reader
}

// objectName is a namespace and a name; the namespace of configurations is empty.
type objectName struct{ namespace, name string }

var _ client.Reader = &Reader{}

// NewReader returns a reader of objects, which must not change afterwards, and of what
// fallback has; nil for nothing. The scheme has the Go types of typed requests.
func NewReader(scheme *runtime.Scheme, objects []*unstructured.Unstructured, fallback client.Reader) *Reader {
	r := &Reader{scheme: scheme, objects: map[schema.GroupKind]map[objectName]*unstructured.Unstructured{}, fallback: fallback}
	for _, object := range objects {
		id := identityOf(object)
		if r.objects[id.GroupKind] == nil {
			r.objects[id.GroupKind] = map[objectName]*unstructured.Unstructured{}
		}
		r.objects[id.GroupKind][objectName{id.namespace, id.name}] = object
	}
	return r
}

// Contents returns the content of objects, for [NewReader].
func Contents(objects []Object) []*unstructured.Unstructured {
	contents := make([]*unstructured.Unstructured, len(objects))
	for i, object := range objects {
		contents[i] = object.Unstructured
	}
	return contents
}

// find returns the object of a file; nil for none.
func (r *Reader) find(kind schema.GroupKind, key client.ObjectKey) *unstructured.Unstructured {
	if IsConfig(kind) {
		key.Namespace = ""
	}
	return r.objects[kind][objectName{key.Namespace, key.Name}]
}

// Get implements [client.Reader].
func (r *Reader) Get(ctx context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	gvk, err := apiutil.GVKForObject(object, r.scheme)
	if err != nil {
		return err
	}
	found := r.find(gvk.GroupKind(), key)
	if found == nil {
		if r.fallback == nil {
			return notFound(gvk, key.Name)
		}
		return r.fallback.Get(ctx, key, object, options...)
	}
	if r.fallback == nil {
		return decode(found, object)
	}
	switch err := r.fallback.Get(ctx, key, object, options...); {
	case apierrors.IsNotFound(err):
		return decode(found, object)
	case err != nil:
		return err
	}
	live, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return err
	}
	return decode(applied(found, &unstructured.Unstructured{Object: live}), object)
}

// List implements [client.Reader]. Of field selectors it supports metadata.name and
// metadata.namespace, of objects in files.
func (r *Reader) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	gvk, err := apiutil.GVKForObject(list, r.scheme)
	if err != nil {
		return err
	}
	gvk.Kind = strings.TrimSuffix(gvk.Kind, "List")
	selected := client.ListOptions{}
	selected.ApplyOptions(options)
	files := r.objects[gvk.GroupKind()]
	var items []runtime.Object
	if r.fallback != nil {
		if len(files) == 0 {
			return r.fallback.List(ctx, list, options...)
		}
		// Labels of live objects that files have may differ, so that labels are selected here.
		all := client.ListOptions{Namespace: selected.Namespace}
		if err := r.fallback.List(ctx, list, &all); err != nil {
			return err
		}
		if items, err = meta.ExtractList(list); err != nil {
			return err
		}
	}
	result := map[objectName]*unstructured.Unstructured{}
	for _, item := range items {
		live, err := runtime.DefaultUnstructuredConverter.ToUnstructured(item)
		if err != nil {
			return err
		}
		object := &unstructured.Unstructured{Object: live}
		result[objectName{object.GetNamespace(), object.GetName()}] = object
	}
	for _, file := range files {
		name := objectName{file.GetNamespace(), file.GetName()}
		if IsConfig(gvk.GroupKind()) {
			for other := range result {
				if other.name == name.name {
					name = other
				}
			}
		}
		if live := result[name]; live != nil {
			file = applied(file, live)
		}
		result[name] = file
	}
	return r.setItems(list, gvk, result, selected)
}

// setItems sets the items of a list to those objects that options select, by name.
func (r *Reader) setItems(list client.ObjectList, gvk schema.GroupVersionKind, objects map[objectName]*unstructured.Unstructured, options client.ListOptions) error {
	names := slices.SortedFunc(maps.Keys(objects), func(a, b objectName) int {
		return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.name, b.name))
	})
	items := []runtime.Object{}
	for _, name := range names {
		object := objects[name]
		if !selects(options, object) {
			continue
		}
		var item runtime.Object
		switch list.(type) {
		case *unstructured.UnstructuredList:
			item = &unstructured.Unstructured{}
		case *metav1.PartialObjectMetadataList:
			item = &metav1.PartialObjectMetadata{}
		default:
			typed, err := r.scheme.New(gvk)
			if err != nil {
				return err
			}
			item = typed
		}
		if err := decode(object, item.(client.Object)); err != nil {
			return err
		}
		items = append(items, item)
	}
	return meta.SetList(list, items)
}

// selects reports whether list options select an object.
func selects(options client.ListOptions, object *unstructured.Unstructured) bool {
	selector, byField := options.LabelSelector, options.FieldSelector
	return (options.Namespace == "" || object.GetNamespace() == options.Namespace) &&
		(selector == nil || selector.Matches(labels.Set(object.GetLabels()))) &&
		(byField == nil || byField.Matches(fields.Set{"metadata.name": object.GetName(), "metadata.namespace": object.GetNamespace()}))
}

// decode sets target, which is typed, unstructured or metadata, to a copy of object.
func decode(object *unstructured.Unstructured, target client.Object) error {
	if to, is := target.(*unstructured.Unstructured); is {
		to.Object = object.DeepCopy().Object
		return nil
	}
	text, err := gojson.Marshal(object.Object)
	if err != nil {
		return fmt.Errorf("%s: %w", describe(object), err)
	}
	value := reflect.ValueOf(target).Elem()
	value.SetZero()
	if err := gojson.Unmarshal(text, target); err != nil {
		return fmt.Errorf("%s: %w", describe(object), err)
	}
	return nil
}

// applied returns the object that a file makes of a live one. It shares parts with both.
func applied(file, live *unstructured.Unstructured) *unstructured.Unstructured {
	result := &unstructured.Unstructured{Object: maps.Clone(file.Object)}
	if status, has := live.Object["status"]; has {
		result.Object["status"] = status
	}
	ofFile, _ := file.Object["metadata"].(map[string]any)
	ofLive, _ := live.Object["metadata"].(map[string]any)
	metadata := maps.Clone(ofLive)
	if metadata == nil {
		metadata = map[string]any{}
	}
	for key, value := range ofFile {
		below, isMap := value.(map[string]any)
		before, wasMap := metadata[key].(map[string]any)
		if isMap && wasMap {
			value = maps.Clone(before)
			maps.Copy(value.(map[string]any), below)
		}
		if key != "namespace" || ofLive[key] == nil {
			metadata[key] = value
		}
	}
	result.Object["metadata"] = metadata
	if generation := live.GetGeneration(); generation > 0 && !equality.Semantic.DeepEqual(file.Object["spec"], live.Object["spec"]) {
		result.SetGeneration(generation + 1)
	}
	return result
}

// notFound returns the error that the API server returns.
func notFound(gvk schema.GroupVersionKind, name string) error {
	plural, _ := meta.UnsafeGuessKindToResource(gvk)
	return apierrors.NewNotFound(plural.GroupResource(), name)
}
