package composition

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ownerIndex is the cache index of children by their controller's UID.
const ownerIndex = "composition.ownerUID"

// Kind is a kind that instances may have children of.
type Kind struct {
	// Object and List are of the kind's Go types.
	Object client.Object
	List   client.ObjectList
	// Unfiltered: the cache holds every object of the kind. Of others it holds
	// those with the owner label.
	Unfiltered bool
}

// cacheLag is how long a child that we wrote may be missing from the cache
// before the API server is asked for it.
const cacheLag = 5 * time.Second

// observe finds what is live: everything that the owner controls, and every
// rendered child that exists, whoever's it is. It reads the cache, and the API
// server only for what the cache does not know.
func (e *Engine) observe(ctx context.Context, owner Owner, children []Child) (map[Key]*unstructured.Unstructured, error) {
	live := map[Key]*unstructured.Unstructured{}
	for _, kind := range e.Kinds {
		if err := e.listOwned(ctx, owner, kind, live); err != nil {
			return nil, err
		}
	}
	account := e.ledger.account(owner.UID)
	firstContact := !account.contacted
	if firstContact {
		if err := e.listUnlabelled(ctx, owner, children, live); err != nil {
			return nil, err
		}
		account.contacted = true
	}
	for _, child := range children {
		key := child.Key()
		if live[key] != nil {
			continue
		}
		mark, known := account.marks[key]
		if known && e.now().Sub(mark.at) < cacheLag {
			live[key] = mark.asApplied
			continue
		}
		object, err := e.lookUp(ctx, key, firstContact)
		if err != nil {
			return nil, err
		}
		if object != nil {
			live[key] = object
		}
	}
	return live, nil
}

// listOwned adds the labelled objects of a kind that owner controls.
func (e *Engine) listOwned(ctx context.Context, owner Owner, kind Kind, live map[Key]*unstructured.Unstructured) error {
	list := kind.List.DeepCopyObject().(client.ObjectList)
	err := e.Cache.List(ctx, list, client.InNamespace(owner.Namespace),
		client.MatchingFields{ownerIndex: string(owner.UID)}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return fmt.Errorf("list children: %w", err)
	}
	return meta.EachListItem(list, func(object runtime.Object) error {
		content, err := e.unstructured(object.(client.Object))
		if err == nil {
			live[KeyOf(content)] = content
		}
		return err
	})
}

// listUnlabelled adds the objects that the cache cannot show: those of our kinds
// without our label which owner controls, or which have the name of a child.
// They are leftovers and predecessors from before the engine ran.
func (e *Engine) listUnlabelled(ctx context.Context, owner Owner, children []Child, live map[Key]*unstructured.Unstructured) error {
	wanted := map[Key]bool{}
	for _, child := range children {
		wanted[child.Key()] = true
	}
	unlabelled, err := labelMissing(e.Policy.OwnerLabel())
	if err != nil {
		return err
	}
	for _, kind := range e.Kinds {
		if kind.Unfiltered {
			continue
		}
		gvk, err := e.gvk(kind.Object)
		if err != nil {
			return err
		}
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
		if err := e.Live.List(ctx, list, client.InNamespace(owner.Namespace), unlabelled); err != nil {
			return fmt.Errorf("list %s objects of %s that are not labelled yet: %w", gvk.Kind, owner.Namespace, err)
		}
		for i := range list.Items {
			key := Key{GroupVersionKind: gvk, Namespace: list.Items[i].Namespace, Name: list.Items[i].Name}
			if !owner.controls(&list.Items[i]) && !wanted[key] {
				continue
			}
			object, err := e.getLive(ctx, key)
			if err != nil {
				return err
			}
			if object != nil {
				live[key] = object
			}
		}
	}
	return nil
}

// lookUp finds a rendered child that the owner does not control in the cache:
// there under another owner, or live. listed says that the API server has just
// listed what the cache does not hold.
func (e *Engine) lookUp(ctx context.Context, key Key, listed bool) (*unstructured.Unstructured, error) {
	for _, kind := range e.Kinds {
		gvk, err := e.gvk(kind.Object)
		if err != nil {
			return nil, err
		}
		if gvk != key.GroupVersionKind {
			continue
		}
		object := kind.Object.DeepCopyObject().(client.Object)
		err = e.Cache.Get(ctx, client.ObjectKey{Namespace: key.Namespace, Name: key.Name}, object)
		switch {
		case err == nil:
			return e.unstructured(object)
		case !apierrors.IsNotFound(err):
			return nil, fmt.Errorf("get %s: %w", key, err)
		case listed:
			return nil, nil
		}
		break
	}
	return e.getLive(ctx, key)
}

// getLive asks the API server; nil if there is no such object.
func (e *Engine) getLive(ctx context.Context, key Key) (*unstructured.Unstructured, error) {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(key.GroupVersionKind)
	err := e.Live.Get(ctx, client.ObjectKey{Namespace: key.Namespace, Name: key.Name}, object)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", key, err)
	}
	return object, nil
}

// unstructured converts a cached object, which is not changed.
func (e *Engine) unstructured(object client.Object) (*unstructured.Unstructured, error) {
	gvk, err := e.gvk(object)
	if err != nil {
		return nil, err
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return nil, fmt.Errorf("read %s %s: %w", gvk.Kind, object.GetName(), err)
	}
	converted := &unstructured.Unstructured{Object: content}
	converted.SetGroupVersionKind(gvk)
	return converted, nil
}

func (e *Engine) gvk(object client.Object) (schema.GroupVersionKind, error) {
	return e.Client.GroupVersionKindFor(object)
}
