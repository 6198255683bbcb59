// Package snapshot is the state of namespaces at one time, in memory: it is read by one LIST
// of each kind, and changed by objects that are proposed. The engine and package inputs read
// it in place of the operator's cache.
package snapshot

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/pager"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// pageSize is the number of objects in one response of a LIST.
const pageSize = 500

// Denied is a read that RBAC does not permit.
type Denied struct {
	Verb, Resource string
	// Namespace is empty for all namespaces.
	Namespace string
	Err       error
}

// String returns the verb, the resource and the namespace.
func (d Denied) String() string {
	where := "in all namespaces"
	if d.Namespace != "" {
		where = "in namespace " + d.Namespace
	}
	return fmt.Sprintf("%s %s %s", d.Verb, d.Resource, where)
}

// Snapshot is a client that reads from memory what was listed or set, and everything else
// from the API server. All writes are dry-runs. It is safe for concurrent use.
type Snapshot struct {
	client.Client
	mu      sync.RWMutex
	kinds   map[schema.GroupVersionKind]*kindObjects
	indexes map[schema.GroupVersionKind]map[string]client.IndexerFunc
	denied  []Denied
}

// kindObjects are the objects of a kind, by namespace and name. They must not be changed.
type kindObjects struct {
	// namespaces that were listed; a listing of all has the key "".
	namespaces map[string]bool
	objects    map[string]map[string]client.Object
}

// New returns a snapshot without objects.
func New(api client.Client) *Snapshot {
	return &Snapshot{
		Client: client.NewDryRunClient(api), kinds: map[schema.GroupVersionKind]*kindObjects{},
		indexes: map[schema.GroupVersionKind]map[string]client.IndexerFunc{},
	}
}

// Load lists a kind in a namespace, or in all if it is empty. A read that is not permitted
// is recorded as [Denied], and the kind has no objects there.
func (s *Snapshot) Load(ctx context.Context, kind client.Object, namespace string) error {
	gvk, err := s.GroupVersionKindFor(kind)
	if err != nil {
		return err
	}
	list, err := s.Scheme().New(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
	if err != nil {
		return err
	}
	page := func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		into := list.DeepCopyObject().(client.ObjectList)
		err := s.Client.List(ctx, into, client.InNamespace(namespace), client.Limit(options.Limit), client.Continue(options.Continue))
		return into, err
	}
	lister := pager.New(page)
	lister.PageSize = pageSize
	var objects []client.Object
	err = lister.EachListItem(ctx, metav1.ListOptions{}, func(item runtime.Object) error {
		object := item.(client.Object)
		object.GetObjectKind().SetGroupVersionKind(gvk)
		objects = append(objects, object)
		return nil
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.kind(gvk)
	found.namespaces[namespace] = true
	if apierrors.IsForbidden(err) {
		mapping, mappingErr := s.RESTMapper().RESTMapping(gvk.GroupKind(), gvk.Version)
		if mappingErr != nil {
			return mappingErr
		}
		s.denied = append(s.denied, Denied{Verb: "list", Resource: mapping.Resource.GroupResource().String(), Namespace: namespace, Err: err})
		return nil
	}
	if err != nil {
		return fmt.Errorf("list %s: %w", gvk.Kind, err)
	}
	for _, object := range objects {
		found.set(object)
	}
	return nil
}

// kind returns the objects of a kind, which may be none. The caller holds the lock.
func (s *Snapshot) kind(gvk schema.GroupVersionKind) *kindObjects {
	if s.kinds[gvk] == nil {
		s.kinds[gvk] = &kindObjects{namespaces: map[string]bool{}, objects: map[string]map[string]client.Object{}}
	}
	return s.kinds[gvk]
}

func (k *kindObjects) set(object client.Object) {
	if k.objects[object.GetNamespace()] == nil {
		k.objects[object.GetNamespace()] = map[string]client.Object{}
	}
	k.objects[object.GetNamespace()][object.GetName()] = object
}

// covers reports whether the objects of a namespace, or of all if it is empty, are known.
func (k *kindObjects) covers(namespace string) bool {
	return k != nil && (k.namespaces[""] || k.namespaces[namespace])
}

// Set adds an object, or replaces it. It must not be changed afterwards.
func (s *Snapshot) Set(object client.Object) error {
	typed, gvk, err := s.typed(object)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kind(gvk).set(typed)
	return nil
}

// typed returns an object as the Go type of its kind.
func (s *Snapshot) typed(object client.Object) (client.Object, schema.GroupVersionKind, error) {
	gvk, err := apiutil.GVKForObject(object, s.Scheme())
	if err != nil {
		return nil, gvk, err
	}
	content, is := object.(*unstructured.Unstructured)
	if !is {
		return object, gvk, nil
	}
	typed, err := s.Scheme().New(gvk)
	if err != nil {
		return nil, gvk, err
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content.Object, typed); err != nil {
		return nil, gvk, fmt.Errorf("read %s %s/%s: %w", gvk.Kind, object.GetNamespace(), object.GetName(), err)
	}
	typed.GetObjectKind().SetGroupVersionKind(gvk)
	return typed.(client.Object), gvk, nil
}

// Denied returns the reads that were not permitted, sorted and each once.
func (s *Snapshot) Denied() []Denied {
	s.mu.RLock()
	defer s.mu.RUnlock()
	denied := slices.Clone(s.denied)
	slices.SortFunc(denied, func(a, b Denied) int { return cmp.Compare(a.String(), b.String()) })
	return slices.CompactFunc(denied, func(a, b Denied) bool { return a.String() == b.String() })
}

// IsDenied returns the read of a kind in a namespace that was not permitted; nil if it was.
func (s *Snapshot) IsDenied(gvk schema.GroupVersionKind, namespace string) *Denied {
	mapping, err := s.RESTMapper().RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return nil
	}
	resource := mapping.Resource.GroupResource().String()
	for _, denied := range s.Denied() {
		if denied.Resource == resource && (denied.Namespace == "" || denied.Namespace == namespace) {
			return &denied
		}
	}
	return nil
}

// IndexField implements [client.FieldIndexer].
func (s *Snapshot) IndexField(_ context.Context, kind client.Object, field string, extract client.IndexerFunc) error {
	gvk, err := s.GroupVersionKindFor(kind)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.indexes[gvk] == nil {
		s.indexes[gvk] = map[string]client.IndexerFunc{}
	}
	s.indexes[gvk][field] = extract
	return nil
}

// Get implements [client.Reader].
func (s *Snapshot) Get(ctx context.Context, key client.ObjectKey, into client.Object, options ...client.GetOption) error {
	gvk, err := apiutil.GVKForObject(into, s.Scheme())
	if err != nil {
		return err
	}
	s.mu.RLock()
	kind := s.kinds[gvk]
	known := kind.covers(key.Namespace)
	var found client.Object
	if kind != nil {
		found = kind.objects[key.Namespace][key.Name]
	}
	s.mu.RUnlock()
	switch {
	case found != nil:
		return copyInto(found, into, gvk)
	case known:
		mapping, err := s.RESTMapper().RESTMapping(gvk.GroupKind(), gvk.Version)
		if err != nil {
			return err
		}
		return apierrors.NewNotFound(mapping.Resource.GroupResource(), key.Name)
	default:
		return s.Client.Get(ctx, key, into, options...)
	}
}

// copyInto sets into, which is typed or unstructured, to a copy of found.
func copyInto(found, into client.Object, gvk schema.GroupVersionKind) error {
	if content, is := into.(*unstructured.Unstructured); is {
		fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(found.DeepCopyObject())
		if err != nil {
			return err
		}
		content.Object = fields
		content.SetGroupVersionKind(gvk)
		return nil
	}
	target, source := reflect.ValueOf(into), reflect.ValueOf(found.DeepCopyObject())
	if target.Type() != source.Type() {
		return fmt.Errorf("read %s %s as %T", gvk.Kind, found.GetName(), into)
	}
	target.Elem().Set(source.Elem())
	return nil
}

// List implements [client.Reader], for lists of Go types and of metadata. Items share memory
// with the snapshot and must not be changed.
func (s *Snapshot) List(ctx context.Context, into client.ObjectList, options ...client.ListOption) error {
	gvk, err := apiutil.GVKForObject(into, s.Scheme())
	if err != nil {
		return err
	}
	gvk.Kind = gvk.Kind[:len(gvk.Kind)-len("List")]
	request := (&client.ListOptions{}).ApplyOptions(options)
	s.mu.RLock()
	kind := s.kinds[gvk]
	if !kind.covers(request.Namespace) {
		s.mu.RUnlock()
		return s.Client.List(ctx, into, options...)
	}
	var objects []client.Object
	namespaces := []string{request.Namespace}
	if request.Namespace == "" {
		namespaces = slices.Sorted(maps.Keys(kind.objects))
	}
	for _, namespace := range namespaces {
		inNamespace := kind.objects[namespace]
		for _, name := range slices.Sorted(maps.Keys(inNamespace)) {
			objects = append(objects, inNamespace[name])
		}
	}
	indexes := s.indexes[gvk]
	s.mu.RUnlock()
	var items []runtime.Object
	_, metadataOnly := into.(*metav1.PartialObjectMetadataList)
	for _, object := range objects {
		matches, err := matches(object, request, indexes)
		if err != nil {
			return fmt.Errorf("list %s: %w", gvk.Kind, err)
		}
		switch {
		case !matches:
		case metadataOnly:
			items = append(items, meta.AsPartialObjectMetadata(object))
		default:
			items = append(items, object)
		}
	}
	return meta.SetList(into, items)
}

// matches reports whether an object matches the selectors of a request.
func matches(object client.Object, request *client.ListOptions, indexes map[string]client.IndexerFunc) (bool, error) {
	if request.LabelSelector != nil && !request.LabelSelector.Matches(labels.Set(object.GetLabels())) {
		return false, nil
	}
	if request.FieldSelector == nil {
		return true, nil
	}
	for _, requirement := range request.FieldSelector.Requirements() {
		extract := indexes[requirement.Field]
		if extract == nil {
			return false, fmt.Errorf("field %s is not indexed", requirement.Field)
		}
		if !slices.Contains(extract(object), requirement.Value) {
			return false, nil
		}
	}
	return true, nil
}
