package statefulset

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/seldon-operator/seldon-operator/composition/internal/cluster"
	"github.com/seldon-operator/seldon-operator/composition/internal/managedfields"
	"github.com/seldon-operator/seldon-operator/composition/internal/state"
	"github.com/seldon-operator/seldon-operator/composition/object"
	"github.com/seldon-operator/seldon-operator/composition/plan"
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
func BackupName(set string) string { return set + "-recreate-backup" }

// Recreator expands the volume claims of StatefulSets and recreates these. It is safe for
// concurrent use.
type Recreator struct{ Cluster *cluster.Client }

// Start expands the claims of step's StatefulSet, backs it up and deletes it without its
// pods. [Recreator.Resume] does the rest once it does not exist any more. before is called
// before the deletion, unless it is nil. If the claims cannot be expanded, nothing is
// changed, and message says why.
func (r *Recreator) Start(ctx context.Context, step plan.Step, before func(context.Context) error) (message string, err error) {
	err = r.expandPVCs(ctx, step)
	if immutable := (*plan.ImmutableFieldError)(nil); errors.As(err, &immutable) {
		return plan.ImmutableMessage(step.Ref, immutable.Error()), nil
	}
	if err == nil && before != nil {
		err = before(ctx)
	}
	if err == nil {
		err = retry.RetryOnConflict(retry.DefaultRetry, func() error { return r.backupAndOrphan(ctx, step) })
	}
	return "", err
}

// backUpAndDelete backs up the StatefulSet as it is, but for its claim templates, and
// deletes just that.
func (r *Recreator) backupAndOrphan(ctx context.Context, step plan.Step) error {
	// Not from the cache, which trims managedFields.
	live, err := r.Cluster.Get(ctx, step.Ref)
	if err != nil || live == nil || live.GetUID() != step.LiveUID() || live.GetDeletionTimestamp() != nil {
		return err
	}
	kept := live.DeepCopy()
	unstructured.RemoveNestedField(kept.Object, "status")
	if plan.OnlyExpandsStorage(step.Object, live) {
		grown, _, _ := unstructured.NestedFieldCopy(step.Object.Object, plan.ClaimTemplatesPath...)
		_ = unstructured.SetNestedField(kept.Object, grown, plan.ClaimTemplatesPath...)
	}
	content, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	owner := step.Object.GetOwnerReferences()
	backup := &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: step.Ref.Namespace, Name: BackupName(step.Ref.Name), OwnerReferences: owner,
			Labels: map[string]string{r.Cluster.Options.OwnerLabel(): step.Object.GetLabels()[r.Cluster.Options.OwnerLabel()], r.Cluster.Options.BackupLabel(): string(owner[0].UID)},
		},
		Data: runtime.RawExtension{Raw: content},
	}
	err = r.Cluster.Client.Create(ctx, backup, client.FieldOwner(r.Cluster.Options.FieldManager))
	if apierrors.IsAlreadyExists(err) {
		// Of a try that ended before the deletion. Its data cannot be changed.
		if err = r.deleteBackup(ctx, step.Ref.Namespace, backup.Name); err == nil {
			err = r.Cluster.Client.Create(ctx, backup, client.FieldOwner(r.Cluster.Options.FieldManager))
		}
	}
	if err != nil {
		return fmt.Errorf("back up %s: %w", step.Ref, err)
	}
	uid, version := live.GetUID(), live.GetResourceVersion()
	err = r.Cluster.Client.Delete(ctx, live, client.PropagationPolicy(metav1.DeletePropagationOrphan),
		client.Preconditions{UID: &uid, ResourceVersion: &version})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete %s, leaving its pods: %w", step.Ref, err)
	}
	return nil
}

// Recreation is the state of a StatefulSet that has a backup.
type Recreation struct {
	// live is the StatefulSet; nil if it does not exist.
	live *unstructured.Unstructured
	// backup is the StatefulSet that its pods were created from.
	backup *unstructured.Unstructured
	// err is an [*object.Error] that names the pods and the backup; nil if there is none.
	err error
}

// Recreations are the StatefulSets of one owner that have a backup.
type Recreations map[object.Ref]Recreation

// Errors returns all errors, joined and sorted.
func (r Recreations) Errors() error {
	var errs []error
	for _, each := range r {
		errs = append(errs, each.err)
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return errors.Join(errs...)
}

// ByRef returns the errors by StatefulSet.
func (r Recreations) ByRef() map[object.Ref]error {
	errs := map[object.Ref]error{}
	for ref, each := range r {
		if each.err != nil {
			errs[ref] = each.err
		}
	}
	return errs
}

// Transient returns the errors that may disappear without a change, joined.
func (r Recreations) Transient() error {
	transient := maps.Clone(r)
	maps.DeleteFunc(transient, func(_ object.Ref, each Recreation) bool {
		return object.IsRejection(each.err) || errors.Is(each.err, errNameTaken)
	})
	return transient.Errors()
}

// Unsettled returns a blocked step for each StatefulSet that could not be recreated, with
// the backup as its live object: what its pods use must be retained.
func (r Recreations) Unsettled() []plan.Step {
	var steps []plan.Step
	for ref, each := range r {
		if each.err != nil {
			steps = append(steps, plan.Step{Ref: ref, Live: each.backup}.Blocked(plan.RecreationFailed, each.err.Error()))
		}
	}
	return steps
}

// RequeueAfter returns when to retry; zero for never.
func (r Recreations) RequeueAfter() time.Duration {
	if r.Errors() == nil {
		return 0
	}
	return state.BlockedRecheckInterval
}

// Overlay replaces the StatefulSets in live, as the cache shows them, by those that were
// read from the API server.
func (r Recreations) Overlay(live map[object.Ref]*unstructured.Unstructured) {
	for ref, each := range r {
		if each.live != nil {
			live[ref] = each.live
		} else {
			delete(live, ref)
		}
	}
}

// Resume recreates the StatefulSets of owner that were deleted to expand their volume
// claims. withoutOwner: they get no owner reference. created: the owner was created after
// the operator started to watch its kind, so that it can have no backups that are not
// remembered. The error is one of reading; errors of StatefulSets are in the result.
func (r *Recreator) Resume(ctx context.Context, owner object.Owner, remembered *state.Owner, created, withoutOwner bool) (Recreations, error) {
	if remembered.Backups == nil && !created {
		list := &appsv1.ControllerRevisionList{}
		err := r.Cluster.APIReader.List(ctx, list, client.InNamespace(owner.Namespace), client.MatchingLabels{r.Cluster.Options.BackupLabel(): string(owner.UID)})
		if err != nil {
			return nil, fmt.Errorf("list backups of StatefulSets: %w", err)
		}
		remembered.Backups = sets.New[string]()
		for i := range list.Items {
			remembered.Backups.Insert(list.Items[i].Name)
		}
	}
	found := Recreations{}
	for _, name := range sets.List(remembered.Backups) {
		kept, live, done, err := r.recreateFromBackup(ctx, owner, name, withoutOwner)
		if err != nil && kept == nil {
			return nil, err
		}
		if done {
			remembered.Backups.Delete(name)
		}
		if kept != nil {
			found[object.RefOf(kept)] = Recreation{live, kept, err}
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
func (r *Recreator) recreateFromBackup(ctx context.Context, owner object.Owner, name string, orphans bool) (kept, live *unstructured.Unstructured, done bool, err error) {
	backup := &appsv1.ControllerRevision{}
	err = r.Cluster.APIReader.Get(ctx, client.ObjectKey{Namespace: owner.Namespace, Name: name}, backup)
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
	live, err = r.Cluster.Get(ctx, key)
	if err == nil && live == nil {
		live, err = r.createFromBackup(ctx, kept, orphans)
	}
	switch {
	case err != nil:
	case live.GetDeletionTimestamp() != nil:
		return kept, live, false, nil
	case live.GetUID() == kept.GetUID(): // stopped before the deletion
	case !orphans && !owner.IsControllerOf(live):
		err = errNameTaken
	default:
		live, err = r.restoreManagedFields(ctx, key, kept)
	}
	if err == nil {
		err = r.deleteBackup(ctx, owner.Namespace, name)
	}
	if err != nil {
		return kept, nil, false, &object.Error{Ref: key, Err: fmt.Errorf(
			"it was deleted to grow its volume claims and cannot be recreated: %w; its %s run without it; correct the cause, or delete its backup, ControllerRevision %s, to give it up",
			err, podsOf(kept), name)}
	}
	return kept, live, true, nil
}

// podsOf names the pods of a StatefulSet: `pods web-0 to web-2`.
func podsOf(set *unstructured.Unstructured) string {
	count, found, _ := unstructured.NestedInt64(set.Object, plan.ReplicasPath...)
	if !found {
		count = 1
	}
	start, _, _ := unstructured.NestedInt64(set.Object, "spec", "ordinals", "start")
	return fmt.Sprintf("pods %s-%d to %s-%d", set.GetName(), start, set.GetName(), start+max(count, 1)-1)
}

// createFrom creates a StatefulSet as it was kept. It does not take over one that
// was made meanwhile: that is a conflict.
func (r *Recreator) createFromBackup(ctx context.Context, kept *unstructured.Unstructured, orphans bool) (*unstructured.Unstructured, error) {
	obj := kept.DeepCopy()
	for _, field := range []string{"uid", "generation", "creationTimestamp", "managedFields"} {
		unstructured.RemoveNestedField(obj.Object, "metadata", field)
	}
	obj.SetResourceVersion(cluster.CreateOnly)
	if orphans {
		obj.SetOwnerReferences(nil)
	}
	err := r.Cluster.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(obj), client.FieldOwner(r.Cluster.Options.FieldManager))
	return obj, err
}

// handBack gives the fields of an object that was made again to their previous
// owners. Without it they would be ours, and our next apply would remove those
// that we do not send.
func (r *Recreator) restoreManagedFields(ctx context.Context, key object.Ref, kept *unstructured.Unstructured) (again *unstructured.Unstructured, err error) {
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		live, err := r.Cluster.Get(ctx, key)
		if err != nil {
			return err
		}
		if live == nil {
			return fmt.Errorf("%s is gone", key)
		}
		entries := slices.DeleteFunc(live.GetManagedFields(), func(entry metav1.ManagedFieldsEntry) bool {
			return managedfields.IsOwnEntry(entry, r.Cluster.Options.FieldManager)
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
		again, err = r.Cluster.PatchMetadata(ctx, live, patch)
		return err
	})
	return again, err
}

// dropBackup deletes a backup.
func (r *Recreator) deleteBackup(ctx context.Context, namespace, name string) error {
	backup := &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	if err := r.Cluster.Client.Delete(ctx, backup); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete ControllerRevision %s/%s: %w", namespace, name, err)
	}
	return nil
}
