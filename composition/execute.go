package composition

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/util/retry"
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
	// rival is the manager that a correction waits for.
	rival string
	err   error
}

// execute carries out a plan: wave by wave, the steps of a wave side by side. An
// error holds back the waves that follow and all pruning.
func (e *Engine) execute(ctx context.Context, situation Situation, account *account) (Outcome, error) {
	plan := MakePlan(situation)
	account.tidy(plan)
	outcome := Outcome{Plan: plan, Children: make(map[Key]*unstructured.Unstructured, len(plan.Steps))}
	for _, step := range plan.Steps {
		outcome.Children[step.Key] = step.Live
	}
	for len(plan.Steps) > 0 {
		// Steps are in the order of waves.
		current := waveOf(plan.Steps[0].Key.GroupKind())
		size := slices.IndexFunc(plan.Steps, func(step Step) bool { return waveOf(step.Key.GroupKind()) != current })
		if size < 0 {
			size = len(plan.Steps)
		}
		steps := plan.Steps[:size]
		var errs []error
		for i, result := range e.sideBySide(ctx, steps, account) {
			steps[i] = result.step
			outcome.note(result)
			e.remember(account, result)
			errs = append(errs, result.err)
		}
		if err := errors.Join(errs...); err != nil {
			return outcome, err
		}
		plan.Steps = plan.Steps[size:]
	}
	outcome.RequeueAfter = retryAfter(outcome.Plan, account, e.now())
	return outcome, e.prune(ctx, plan.Prunes, account, &outcome)
}

// retryAfter tells when the steps that are held are looked at again.
func retryAfter(plan Plan, account *account, now time.Time) time.Duration {
	after := time.Duration(0)
	for _, step := range plan.Steps {
		wait := heldRetry
		switch {
		case step.Action != Hold || step.Reason == Paused:
			continue
		case step.Reason == Contended:
			wait = max(time.Second, correctionDue(account.marks[step.Key].corrections, now))
		}
		if after == 0 || wait < after {
			after = wait
		}
	}
	return after
}

// sideBySide executes steps in parallel. It reads the account and leaves writing
// to the caller.
func (e *Engine) sideBySide(ctx context.Context, steps []Step, account *account) []result {
	results := make([]result, len(steps))
	var group sync.WaitGroup
	for i, step := range steps {
		if step.Action != Apply && step.Action != Recreate {
			results[i] = result{step: step, live: step.Live}
			continue
		}
		mark := account.marks[step.Key]
		group.Go(func() {
			results[i] = e.carryOut(ctx, step, mark)
			if err := results[i].err; err != nil {
				results[i].err = &ChildError{step.Key, err}
			}
		})
	}
	group.Wait()
	return results
}

// carryOut executes one step that writes.
func (e *Engine) carryOut(ctx context.Context, step Step, mark mark) result {
	if step.Reason == Drifted && correctionDue(mark.corrections, e.now()) > 0 {
		rival := mark.rival
		if rival == "" {
			rival = e.rivalOf(ctx, step)
		}
		return result{step: step.hold(Contended, contention(step.Key, step.Message, rival)), live: step.Live, rival: rival}
	}
	if step.Action == Recreate {
		if refused := mark.refused; refused.desired == step.desired && e.now().Sub(refused.at) < heldRetry {
			return result{step: step.hold(Blocked, refused.message), live: step.Live}
		}
		return e.recreate(ctx, step)
	}
	if step.Verify {
		settled, err := e.verify(ctx, step)
		if err != nil || settled.Action != Apply {
			return result{step: settled, live: step.Live, err: err}
		}
	}
	if len(step.GiveUp) > 0 {
		if err := e.giveUp(ctx, step); err != nil {
			return result{step: step, live: step.Live, err: err}
		}
	}
	live, cached, err := e.apply(ctx, step)
	if err != nil {
		return result{step: step, live: step.Live, err: err}
	}
	wrote := step.Live == nil || live.GetResourceVersion() != step.Live.GetResourceVersion()
	return result{step: step, live: live, cached: cached, wrote: wrote}
}

// verify settles a step by a dry-run: as Skip if nothing would change, as Hold if
// an adoption would restart pods. Otherwise it gives the step back, to be applied.
func (e *Engine) verify(ctx context.Context, step Step) (Step, error) {
	dry, _, err := e.apply(ctx, step, client.DryRunAll)
	if err != nil {
		return step, err
	}
	if len(step.GiveUp) == 0 && contentOf(dry, e.Policy.Manager) == contentOf(step.Live, e.Policy.Manager) {
		step.Action, step.Reason, step.Message = Skip, InStep, ""
		return step, nil
	}
	if would, is := podTemplate(dry), podTemplate(step.Live); step.HoldRestart && !equality.Semantic.DeepEqual(would, is) {
		message := fmt.Sprintf("%s would restart its pods: %s differs from what the pods were made with", step.Key, firstDifference(would, is, "spec.template"))
		return step.hold(WouldRestart, message), nil
	}
	return step, nil
}

// noVersion is the resourceVersion of no object. An apply with it makes an object
// and conflicts with one that exists: nothing else tells the API server that an
// apply is to create. Whether there is an object need not be asked before then.
const noVersion = "1"

// apply sends the step's object. With the UID of what is live, so that an object
// which was deleted in the meantime is not made again by a stale plan, or with
// noVersion, so that one which was made in the meantime is not taken over.
func (e *Engine) apply(ctx context.Context, step Step, options ...client.ApplyOption) (live *unstructured.Unstructured, cached client.Object, err error) {
	// What comes back replaces the content as a whole.
	object := &unstructured.Unstructured{Object: maps.Clone(step.Object.Object)}
	if step.Live == nil {
		setField(object.Object, noVersion, "metadata", "resourceVersion")
	} else {
		setField(object.Object, string(step.uid()), "metadata", "uid")
	}
	options = append(options, client.FieldOwner(e.Policy.Manager), client.ForceOwnership)
	if err := e.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), options...); err != nil {
		return nil, nil, fmt.Errorf("apply: %w", err)
	}
	if cached, err = e.asCached(object); err != nil {
		return nil, nil, err
	}
	live, err = asUnstructured(cached, step.Key.GroupVersionKind)
	return live, cached, err
}

// giveUp drops the step's fields from what we own.
func (e *Engine) giveUp(ctx context.Context, step Step) error {
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		// Not from the cache, which trims managedFields.
		live, err := e.getLive(ctx, step.Key)
		if err != nil || live == nil {
			return err
		}
		changed, err := giveUp(live, e.Policy.Manager, step.GiveUp)
		if err != nil || !changed {
			return err
		}
		patch, err := metadataPatch(live, nil, nil)
		if err != nil {
			return err
		}
		_, err = e.patchMetadata(ctx, live, patch)
		return err
	})
	if err != nil {
		return fmt.Errorf("give up %v: %w", step.GiveUp, err)
	}
	return nil
}

// remember updates the ledger with what became of a step.
func (e *Engine) remember(account *account, result result) {
	step, manager := result.step, e.Policy.Manager
	switch {
	case step.Action == Recreate:
		delete(account.unnoted, step.Key)
		delete(account.marks, step.Key)
	case step.Reason == Absent && apierrors.IsConflict(result.err):
		account.taken[step.Key] = true
	case result.err != nil || result.live == nil:
	case step.Action == Skip:
		account.found(step.Key, step.desired, result.live, manager)
	case step.Action == Apply:
		account.applied(step.Key, step.desired, result, manager, e.now())
	case step.Action == Hold && step.Reason == WouldRestart:
		account.held(step.Key, step.desired, result.live, manager, step.Message)
	case step.Action == Hold && step.Reason == Blocked && step.desired != digest{}:
		account.blocked(step.Key, step.desired, step.Message, e.now())
	case step.Action == Hold && step.Reason == Contended:
		mark := account.marks[step.Key]
		mark.rival = result.rival
		account.marks[step.Key] = mark
	}
}

// note adds what became of a step to the outcome.
func (o *Outcome) note(result result) {
	key := result.step.Key
	o.Children[key] = result.live
	if result.err != nil || !result.wrote {
		return
	}
	o.Applied = append(o.Applied, key)
	if result.step.Reason == Drifted {
		o.Corrected = append(o.Corrected, key)
	}
	if result.step.Rolls {
		o.Rolled = append(o.Rolled, key)
	}
}
