package composition

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seldon-operator/seldon-operator/composition/object"
	"github.com/seldon-operator/seldon-operator/composition/patch"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/applyconfigurations"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Engine brings the cluster to renderings. It is safe for concurrent use for
// different owners; for one owner, one call at a time.
type Engine struct {
	Templates *Templates
	Options   object.Options
	// Kinds that children may be of.
	Kinds []object.Kind
	// Client writes.
	Client client.Client
	// Cache reads children by the owner label; see [Index].
	Cache client.Reader
	// Live reads from the API server.
	APIReader client.Reader
	// Now is the clock; nil means time.Now.
	Clock func() time.Time

	ledger *ledger
	scans  *scans
	// typeConverter has the schemas of the kinds in client-go's scheme. They take
	// some MiB, so it is made when it is first needed.
	typeConverter func() managedfields.TypeConverter
}

// New checks engine and makes it ready for use.
func New(engine Engine) (*Engine, error) {
	if engine.Templates == nil || engine.Client == nil || engine.Cache == nil || engine.APIReader == nil {
		return nil, errors.New("an engine needs Templates, Client, Cache and Live")
	}
	if engine.Options.FieldManager == "" || !strings.HasSuffix(engine.Options.KeyPrefix, "/") {
		return nil, errors.New("an engine's policy needs a Manager, and a Domain that ends with a slash")
	}
	for _, kind := range engine.Kinds {
		if _, err := engine.gvk(kind.Object); err != nil {
			return nil, fmt.Errorf("kinds of children: %w", err)
		}
	}
	engine.ledger, engine.scans = newLedger(), &scans{}
	engine.typeConverter = sync.OnceValue(func() managedfields.TypeConverter {
		return applyconfigurations.NewTypeConverter(engine.Client.Scheme())
	})
	return &engine, nil
}

// Index adds to a cache the index that Cache is searched by.
func Index(ctx context.Context, indexer client.FieldIndexer, kinds []object.Kind) error {
	for _, kind := range kinds {
		err := indexer.IndexField(ctx, kind.Object, ownerIndex, func(obj client.Object) []string {
			for _, reference := range obj.GetOwnerReferences() {
				if reference.Controller != nil && *reference.Controller {
					return []string{string(reference.UID)}
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("index children by owner: %w", err)
		}
	}
	return nil
}

// Request asks for one instance.
type Request struct {
	Owner object.Owner
	Input Input
	// NewOwner: the owner was made after the operator began to watch its kind, so
	// that nobody else has made children for it. The initial scan then sends no request.
	SkipInitialScan bool
	// Paused: look, but write nothing.
	Paused bool
	// AcceptRestarts lets workloads that are adopted restart their pods.
	AllowRestarts bool
	// ApplyMetadata sends the owner's labels and annotations to pods at once, although
	// that restarts them; see [Policy.PropagatedAnnotation].
	ApplyMetadata bool
	// Revision identifies what of the owner rolls pods out; letters, digits and
	// dashes. Workloads that are adopted may restart their pods as well once it is
	// another than at the adoption.
	Revision string
	// BeforeRecreate is called before a StatefulSet is deleted to be recreated, in
	// parallel for several. It makes the owner's deletion wait for [Engine.Resume] or
	// [Engine.Teardown]; an error stops the recreation. nil: the owner waits anyway.
	BeforeRecreate func(context.Context) error
	// Configurations of other owners, whose readers among our workloads roll when
	// they change.
	ExternalConfigs ConfigHashes
}

// Outcome is what a reconcile found and did.
type Result struct {
	// Plan as it was carried out: steps that a dry-run settled are Skip.
	Plan Plan
	// Children by key: what is live after the reconcile; nil if it does not exist. They
	// share parts with each other and with later reconciles: copy before changing one.
	Objects map[object.Ref]*unstructured.Unstructured
	// Applied, Pruned, Corrected and Rolled are the children that were written,
	// deleted, put back after drift, and whose pods a changed configuration rolls.
	Applied, Pruned, DriftCorrected, Restarted []object.Ref
	// Removed are fields of others that were removed, because the apply
	// configuration is invalid beside them.
	Removed []RemovedFields
	// Recreating: a StatefulSet was deleted to be recreated, and its backup still exists.
	Recreating bool
	// Unmatched are the patches that matched no object.
	UnmatchedPatches []patch.Patch
	// RequeueAfter says when to look again without an event; zero for never.
	RequeueAfter time.Duration
}

// Held lists the steps that are blocked. A step that is carried out, but not as
// desired, is listed for each of its warnings.
func (o Result) Blocked() []Step {
	var held []Step
	for _, step := range slices.Concat(o.Plan.Steps, o.Plan.Prunes) {
		if step.Action == Block {
			held = append(held, step)
		}
		for _, warning := range step.Warnings {
			held = append(held, step.block(warning.Reason, warning.Message))
		}
	}
	return held
}

// ChildError is what the API server, or the way there, said of one child.
type ObjectError struct {
	Ref object.Ref
	Err error
}

func (e *ObjectError) Error() string { return fmt.Sprintf("%s: %v", e.Ref, e.Err) }
func (e *ObjectError) Unwrap() error { return e.Err }

// RenderError says that the instance could not be rendered; nothing was written,
// and trying again without a change is in vain.
type RenderError struct{ Err error }

func (e *RenderError) Error() string { return e.Err.Error() }
func (e *RenderError) Unwrap() error { return e.Err }

// Reconcile renders the instance, plans and executes. The outcome is valid also
// with an error, as far as it got. Errors are a [*RenderError], or [*ChildError]s
// joined, or those of reading. One that apierrors.IsConflict holds for says that
// the cache was behind: trying again is all that it takes.
func (e *Engine) Reconcile(ctx context.Context, request Request) (Result, error) {
	recreated, err := e.resume(ctx, request, false)
	if err != nil {
		return Result{}, err
	}
	rendering, err := Render(e.Templates, request.Input, e.Options.IsReserved)
	if err == nil {
		err = e.checkKinds(rendering.Objects)
	}
	if err != nil {
		err = &RenderError{err}
		if failed := recreated.errors(); failed != nil {
			err = errors.Join(err, failed)
		}
		return Result{RequeueAfter: recreated.retryAfter()}, err
	}
	seen, err := e.observe(ctx, request, rendering.Objects)
	if err != nil {
		return Result{UnmatchedPatches: rendering.UnmatchedPatches}, err
	}
	recreated.addTo(seen.live)
	account := e.ledger.account(request.Owner)
	situation := State{
		Owner: request.Owner, Objects: rendering.Objects, Live: seen.live, Options: e.Options,
		Paused: request.Paused, AllowRestarts: request.AllowRestarts, ApplyMetadata: request.ApplyMetadata, Revision: request.Revision, marks: account.marks, refused: account.refusals(e.now()), types: e.Client.Scheme(),
		recreated: recreated, beforeRecreate: request.BeforeRecreate,
	}
	situation.markRollouts(request.ExternalConfigs)
	if !request.Paused {
		situation.Adopting, situation.failed = e.adoptAll(ctx, request, rendering.Objects, seen.live)
	}
	outcome, err := e.execute(ctx, situation, account)
	outcome.UnmatchedPatches = rendering.UnmatchedPatches
	outcome.Recreating = account.backups.Len() > 0
	err = errors.Join(err, recreated.transient())
	if outcome.RequeueAfter == 0 {
		outcome.RequeueAfter = recreated.retryAfter()
	}
	if seen.behind && (outcome.RequeueAfter == 0 || outcome.RequeueAfter > cacheLag) {
		outcome.RequeueAfter = cacheLag
	}
	return outcome, err
}

// checkKinds refuses children that the engine could neither watch nor prune.
func (e *Engine) checkKinds(children []object.Object) error {
	for _, child := range children {
		if _, known := e.kind(child.Ref().GroupVersionKind); !known {
			return fmt.Errorf("%s: the engine was not told of kind %s", child.Ref(), child.Ref().GroupVersionKind)
		}
	}
	return nil
}

// Children lists the labelled objects that owner controls, as the cache shows them:
// for their health, when the owner cannot be rendered. They are to be read only.
func (e *Engine) Children(ctx context.Context, owner object.Owner) (map[object.Ref]*unstructured.Unstructured, error) {
	children := map[object.Ref]*unstructured.Unstructured{}
	for _, kind := range e.Kinds {
		if err := e.listOwned(ctx, owner, kind, children); err != nil {
			return nil, err
		}
	}
	return children, nil
}

// Forget drops what is remembered of an owner that does not exist any more. Its UID
// need not be known: call it whenever an owner is not found, since its deletion may
// not have been seen otherwise.
func (e *Engine) Forget(owner object.Owner) { e.ledger.forget(owner) }

// now is the engine's clock.
func (e *Engine) now() time.Time {
	if e.Clock != nil {
		return e.Clock()
	}
	return time.Now()
}
