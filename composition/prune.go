package composition

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/seldon-operator/seldon-operator/composition/object"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// prune deletes orphans wave by wave, the last wave first, each provided that it is
// still the object that was seen. What unsettled children use is retained. An error
// stops the waves that follow, whose objects those of this wave may need.
func (e *Engine) prune(ctx context.Context, unsettled []Step, account *account, outcome *Result) error {
	prunes := outcome.Plan.Prunes
	if len(unsettled) > 0 {
		if err := e.completeOrphans(ctx, prunes); err != nil {
			return err
		}
		prunes = retainInUse(unsettled, prunes)
		outcome.Plan.Prunes = prunes
	}
	deletions := slices.DeleteFunc(slices.Clone(prunes), func(step Step) bool { return step.Action != Delete })
	for _, steps := range byWave(deletions) {
		objects := make([]*unstructured.Unstructured, len(steps))
		for i, step := range steps {
			objects[i] = step.Live
		}
		deleted, errs := e.deleteWave(ctx, objects)
		for i, step := range steps {
			if errs[i] != nil {
				continue
			}
			account.gone(step.Ref, step.Live)
			if deleted[i] {
				outcome.Pruned = append(outcome.Pruned, step.Ref)
			}
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	return nil
}

// completeOrphans reads the orphans that only their metadata is known of, so that
// what they use, and who uses them, can be seen.
func (e *Engine) completeOrphans(ctx context.Context, prunes []Step) error {
	for i, step := range prunes {
		kind := step.Ref.GroupKind()
		if step.Action != Delete || !object.IsStub(step.Live) || !object.IsWorkload(kind) && kind != roleBindingKind && kind != serviceKind {
			continue
		}
		live, err := e.getLive(ctx, step.Ref)
		if err != nil {
			return &ObjectError{step.Ref, err}
		}
		if live != nil && live.GetUID() == step.Live.GetUID() {
			prunes[i].Live = live
		}
	}
	return nil
}

// deleteWave deletes objects in parallel, up to maxParallel. For each it says
// whether the object still existed, and the error.
func (e *Engine) deleteWave(ctx context.Context, objects []*unstructured.Unstructured) (deleted []bool, errs []error) {
	deleted, errs = make([]bool, len(objects)), make([]error, len(objects))
	inParallel(ctx, len(objects), func(i int) {
		var err error
		if deleted[i], err = e.delete(ctx, objects[i]); err != nil {
			errs[i] = &ObjectError{object.RefOf(objects[i]), err}
		}
	})
	return deleted, errs
}

// delete deletes an object if it is still the one that was seen, and reports
// whether it still existed.
func (e *Engine) delete(ctx context.Context, live *unstructured.Unstructured) (bool, error) {
	uid := live.GetUID()
	err := e.Client.Delete(ctx, live.DeepCopy(), client.Preconditions{UID: &uid}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	switch {
	case err == nil:
		return true, nil
	case apierrors.IsNotFound(err):
		return false, nil
	case apierrors.IsConflict(err):
		// Another object of the name, or an admission webhook that answers so.
		current, getErr := e.getLive(ctx, object.RefOf(live))
		if getErr == nil && (current == nil || current.GetUID() != uid) {
			return false, nil
		}
	}
	return false, fmt.Errorf("delete: %w", err)
}

// isClaim tells volume claims, whose data nobody but a person may delete.
func isClaim(key object.Ref) bool { return key.Group == "" && key.Kind == "PersistentVolumeClaim" }
