package foldersync

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/relay"
)

// Store has the objects of files as the API server would have them: with a UID, a generation
// and a status. It is safe for concurrent use. Objects in it do not change, but are replaced.
//
//   - The UID is that of the kind and name. It changes when an object is in the files again
//     that may have been unloaded in the meantime.
//   - The generation grows with each change of the spec, and is never below that of the
//     scheduler: it is equal if the scheduler has the definition, and higher if not.
type Store struct {
	namespace string
	prune     bool

	mu      sync.Mutex
	objects map[Key]client.Object
	// removed are objects that the files do not have any more, and that were not unloaded.
	removed map[Key]client.Object
	// incarnations counts the UIDs of each kind and name. released are those whose objects
	// may have been unloaded, so that the next one has another UID.
	incarnations map[Key]int
	released     map[Key]bool
	// listed are the objects of the namespace that the scheduler had in its last listing.
	listed map[relay.Kind]map[string]int64
	// complete: the last read had objects, and no errors.
	complete bool
	// regenerated is called with objects whose generation a listing has changed, unloaded
	// with those that were unloaded.
	regenerated func(client.Object)
	unloaded    func(Key)
}

var (
	_ client.Reader = &Store{}
	_ relay.Source  = &Store{}
)

// NewStore returns a store without objects. prune permits to unload objects.
func NewStore(namespace string, prune bool) *Store {
	return &Store{
		namespace: namespace, prune: prune,
		objects: map[Key]client.Object{}, removed: map[Key]client.Object{},
		incarnations: map[Key]int{}, released: map[Key]bool{}, listed: map[relay.Kind]map[string]int64{},
		regenerated: func(client.Object) {}, unloaded: func(Key) {},
	}
}

// Set replaces the objects by the contents of files, and returns the keys of those that were
// added or changed, and of those that are not in the files. If the contents are not complete,
// what they do not have stays.
func (s *Store) Set(contents Contents) (changed, removed []Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.complete = contents.Err == nil && len(contents.Objects) > 0
	inFiles := map[Key]bool{}
	for _, object := range contents.Objects {
		key := KeyOf(object)
		inFiles[key] = true
		if s.set(key, object) {
			changed = append(changed, key)
		}
	}
	if s.complete {
		for key, object := range s.objects {
			if !inFiles[key] {
				delete(s.objects, key)
				s.removed[key] = object
				removed = append(removed, key)
			}
		}
	}
	slices.SortFunc(changed, compareKeys)
	slices.SortFunc(removed, compareKeys)
	return changed, removed
}

// set sets an object, and reports whether it is new or its spec has changed.
func (s *Store) set(key Key, object client.Object) bool {
	before, exists := s.objects[key]
	if !exists {
		before = s.removed[key]
		delete(s.removed, key)
	}
	object = copyOf(object)
	switch {
	case before == nil || s.released[key]:
		s.incarnations[key]++
		delete(s.released, key)
		object.SetGeneration(1)
		if before != nil {
			object.SetGeneration(before.GetGeneration() + 1)
		}
		if generation, has := s.listed[key.Kind][key.Name]; has {
			object.SetGeneration(max(object.GetGeneration(), generation+1))
		}
	case specOf(before) == nil || !equality.Semantic.DeepEqual(specOf(before), specOf(object)):
		object.SetGeneration(before.GetGeneration() + 1)
	default:
		s.objects[key] = before
		return !exists
	}
	object.SetUID(types.UID(fmt.Sprintf("%s-%s-%d", key.Kind, key.Name, s.incarnations[key])))
	s.objects[key] = object
	return true
}

func copyOf(object client.Object) client.Object { return object.DeepCopyObject().(client.Object) }

// specOf returns the spec of an object.
func specOf(object client.Object) any {
	return reflect.ValueOf(object).Elem().FieldByName("Spec").Interface()
}

// Object returns an object, which must not be changed; nil for none.
func (s *Store) Object(key Key) client.Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.objects[key]
}

// Keys returns the keys of all objects, in a fixed order.
func (s *Store) Keys() []Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Keys(s.objects), compareKeys)
}

// Orphans returns the keys of what the scheduler has, or had before it was removed from the
// files, and what no file has. unload: it is being unloaded.
func (s *Store) Orphans() (keys []Key, unload bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	orphans := map[Key]bool{}
	for key := range s.removed {
		orphans[key] = true
	}
	for kind, names := range s.listed {
		for name := range names {
			orphans[Key{kind, name}] = true
		}
	}
	for key := range s.objects {
		delete(orphans, key)
	}
	return slices.SortedFunc(maps.Keys(orphans), compareKeys), s.prune && s.complete
}

// SetStatus sets the conditions of an object's current generation: what the relay trusts when
// it connects again.
func (s *Store) SetStatus(of client.Object, conditions []metav1.Condition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := KeyOf(of)
	current := s.objects[key]
	if current == nil || current.GetUID() != of.GetUID() || current.GetGeneration() != of.GetGeneration() {
		return
	}
	object, is := copyOf(current).(interface {
		client.Object
		SetConditions(conditions []metav1.Condition)
		SetObservedGeneration(generation int64)
	})
	if !is {
		return
	}
	for i := range conditions {
		conditions[i].ObservedGeneration = of.GetGeneration()
	}
	object.SetConditions(conditions)
	object.SetObservedGeneration(of.GetGeneration())
	s.objects[key] = object
}

// Listed implements [relay.Source].
func (s *Store) Listed(kind relay.Kind, objects []relay.Listed) {
	for _, object := range s.compare(kind, objects) {
		s.regenerated(object)
	}
}

// compare returns the objects whose generation has changed.
func (s *Store) compare(kind relay.Kind, objects []relay.Listed) (regenerated []client.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listed[kind] = map[string]int64{}
	for _, each := range objects {
		if each.Namespace != s.namespace || each.Terminating || each.Terminated {
			continue
		}
		key := Key{kind, each.Name}
		object := s.objects[key]
		if object == nil {
			if !each.Inactive {
				s.listed[kind][each.Name] = each.State.Generation
			}
			continue
		}
		s.listed[kind][each.Name] = each.State.Generation
		generation, listed := object.GetGeneration(), each.State.Generation
		if listed < generation {
			continue
		}
		// The scheduler may list a definition in another form than it was sent. What it has
		// confirmed for this generation is not sent again.
		if each.HasDefinition(kind, object) || kind == relay.Experiment || listed == generation && isConfirmed(object) {
			generation = listed
		} else {
			generation = listed + 1
		}
		if generation != object.GetGeneration() {
			object = copyOf(object)
			object.SetGeneration(generation)
			s.objects[key] = object
			regenerated = append(regenerated, object)
		}
	}
	return regenerated
}

// isConfirmed reports whether the status has the current generation.
func isConfirmed(object client.Object) bool {
	observed, is := object.(interface{ GetObservedGeneration() int64 })
	return is && observed.GetObservedGeneration() == object.GetGeneration()
}

// MayUnload implements [relay.Source].
func (s *Store) MayUnload(kind relay.Kind, name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := Key{kind, name}
	if !s.prune || !s.complete || s.objects[key] != nil {
		return false
	}
	s.released[key] = true
	return true
}

// Unloaded implements [relay.Source].
func (s *Store) Unloaded(kind relay.Kind, name string) {
	key := Key{kind, name}
	s.mu.Lock()
	delete(s.listed[kind], name)
	delete(s.removed, key)
	s.mu.Unlock()
	s.unloaded(key)
}

// Get implements [client.Reader].
func (s *Store) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	object := s.Object(Key{KeyOf(into).Kind, key.Name})
	if object == nil || key.Namespace != s.namespace || reflect.TypeOf(object) != reflect.TypeOf(into) {
		return apierrors.NewNotFound(schema.GroupResource{Group: v1alpha1.GroupVersion.Group, Resource: fmt.Sprintf("%T", into)}, key.Name)
	}
	reflect.ValueOf(into).Elem().Set(reflect.ValueOf(copyOf(object)).Elem())
	return nil
}

// withSecrets is a store that reads Secrets from another reader.
type withSecrets struct {
	*Store
	secrets client.Reader
}

// Get implements [client.Reader].
func (r withSecrets) Get(ctx context.Context, key client.ObjectKey, into client.Object, options ...client.GetOption) error {
	if _, is := into.(*corev1.Secret); is && r.secrets != nil {
		return r.secrets.Get(ctx, key, into, options...)
	}
	return r.Store.Get(ctx, key, into, options...)
}

// List implements [client.Reader]. It returns all objects of the kind, in the order of their
// names. SeldonRuntimes are not listed: their Servers are.
func (s *Store) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	var kind relay.Kind
	switch list.(type) {
	case *v1alpha1.ModelList:
		kind = relay.Model
	case *v1alpha1.PipelineList:
		kind = relay.Pipeline
	case *v1alpha1.ExperimentList:
		kind = relay.Experiment
	case *v1alpha1.ServerList:
		kind = relay.Server
	}
	items := []runtime.Object{}
	for _, key := range s.Keys() {
		if object := s.Object(key); key.Kind == kind && object != nil {
			items = append(items, object)
		}
	}
	return meta.SetList(list, items)
}
