package live

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/composition/internal/cached"
	"github.com/seldon-operator/seldon-operator/composition/internal/cluster"
	"github.com/seldon-operator/seldon-operator/composition/internal/state"
	"github.com/seldon-operator/seldon-operator/composition/object"
	"github.com/seldon-operator/seldon-operator/composition/plan"
)

// OwnerIndex is the index of the cache by the UID of an object's controller.
const OwnerIndex = "composition.ownerUID"

// Reader finds live objects. It is safe for concurrent use, for one owner by one goroutine
// at a time.
type Reader struct {
	Cluster *cluster.Client
	Kinds   []object.Kind
	Now     func() time.Time

	scans scans
}

// Owned lists the labelled objects that owner controls, as the cache shows them. They
// share parts with the cache and must not be changed.
func (r *Reader) Owned(ctx context.Context, owner object.Owner) (map[object.Ref]*unstructured.Unstructured, error) {
	owned := map[object.Ref]*unstructured.Unstructured{}
	for _, kind := range r.Kinds {
		if err := r.listOwned(ctx, owner, kind, owned); err != nil {
			return nil, err
		}
	}
	return owned, nil
}

// Read returns the objects that owner controls, and the objects with the references of
// rendered that exist, whoever controls them. It reads the cache, and the API server only
// for what the cache cannot show. skipScan: no other program can have created objects for
// the owner, so that there is nothing to scan for. stale: the cache does not show all
// writes of the engine yet.
func (r *Reader) Read(ctx context.Context, owner object.Owner, remembered *state.Owner, rendered []object.Object, skipScan bool) (live map[object.Ref]*unstructured.Unstructured, stale bool, err error) {
	r.scans.expire(r.Now())
	if live, err = r.Owned(ctx, owner); err != nil {
		return nil, false, err
	}
	stale = remembered.OverlayRecentWrites(live, r.Now())
	desired := make(map[object.Ref]bool, len(rendered))
	for _, each := range rendered {
		desired[each.Ref()] = true
	}
	switch {
	case remembered.Orphans != nil:
	case skipScan:
		remembered.Orphans = map[object.Ref]*unstructured.Unstructured{}
	default:
		if err := r.initialScan(ctx, owner, remembered, desired, live); err != nil {
			return nil, false, err
		}
	}
	if err := r.addOrphans(ctx, remembered, desired, live); err != nil {
		return nil, false, err
	}
	for ref := range desired {
		if live[ref] != nil {
			continue
		}
		found, err := r.find(ctx, owner, remembered, ref)
		if err != nil {
			return nil, false, err
		}
		if found != nil {
			live[ref] = found
		}
	}
	return live, stale, nil
}

// listOwned adds the labelled objects of a kind that owner controls.
func (r *Reader) listOwned(ctx context.Context, owner object.Owner, kind object.Kind, owned map[object.Ref]*unstructured.Unstructured) error {
	gvk, err := r.Cluster.Client.GroupVersionKindFor(kind.Object)
	if err != nil {
		return err
	}
	list, err := r.newList(gvk)
	if err != nil {
		return err
	}
	err = r.Cluster.Client.List(ctx, list, client.InNamespace(owner.Namespace),
		client.MatchingFields{OwnerIndex: string(owner.UID)}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return fmt.Errorf("list the objects of %s %s/%s: %w", owner.Kind, owner.Namespace, owner.Name, err)
	}
	return meta.EachListItem(list, func(item runtime.Object) error {
		content, err := cached.FromTyped(item.(client.Object), gvk)
		if err == nil {
			owned[object.Ref{GroupVersionKind: gvk, Namespace: content.GetNamespace(), Name: content.GetName()}] = content
		}
		return err
	})
}

// newList returns an empty typed list of a kind.
func (r *Reader) newList(gvk schema.GroupVersionKind) (client.ObjectList, error) {
	list, err := r.Cluster.Client.Scheme().New(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
	if err != nil {
		return nil, err
	}
	return list.(client.ObjectList), nil
}

// initialScan finds, once for each owner, what the cache cannot show: the objects without
// the owner label that owner controls, or that have the name of a rendered object. They
// were created by another program, or by the engine before the label was removed.
func (r *Reader) initialScan(ctx context.Context, owner object.Owner, remembered *state.Owner, desired map[object.Ref]bool, live map[object.Ref]*unstructured.Unstructured) error {
	orphans := map[object.Ref]*unstructured.Unstructured{}
	for _, kind := range r.Kinds {
		if kind.CacheUnfiltered {
			continue
		}
		gvk, err := r.Cluster.Client.GroupVersionKindFor(kind.Object)
		if err != nil {
			return err
		}
		unlabelled, err := r.unlabelled(ctx, gvk, owner.Namespace)
		if err != nil {
			return err
		}
		for ref, stub := range unlabelled {
			switch {
			case live[ref] != nil:
			case desired[ref]:
				remembered.SetNameConflict(ref, true)
				found, err := r.Cluster.Get(ctx, ref)
				if err != nil {
					return err
				}
				if found != nil {
					live[ref] = found
				}
			case owner.IsControllerOf(stub):
				orphans[ref] = stub
			}
		}
	}
	remembered.Orphans = orphans
	return nil
}

// addOrphans adds the orphans of the initial scan that still exist. Those that are being
// deleted are read, since the cache does not show when they no longer exist. One that is
// rendered by now is not an orphan any more.
func (r *Reader) addOrphans(ctx context.Context, remembered *state.Owner, desired map[object.Ref]bool, live map[object.Ref]*unstructured.Unstructured) error {
	for ref, orphan := range remembered.Orphans {
		if live[ref] != nil || desired[ref] {
			delete(remembered.Orphans, ref)
			continue
		}
		if orphan.GetDeletionTimestamp() != nil || len(orphan.GetFinalizers()) > 0 {
			current, err := r.Cluster.Get(ctx, ref)
			if err != nil {
				return err
			}
			if current == nil || current.GetUID() != orphan.GetUID() {
				delete(remembered.Orphans, ref)
				continue
			}
			orphan = object.Stub(ref, current)
			remembered.Orphans[ref] = orphan
		}
		live[ref] = orphan
	}
	return nil
}

// find returns a rendered object that the cache does not show as the owner's: from the
// cache if another owner controls it, or from the API server if it may exist unseen. It
// returns nil if the object does not exist as far as is known.
func (r *Reader) find(ctx context.Context, owner object.Owner, remembered *state.Owner, ref object.Ref) (*unstructured.Unstructured, error) {
	if foreign := remembered.Foreign(ref, r.Now()); foreign != nil {
		return foreign, nil
	}
	typed, err := r.Cluster.Client.Scheme().New(ref.GroupVersionKind)
	if err != nil {
		return nil, err
	}
	shown := typed.(client.Object)
	err = r.Cluster.Client.Get(ctx, client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}, shown)
	switch {
	case err == nil && !remembered.WasDeleted(ref, shown.GetUID()):
		return cached.FromTyped(shown, ref.GroupVersionKind)
	case err != nil && !apierrors.IsNotFound(err):
		return nil, fmt.Errorf("get %s: %w", ref, err)
	case !remembered.MayExistUnseen(ref):
		return nil, nil
	}
	found, err := r.Cluster.Get(ctx, ref)
	switch {
	case err != nil:
		return nil, err
	case found == nil:
		remembered.SetNameConflict(ref, false)
	case !plan.MayWrite(r.Cluster.Options, found, owner):
		remembered.SetForeign(ref, object.Stub(ref, found), r.Now())
	}
	return found, nil
}
