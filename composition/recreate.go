package composition

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// A StatefulSet's claim templates are immutable, and growing them does not grow
// the claims made from them. So claims grow in steps, each of which is taken up
// again after a stop: ask the API server whether every claim may grow; grow them
// all; note down the StatefulSet; delete it and leave its pods; when it is gone,
// make it again as it was, but for the claim templates.
//
// As it was: with the replicas that an autoscaler has set, and with what others
// put into its pod template, since its pods would be restarted without. The
// rendering knows none of that, so it is noted down in the cluster, in a
// ControllerRevision that the owner controls.

// noteName is the name of the ControllerRevision for a StatefulSet.
func noteName(set Key) string { return set.Name + "-recreation" }

// recreate grows the claims and deletes the StatefulSet. What follows waits until
// it is gone; see [Engine.finishRecreations].
func (e *Engine) recreate(ctx context.Context, step Step) result {
	err := e.growClaims(ctx, step)
	if mismatch := (*MismatchError)(nil); errors.As(err, &mismatch) {
		return result{step: step.hold(Blocked, immutableMessage(step.Key, mismatch.Error())), live: step.Live}
	}
	if err == nil {
		err = retry.RetryOnConflict(retry.DefaultRetry, func() error { return e.noteAndDelete(ctx, step) })
	}
	return result{step: step, live: step.Live, wrote: err == nil, err: err}
}

// noteAndDelete notes down the StatefulSet as it is and deletes just that.
func (e *Engine) noteAndDelete(ctx context.Context, step Step) error {
	// Not from the cache, which trims managedFields.
	live, err := e.getLive(ctx, step.Key)
	if err != nil || live == nil || live.GetUID() != step.uid() || live.GetDeletionTimestamp() != nil {
		return err
	}
	unstructured.RemoveNestedField(live.Object, "status")
	content, err := json.Marshal(live)
	if err != nil {
		return err
	}
	note := &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: step.Key.Namespace, Name: noteName(step.Key),
			OwnerReferences: step.Object.GetOwnerReferences(),
		},
		Data: runtime.RawExtension{Raw: content},
	}
	err = e.Client.Create(ctx, note, client.FieldOwner(e.Policy.Manager))
	if apierrors.IsAlreadyExists(err) {
		// Of a try that went no further. Its data cannot be changed.
		if err = e.dropNote(ctx, step.Key); err == nil {
			err = e.Client.Create(ctx, note, client.FieldOwner(e.Policy.Manager))
		}
	}
	if err != nil {
		return fmt.Errorf("note down %s: %w", step.Key, err)
	}
	uid, version := live.GetUID(), live.GetResourceVersion()
	err = e.Client.Delete(ctx, live, client.PropagationPolicy(metav1.DeletePropagationOrphan),
		client.Preconditions{UID: &uid, ResourceVersion: &version})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete %s, leaving its pods: %w", step.Key, err)
	}
	return nil
}

// finishRecreations makes the noted StatefulSets among the children again that
// are gone, and adds them to live.
func (e *Engine) finishRecreations(ctx context.Context, owner Owner, account *account, children []Child, live map[Key]*unstructured.Unstructured) error {
	var errs []error
	for _, child := range children {
		key := child.Key()
		_, claims, _ := unstructured.NestedFieldNoCopy(child.Object.Object, claimTemplates...)
		if !claims || account.unnoted[key] || live[key] != nil && !e.Policy.adoptable(live[key], owner) {
			continue
		}
		again, err := e.finishRecreation(ctx, owner, child, live[key])
		if err != nil {
			errs = append(errs, &ChildError{key, fmt.Errorf("make it again: %w", err)})
			continue
		}
		if again != nil {
			live[key] = again
		}
		account.unnoted[key] = again == nil || again.GetDeletionTimestamp() == nil
	}
	return errors.Join(errs...)
}

// finishRecreation makes one StatefulSet again, if there is a note of it, and
// gives it back.
func (e *Engine) finishRecreation(ctx context.Context, owner Owner, child Child, live *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	key := child.Key()
	note := &appsv1.ControllerRevision{}
	err := e.Live.Get(ctx, client.ObjectKey{Namespace: key.Namespace, Name: noteName(key)}, note)
	if apierrors.IsNotFound(err) || err == nil && !owner.controls(note) {
		return live, nil
	}
	if err != nil {
		return nil, err
	}
	noted := &unstructured.Unstructured{}
	if err := noted.UnmarshalJSON(note.Data.Raw); err != nil {
		return nil, fmt.Errorf("read ControllerRevision %s: %w", note.Name, err)
	}
	if live != nil && live.GetUID() == noted.GetUID() {
		// Stopped before the deletion, or the cache is behind it.
		live, err = e.getLive(ctx, key)
		if err != nil || live != nil && live.GetDeletionTimestamp() != nil {
			return live, err
		}
	}
	if live == nil {
		if live, err = e.makeAgain(ctx, child, noted); err != nil {
			return nil, err
		}
	}
	if live.GetUID() != noted.GetUID() {
		if live, err = e.handBack(ctx, key, noted); err != nil {
			return nil, err
		}
	}
	return live, e.dropNote(ctx, key)
}

// makeAgain makes the noted object with the child's claim templates.
func (e *Engine) makeAgain(ctx context.Context, child Child, noted *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	object := noted.DeepCopy()
	if claimsOnlyGrow(child.Object, noted) {
		grown, _, _ := unstructured.NestedFieldCopy(child.Object.Object, claimTemplates...)
		_ = unstructured.SetNestedField(object.Object, grown, claimTemplates...)
	}
	for _, field := range []string{"uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"} {
		unstructured.RemoveNestedField(object.Object, "metadata", field)
	}
	err := e.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner(e.Policy.Manager), client.ForceOwnership)
	return object, err
}

// handBack gives the fields of an object that was made again to their previous
// owners. Without it they would be ours, and our next apply would remove those
// that we do not send.
func (e *Engine) handBack(ctx context.Context, key Key, noted *unstructured.Unstructured) (again *unstructured.Unstructured, err error) {
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		live, err := e.getLive(ctx, key)
		if err != nil {
			return err
		}
		if live == nil {
			return fmt.Errorf("%s is gone", key)
		}
		entries := slices.DeleteFunc(live.GetManagedFields(), func(entry metav1.ManagedFieldsEntry) bool { return isApplied(entry, e.Policy.Manager) })
		for _, entry := range noted.GetManagedFields() {
			// As `kubectl scale` is known: its ownership counts as any other's.
			if entry.Subresource != "status" {
				entries = append(entries, entry)
			}
		}
		live.SetManagedFields(entries)
		patch, err := metadataPatch(live, nil, nil)
		if err != nil {
			return err
		}
		again, err = e.patchMetadata(ctx, live, patch)
		return err
	})
	return again, err
}

// dropNote deletes the note of a StatefulSet.
func (e *Engine) dropNote(ctx context.Context, set Key) error {
	note := &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Namespace: set.Namespace, Name: noteName(set)}}
	if err := e.Client.Delete(ctx, note); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete ControllerRevision %s/%s: %w", note.Namespace, note.Name, err)
	}
	return nil
}
