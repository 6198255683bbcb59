package composition

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// prune deletes leftovers wave by wave, each provided that it is still the object
// that was seen.
func (e *Engine) prune(ctx context.Context, prunes []Step, account *account, outcome *Outcome) error {
	var errs []error
	for _, step := range prunes {
		if step.Action != Delete {
			continue
		}
		deleted, err := e.delete(ctx, step.Live)
		if err != nil {
			errs = append(errs, &ChildError{step.Key, err})
			continue
		}
		account.gone(step.Key, step.Live)
		if deleted {
			outcome.Pruned = append(outcome.Pruned, step.Key)
		}
	}
	return errors.Join(errs...)
}

// delete deletes an object if it is still the one that was seen, and tells
// whether it was still there.
func (e *Engine) delete(ctx context.Context, live *unstructured.Unstructured) (bool, error) {
	uid := live.GetUID()
	err := e.Client.Delete(ctx, live.DeepCopy(), client.Preconditions{UID: &uid}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	switch {
	case err == nil:
		return true, nil
	case apierrors.IsNotFound(err), apierrors.IsConflict(err): // gone, or another by now
		return false, nil
	}
	return false, fmt.Errorf("delete: %w", err)
}

// isClaim tells volume claims, whose data nobody but a person may delete.
func isClaim(key Key) bool { return key.Group == "" && key.Kind == "PersistentVolumeClaim" }
