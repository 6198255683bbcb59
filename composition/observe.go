package composition

import (
	"context"
	"fmt"

	"github.com/seldon-operator/seldon-operator/composition/internal/cached"
	"github.com/seldon-operator/seldon-operator/composition/object"
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
	live map[object.Ref]*unstructured.Unstructured
	// behind: the cache has not shown some of our own writes yet.
	behind bool
}

// observe finds what is live. It reads the cache, and the API server only for
// what the cache cannot know.
func (e *Engine) observe(ctx context.Context, request Request, children []object.Object) (observation, error) {
	e.scans.expire(e.now())
	owner := request.Owner
	live, err := e.Children(ctx, owner)
	if err != nil {
		return observation{}, err
	}
	account := e.ledger.account(owner)
	seen := observation{live: live, behind: account.catchUp(live, e.now())}

	wanted := make(map[object.Ref]bool, len(children))
	for _, child := range children {
		wanted[child.Ref()] = true
	}
	switch {
	case account.leftovers != nil:
	case request.SkipInitialScan:
		account.leftovers = map[object.Ref]*unstructured.Unstructured{}
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
		obj, err := e.lookUp(ctx, owner, account, key)
		if err != nil {
			return observation{}, err
		}
		if obj != nil {
			live[key] = obj
		}
	}
	return seen, nil
}

// listOwned adds the labelled objects of a kind that owner controls.
func (e *Engine) listOwned(ctx context.Context, owner object.Owner, kind object.Kind, live map[object.Ref]*unstructured.Unstructured) error {
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
	return meta.EachListItem(list, func(obj runtime.Object) error {
		content, err := cached.FromTyped(obj.(client.Object), gvk)
		if err == nil {
			live[object.Ref{GroupVersionKind: gvk, Namespace: content.GetNamespace(), Name: content.GetName()}] = content
		}
		return err
	})
}

// contact finds, once, what the cache cannot show: the objects of our kinds
// without our label that owner controls, or that have the name of a child. They
// are leftovers and predecessors from before the engine ran.
func (e *Engine) contact(ctx context.Context, owner object.Owner, account *account, wanted map[object.Ref]bool, live map[object.Ref]*unstructured.Unstructured) error {
	leftovers := map[object.Ref]*unstructured.Unstructured{}
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
				obj, err := e.getLive(ctx, key)
				if err != nil {
					return err
				}
				if obj != nil {
					live[key] = obj
				}
			case owner.IsControllerOf(stub):
				leftovers[key] = stub
			}
		}
	}
	account.leftovers = leftovers
	return nil
}

// addLeftovers adds what the initial scan found and is still there. One that is
// being deleted is asked for, since the cache will not tell when it is gone; one
// that is wanted by now is no leftover any more.
func (e *Engine) addLeftovers(ctx context.Context, account *account, wanted map[object.Ref]bool, live map[object.Ref]*unstructured.Unstructured) error {
	for key, leftover := range account.leftovers {
		if live[key] != nil || wanted[key] {
			delete(account.leftovers, key)
			continue
		}
		if leftover.GetDeletionTimestamp() != nil || len(leftover.GetFinalizers()) > 0 {
			obj, err := e.getLive(ctx, key)
			if err != nil {
				return err
			}
			if obj == nil || obj.GetUID() != leftover.GetUID() {
				delete(account.leftovers, key)
				continue
			}
			leftover = object.Stub(key, obj)
			account.leftovers[key] = leftover
		}
		live[key] = leftover
	}
	return nil
}

// lookUp finds a rendered child that the owner does not control in the cache:
// there under another owner, or live, if we made it once or could not make it
// because there is one. nil means that it does not exist as far as is known.
func (e *Engine) lookUp(ctx context.Context, owner object.Owner, account *account, key object.Ref) (*unstructured.Unstructured, error) {
	if seen, known := account.foreign[key]; known && e.now().Sub(seen.at) < heldRetry {
		return seen.object, nil
	}
	delete(account.foreign, key)
	_, made := account.marks[key]
	kind, _ := e.kind(key.GroupVersionKind)
	inCache := kind.Object.DeepCopyObject().(client.Object)
	err := e.Cache.Get(ctx, client.ObjectKey{Namespace: key.Namespace, Name: key.Name}, inCache)
	switch {
	case err == nil && account.deleted[key] != inCache.GetUID():
		return cached.FromTyped(inCache, key.GroupVersionKind)
	case err != nil && !apierrors.IsNotFound(err):
		return nil, fmt.Errorf("get %s: %w", key, err)
	case !account.taken[key] && !made:
		return nil, nil
	}
	obj, err := e.getLive(ctx, key)
	switch {
	case err != nil:
		return nil, err
	case obj == nil:
		delete(account.taken, key)
	case !mayWrite(e.Options, obj, owner):
		account.foreign[key] = sighting{object: object.Stub(key, obj), at: e.now()}
	}
	return obj, nil
}

// getLive asks the API server; nil if there is no such object.
func (e *Engine) getLive(ctx context.Context, key object.Ref) (*unstructured.Unstructured, error) {
	obj := &unstructured.Unstructured{}
	obj.SetGroupVersionKind(key.GroupVersionKind)
	err := e.APIReader.Get(ctx, client.ObjectKey{Namespace: key.Namespace, Name: key.Name}, obj)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", key, err)
	}
	return obj, nil
}

// kind finds one of the engine's kinds.
func (e *Engine) kind(gvk schema.GroupVersionKind) (object.Kind, bool) {
	for _, kind := range e.Kinds {
		if found, err := e.gvk(kind.Object); err == nil && found == gvk {
			return kind, true
		}
	}
	return object.Kind{}, false
}

func (e *Engine) gvk(obj client.Object) (schema.GroupVersionKind, error) {
	return e.Client.GroupVersionKindFor(obj)
}
