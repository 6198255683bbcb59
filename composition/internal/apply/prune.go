package apply

import (
	"context"
	"errors"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/seldon-operator/seldon-operator/composition/internal/state"
	"github.com/seldon-operator/seldon-operator/composition/object"
	"github.com/seldon-operator/seldon-operator/composition/plan"
)

// prune deletes orphans in the reverse order of waves, each with its UID as precondition.
// Orphans that unsettled objects use are retained. An error stops the waves after it,
// whose objects those of this wave may need.
func (a *Applier) prune(ctx context.Context, unsettled []plan.Step, remembered *state.Owner, result *Result) error {
	prunes := result.Plan.Prunes
	if len(unsettled) > 0 {
		if err := a.completeOrphans(ctx, prunes); err != nil {
			return err
		}
		prunes = plan.RetainInUse(unsettled, prunes)
		result.Plan.Prunes = prunes
	}
	deletions := slices.DeleteFunc(slices.Clone(prunes), func(step plan.Step) bool { return step.Action != plan.Delete })
	for _, steps := range byWave(deletions) {
		objects := make([]*unstructured.Unstructured, len(steps))
		for i, step := range steps {
			objects[i] = step.Live
		}
		deleted, errs := a.deleteWave(ctx, objects)
		for i, step := range steps {
			if errs[i] != nil {
				continue
			}
			remembered.SetDeleted(step.Ref, step.Live)
			if deleted[i] {
				result.Pruned = append(result.Pruned, step.Ref)
			}
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	return nil
}

// completeOrphans reads the orphans of which only the metadata is known and that may use
// others or be used by them.
func (a *Applier) completeOrphans(ctx context.Context, prunes []plan.Step) error {
	for i, step := range prunes {
		kind := step.Ref.GroupKind()
		if step.Action != plan.Delete || !object.IsStub(step.Live) || !object.IsWorkload(kind) && kind != plan.RoleBindingKind && kind != plan.ServiceKind {
			continue
		}
		live, err := a.Cluster.Get(ctx, step.Ref)
		if err != nil {
			return &object.Error{Ref: step.Ref, Err: err}
		}
		if live != nil && live.GetUID() == step.Live.GetUID() {
			prunes[i].Live = live
		}
	}
	return nil
}

// deleteWave deletes objects in parallel. For each it returns whether the object still
// existed, and the error.
func (a *Applier) deleteWave(ctx context.Context, objects []*unstructured.Unstructured) (deleted []bool, errs []error) {
	deleted, errs = make([]bool, len(objects)), make([]error, len(objects))
	inParallel(ctx, len(objects), func(i int) {
		var err error
		if deleted[i], err = a.Cluster.Delete(ctx, objects[i]); err != nil {
			errs[i] = &object.Error{Ref: object.RefOf(objects[i]), Err: err}
		}
	})
	return deleted, errs
}

// DeleteAll deletes live objects that owner controls, but for volume claims, in the reverse
// order of waves: a wave is deleted once no object of the waves after it exists. It does
// not wait. remaining are the objects that still exist, because of a finalizer, an error,
// or an object of a later wave.
func (a *Applier) DeleteAll(ctx context.Context, owner object.Owner, live map[object.Ref]*unstructured.Unstructured, remembered *state.Owner) (remaining []object.Ref, err error) {
	for ref, obj := range live {
		if owner.IsControllerOf(obj) && !object.IsPVC(ref) {
			remaining = append(remaining, ref)
		}
	}
	slices.SortFunc(remaining, object.CompareReverse)
	for len(remaining) > 0 {
		last := object.WaveOf(remaining[0].GroupKind())
		size := slices.IndexFunc(remaining, func(ref object.Ref) bool { return object.WaveOf(ref.GroupKind()) != last })
		if size < 0 {
			size = len(remaining)
		}
		left, err := a.deleteRefs(ctx, remaining[:size], live, remembered)
		if err != nil || len(left) > 0 {
			return append(left, remaining[size:]...), err
		}
		remaining = remaining[size:]
	}
	return nil, nil
}

// deleteRefs deletes objects, and returns those that still exist.
func (a *Applier) deleteRefs(ctx context.Context, refs []object.Ref, live map[object.Ref]*unstructured.Unstructured, remembered *state.Owner) (left []object.Ref, err error) {
	var pending []*unstructured.Unstructured
	for _, ref := range refs {
		if live[ref].GetDeletionTimestamp() != nil {
			left = append(left, ref)
			continue
		}
		pending = append(pending, live[ref])
	}
	_, errs := a.deleteWave(ctx, pending)
	for i, obj := range pending {
		ref := object.RefOf(obj)
		if errs[i] != nil {
			left = append(left, ref)
			continue
		}
		remembered.SetDeleted(ref, obj)
		if len(obj.GetFinalizers()) > 0 {
			left = append(left, ref)
		}
	}
	return left, errors.Join(errs...)
}
