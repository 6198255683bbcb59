package composition

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/seldon-operator/seldon-operator/composition/internal/cached"
	"github.com/seldon-operator/seldon-operator/composition/internal/managedfields"
	"github.com/seldon-operator/seldon-operator/composition/object"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/retry"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// result is what became of a step.
type result struct {
	step Step
	live *unstructured.Unstructured
	// cached is live in the form of the cache, for what was applied.
	cached client.Object
	// wrote: the API server made something of it.
	wrote bool
	// field is what a blocked correction would correct, and rival the manager that
	// undoes corrections, as messages name it; empty while that does not matter.
	field, rival string
	// removal is what was removed, or what a removal waits for.
	removal RemovedFields
	// invalid: no removal of other fields makes the apply configuration valid.
	invalid bool
	err     error
}

// maxParallel bounds the requests that are under way for one owner.
const maxParallel = 8

// execute applies a plan wave by wave, and then prunes. A child that the API server
// rejects stops only those that refer to it. Any other error is taken for a passing
// one: it stops the waves that follow and all pruning.
func (e *Engine) execute(ctx context.Context, situation State, account *account) (Result, error) {
	plan := Compute(situation)
	account.tidy(plan)
	outcome := Result{Plan: plan, Objects: make(map[object.Ref]*unstructured.Unstructured, len(plan.Steps))}
	for _, step := range plan.Steps {
		outcome.Objects[step.Ref] = step.Live
	}
	var errs []error
	unsettled := situation.recreated.unsettled()
	rejected := sets.New[reference]()
	for _, steps := range byWave(plan.Steps) {
		transient := false
		for i, result := range e.applyWave(ctx, situation, steps, account, rejected) {
			e.remember(account, result)
			result.step.warnOfContention(account.marks[result.step.Ref], e.now())
			steps[i] = result.step
			outcome.note(result)
			switch {
			case result.err == nil && result.step.Action == Block:
				unsettled = append(unsettled, result.step)
			case result.err == nil:
			case isRejection(result.err):
				unsettled = append(unsettled, result.step)
				rejected.Insert(referenceTo(result.step.Ref))
				errs = append(errs, result.err)
			default:
				transient = true
				errs = append(errs, result.err)
			}
		}
		if transient {
			return outcome, errors.Join(errs...)
		}
	}
	outcome.RequeueAfter = retryAfter(outcome.Plan, account, e.now())
	errs = append(errs, e.prune(ctx, unsettled, account, &outcome))
	return outcome, errors.Join(errs...)
}

// byWave cuts steps, which are in the order of waves, into those of each wave.
func byWave(steps []Step) [][]Step {
	var waves [][]Step
	for len(steps) > 0 {
		current := object.WaveOf(steps[0].Ref.GroupKind())
		size := slices.IndexFunc(steps, func(step Step) bool { return object.WaveOf(step.Ref.GroupKind()) != current })
		if size < 0 {
			size = len(steps)
		}
		waves = append(waves, steps[:size:size])
		steps = steps[size:]
	}
	return waves
}

// isRejection reports whether the API server does not accept a request as it is, so
// that trying it again is in vain until something changes.
func isRejection(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	switch code := status.Status().Code; code {
	case http.StatusUnauthorized, http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests:
		return false
	default:
		return code >= 400 && code < 500
	}
}

// retryAfter is when to look again at steps that are blocked, or contended.
func retryAfter(plan Plan, account *account, now time.Time) time.Duration {
	after := time.Duration(0)
	for _, step := range plan.Steps {
		waits := account.marks[step.Ref].waits(now)
		if refused := account.marks[step.Ref].refused; slices.Contains(step.Warnings, Warning{ImmutableFieldChanged, refused.message}) {
			waits = append(waits, max(time.Second, refused.at.Add(heldRetry).Sub(now)))
		}
		switch {
		case step.Action != Block || step.Reason == Paused || step.Reason == FieldManagerConflict:
		case step.Reason == ImmutableFieldChanged:
			waits = append(waits, time.Second) // what else has changed is applied then
		default:
			waits = append(waits, heldRetry)
		}
		for _, wait := range waits {
			if after == 0 || wait < after {
				after = wait
			}
		}
	}
	return after
}

// waits are the times after which something can be said or done about contended
// fields.
func (m mark) waits(now time.Time) []time.Duration {
	var waits []time.Duration
	for _, each := range append(slices.Collect(maps.Values(m.removals)), m.corrections) {
		if ends := each.ends(now); ends > 0 {
			waits = append(waits, ends)
		}
		if wait := each.wait(now); wait > 0 {
			waits = append(waits, max(time.Second, wait))
		}
	}
	return waits
}

// warnOfContention adds a warning for each kind of correction that is contended. A
// step that waits for one says so itself.
func (s *Step) warnOfContention(m mark, now time.Time) {
	if s.Action == Block {
		return
	}
	if m.corrections.at(now).contended {
		s.warn(FieldManagerConflict, contention(s.Ref, m.contendedField, m.rival))
	}
	for _, removed := range slices.Sorted(maps.Keys(m.removals)) {
		if m.removals[removed].at(now).contended {
			s.warn(FieldManagerConflict, removalConflict(s.Ref, removed))
		}
	}
}

// applyWave executes the steps of a wave in parallel, up to maxParallel. It reads the
// account and leaves writing to the caller. A step that refers to a rejected child
// is blocked.
func (e *Engine) applyWave(ctx context.Context, situation State, steps []Step, account *account, rejected sets.Set[reference]) []result {
	results := make([]result, len(steps))
	var pending []int
	for i, step := range steps {
		if err := situation.failed[step.Ref]; err != nil {
			results[i] = result{step: step, live: step.Live, err: err}
			continue
		}
		if step.Action != Apply && step.Action != Recreate {
			results[i] = result{step: step, live: step.Live}
			continue
		}
		if name, stopped := stoppedBy(step, rejected); stopped {
			message := fmt.Sprintf("%s is not applied, because the API server rejects %s %s, which it refers to", step.Ref, name.Kind, name.name)
			results[i] = result{step: step.block(DependencyRejected, message), live: step.Live}
			continue
		}
		pending = append(pending, i)
	}
	inParallel(ctx, len(pending), func(piece int) {
		i := pending[piece]
		step := steps[i]
		results[i] = e.carryOut(ctx, step, account.marks[step.Ref], situation.beforeRecreate)
		if err := results[i].err; err != nil {
			results[i].err = &ObjectError{step.Ref, err}
		}
	})
	return results
}

// inParallel calls do for each piece, up to maxParallel at a time. All of them are
// called, also when ctx ends, which their requests see.
func inParallel(ctx context.Context, pieces int, do func(piece int)) {
	workqueue.ParallelizeUntil(context.WithoutCancel(ctx), maxParallel, pieces, do)
}

// carryOut executes one step that writes.
func (e *Engine) carryOut(ctx context.Context, step Step, mark mark, before func(context.Context) error) result {
	var rival string
	if step.Reason == Drifted {
		if message, waits := mark.waitsForRemoval(step.Ref, e.now()); waits {
			return result{step: step.block(FieldManagerConflict, message), live: step.Live}
		}
		rival = e.rivalOnceContended(ctx, step, mark)
		if mark.corrections.wait(e.now()) > 0 {
			return result{step: step.block(FieldManagerConflict, contention(step.Ref, step.Message, rival)), live: step.Live, field: step.Message, rival: rival}
		}
	}
	if step.Action == Recreate {
		return e.recreate(ctx, step, before)
	}
	if step.DryRunFirst {
		settled, err := e.verify(ctx, step)
		if apierrors.IsInvalid(err) {
			return e.applyWithoutConflicts(ctx, step, mark, err)
		}
		if err != nil || settled.Action != Apply {
			return result{step: settled, live: step.Live, err: err}
		}
	}
	if len(step.ReleaseFields) > 0 {
		if err := e.giveUp(ctx, step); err != nil {
			return result{step: step, live: step.Live, err: err}
		}
	}
	live, inCache, err := e.apply(ctx, step)
	if apierrors.IsInvalid(err) && step.Live != nil {
		return e.applyWithoutConflicts(ctx, step, mark, err)
	}
	if err != nil {
		return result{step: step, live: step.Live, err: err}
	}
	return result{step: step, live: live, cached: inCache, wrote: e.changed(step.Live, live), rival: rival}
}

// changed reports whether a write made something of live but its status, which its
// controller may have written between the cache and the answer. A write that an
// admission webhook undoes changes nothing.
func (e *Engine) changed(before, after *unstructured.Unstructured) bool {
	return before == nil || before.GetResourceVersion() != after.GetResourceVersion() &&
		cached.LiveHash(before, e.Options.FieldManager) != cached.LiveHash(after, e.Options.FieldManager)
}

// rivalOnceContended names the manager that undoes the correction of drift, if this
// one makes it contended.
func (e *Engine) rivalOnceContended(ctx context.Context, step Step, mark mark) string {
	if mark.contendedField == step.Message && mark.rival != "" || !mark.corrections.with(e.now(), correctionsAtOnce).contended {
		return mark.rival
	}
	return e.rivalOf(ctx, step)
}

// waitsForRemoval is the message of drift whose correction takes the removal of
// fields that were removed too often.
func (m mark) waitsForRemoval(key object.Ref, now time.Time) (message string, waits bool) {
	for _, removed := range slices.Sorted(maps.Keys(m.removals)) {
		if m.removals[removed].wait(now) > 0 {
			return removalConflict(key, removed), true
		}
	}
	return "", false
}

// verify settles a step by a dry-run: as Skip if nothing would change, as Hold if
// an adoption would restart pods. Otherwise it gives the step back, to be applied.
func (e *Engine) verify(ctx context.Context, step Step) (Step, error) {
	dry, _, err := e.apply(ctx, step, client.DryRunAll)
	if isDryRunUnsupported(err) {
		if step.BlockOnRestart && !sameTemplate(step.Object, step.Live, e.Options.FieldManager) {
			return step.block(RestartRequired, restartMessage(step.Ref, podTemplate(step.Object), podTemplate(step.Live))), nil
		}
		return step, nil
	}
	if err != nil {
		return step, err
	}
	if len(step.ReleaseFields) == 0 && cached.LiveHash(dry, e.Options.FieldManager) == cached.LiveHash(step.Live, e.Options.FieldManager) {
		step.Action, step.Reason, step.Message = Skip, UpToDate, ""
		return step, nil
	}
	if would, is := podTemplate(dry), podTemplate(step.Live); step.BlockOnRestart && !equality.Semantic.DeepEqual(would, is) {
		return step.block(RestartRequired, restartMessage(step.Ref, would, is)), nil
	}
	return step, nil
}

// isDryRunUnsupported reports whether an admission webhook with side effects keeps
// the API server from making a dry-run (apiserver, NewDryRunUnsupportedErr). What
// would happen is then compared in memory.
func isDryRunUnsupported(err error) bool {
	return apierrors.IsBadRequest(err) && strings.Contains(err.Error(), "does not support dry run")
}

// restartMessage says why a workload's pods would restart.
func restartMessage(key object.Ref, would, is any) string {
	return fmt.Sprintf("%s would restart its pods: %s differs from what the pods were made with", key, firstDifference(would, is, "spec.template"))
}

// noVersion is the resourceVersion of no object. An apply with it makes an object
// and conflicts with one that exists: nothing else tells the API server that an
// apply is to create. Whether there is an object need not be asked before then.
//
// This is not documented. It follows from Update in k8s.io/apiserver's
// pkg/registry/generic/registry/store.go, which creates an object that does not
// exist without looking at its resourceVersion, and compares that of one that does;
// seen in 1.30 and 1.37. The engine's tests create and conflict by it, so they
// fail on an API server that does otherwise.
const noVersion = "1"

// apply sends the step's object. With the UID of what is live, so that an object
// which was deleted in the meantime is not made again by a stale plan, or with
// noVersion, so that one which was made in the meantime is not taken over.
func (e *Engine) apply(ctx context.Context, step Step, options ...client.ApplyOption) (live *unstructured.Unstructured, inCache client.Object, err error) {
	// What comes back replaces the content as a whole.
	obj := &unstructured.Unstructured{Object: maps.Clone(step.Object.Object)}
	if step.Live == nil {
		object.SetField(obj.Object, noVersion, "metadata", "resourceVersion")
	} else {
		object.SetField(obj.Object, string(step.uid()), "metadata", "uid")
	}
	options = append(options, client.FieldOwner(e.Options.FieldManager), client.ForceOwnership)
	if err := e.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(obj), options...); err != nil {
		return nil, nil, fmt.Errorf("apply: %w", err)
	}
	if inCache, err = e.asCached(obj); err != nil {
		return nil, nil, err
	}
	live, err = cached.FromTyped(inCache, step.Ref.GroupVersionKind)
	return live, inCache, err
}

// giveUp drops the step's fields from what we own.
func (e *Engine) giveUp(ctx context.Context, step Step) error {
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		// Not from the cache, which trims managedFields.
		live, err := e.getLive(ctx, step.Ref)
		if err != nil || live == nil {
			return err
		}
		changed, err := managedfields.Release(live, e.Options.FieldManager, step.ReleaseFields)
		if err != nil || !changed {
			return err
		}
		patch, err := managedfields.Patch(live, nil, nil)
		if err != nil {
			return err
		}
		_, err = e.patchMetadata(ctx, live, patch)
		return err
	})
	if err != nil {
		return fmt.Errorf("give up %v: %w", step.ReleaseFields, err)
	}
	return nil
}

// remember updates the ledger with what became of a step.
func (e *Engine) remember(account *account, result result) {
	step, manager := result.step, e.Options.FieldManager
	switch {
	case step.Action == Recreate:
		account.backups = sets.New(account.backups.UnsortedList()...).Insert(backupName(step.Ref.Name))
		delete(account.marks, step.Ref)
	case step.Reason == NotFound && apierrors.IsConflict(result.err):
		account.taken[step.Ref] = true
	case result.invalid:
		account.invalid(step, result.live, manager)
	case result.err != nil || result.live == nil:
	case step.Action == Skip:
		account.found(step.Ref, step.desired, result.live, manager)
	case step.Action == Apply:
		account.applied(step.Ref, step.desired, result, manager, e.now())
	case step.Action == Block && step.Reason == RestartRequired:
		account.held(step.Ref, step.desired, result.live, manager, step.Message)
	case step.Action == Block && step.Reason == ImmutableFieldChanged:
		account.blocked(step.Ref, claimsDigest(step.Object), step.Message, e.now())
	case step.Action == Block && step.Reason == FieldManagerConflict && result.field != "":
		mark := account.marks[step.Ref]
		mark.contendedField, mark.rival = result.field, result.rival
		account.marks[step.Ref] = mark
	}
}

// note adds what became of a step to the outcome.
func (o *Result) note(result result) {
	key := result.step.Ref
	o.Objects[key] = result.live
	if result.err != nil || !result.wrote {
		return
	}
	o.Applied = append(o.Applied, key)
	if result.step.Reason == Drifted {
		o.DriftCorrected = append(o.DriftCorrected, key)
	}
	if result.removal.Fields != "" {
		o.Removed = append(o.Removed, result.removal)
	}
	if result.step.TriggersRollout {
		o.Restarted = append(o.Restarted, key)
	}
}
