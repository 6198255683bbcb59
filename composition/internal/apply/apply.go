package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	apimanagedfields "k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/retry"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/composition/internal/cached"
	"github.com/seldon-operator/seldon-operator/composition/internal/cluster"
	"github.com/seldon-operator/seldon-operator/composition/internal/managedfields"
	"github.com/seldon-operator/seldon-operator/composition/internal/state"
	"github.com/seldon-operator/seldon-operator/composition/internal/statefulset"
	"github.com/seldon-operator/seldon-operator/composition/object"
	"github.com/seldon-operator/seldon-operator/composition/plan"
)

// maxParallel bounds the concurrent requests for one owner.
const maxParallel = 8

// Applier settles and applies plans. It is safe for concurrent use, for one owner by one
// goroutine at a time.
type Applier struct {
	Cluster      *cluster.Client
	StatefulSets *statefulset.Recreator
	// TypeConverter has the schemas of the kinds in the scheme.
	TypeConverter func() apimanagedfields.TypeConverter
	Now           func() time.Time
}

// Run is one application of a plan.
type Run struct {
	Plan plan.Plan
	// State of the owner, which the run updates.
	State *state.Owner
	// Recreations are what became of the StatefulSets that have a backup.
	Recreations statefulset.Recreations
	// BeforeRecreate is called before a StatefulSet is deleted to be recreated, from
	// several goroutines at once; an error stops the recreation. May be nil.
	BeforeRecreate func(context.Context) error
}

// Result is the result of the application of a plan.
type Result struct {
	// Plan as it was carried out.
	Plan plan.Plan
	// Live are the rendered objects after it; nil for those that do not exist.
	Live map[object.Ref]*unstructured.Unstructured
	// Applied lists the objects that were changed. DriftCorrected: those of Applied where
	// a change by another manager was reverted. Restarted: those of Applied whose pods are
	// restarted because of a changed configuration. Pruned: the objects that were deleted.
	Applied, DriftCorrected, Restarted, Pruned []object.Ref
	// Removed are fields of other managers that were removed.
	Removed []RemovedFields
	// RequeueAfter is when to reconcile again without an event; zero for never.
	RequeueAfter time.Duration
}

// stepResult is the result of one step.
type stepResult struct {
	step plan.Step
	live *unstructured.Unstructured
	// typed is live in the form of the cache, if it was applied.
	typed client.Object
	// changed: the API server changed the object.
	changed bool
	// driftedField and manager: see [Applied].
	driftedField, manager string
	// removed are the fields of other managers that were removed.
	removed RemovedFields
	// invalid: the apply configuration is invalid whatever other fields are removed.
	invalid bool
	err     error
}

// Settle makes a dry-run of each step that is in doubt, in parallel, and writes nothing. A
// step that would change nothing becomes Skip, one that would restart pods that must not
// be restarted becomes Block. A step whose dry-run fails stays in doubt: [Applier.Apply]
// repeats the dry-run when the steps of earlier waves are applied.
func (a *Applier) Settle(ctx context.Context, planned plan.Plan) plan.Plan {
	planned.Steps = slices.Clone(planned.Steps)
	var doubtful []int
	for i, step := range planned.Steps {
		if step.Action == plan.Apply && step.DryRunFirst && step.Err == nil {
			doubtful = append(doubtful, i)
		}
	}
	inParallel(ctx, len(doubtful), func(piece int) {
		step := &planned.Steps[doubtful[piece]]
		settled, err := a.dryRun(ctx, *step)
		if err != nil {
			step.DryRunError = err
			return
		}
		*step = settled
	})
	return planned
}

// Apply applies the steps of a plan wave by wave, and then prunes. An object that the API
// server rejects stops only the objects that refer to it. Any other error is taken for
// transient: it stops the waves after it and all pruning. The result is valid also with an
// error, which joins all errors.
func (a *Applier) Apply(ctx context.Context, run Run) (Result, error) {
	planned := run.Plan
	run.State.RemoveUnknown(planned)
	result := Result{Plan: planned, Live: make(map[object.Ref]*unstructured.Unstructured, len(planned.Steps))}
	for _, step := range planned.Steps {
		result.Live[step.Ref] = step.Live
	}
	var errs []error
	unsettled := run.Recreations.Unsettled()
	rejected := sets.New[plan.Reference]()
	for _, steps := range byWave(planned.Steps) {
		transient := false
		for i, done := range a.applyWave(ctx, run, steps, rejected) {
			a.record(run.State, done)
			run.State.WarnOfConflicts(&done.step, a.Now())
			steps[i] = done.step
			result.add(done)
			switch {
			case done.err == nil && done.step.Action == plan.Block:
				unsettled = append(unsettled, done.step)
			case done.err == nil:
			case object.IsRejection(done.err):
				unsettled = append(unsettled, done.step)
				rejected.Insert(plan.ReferenceTo(done.step.Ref))
				errs = append(errs, done.err)
			default:
				transient = true
				errs = append(errs, done.err)
			}
		}
		if transient {
			return result, errors.Join(errs...)
		}
	}
	for _, step := range planned.Steps {
		if after := run.State.RequeueAfter(step, a.Now()); after > 0 && (result.RequeueAfter == 0 || after < result.RequeueAfter) {
			result.RequeueAfter = after
		}
	}
	errs = append(errs, a.prune(ctx, unsettled, run.State, &result))
	return result, errors.Join(errs...)
}

// byWave splits steps, which are in the order of waves.
func byWave(steps []plan.Step) [][]plan.Step {
	var waves [][]plan.Step
	for len(steps) > 0 {
		current := object.WaveOf(steps[0].Ref.GroupKind())
		size := slices.IndexFunc(steps, func(step plan.Step) bool { return object.WaveOf(step.Ref.GroupKind()) != current })
		if size < 0 {
			size = len(steps)
		}
		waves = append(waves, steps[:size:size])
		steps = steps[size:]
	}
	return waves
}

// applyWave applies the steps of a wave in parallel. It reads the state of the owner, and
// the caller records the results. A step that refers to a rejected object is blocked.
func (a *Applier) applyWave(ctx context.Context, run Run, steps []plan.Step, rejected sets.Set[plan.Reference]) []stepResult {
	results := make([]stepResult, len(steps))
	var pending []int
	for i, step := range steps {
		if step.Err != nil || step.Action != plan.Apply && step.Action != plan.Recreate {
			results[i] = stepResult{step: step, live: step.Live, err: step.Err}
			continue
		}
		if name, blocked := plan.BlockedBy(step, rejected); blocked {
			results[i] = stepResult{step: step.Blocked(plan.DependencyRejected, dependencyRejected(step.Ref, name)), live: step.Live}
			continue
		}
		pending = append(pending, i)
	}
	inParallel(ctx, len(pending), func(piece int) {
		i := pending[piece]
		results[i] = a.applyStep(ctx, run, steps[i])
		if err := results[i].err; err != nil {
			results[i].err = &object.Error{Ref: steps[i].Ref, Err: err}
		}
	})
	return results
}

// inParallel calls do for each piece, up to maxParallel at a time. All of them are called,
// also when ctx ends, which their requests see.
func inParallel(ctx context.Context, pieces int, do func(piece int)) {
	workqueue.ParallelizeUntil(context.WithoutCancel(ctx), maxParallel, pieces, do)
}

// applyStep carries out one step that writes.
func (a *Applier) applyStep(ctx context.Context, run Run, step plan.Step) stepResult {
	var manager string
	if step.Reason == plan.Drifted {
		if message, blocked := run.State.BlockedRemoval(step.Ref, a.Now()); blocked {
			return stepResult{step: step.Blocked(plan.FieldManagerConflict, message), live: step.Live}
		}
		var search bool
		if manager, search = run.State.ConflictingManager(step.Ref, step.Message, a.Now()); search {
			manager = a.conflictingManager(ctx, step)
		}
		if run.State.UntilNextCorrection(step.Ref, a.Now()) > 0 {
			blocked := step.Blocked(plan.FieldManagerConflict, state.ConflictMessage(step.Ref, step.Message, manager))
			return stepResult{step: blocked, live: step.Live, driftedField: step.Message, manager: manager}
		}
	}
	if step.Action == plan.Recreate {
		return a.recreate(ctx, step, run.BeforeRecreate)
	}
	if step.DryRunFirst {
		settled, err := step, step.DryRunError
		if !apierrors.IsInvalid(err) {
			settled, err = a.dryRun(ctx, step)
		}
		if apierrors.IsInvalid(err) {
			return a.applyWithoutConflicts(ctx, run.State, step, err)
		}
		if err != nil || settled.Action != plan.Apply {
			return stepResult{step: settled, live: step.Live, err: err}
		}
	}
	if len(step.ReleaseFields) > 0 {
		if err := a.releaseFields(ctx, step); err != nil {
			return stepResult{step: step, live: step.Live, err: err}
		}
	}
	live, typed, err := a.Cluster.Apply(ctx, step.Object, step.Live)
	if apierrors.IsInvalid(err) && step.Live != nil {
		return a.applyWithoutConflicts(ctx, run.State, step, err)
	}
	if err != nil {
		return stepResult{step: step, live: step.Live, err: err}
	}
	return stepResult{step: step, live: live, typed: typed, changed: a.changed(step.Live, live), manager: manager}
}

// changed reports whether an apply changed live, apart from its status, which its
// controller may have written between the cache and the response. An apply that an
// admission webhook reverts changes nothing.
func (a *Applier) changed(before, after *unstructured.Unstructured) bool {
	fieldManager := a.Cluster.Options.FieldManager
	return before == nil || before.GetResourceVersion() != after.GetResourceVersion() &&
		cached.LiveHash(before, fieldManager) != cached.LiveHash(after, fieldManager)
}

// conflictingManager returns the manager that owns a field of the step's object, for
// messages. It reads the API server: the cache has the engine's own entries only.
func (a *Applier) conflictingManager(ctx context.Context, step plan.Step) string {
	live, err := a.Cluster.Get(ctx, step.Ref)
	if err != nil || live == nil {
		return ""
	}
	return managedfields.ConflictingManager(object.StripIdentity(step.Object), live, a.Cluster.Options.FieldManager)
}

// dryRun settles a step that is in doubt.
func (a *Applier) dryRun(ctx context.Context, step plan.Step) (plan.Step, error) {
	dry, _, err := a.Cluster.Apply(ctx, step.Object, step.Live, client.DryRunAll)
	if isDryRunUnsupported(err) {
		if step.BlockOnRestart && !plan.PodTemplateUnchanged(step.Object, step.Live, a.Cluster.Options.FieldManager) {
			return step.Blocked(plan.RestartRequired, plan.RestartMessage(step.Ref, plan.PodTemplate(step.Object), plan.PodTemplate(step.Live))), nil
		}
		step.DryRunFirst = false
		return step, nil
	}
	if err != nil {
		return step, err
	}
	return a.decide(step, dry), nil
}

// decide settles a step by the object that its dry-run returned: Skip if nothing changes,
// Block if pods would restart that must not.
func (a *Applier) decide(step plan.Step, dry *unstructured.Unstructured) plan.Step {
	fieldManager := a.Cluster.Options.FieldManager
	if step.Live != nil && len(step.ReleaseFields) == 0 && cached.LiveHash(dry, fieldManager) == cached.LiveHash(step.Live, fieldManager) {
		step.Action, step.Reason, step.Message = plan.Skip, plan.UpToDate, ""
		return step
	}
	if step.BlockOnRestart {
		if would, is := plan.PodTemplate(dry), plan.PodTemplate(step.Live); !equality.Semantic.DeepEqual(would, is) {
			return step.Blocked(plan.RestartRequired, plan.RestartMessage(step.Ref, would, is))
		}
	}
	step.DryRunFirst = false
	return step
}

// isDryRunUnsupported reports whether an admission webhook with side effects keeps the API
// server from making a dry-run (apiserver, NewDryRunUnsupportedErr). The result is then
// predicted in memory.
func isDryRunUnsupported(err error) bool {
	return apierrors.IsBadRequest(err) && strings.Contains(err.Error(), "does not support dry run")
}

// releaseFields removes the step's fields from what the engine owns.
func (a *Applier) releaseFields(ctx context.Context, step plan.Step) error {
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		live, err := a.Cluster.Get(ctx, step.Ref)
		if err != nil || live == nil {
			return err
		}
		changed, err := managedfields.Release(live, a.Cluster.Options.FieldManager, step.ReleaseFields)
		if err != nil || !changed {
			return err
		}
		patch, err := managedfields.Patch(live, nil, nil)
		if err != nil {
			return err
		}
		_, err = a.Cluster.PatchMetadata(ctx, live, patch)
		return err
	})
	if err != nil {
		return fmt.Errorf("release %v: %w", step.ReleaseFields, err)
	}
	return nil
}

// recreate expands the claims of a StatefulSet and deletes it; see [Recreator].
func (a *Applier) recreate(ctx context.Context, step plan.Step, before func(context.Context) error) stepResult {
	message, err := a.StatefulSets.Start(ctx, step, before)
	if message != "" {
		step = step.Blocked(plan.ImmutableFieldChanged, message)
	}
	return stepResult{step: step, live: step.Live, changed: err == nil && message == "", err: err}
}

// record updates the state with the result of a step.
func (a *Applier) record(remembered *state.Owner, done stepResult) {
	step, fieldManager := done.step, a.Cluster.Options.FieldManager
	switch {
	case step.Action == plan.Recreate:
		remembered.SetRecreating(step.Ref, statefulset.BackupName(step.Ref.Name))
	case step.Reason == plan.NotFound && apierrors.IsConflict(done.err):
		remembered.SetNameConflict(step.Ref, true)
	case done.invalid:
		remembered.SetInvalid(step.Ref, step.DesiredHash, done.live, fieldManager)
	case done.err != nil || done.live == nil:
	case step.Action == plan.Skip:
		remembered.SetUpToDate(step.Ref, step.DesiredHash, done.live, fieldManager)
	case step.Action == plan.Apply:
		applied := state.Applied{
			Desired: step.DesiredHash, Live: done.live, Typed: done.typed, Changed: done.changed, Drifted: step.Reason == plan.Drifted,
			DriftedField: step.Message, ConflictingManager: done.manager,
		}
		if done.removed.Fields != "" {
			applied.Removed = done.removed.String()
		}
		remembered.SetApplied(step.Ref, applied, fieldManager, a.Now())
	case step.Action == plan.Block && step.Reason == plan.RestartRequired:
		remembered.SetRestartRequired(step.Ref, step.DesiredHash, done.live, fieldManager, step.Message)
	case step.Action == plan.Block && step.Reason == plan.ImmutableFieldChanged:
		remembered.SetExpansionError(step.Ref, plan.ExpansionError{Claims: plan.ClaimTemplatesHash(step.Object), Message: step.Message}, a.Now())
	case step.Action == plan.Block && step.Reason == plan.FieldManagerConflict && done.driftedField != "":
		remembered.SetConflictingManager(step.Ref, done.driftedField, done.manager)
	}
}

// add adds the result of a step.
func (r *Result) add(done stepResult) {
	ref := done.step.Ref
	r.Live[ref] = done.live
	if done.err != nil || !done.changed {
		return
	}
	r.Applied = append(r.Applied, ref)
	if done.step.Reason == plan.Drifted {
		r.DriftCorrected = append(r.DriftCorrected, ref)
	}
	if done.removed.Fields != "" {
		r.Removed = append(r.Removed, done.removed)
	}
	if done.step.TriggersRollout {
		r.Restarted = append(r.Restarted, ref)
	}
}
