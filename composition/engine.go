package composition

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apimanagedfields "k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/applyconfigurations"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/composition/health"
	"github.com/seldon-operator/seldon-operator/composition/internal/apply"
	"github.com/seldon-operator/seldon-operator/composition/internal/cluster"
	"github.com/seldon-operator/seldon-operator/composition/internal/live"
	"github.com/seldon-operator/seldon-operator/composition/internal/state"
	"github.com/seldon-operator/seldon-operator/composition/internal/statefulset"
	"github.com/seldon-operator/seldon-operator/composition/object"
	"github.com/seldon-operator/seldon-operator/composition/plan"
	"github.com/seldon-operator/seldon-operator/composition/template"
)

// Config of an engine.
type Config struct {
	Options   object.Options
	Templates *template.Set
	// Kinds that child objects may have. Other kinds cannot be rendered.
	Kinds []object.Kind
	// Client reads a cache with [CacheOptions] and [Index], and writes.
	Client client.Client
	// APIReader reads from the API server.
	APIReader client.Reader
	// Clock returns the time; nil means time.Now.
	Clock func() time.Time
}

// Engine expands owners into child objects. It is safe for concurrent use for different
// owners; for one owner, one call at a time.
type Engine struct {
	templates *template.Set
	options   object.Options
	kinds     map[string]bool
	states    *state.Store
	reader    *live.Reader
	applier   *apply.Applier
}

// New returns an engine, or an error that says what config lacks.
func New(config Config) (*Engine, error) {
	if config.Templates == nil || config.Client == nil || config.APIReader == nil {
		return nil, errors.New("an engine needs Templates, Client and APIReader")
	}
	if config.Options.FieldManager == "" || !strings.HasSuffix(config.Options.KeyPrefix, "/") {
		return nil, errors.New("an engine's Options need a FieldManager, and a KeyPrefix that ends with a slash")
	}
	if config.Clock == nil {
		config.Clock = time.Now
	}
	connection := &cluster.Client{Client: config.Client, APIReader: config.APIReader, Options: config.Options}
	engine := &Engine{
		templates: config.Templates, options: config.Options, kinds: map[string]bool{}, states: state.NewStore(),
		reader: &live.Reader{Cluster: connection, Kinds: config.Kinds, Now: config.Clock},
		applier: &apply.Applier{
			Cluster: connection, StatefulSets: &statefulset.Recreator{Cluster: connection}, Now: config.Clock,
			// The schemas take some MiB, and few owners need them.
			TypeConverter: sync.OnceValue(func() apimanagedfields.TypeConverter {
				return applyconfigurations.NewTypeConverter(config.Client.Scheme())
			}),
		},
	}
	for _, kind := range config.Kinds {
		gvk, err := config.Client.GroupVersionKindFor(kind.Object)
		if err != nil {
			return nil, fmt.Errorf("kinds of child objects: %w", err)
		}
		engine.kinds[gvk.String()] = true
	}
	return engine, nil
}

// Request is the desired state of one owner.
type Request struct {
	Owner object.Owner
	Input Input
	// SkipInitialScan: the owner was created after the operator started to watch its kind,
	// so that no other program has created objects for it.
	SkipInitialScan bool
	// Paused: write nothing.
	Paused bool
	// AllowRestarts allows that workloads which are adopted restart their pods.
	AllowRestarts bool
	// ApplyMetadata sends the owner's labels and annotations to pods at once, although
	// that restarts them; see [object.Options.PropagatedAnnotation].
	ApplyMetadata bool
	// Revision identifies what of the owner causes rollouts: letters, digits and dashes.
	// Workloads that are adopted may restart their pods also once it differs from the
	// revision at the adoption.
	Revision string
	// BeforeRecreate is called before a StatefulSet is deleted to be recreated, from
	// several goroutines at once. It makes the owner's deletion wait for [Engine.Resume]
	// or [Engine.Delete]; an error stops the recreation. nil: the owner waits anyway.
	BeforeRecreate func(context.Context) error
	// ExternalConfigs are configurations of other owners whose changes restart the pods
	// that refer to them.
	ExternalConfigs plan.ConfigHashes
}

// NewRequest returns a request for an owner of a kind, without input. Annotations of the owner
// with the value "true" set its options; see [object.Options.PausedAnnotation],
// AllowRestartAnnotation and ApplyMetadataAnnotation there.
func NewRequest(options Options, kind schema.GroupVersionKind, owner client.Object) Request {
	isTrue := func(key string) bool { return owner.GetAnnotations()[key] == "true" }
	return Request{
		Owner:  Owner{GroupVersionKind: kind, Namespace: owner.GetNamespace(), Name: owner.GetName(), UID: owner.GetUID()},
		Paused: isTrue(options.PausedAnnotation()), AllowRestarts: isTrue(options.AllowRestartAnnotation()), ApplyMetadata: isTrue(options.ApplyMetadataAnnotation()),
	}
}

// Result of a reconcile.
type Result struct {
	// Plan as it was carried out, without the content of the objects.
	Plan plan.Plan
	// Objects are the rendered objects as they are after the reconcile.
	Objects LiveObjects
	// Applied lists the objects that were changed. DriftCorrected: those of Applied where
	// a change by another manager was reverted. Restarted: those of Applied whose pods are
	// restarted because of a changed configuration. Pruned: the objects that were deleted
	// because they are no longer rendered.
	Applied, DriftCorrected, Restarted, Pruned []object.Ref
	// Removed are fields of other managers that were removed, because the apply
	// configuration is invalid beside them.
	Removed []apply.RemovedFields
	// Recreating: a StatefulSet was deleted to be recreated, and its backup still exists.
	Recreating bool
	// UnmatchedPatches are the patches whose target matches no object.
	UnmatchedPatches []Patch
	// RequeueAfter is when to reconcile again without an event; zero for never.
	RequeueAfter time.Duration
}

// Blocked lists the steps that are blocked, and a step for each warning of the others.
func (r Result) Blocked() []plan.Step {
	var blocked []plan.Step
	for _, step := range slices.Concat(r.Plan.Steps, r.Plan.Prunes) {
		if step.Action == plan.Block {
			blocked = append(blocked, step)
		}
		for _, warning := range step.Warnings {
			blocked = append(blocked, step.Blocked(warning.Reason, warning.Message))
		}
	}
	return blocked
}

// LiveObjects are objects as they are in the cluster.
type LiveObjects struct {
	// objects share parts with the cache; nil for those that do not exist.
	objects map[object.Ref]*unstructured.Unstructured
}

// Refs lists the objects, those included that do not exist, in no particular order.
func (l LiveObjects) Refs() []object.Ref { return slices.Collect(maps.Keys(l.objects)) }

// Get returns a copy of an object; nil if it does not exist.
func (l LiveObjects) Get(ref object.Ref) *unstructured.Unstructured {
	if found := l.objects[ref]; found != nil {
		return found.DeepCopy()
	}
	return nil
}

// Health returns the health of an object; see [health.Of].
func (l LiveObjects) Health(ref object.Ref, reporting ...schema.GroupKind) (status health.Status, message string) {
	return health.Of(l.objects[ref], reporting...)
}

// Field returns a copy of a field of an object; nil if the object or the field does not
// exist.
func (l LiveObjects) Field(ref object.Ref, path ...string) any {
	found := l.objects[ref]
	if found == nil {
		return nil
	}
	value, _, _ := unstructured.NestedFieldCopy(found.Object, path...)
	return value
}

// RenderError is why the objects of an owner could not be rendered. Nothing was written,
// and a retry fails again until an input changes.
type RenderError struct{ Err error }

// Error returns the cause.
func (e *RenderError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *RenderError) Unwrap() error { return e.Err }

// Reconcile renders the objects of an owner, plans, settles what is in doubt, and applies.
// Before that it continues recreations of StatefulSets that were interrupted.
//
// The result is valid also with an error, as far as the reconcile got. Errors, joined, are
// a [*RenderError], [*ObjectError]s, and those of reading. One for which
// apierrors.IsConflict holds means that the cache was stale: a retry succeeds.
func (e *Engine) Reconcile(ctx context.Context, request Request) (Result, error) {
	remembered := e.states.Owner(request.Owner)
	recreations, err := e.applier.StatefulSets.Resume(ctx, request.Owner, remembered, request.SkipInitialScan, false)
	if err != nil {
		return Result{}, err
	}
	rendered, err := e.render(request.Input)
	if err != nil {
		if failed := recreations.Errors(); failed != nil {
			err = errors.Join(err, failed)
		}
		return Result{RequeueAfter: recreations.RequeueAfter()}, err
	}
	result := Result{UnmatchedPatches: rendered.UnmatchedPatches}
	observed, stale, err := e.observe(ctx, request, rendered.Objects, recreations)
	if err != nil {
		return result, err
	}
	if !request.Paused {
		e.applier.Adopt(ctx, &observed)
	}
	planned := e.applier.Settle(ctx, plan.Compute(observed))
	if err := e.confirmOwner(ctx, request.Owner, planned); err != nil {
		return result, err
	}
	applied, err := e.applier.Apply(ctx, apply.Run{Plan: planned, State: remembered, Recreations: recreations, BeforeRecreate: request.BeforeRecreate})

	result.Plan, result.Objects = withoutContent(applied.Plan), LiveObjects{applied.Live}
	result.Applied, result.DriftCorrected, result.Restarted = applied.Applied, applied.DriftCorrected, applied.Restarted
	result.Pruned, result.Removed = applied.Pruned, applied.Removed
	result.Recreating = remembered.Backups.Len() > 0
	result.RequeueAfter = applied.RequeueAfter
	if result.RequeueAfter == 0 {
		result.RequeueAfter = recreations.RequeueAfter()
	}
	if stale && (result.RequeueAfter == 0 || result.RequeueAfter > state.CacheSyncTimeout) {
		result.RequeueAfter = state.CacheSyncTimeout
	}
	return result, errors.Join(err, recreations.Transient())
}

// confirmOwner returns a conflict if a plan makes the owner the controller of an object
// without one, and the API server no longer has the owner or is deleting it. The garbage
// collector removes owner references when it deletes an owner with the orphan policy, and
// the cache may show that before it shows the deletion: objects that were applied with the
// owner again would be deleted after it. The controllers of Kubernetes check the same before
// they adopt an object.
func (e *Engine) confirmOwner(ctx context.Context, owner Owner, planned plan.Plan) error {
	for _, step := range planned.Steps {
		if step.Action != plan.Apply && step.Action != plan.Recreate || step.Live == nil || metav1.GetControllerOfNoCopy(step.Live) != nil {
			continue
		}
		live, err := e.applier.Cluster.Get(ctx, object.Ref{GroupVersionKind: owner.GroupVersionKind, Namespace: owner.Namespace, Name: owner.Name})
		if err != nil {
			return err
		}
		if live == nil || live.GetUID() != owner.UID || live.GetDeletionTimestamp() != nil {
			return apierrors.NewConflict(schema.GroupResource{Group: owner.Group, Resource: owner.Kind}, owner.Name,
				fmt.Errorf("it is being deleted, and does not become the owner of %s again", step.Ref))
		}
		return nil
	}
	return nil
}

// Plan returns what [Engine.Reconcile] would do for a request, with the result of each step,
// and writes nothing: it makes a dry-run of every object that would be applied. Plans for
// several owners share dryRuns.
//
// It does not continue interrupted recreations of StatefulSets. Dry-runs of objects that
// would be adopted are of the objects before the migration of their field ownership. The
// plan belongs to the caller; its steps that skip an object are without content.
func (e *Engine) Plan(ctx context.Context, request Request, dryRuns *DryRuns) (plan.Plan, error) {
	rendered, err := e.render(request.Input)
	if err != nil {
		return plan.Plan{}, err
	}
	observed, _, err := e.observe(ctx, request, rendered.Objects, nil)
	if err != nil {
		return plan.Plan{}, err
	}
	planned := e.applier.Preview(ctx, plan.Compute(observed), dryRuns)
	for _, steps := range [][]plan.Step{planned.Steps, planned.Prunes} {
		for i := range steps {
			step := &steps[i]
			if step.Action == plan.Skip {
				step.Object, step.Live, step.Result = nil, nil, nil
				continue
			}
			step.Object, step.Live, step.Result = step.Object.DeepCopy(), step.Live.DeepCopy(), step.Result.DeepCopy()
		}
	}
	return planned, nil
}

// render renders an input, and rejects objects that the engine could not watch or prune.
func (e *Engine) render(input Input) (RenderResult, error) {
	rendered, err := render(e.templates, input, e.options)
	if err != nil {
		return RenderResult{}, &RenderError{err}
	}
	for _, child := range rendered.Objects {
		if gvk := child.Ref().GroupVersionKind; !e.kinds[gvk.String()] {
			return RenderResult{}, &RenderError{fmt.Errorf("%s: the engine is not configured for kind %s", child.Ref(), gvk)}
		}
	}
	return rendered, nil
}

// observe returns the state of an owner. stale: the cache does not show all writes yet.
func (e *Engine) observe(ctx context.Context, request Request, objects []object.Object, recreations statefulset.Recreations) (observed plan.State, stale bool, err error) {
	remembered := e.states.Owner(request.Owner)
	found, stale, err := e.reader.Read(ctx, request.Owner, remembered, objects, request.SkipInitialScan)
	if err != nil {
		return plan.State{}, false, err
	}
	recreations.Overlay(found)
	return plan.State{
		Owner: request.Owner, Objects: objects, Live: found, Remembered: remembered.Remembered(),
		ExpansionErrors: remembered.ExpansionErrors(e.applier.Now()), RecreationErrors: recreations.ByRef(), ExternalConfigs: request.ExternalConfigs,
		Paused: request.Paused, AllowRestarts: request.AllowRestarts, ApplyMetadata: request.ApplyMetadata, Revision: request.Revision,
		Options: e.options, Scheme: e.applier.Cluster.Client.Scheme(),
	}, stale, nil
}

// withoutContent returns a plan without objects, which share parts with the cache.
func withoutContent(planned plan.Plan) plan.Plan {
	bare := plan.Plan{Steps: slices.Clone(planned.Steps), Prunes: slices.Clone(planned.Prunes)}
	for _, steps := range [][]plan.Step{bare.Steps, bare.Prunes} {
		for i := range steps {
			steps[i].Object, steps[i].Live = nil, nil
		}
	}
	return bare
}

// Resume continues the recreation of StatefulSets of an owner that were deleted to expand
// their volume claims. [Engine.Reconcile] and [Engine.Delete] do so themselves; Resume is
// for an owner that is not reconciled, because an input is missing or it is being deleted.
//
// created: the owner was created after the operator started to watch its kind.
// withoutOwner: the StatefulSets get no owner reference. done reports whether no backup is
// left. The errors, joined, are [*ObjectError]s and those of reading: call Resume again
// until there is none.
func (e *Engine) Resume(ctx context.Context, owner object.Owner, created, withoutOwner bool) (done bool, err error) {
	remembered := e.states.Owner(owner)
	recreations, err := e.applier.StatefulSets.Resume(ctx, owner, remembered, created, withoutOwner)
	if err != nil {
		return false, err
	}
	return len(remembered.Backups) == 0, recreations.Errors()
}

// Delete deletes the objects that owner controls, but for volume claims, in the reverse
// order of waves: a wave is deleted once no object of the waves after it exists. It never
// waits: call it again when an object is deleted, or after a while for objects that the
// cache does not show. remaining are the objects that still exist; none when it is done.
func (e *Engine) Delete(ctx context.Context, owner object.Owner) (remaining []object.Ref, err error) {
	remembered := e.states.Owner(owner)
	recreations, err := e.applier.StatefulSets.Resume(ctx, owner, remembered, false, false)
	if err = errors.Join(err, recreations.Errors()); err != nil {
		return nil, err
	}
	found, _, err := e.reader.Read(ctx, owner, remembered, nil, false)
	if err != nil {
		return nil, err
	}
	recreations.Overlay(found)
	return e.applier.DeleteAll(ctx, owner, found, remembered)
}

// Owned returns the objects that owner controls, as the cache shows them, for their health
// when the owner cannot be rendered.
func (e *Engine) Owned(ctx context.Context, owner object.Owner) (LiveObjects, error) {
	owned, err := e.reader.Owned(ctx, owner)
	return LiveObjects{owned}, err
}

// Forget drops what is remembered of an owner that does not exist any more. Its UID need
// not be known: call it whenever an owner is not found.
func (e *Engine) Forget(owner object.Owner) { e.states.Forget(owner) }

// Options returns the engine's options.
func (e *Engine) Options() object.Options { return e.options }

// Kinds returns the kinds that child objects may have.
func (e *Engine) Kinds() []object.Kind { return slices.Clone(e.reader.Kinds) }

// Remembered returns the number of owners that the engine remembers; see [Engine.Forget].
func (e *Engine) Remembered() int { return e.states.Len() }
