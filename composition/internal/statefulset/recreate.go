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

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/composition/internal/cluster"
	"github.com/seldon-operator/seldon-operator/composition/internal/managedfields"
	"github.com/seldon-operator/seldon-operator/composition/internal/state"
	"github.com/seldon-operator/seldon-operator/composition/object"
	"github.com/seldon-operator/seldon-operator/composition/plan"
)

// The claim templates of a StatefulSet are immutable, and changing them does not expand the
// claims that were created from them. Claims are therefore expanded in steps, each of which is
// resumed after an interruption: check by dry-runs that every claim can be expanded; expand
// all; back up the StatefulSet; delete it and orphan its pods; when it does not exist any more,
// recreate it as it was, except for the claim templates.
//
// It is recreated with the replicas that an autoscaler has set, and with what other managers
// set in its pod template, because its pods would be restarted without. None of that is
// rendered, so the backup is stored in the cluster, in a ControllerRevision that the owner
// controls. Until the backup is deleted, the pods may have no controller. Therefore an
// interrupted recreation is completed before anything else is done for the owner, whether it
// can be rendered or not, is paused or is being deleted.

// BackupName returns the name of the ControllerRevision with the backup of a StatefulSet.
func BackupName(set string) string { return set + "-recreate-backup" }

// Recreator expands the volume claims of StatefulSets and recreates these. It is safe for
// concurrent use.
type Recreator struct{ Cluster *cluster.Client }

// Start expands the claims of step's StatefulSet, backs it up and deletes it without its pods.
// [Recreator.Resume] recreates it when it does not exist any more. before, which may be nil, is
// called before the deletion. If the claims cannot be expanded, nothing is changed, and message
// is the reason.
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

// backupAndOrphan backs up the live StatefulSet with the desired claim templates, and deletes
// it without its pods. It does nothing if the StatefulSet is not the one of the step.
func (r *Recreator) backupAndOrphan(ctx context.Context, step plan.Step) error {
	// Not from the cache, which trims managedFields.
	live, err := r.Cluster.Get(ctx, step.Ref)
	if err != nil || live == nil || live.GetUID() != step.LiveUID() || live.GetDeletionTimestamp() != nil {
		return err
	}
	saved := live.DeepCopy()
	unstructured.RemoveNestedField(saved.Object, "status")
	if plan.OnlyExpandsStorage(step.Object, live) {
		expanded, _, _ := unstructured.NestedFieldCopy(step.Object.Object, plan.ClaimTemplatesPath...)
		_ = unstructured.SetNestedField(saved.Object, expanded, plan.ClaimTemplatesPath...)
	}
	content, err := json.Marshal(saved)
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
		// From an attempt that ended before the deletion. Its data is immutable.
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
	// backup is the StatefulSet in the backup.
	backup *unstructured.Unstructured
	// err is an [*object.Error] with the names of the pods and the backup; nil if there is none.
	err error
}

// Recreations has the state of the StatefulSets of one owner that have a backup.
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

// Transient returns the errors for which a retry may succeed without a change, joined.
func (r Recreations) Transient() error {
	transient := maps.Clone(r)
	maps.DeleteFunc(transient, func(_ object.Ref, each Recreation) bool {
		return object.IsRejection(each.err) || errors.Is(each.err, errNameTaken)
	})
	return transient.Errors()
}

// Unsettled returns a blocked step for each StatefulSet that could not be recreated. Its live
// object is the backup, so that what the pods use is retained.
func (r Recreations) Unsettled() []plan.Step {
	var steps []plan.Step
	for ref, each := range r {
		if each.err != nil {
			steps = append(steps, plan.Step{Ref: ref, Live: each.backup}.Blocked(plan.RecreationFailed, each.err.Error()))
		}
	}
	return steps
}

// RequeueAfter returns the duration until the next attempt; zero for none.
func (r Recreations) RequeueAfter() time.Duration {
	if r.Errors() == nil {
		return 0
	}
	return state.BlockedRecheckInterval
}

// Overlay replaces the StatefulSets in live, which are those of the cache, by those that were
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

// Resume recreates the StatefulSets of owner that were deleted to expand their volume claims.
// created reports that the owner was created after the operator started to watch its kind, so
// that all of its backups are remembered. With withoutOwner they get no owner reference. The
// error is an error of reading; errors of single StatefulSets are in the result.
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
		saved, live, done, err := r.recreateFromBackup(ctx, owner, name, withoutOwner)
		if err != nil && saved == nil {
			return nil, err
		}
		if done {
			remembered.Backups.Delete(name)
		}
		if saved != nil {
			found[object.RefOf(saved)] = Recreation{live, saved, err}
		}
	}
	return found, nil
}

// errNameTaken is the error of a recreation if a StatefulSet of that name was created in the
// meantime and has another owner.
var errNameTaken = errors.New("a StatefulSet of that name exists that has another owner")

// recreateFromBackup recreates one StatefulSet from its backup. It returns the StatefulSet in
// the backup, which is nil if there is no backup, and the live one. done reports whether the
// backup was deleted or does not exist.
func (r *Recreator) recreateFromBackup(ctx context.Context, owner object.Owner, name string, withoutOwner bool) (saved, live *unstructured.Unstructured, done bool, err error) {
	backup := &appsv1.ControllerRevision{}
	err = r.Cluster.APIReader.Get(ctx, client.ObjectKey{Namespace: owner.Namespace, Name: name}, backup)
	if apierrors.IsNotFound(err) || err == nil && !owner.IsControllerOf(backup) {
		return nil, nil, true, nil
	}
	saved = &unstructured.Unstructured{}
	if err == nil {
		err = saved.UnmarshalJSON(backup.Data.Raw)
	}
	if err != nil {
		return nil, nil, false, fmt.Errorf("read ControllerRevision %s/%s: %w", owner.Namespace, name, err)
	}
	ref := object.RefOf(saved)
	live, err = r.Cluster.Get(ctx, ref)
	if err == nil && live == nil {
		live, err = r.createFromBackup(ctx, saved, withoutOwner)
	}
	switch {
	case err != nil:
	case live.GetDeletionTimestamp() != nil:
		return saved, live, false, nil
	case live.GetUID() == saved.GetUID(): // interrupted before the deletion
	case !withoutOwner && !owner.IsControllerOf(live):
		err = errNameTaken
	default:
		live, err = r.restoreManagedFields(ctx, ref, saved)
	}
	if err == nil {
		err = r.deleteBackup(ctx, owner.Namespace, name)
	}
	if err != nil {
		return saved, nil, false, &object.Error{Ref: ref, Err: fmt.Errorf(
			"it was deleted to expand its volume claims and cannot be recreated: %w; its %s run without it; correct the cause, or delete its backup, ControllerRevision %s, to stop trying",
			err, podsOf(saved), name)}
	}
	return saved, live, true, nil
}

// podsOf returns the names of the pods of a StatefulSet: `pods web-0 to web-2`.
func podsOf(set *unstructured.Unstructured) string {
	count, found, _ := unstructured.NestedInt64(set.Object, plan.ReplicasPath...)
	if !found {
		count = 1
	}
	start, _, _ := unstructured.NestedInt64(set.Object, "spec", "ordinals", "start")
	return fmt.Sprintf("pods %s-%d to %s-%d", set.GetName(), start, set.GetName(), start+max(count, 1)-1)
}

// createFromBackup creates a StatefulSet from its backup. If one was created in the meantime,
// the error is a conflict.
func (r *Recreator) createFromBackup(ctx context.Context, saved *unstructured.Unstructured, withoutOwner bool) (*unstructured.Unstructured, error) {
	obj := saved.DeepCopy()
	for _, field := range []string{"uid", "generation", "creationTimestamp", "managedFields"} {
		unstructured.RemoveNestedField(obj.Object, "metadata", field)
	}
	obj.SetResourceVersion(cluster.CreateOnly)
	if withoutOwner {
		obj.SetOwnerReferences(nil)
	}
	err := r.Cluster.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(obj), client.FieldOwner(r.Cluster.Options.FieldManager))
	return obj, err
}

// restoreManagedFields restores the field ownership of a recreated object from its backup.
// Otherwise the engine would own all fields, and its next apply would remove those that it
// does not send.
func (r *Recreator) restoreManagedFields(ctx context.Context, ref object.Ref, saved *unstructured.Unstructured) (restored *unstructured.Unstructured, err error) {
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		live, err := r.Cluster.Get(ctx, ref)
		if err != nil {
			return err
		}
		if live == nil {
			return fmt.Errorf("%s does not exist any more", ref)
		}
		entries := slices.DeleteFunc(live.GetManagedFields(), func(entry metav1.ManagedFieldsEntry) bool {
			return managedfields.IsOwnEntry(entry, r.Cluster.Options.FieldManager)
		})
		for _, entry := range saved.GetManagedFields() {
			// Entries of the subresource scale, as of `kubectl scale`, are restored like others.
			if entry.Subresource != "status" {
				entries = append(entries, entry)
			}
		}
		live.SetManagedFields(entries)
		patch, err := managedfields.Patch(live, nil, nil)
		if err != nil {
			return err
		}
		restored, err = r.Cluster.PatchMetadata(ctx, live, patch)
		return err
	})
	return restored, err
}

// deleteBackup deletes a backup, if it exists.
func (r *Recreator) deleteBackup(ctx context.Context, namespace, name string) error {
	backup := &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	if err := r.Cluster.Client.Delete(ctx, backup); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete ControllerRevision %s/%s: %w", namespace, name, err)
	}
	return nil
}
