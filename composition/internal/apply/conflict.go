package apply

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	jsonpatch "github.com/evanphx/json-patch/v5"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/seldon-operator/seldon-operator/composition/internal/managedfields"
	"github.com/seldon-operator/seldon-operator/composition/internal/state"
	"github.com/seldon-operator/seldon-operator/composition/object"
	"github.com/seldon-operator/seldon-operator/composition/plan"
)

// Server-side apply does not change fields that other managers or the API server's defaults
// have set. If these are invalid together with the applied fields, such as `value` together
// with a `valueFrom` that a user has set, or strategy Recreate together with a defaulted
// rollingUpdate, every apply is rejected for as long as both exist.
//
// The conflicting fields are then removed. In server-side apply a field is removed by owning
// it and no longer sending it, but an apply that is itself invalid cannot make them owned. A
// patch of managedFields, which changes no spec, therefore moves them from their managers to
// the engine, and the next apply removes them: two requests, and one change of the spec.
//
// The fields that conflict are determined before anything is written: candidates are the
// fields next to the one that the API server rejects, the closest first, and a dry-run of the
// result must pass. An apply configuration that is invalid by itself removes nothing.

// maxConflictDryRuns is the maximum number of dry-runs to find the fields that conflict.
const maxConflictDryRuns = 8

// conflict has the fields of a live object that must be removed for an apply to be valid.
type conflict struct {
	// live was read from the API server, with the managedFields of all managers.
	live *unstructured.Unstructured
	// paths of the fields to remove.
	paths *fieldpath.Set
	// result of the dry-run.
	result *unstructured.Unstructured
}

// RemovedFields are fields of an object that another manager, or the API server's defaults, had
// set, and that were removed because the apply configuration is invalid together with them.
type RemovedFields struct {
	Ref object.Ref
	// Fields are paths, sorted and joined, three at most: `spec.strategy.rollingUpdate.maxSurge`.
	Fields string
	// Managers are the previous managers, sorted and joined; empty for the API server's defaults.
	Managers string
}

// String returns the fields and who set them.
func (r RemovedFields) String() string {
	by := "defaulted by the API server"
	if r.Managers != "" {
		by = "set by " + r.Managers
	}
	return fmt.Sprintf("%s (%s)", r.Fields, by)
}

// applyWithoutConflicts applies a step that the API server rejects because of other fields of
// the live object, after it has removed the conflicting ones. If there are none whose removal
// helps, the error of the result is the rejection.
func (a *Applier) applyWithoutConflicts(ctx context.Context, remembered *state.Owner, step plan.Step, rejection error) stepResult {
	rejected := stepResult{step: step, live: step.Live, err: rejection, invalid: true}
	if remembered.IsKnownInvalid(step.Ref, step.DesiredHash, step.Live, a.Cluster.Options.FieldManager) {
		return rejected
	}
	if err := a.releaseFields(ctx, step); err != nil {
		return stepResult{step: step, live: step.Live, err: err}
	}
	found, err := a.findConflict(ctx, step, rejection)
	if err != nil {
		return stepResult{step: step, live: step.Live, err: fmt.Errorf("find the fields that conflict: %w", err)}
	}
	if found == nil {
		return rejected
	}
	if step.BlockOnRestart {
		if would, is := plan.PodTemplate(found.result), plan.PodTemplate(step.Live); plan.FirstDifference(would, is, "") != "" {
			return stepResult{step: step.Blocked(plan.RestartRequired, plan.RestartMessage(step.Ref, would, is)), live: step.Live}
		}
	}
	removed := found.describe(step.Ref, a.Cluster.Options.FieldManager)
	if remembered.UntilNextRemoval(step.Ref, removed.String(), a.Now()) > 0 {
		return stepResult{step: step.Blocked(plan.FieldManagerConflict, state.RemovalConflictMessage(step.Ref, removed.String())), live: step.Live}
	}
	live, typed, err := a.removeAndApply(ctx, step, found)
	if err != nil {
		return stepResult{step: step, live: step.Live, err: err}
	}
	return stepResult{step: step, live: live, typed: typed, changed: true, removed: removed}
}

// removeAndApply moves the conflicting fields to the engine's field manager and applies the
// step's object, which removes them.
func (a *Applier) removeAndApply(ctx context.Context, step plan.Step, found *conflict) (*unstructured.Unstructured, client.Object, error) {
	var owned *unstructured.Unstructured
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		moved := found.live.DeepCopy()
		if err := moveFields(moved, a.Cluster.Options.FieldManager, found.paths); err != nil {
			return err
		}
		patch, err := managedfields.Patch(moved, nil, nil)
		if err != nil {
			return err
		}
		if owned, err = a.Cluster.PatchMetadata(ctx, moved, patch); !apierrors.IsConflict(err) {
			return err
		}
		// The object has changed: its controller has updated the status, which is retried, or a
		// user has updated the spec, which the next reconcile reads.
		current, getErr := a.Cluster.Get(ctx, step.Ref)
		if getErr != nil || current == nil || current.GetUID() != found.live.GetUID() || current.GetGeneration() != found.live.GetGeneration() {
			return cmp.Or(getErr, fmt.Errorf("%s has changed meanwhile: %w", step.Ref, err))
		}
		found.live = current
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("own the fields that conflict: %w", err)
	}
	live, typed, err := a.Cluster.Apply(ctx, step.Object, step.Live)
	if err == nil {
		return live, typed, nil
	}
	// The dry-run passed, so the object has changed. Restore the field ownership.
	found.live.SetResourceVersion(owned.GetResourceVersion())
	patch, restoreErr := managedfields.Patch(found.live, nil, nil)
	if restoreErr == nil {
		_, restoreErr = a.Cluster.PatchMetadata(ctx, found.live, patch)
	}
	return nil, nil, errors.Join(err, restoreErr)
}

// moveFields moves paths into the entry of live that manager owns by server-side apply, and out of
// all other entries. It changes live's managedFields.
func moveFields(live *unstructured.Unstructured, manager string, paths *fieldpath.Set) error {
	entries := live.GetManagedFields()
	for i := range entries {
		owned, err := decodeFields(entries[i])
		if err != nil {
			return err
		}
		if managedfields.IsOwnEntry(entries[i], manager) {
			owned = owned.Union(paths)
		} else {
			owned = owned.Difference(paths)
		}
		raw, err := owned.ToJSON()
		if err != nil {
			return fmt.Errorf("write field ownership: %w", err)
		}
		entries[i].FieldsV1 = metav1.NewFieldsV1(string(raw))
	}
	live.SetManagedFields(slices.DeleteFunc(entries, func(entry metav1.ManagedFieldsEntry) bool {
		return entry.FieldsV1.GetRawString() == "{}"
	}))
	return nil
}

// decodeFields returns the fields of a managedFields entry.
func decodeFields(entry metav1.ManagedFieldsEntry) (*fieldpath.Set, error) {
	fields := &fieldpath.Set{}
	if entry.FieldsV1 == nil {
		return fields, nil
	}
	if err := fields.FromJSON(bytes.NewReader(entry.FieldsV1.GetRawBytes())); err != nil {
		return nil, fmt.Errorf("read field ownership: %w", err)
	}
	return fields, nil
}

// findConflict searches for the fields that must be removed for the step's object to be valid;
// nil if there are none, or if the live object is not the one of the step any more.
func (a *Applier) findConflict(ctx context.Context, step plan.Step, rejection error) (*conflict, error) {
	// Not from the cache, which trims managedFields.
	live, err := a.Cluster.Get(ctx, step.Ref)
	if err != nil || live == nil || live.GetUID() != step.LiveUID() || managedfields.Own(live, a.Cluster.Options.FieldManager) == nil {
		return nil, err
	}
	search, err := newConflictSearch(live, step.Object, a.Cluster.Options.FieldManager, a.TypeConverter())
	if err != nil {
		return nil, err
	}
	for range maxConflictDryRuns {
		if !search.widen(rejection) {
			return nil, nil
		}
		result, err := a.dryRunResult(ctx, live, search.merged)
		if err == nil {
			return &conflict{live: live, paths: search.removed, result: result}, nil
		}
		if !apierrors.IsInvalid(err) {
			return nil, err
		}
		rejection = err
	}
	return nil, nil
}

// dryRunResult returns the result of a dry-run that changes live to merged.
func (a *Applier) dryRunResult(ctx context.Context, live *unstructured.Unstructured, merged *typed.TypedValue) (*unstructured.Unstructured, error) {
	before, err := json.Marshal(live.Object)
	if err != nil {
		return nil, err
	}
	after, err := json.Marshal(merged.AsValue().Unstructured())
	if err != nil {
		return nil, err
	}
	patch, err := jsonpatch.CreateMergePatch(before, after)
	if err != nil {
		return nil, err
	}
	result := live.DeepCopy()
	err = a.Cluster.Client.Patch(ctx, result, client.RawPatch(types.MergePatchType, patch), client.DryRunAll, client.FieldOwner(a.Cluster.Options.FieldManager))
	return result, err
}

// describe returns the fields that are removed and their previous managers.
func (c *conflict) describe(ref object.Ref, manager string) RemovedFields {
	var fields []string
	for path := range c.paths.Leaves().All() {
		fields = append(fields, strings.TrimPrefix(path.String(), "."))
	}
	managers := sets.New[string]()
	for _, entry := range c.live.GetManagedFields() {
		if managedfields.IsOwnEntry(entry, manager) {
			continue
		}
		if owned, err := decodeFields(entry); err == nil && !owned.Intersection(c.paths).Empty() {
			managers.Insert(entry.Manager)
		}
	}
	return RemovedFields{Ref: ref, Fields: bounded(fields, 3), Managers: strings.Join(sets.List(managers), ", ")}
}

// bounded sorts texts and joins the first ones, with the number of the others.
func bounded(texts []string, most int) string {
	slices.Sort(texts)
	if len(texts) > most {
		texts = append(slices.Clone(texts[:most]), fmt.Sprintf("%d more", len(texts)-most))
	}
	return strings.Join(texts, ", ")
}
