package composition

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/seldon-operator/seldon-operator/composition/internal/managedfields"
	"github.com/seldon-operator/seldon-operator/composition/object"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// A StatefulSet's claim templates are immutable, and growing them does not grow
// the claims made from them. So claims grow in steps, each of which is resumed
// after a stop: ask the API server whether every claim may grow; grow them all;
// back up the StatefulSet; delete it and leave its pods; when it does not exist any
// more, recreate it as it was, but for the claim templates.
//
// As it was: with the replicas that an autoscaler has set, and with what others
// put into its pod template, since its pods would be restarted without. The
// rendering knows none of that, so the backup is in the cluster, in a
// ControllerRevision that the owner controls. Until it is deleted, the pods may have
// no controller: what is begun is finished before anything else is done for the
// owner, whether it can be rendered or not, paused or being deleted.

// backupName is the name of the ControllerRevision with the backup of a StatefulSet.
func backupName(set string) string { return set + "-recreate-backup" }

// recreate grows the claims and deletes the StatefulSet. The rest waits until it does
// not exist any more; see [Engine.resume].
func (e *Engine) recreate(ctx context.Context, step Step, before func(context.Context) error) result {
	err := e.growClaims(ctx, step)
	if mismatch := (*ImmutableFieldError)(nil); errors.As(err, &mismatch) {
		return result{step: step.block(ImmutableFieldChanged, immutableMessage(step.Ref, mismatch.Error())), live: step.Live}
	}
	if err == nil && before != nil {
		err = before(ctx)
	}
	if err == nil {
		err = retry.RetryOnConflict(retry.DefaultRetry, func() error { return e.backUpAndDelete(ctx, step) })
	}
	return result{step: step, live: step.Live, wrote: err == nil, err: err}
}

// backUpAndDelete backs up the StatefulSet as it is, but for its claim templates, and
// deletes just that.
func (e *Engine) backUpAndDelete(ctx context.Context, step Step) error {
	// Not from the cache, which trims managedFields.
	live, err := e.getLive(ctx, step.Ref)
	if err != nil || live == nil || live.GetUID() != step.uid() || live.GetDeletionTimestamp() != nil {
		return err
	}
	kept := live.DeepCopy()
	unstructured.RemoveNestedField(kept.Object, "status")
	if claimsOnlyGrow(step.Object, live) {
		grown, _, _ := unstructured.NestedFieldCopy(step.Object.Object, claimTemplates...)
		_ = unstructured.SetNestedField(kept.Object, grown, claimTemplates...)
	}
	content, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	owner := step.Object.GetOwnerReferences()
	backup := &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: step.Ref.Namespace, Name: backupName(step.Ref.Name), OwnerReferences: owner,
			Labels: map[string]string{e.Options.OwnerLabel(): step.Object.GetLabels()[e.Options.OwnerLabel()], e.Options.BackupLabel(): string(owner[0].UID)},
		},
		Data: runtime.RawExtension{Raw: content},
	}
	err = e.Client.Create(ctx, backup, client.FieldOwner(e.Options.FieldManager))
	if apierrors.IsAlreadyExists(err) {
		// Of a try that ended before the deletion. Its data cannot be changed.
		if err = e.dropBackup(ctx, step.Ref.Namespace, backup.Name); err == nil {
			err = e.Client.Create(ctx, backup, client.FieldOwner(e.Options.FieldManager))
		}
	}
	if err != nil {
		return fmt.Errorf("back up %s: %w", step.Ref, err)
	}
	uid, version := live.GetUID(), live.GetResourceVersion()
	err = e.Client.Delete(ctx, live, client.PropagationPolicy(metav1.DeletePropagationOrphan),
		client.Preconditions{UID: &uid, ResourceVersion: &version})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete %s, leaving its pods: %w", step.Ref, err)
	}
	return nil
}

// recreation is what became of a StatefulSet that has a backup.
type recreation struct {
	// live is the StatefulSet; nil if it does not exist.
	live *unstructured.Unstructured
	// kept is the StatefulSet in the backup, which its pods were made from.
	kept *unstructured.Unstructured
	// err is a [*ChildError] that names the pods and the backup; nil if there is none.
	err error
}

// recreations are by the StatefulSet's key.
type recreations map[object.Ref]recreation

func (r recreations) errors() error {
	var errs []error
	for _, each := range r {
		errs = append(errs, each.err)
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return errors.Join(errs...)
}

// transient are the errors that trying again may remove.
func (r recreations) transient() error {
	passing := maps.Clone(r)
	maps.DeleteFunc(passing, func(_ object.Ref, each recreation) bool {
		return isRejection(each.err) || errors.Is(each.err, errNameTaken)
	})
	return passing.errors()
}

// unsettled are the StatefulSets that could not be recreated, as their pods were made.
func (r recreations) unsettled() []Step {
	var steps []Step
	for key, each := range r {
		if each.err != nil {
			steps = append(steps, Step{Ref: key, Live: each.kept}.block(RecreationFailed, each.err.Error()))
		}
	}
	return steps
}

// retryAfter is when to try again what failed; zero for never.
func (r recreations) retryAfter() time.Duration {
	if r.errors() == nil {
		return 0
	}
	return heldRetry
}

// addTo replaces what the cache shows of the StatefulSets by what is live.
func (r recreations) addTo(live map[object.Ref]*unstructured.Unstructured) {
	for key, each := range r {
		if each.live != nil {
			live[key] = each.live
		} else {
			delete(live, key)
		}
	}
}

// Resume recreates the StatefulSets of request's owner that were deleted to grow their
// volume claims; of the request, Owner and NewOwner count. [Engine.Reconcile] and
// [Engine.Teardown] do that first; call Resume for an owner that is not reconciled,
// because it has no input, or is being deleted, say.
// With orphans the StatefulSets get no owner. The errors, joined, are [*ChildError]s,
// or those of reading; try again until there is none. done reports whether no backup
// is left.
func (e *Engine) Resume(ctx context.Context, request Request, orphans bool) (done bool, err error) {
	found, err := e.resume(ctx, request, orphans)
	if err != nil {
		return false, err
	}
	return len(e.ledger.account(request.Owner).backups) == 0, found.errors()
}

// resume is [Engine.Resume].
func (e *Engine) resume(ctx context.Context, request Request, orphans bool) (recreations, error) {
	owner := request.Owner
	account := e.ledger.account(owner)
	if account.backups == nil && !request.SkipInitialScan {
		list := &appsv1.ControllerRevisionList{}
		err := e.APIReader.List(ctx, list, client.InNamespace(owner.Namespace), client.MatchingLabels{e.Options.BackupLabel(): string(owner.UID)})
		if err != nil {
			return nil, fmt.Errorf("list backups of StatefulSets: %w", err)
		}
		account.backups = sets.New[string]()
		for i := range list.Items {
			account.backups.Insert(list.Items[i].Name)
		}
	}
	found := recreations{}
	for _, name := range sets.List(account.backups) {
		kept, live, done, err := e.recreateFrom(ctx, owner, name, orphans)
		if err != nil && kept == nil {
			return nil, err
		}
		if done {
			account.backups.Delete(name)
		}
		if kept != nil {
			found[object.RefOf(kept)] = recreation{live, kept, err}
		}
	}
	return found, nil
}

// errNameTaken is the error of a recreation while a StatefulSet of that name, which
// was created meanwhile, has another owner.
var errNameTaken = errors.New("a StatefulSet of that name exists that has another owner")

// recreateFrom recreates one StatefulSet from its backup, and returns what was kept
// and what is live. It is done once the backup is deleted. kept is nil if there is no
// backup.
func (e *Engine) recreateFrom(ctx context.Context, owner object.Owner, name string, orphans bool) (kept, live *unstructured.Unstructured, done bool, err error) {
	backup := &appsv1.ControllerRevision{}
	err = e.APIReader.Get(ctx, client.ObjectKey{Namespace: owner.Namespace, Name: name}, backup)
	if apierrors.IsNotFound(err) || err == nil && !owner.IsControllerOf(backup) {
		return nil, nil, true, nil
	}
	kept = &unstructured.Unstructured{}
	if err == nil {
		err = kept.UnmarshalJSON(backup.Data.Raw)
	}
	if err != nil {
		return nil, nil, false, fmt.Errorf("read ControllerRevision %s/%s: %w", owner.Namespace, name, err)
	}
	key := object.RefOf(kept)
	live, err = e.getLive(ctx, key)
	if err == nil && live == nil {
		live, err = e.createFrom(ctx, kept, orphans)
	}
	switch {
	case err != nil:
	case live.GetDeletionTimestamp() != nil:
		return kept, live, false, nil
	case live.GetUID() == kept.GetUID(): // stopped before the deletion
	case !orphans && !owner.IsControllerOf(live):
		err = errNameTaken
	default:
		live, err = e.handBack(ctx, key, kept)
	}
	if err == nil {
		err = e.dropBackup(ctx, owner.Namespace, name)
	}
	if err != nil {
		return kept, nil, false, &ObjectError{key, fmt.Errorf(
			"it was deleted to grow its volume claims and cannot be recreated: %w; its %s run without it; correct the cause, or delete its backup, ControllerRevision %s, to give it up",
			err, podsOf(kept), name)}
	}
	return kept, live, true, nil
}

// podsOf names the pods of a StatefulSet: `pods web-0 to web-2`.
func podsOf(set *unstructured.Unstructured) string {
	count, found, _ := unstructured.NestedInt64(set.Object, replicas...)
	if !found {
		count = 1
	}
	start, _, _ := unstructured.NestedInt64(set.Object, "spec", "ordinals", "start")
	return fmt.Sprintf("pods %s-%d to %s-%d", set.GetName(), start, set.GetName(), start+max(count, 1)-1)
}

// createFrom creates a StatefulSet as it was kept. It does not take over one that
// was made meanwhile: that is a conflict.
func (e *Engine) createFrom(ctx context.Context, kept *unstructured.Unstructured, orphans bool) (*unstructured.Unstructured, error) {
	obj := kept.DeepCopy()
	for _, field := range []string{"uid", "generation", "creationTimestamp", "managedFields"} {
		unstructured.RemoveNestedField(obj.Object, "metadata", field)
	}
	obj.SetResourceVersion(noVersion)
	if orphans {
		obj.SetOwnerReferences(nil)
	}
	err := e.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(obj), client.FieldOwner(e.Options.FieldManager))
	return obj, err
}

// handBack gives the fields of an object that was made again to their previous
// owners. Without it they would be ours, and our next apply would remove those
// that we do not send.
func (e *Engine) handBack(ctx context.Context, key object.Ref, kept *unstructured.Unstructured) (again *unstructured.Unstructured, err error) {
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		live, err := e.getLive(ctx, key)
		if err != nil {
			return err
		}
		if live == nil {
			return fmt.Errorf("%s is gone", key)
		}
		entries := slices.DeleteFunc(live.GetManagedFields(), func(entry metav1.ManagedFieldsEntry) bool {
			return managedfields.IsOwnEntry(entry, e.Options.FieldManager)
		})
		for _, entry := range kept.GetManagedFields() {
			// As `kubectl scale` is known: its ownership counts as any other's.
			if entry.Subresource != "status" {
				entries = append(entries, entry)
			}
		}
		live.SetManagedFields(entries)
		patch, err := managedfields.Patch(live, nil, nil)
		if err != nil {
			return err
		}
		again, err = e.patchMetadata(ctx, live, patch)
		return err
	})
	return again, err
}

// dropBackup deletes a backup.
func (e *Engine) dropBackup(ctx context.Context, namespace, name string) error {
	backup := &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	if err := e.Client.Delete(ctx, backup); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete ControllerRevision %s/%s: %w", namespace, name, err)
	}
	return nil
}
