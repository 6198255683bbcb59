package composition

import (
	"context"
	"errors"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Teardown deletes what owner controls, in the reverse order of waves: a wave is
// deleted when everything of the waves after it is gone. It never waits: call it
// again when a child goes. remaining are the children that are still there, none
// when it is done. Volume claims stay.
func (e *Engine) Teardown(ctx context.Context, owner Owner) (remaining []Key, err error) {
	live, err := e.observe(ctx, owner, nil)
	if err != nil {
		return nil, err
	}
	last := wave(-1)
	for key, object := range live {
		if !owner.controls(object) {
			delete(live, key)
			continue
		}
		last = max(last, waveOf(key.GroupKind()))
		remaining = append(remaining, key)
	}
	slices.SortFunc(remaining, Key.compare)
	return remaining, e.deleteWave(ctx, remaining, live, last)
}

func (e *Engine) deleteWave(ctx context.Context, keys []Key, live map[Key]*unstructured.Unstructured, w wave) error {
	var errs []error
	for _, key := range keys {
		if waveOf(key.GroupKind()) != w || live[key].GetDeletionTimestamp() != nil {
			continue
		}
		if err := e.delete(ctx, live[key]); err != nil {
			errs = append(errs, &ChildError{key, err})
		}
	}
	return errors.Join(errs...)
}
