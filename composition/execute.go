package composition

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Drift that comes back is corrected at once this often within the window;
// after that, once per pause.
const (
	correctionsAtOnce = 5
	correctionWindow  = 5 * time.Minute
	correctionPause   = time.Minute
	// heldRetry is when a step that is held for something outside the cache's view
	// is looked at again.
	heldRetry = time.Minute
)

// result is what became of a step.
type result struct {
	step Step
	live *unstructured.Unstructured
	// wrote: the API server made something of it.
	wrote bool
	err   error
}

// execute carries out a plan: wave by wave, the steps of a wave side by side. An
// error holds back the waves that follow and all pruning.
func (e *Engine) execute(ctx context.Context, situation Situation) (Outcome, error) {
	plan := MakePlan(situation)
	outcome := Outcome{Plan: plan, Children: map[Key]*unstructured.Unstructured{}}
	account := e.ledger.account(situation.Owner.UID)
	for _, step := range plan.Steps {
		outcome.Children[step.Key] = step.Live
	}

	var errs []error
	for w := range waves {
		var steps []int
		for i, step := range plan.Steps {
			if waveOf(step.Key.GroupKind()) == w {
				steps = append(steps, i)
			}
		}
		results := e.sideBySide(ctx, plan.Steps, steps, account)
		for i, result := range results {
			plan.Steps[steps[i]] = result.step
			outcome.note(result)
			e.remember(account, result)
			if result.err != nil {
				errs = append(errs, result.err)
			}
		}
		if len(errs) > 0 {
			return outcome, errors.Join(errs...)
		}
	}
	err := e.prune(ctx, plan.Prunes, account, &outcome)
	for _, step := range plan.Steps {
		if step.Action == Hold && step.Reason != Paused {
			outcome.RequeueAfter = heldRetry
		}
	}
	return outcome, err
}

// sideBySide executes the chosen steps in parallel. It reads the account and
// leaves writing to the caller.
func (e *Engine) sideBySide(ctx context.Context, steps []Step, chosen []int, account *account) []result {
	results := make([]result, len(chosen))
	var group sync.WaitGroup
	for i, index := range chosen {
		step := steps[index]
		if step.Action != Apply && step.Action != Recreate {
			results[i] = result{step: step, live: step.Live}
			continue
		}
		corrections := account.marks[step.Key].corrections
		group.Go(func() {
			results[i] = e.carryOut(ctx, step, corrections)
			if err := results[i].err; err != nil {
				results[i].err = &ChildError{step.Key, err}
			}
		})
	}
	group.Wait()
	return results
}

// carryOut executes one step that writes.
func (e *Engine) carryOut(ctx context.Context, step Step, corrections []time.Time) result {
	if step.Reason == Drifted && tooMany(corrections, e.now()) {
		held := step.hold(Contended, e.contention(ctx, step))
		return result{step: held, live: step.Live}
	}
	if step.Action == Recreate {
		return e.recreate(ctx, step)
	}
	if step.Verify {
		settled, held := e.verify(ctx, step)
		if settled != nil {
			return *settled
		}
		step = held
	}
	if len(step.GiveUp) > 0 {
		if err := e.giveUp(ctx, step); err != nil {
			return result{step: step, live: step.Live, err: err}
		}
	}
	live, err := e.apply(ctx, step)
	if err != nil {
		return result{step: step, live: step.Live, err: err}
	}
	wrote := step.Live == nil || live.GetResourceVersion() != step.Live.GetResourceVersion()
	return result{step: step, live: live, wrote: wrote}
}

func (e *Engine) recreate(ctx context.Context, step Step) result {
	err := e.growClaims(ctx, step)
	if mismatch := (*Mismatch)(nil); errors.As(err, &mismatch) {
		return result{step: step.hold(Blocked, fmt.Sprintf("%s: %v", step.Key, mismatch)), live: step.Live}
	}
	return result{step: step, live: step.Live, wrote: err == nil, err: err}
}

// verify settles a step by a dry-run: as Skip if nothing would change, as Hold if
// an adoption would restart pods. Otherwise it gives the step back, to be applied.
func (e *Engine) verify(ctx context.Context, step Step) (*result, Step) {
	dry, err := e.apply(ctx, step, client.DryRunAll)
	if err != nil {
		return &result{step: step, live: step.Live, err: err}, step
	}
	if len(step.GiveUp) == 0 && contentOf(dry, e.Policy.Manager) == contentOf(step.Live, e.Policy.Manager) {
		step.Action, step.Reason, step.Message = Skip, InStep, ""
		return &result{step: step, live: step.Live}, step
	}
	if step.HoldRestart && !equality.Semantic.DeepEqual(podTemplate(dry), podTemplate(step.Live)) {
		where, _ := containedIn(podTemplate(dry), podTemplate(step.Live), "spec.template")
		if where == "" {
			where = "spec.template"
		}
		message := fmt.Sprintf("%s would restart its pods: %s differs", step.Key, where)
		return &result{step: step.hold(WouldRestart, message), live: step.Live}, step
	}
	return nil, step
}

func podTemplate(workload *unstructured.Unstructured) any {
	template, _, _ := unstructured.NestedFieldNoCopy(workload.Object, "spec", "template")
	return template
}

// apply sends the step's object. With the UID of what is live, so that an object
// which was deleted in the meantime is not made again by a stale plan.
func (e *Engine) apply(ctx context.Context, step Step, options ...client.ApplyOption) (*unstructured.Unstructured, error) {
	object := step.Object.DeepCopy()
	object.SetUID(step.uid())
	options = append(options, client.FieldOwner(e.Policy.Manager), client.ForceOwnership)
	if err := e.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), options...); err != nil {
		return nil, fmt.Errorf("apply: %w", err)
	}
	TrimManagedFields(object, e.Policy.Manager)
	// Through the Go type, as the cache does, so that the two compare equal.
	return canonicalised(object)
}

// takeOver migrates one object, and on a workload notes the configuration that
// its pods run with.
func (e *Engine) takeOver(ctx context.Context, owner Owner, child Child, live *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	live, err := e.getLive(ctx, child.Key()) // the cache trims managedFields
	if err != nil {
		return nil, err
	}
	if live == nil {
		return nil, nil
	}
	before := live.DeepCopy()
	if err := takeOver(live, owner, e.Policy.Manager); err != nil {
		return nil, err
	}
	if origin, found := child.Object.GetAnnotations()[e.Policy.originAnnotation()]; found && live.GetAnnotations()[e.Policy.originAnnotation()] == "" {
		annotate(live, e.Policy.originAnnotation(), origin, "metadata", "annotations")
	}
	if equality.Semantic.DeepEqual(before.Object, live.Object) {
		return live, nil
	}
	return e.patchMetadata(ctx, live)
}

// giveUp drops the step's fields from what we own.
func (e *Engine) giveUp(ctx context.Context, step Step) error {
	live, err := e.getLive(ctx, step.Key)
	if err != nil || live == nil {
		return err
	}
	changed := false
	for _, field := range step.GiveUp {
		given, err := giveUp(live, e.Policy.Manager, field...)
		if err != nil {
			return err
		}
		changed = changed || given
	}
	if !changed {
		return nil
	}
	_, err = e.patchMetadata(ctx, live)
	return err
}

// patchMetadata writes the managedFields and annotations of live, provided that
// it has not changed since it was read.
func (e *Engine) patchMetadata(ctx context.Context, live *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	metadata := map[string]any{
		"resourceVersion": live.GetResourceVersion(),
		"managedFields":   live.GetManagedFields(),
	}
	if annotations := live.GetAnnotations(); len(annotations) > 0 {
		metadata["annotations"] = annotations
	}
	patch, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return nil, err
	}
	object := live.DeepCopy()
	if err := e.Client.Patch(ctx, object, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(e.Policy.Manager)); err != nil {
		return nil, fmt.Errorf("migrate field ownership: %w", err)
	}
	TrimManagedFields(object, e.Policy.Manager)
	return canonicalised(object)
}

// prune deletes leftovers wave by wave, each provided that it is still the object
// that was seen.
func (e *Engine) prune(ctx context.Context, prunes []Step, account *account, outcome *Outcome) error {
	var errs []error
	for _, step := range prunes {
		if step.Action != Delete {
			continue
		}
		if err := e.delete(ctx, step.Live); err != nil {
			errs = append(errs, &ChildError{step.Key, err})
			continue
		}
		delete(account.marks, step.Key)
		outcome.Pruned = append(outcome.Pruned, step.Key)
	}
	return errors.Join(errs...)
}

func (e *Engine) delete(ctx context.Context, live *unstructured.Unstructured) error {
	uid := live.GetUID()
	err := e.Client.Delete(ctx, live.DeepCopy(), client.Preconditions{UID: &uid}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete: %w", err)
	}
	return nil
}

// remember updates the ledger with what became of a step.
func (e *Engine) remember(account *account, result result) {
	step := result.step
	switch {
	case result.err != nil || result.live == nil || step.Action == Hold || step.Action == Recreate:
	case step.Action == Skip:
		account.found(step.Key, step.desired, result.live, e.Policy.Manager)
	case step.Action == Apply:
		if step.Reason == Drifted && result.wrote {
			mark := account.marks[step.Key]
			mark.corrections = append(recent(mark.corrections, e.now()), e.now())
			account.marks[step.Key] = mark
		}
		account.applied(step.Key, step.desired, result.live, e.Policy.Manager, e.now())
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
	if result.step.Live != nil && rolled(result.step.Object, result.step.Live) {
		o.Rolled = append(o.Rolled, key)
	}
}

// rolled tells whether an apply changed the mark on a pod template.
func rolled(desired, live *unstructured.Unstructured) bool {
	marks := func(object *unstructured.Unstructured) []string {
		annotations, _, _ := unstructured.NestedStringMap(object.Object, "spec", "template", "metadata", "annotations")
		var found []string
		for key, value := range annotations {
			if strings.HasSuffix(key, "/config-digest") {
				found = append(found, key+value)
			}
		}
		return found
	}
	return isWorkload(desired.GroupVersionKind().GroupKind()) && !slices.Equal(marks(desired), marks(live))
}

// tooMany tells whether a correction has to wait.
func tooMany(corrections []time.Time, now time.Time) bool {
	within := recent(corrections, now)
	return len(within) >= correctionsAtOnce && now.Sub(within[len(within)-1]) < correctionPause
}

func recent(corrections []time.Time, now time.Time) []time.Time {
	return slices.DeleteFunc(slices.Clone(corrections), func(at time.Time) bool {
		return now.Sub(at) > correctionWindow
	})
}

// contention names those who write what we own.
func (e *Engine) contention(ctx context.Context, step Step) string {
	others := "another manager"
	if live, err := e.getLive(ctx, step.Key); err == nil && live != nil {
		var names []string
		for _, entry := range live.GetManagedFields() {
			if entry.Manager != e.Policy.Manager && entry.Subresource == "" {
				names = append(names, fmt.Sprintf("%q", entry.Manager))
			}
		}
		if slices.Sort(names); len(names) > 0 {
			others = strings.Join(slices.Compact(names), ", ")
		}
	}
	return fmt.Sprintf("%s: %s is changed again and again by %s; it is put back once a minute", step.Key, step.Message, others)
}
