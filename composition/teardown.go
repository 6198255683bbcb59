package composition

import (
	"context"
	"errors"
	"slices"

	"github.com/seldon-operator/seldon-operator/composition/object"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Teardown deletes what owner controls, in the reverse order of waves: a wave is
// deleted when everything of the waves after it is gone. It never waits: call it
// again when a child goes, or, for children outside the cache, after a while.
// remaining are the children that are still there, because a finalizer or an
// error keeps them or one of a later wave; none when it is done. Volume claims
// stay. What [Engine.Resume] does comes first.
func (e *Engine) Delete(ctx context.Context, owner object.Owner) (remaining []object.Ref, err error) {
	recreated, err := e.resume(ctx, Request{Owner: owner}, false)
	if err = errors.Join(err, recreated.errors()); err != nil {
		return nil, err
	}
	seen, err := e.observe(ctx, Request{Owner: owner}, nil)
	if err != nil {
		return nil, err
	}
	recreated.addTo(seen.live)
	for key, obj := range seen.live {
		if owner.IsControllerOf(obj) && !isClaim(key) {
			remaining = append(remaining, key)
		}
	}
	slices.SortFunc(remaining, object.CompareReverse)
	account := e.ledger.account(owner)
	for len(remaining) > 0 {
		last := object.WaveOf(remaining[0].GroupKind())
		size := slices.IndexFunc(remaining, func(key object.Ref) bool { return object.WaveOf(key.GroupKind()) != last })
		if size < 0 {
			size = len(remaining)
		}
		left, err := e.deleteAll(ctx, remaining[:size], seen.live, account)
		if err != nil || len(left) > 0 {
			return append(left, remaining[size:]...), err
		}
		remaining = remaining[size:]
	}
	return nil, nil
}

// deleteAll deletes the objects of keys and gives back those that are still there.
func (e *Engine) deleteAll(ctx context.Context, keys []object.Ref, live map[object.Ref]*unstructured.Unstructured, account *account) (left []object.Ref, err error) {
	var pending []*unstructured.Unstructured
	for _, key := range keys {
		if live[key].GetDeletionTimestamp() != nil {
			left = append(left, key)
			continue
		}
		pending = append(pending, live[key])
	}
	_, errs := e.deleteWave(ctx, pending)
	for i, obj := range pending {
		if errs[i] != nil {
			left = append(left, object.RefOf(obj))
			continue
		}
		account.gone(object.RefOf(obj), obj)
		if len(obj.GetFinalizers()) > 0 {
			left = append(left, object.RefOf(obj))
		}
	}
	return left, errors.Join(errs...)
}
