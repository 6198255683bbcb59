package composition

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ownerIndex is the cache index of children by their controller's UID.
const ownerIndex = "composition.ownerUID"

// observation is what was found in the cluster.
type observation struct {
	// live is everything that the owner controls, and every rendered child that
	// exists, whoever's it is.
	live map[ObjectRef]*unstructured.Unstructured
	// behind: the cache has not shown some of our own writes yet.
	behind bool
}

// observe finds what is live. It reads the cache, and the API server only for
// what the cache cannot know.
func (e *Engine) observe(ctx context.Context, request Request, children []Object) (observation, error) {
	e.scans.expire(e.now())
	owner := request.Owner
	live, err := e.Children(ctx, owner)
	if err != nil {
		return observation{}, err
	}
	account := e.ledger.account(owner)
	seen := observation{live: live, behind: account.catchUp(live, e.now())}

	wanted := make(map[ObjectRef]bool, len(children))
	for _, child := range children {
		wanted[child.Ref()] = true
	}
	switch {
	case account.leftovers != nil:
	case request.SkipInitialScan:
		account.leftovers = map[ObjectRef]*unstructured.Unstructured{}
	default:
		if err := e.contact(ctx, owner, account, wanted, live); err != nil {
			return observation{}, err
		}
	}
	if err := e.addLeftovers(ctx, account, wanted, live); err != nil {
		return observation{}, err
	}
	for key := range wanted {
		if live[key] != nil {
			continue
		}
		object, err := e.lookUp(ctx, owner, account, key)
		if err != nil {
			return observation{}, err
		}
		if object != nil {
			live[key] = object
		}
	}
	return seen, nil
}

// listOwned adds the labelled objects of a kind that owner controls.
func (e *Engine) listOwned(ctx context.Context, owner Owner, kind Kind, live map[ObjectRef]*unstructured.Unstructured) error {
	list := kind.List.DeepCopyObject().(client.ObjectList)
	err := e.Cache.List(ctx, list, client.InNamespace(owner.Namespace),
		client.MatchingFields{ownerIndex: string(owner.UID)}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return fmt.Errorf("list children: %w", err)
	}
	gvk, err := e.gvk(kind.Object)
	if err != nil {
		return err
	}
	return meta.EachListItem(list, func(object runtime.Object) error {
		content, err := asUnstructured(object.(client.Object), gvk)
		if err == nil {
			live[ObjectRef{gvk, content.GetNamespace(), content.GetName()}] = content
		}
		return err
	})
}

// contact finds, once, what the cache cannot show: the objects of our kinds
// without our label that owner controls, or that have the name of a child. They
// are leftovers and predecessors from before the engine ran.
func (e *Engine) contact(ctx context.Context, owner Owner, account *account, wanted map[ObjectRef]bool, live map[ObjectRef]*unstructured.Unstructured) error {
	leftovers := map[ObjectRef]*unstructured.Unstructured{}
	for _, kind := range e.Kinds {
		if kind.CacheUnfiltered {
			continue
		}
		gvk, err := e.gvk(kind.Object)
		if err != nil {
			return err
		}
		unlabelled, err := e.scans.unlabelled(ctx, e, gvk, owner.Namespace)
		if err != nil {
			return err
		}
		for key, stub := range unlabelled {
			switch {
			case live[key] != nil:
			case wanted[key]:
				account.taken[key] = true
				object, err := e.getLive(ctx, key)
				if err != nil {
					return err
				}
				if object != nil {
					live[key] = object
				}
			case owner.controls(stub):
				leftovers[key] = stub
			}
		}
	}
	account.leftovers = leftovers
	return nil
}

// addLeftovers adds what first contact found and is still there. One that is
// being deleted is asked for, since the cache will not tell when it is gone; one
// that is wanted by now is no leftover any more.
func (e *Engine) addLeftovers(ctx context.Context, account *account, wanted map[ObjectRef]bool, live map[ObjectRef]*unstructured.Unstructured) error {
	for key, leftover := range account.leftovers {
		if live[key] != nil || wanted[key] {
			delete(account.leftovers, key)
			continue
		}
		if leftover.GetDeletionTimestamp() != nil || len(leftover.GetFinalizers()) > 0 {
			object, err := e.getLive(ctx, key)
			if err != nil {
				return err
			}
			if object == nil || object.GetUID() != leftover.GetUID() {
				delete(account.leftovers, key)
				continue
			}
			leftover = identity(key, object)
			account.leftovers[key] = leftover
		}
		live[key] = leftover
	}
	return nil
}

// lookUp finds a rendered child that the owner does not control in the cache:
// there under another owner, or live, if we made it once or could not make it
// because there is one. nil means that it does not exist as far as is known.
func (e *Engine) lookUp(ctx context.Context, owner Owner, account *account, key ObjectRef) (*unstructured.Unstructured, error) {
	if seen, known := account.foreign[key]; known && e.now().Sub(seen.at) < heldRetry {
		return seen.object, nil
	}
	delete(account.foreign, key)
	_, made := account.marks[key]
	kind, _ := e.kind(key.GroupVersionKind)
	cached := kind.Object.DeepCopyObject().(client.Object)
	err := e.Cache.Get(ctx, client.ObjectKey{Namespace: key.Namespace, Name: key.Name}, cached)
	switch {
	case err == nil && account.deleted[key] != cached.GetUID():
		return asUnstructured(cached, key.GroupVersionKind)
	case err != nil && !apierrors.IsNotFound(err):
		return nil, fmt.Errorf("get %s: %w", key, err)
	case !account.taken[key] && !made:
		return nil, nil
	}
	object, err := e.getLive(ctx, key)
	switch {
	case err != nil:
		return nil, err
	case object == nil:
		delete(account.taken, key)
	case !mayWrite(e.Options, object, owner):
		account.foreign[key] = sighting{object: identity(key, object), at: e.now()}
	}
	return object, nil
}

// getLive asks the API server; nil if there is no such object.
func (e *Engine) getLive(ctx context.Context, key ObjectRef) (*unstructured.Unstructured, error) {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(key.GroupVersionKind)
	err := e.APIReader.Get(ctx, client.ObjectKey{Namespace: key.Namespace, Name: key.Name}, object)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", key, err)
	}
	return object, nil
}

// kind finds one of the engine's kinds.
func (e *Engine) kind(gvk schema.GroupVersionKind) (Kind, bool) {
	for _, kind := range e.Kinds {
		if found, err := e.gvk(kind.Object); err == nil && found == gvk {
			return kind, true
		}
	}
	return Kind{}, false
}

func (e *Engine) gvk(object client.Object) (schema.GroupVersionKind, error) {
	return e.Client.GroupVersionKindFor(object)
}
