package composition

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Engine brings the cluster to renderings. It is safe for concurrent use for
// different owners; for one owner, one call at a time.
type Engine struct {
	Templates *Templates
	Policy    Policy
	// Kinds that children may be of.
	Kinds []Kind
	// Client writes.
	Client client.Client
	// Cache reads children by the owner label; see [Engine.Index].
	Cache client.Reader
	// Live reads from the API server.
	Live client.Reader
	// Now is the clock; nil means time.Now.
	Now func() time.Time

	ledger *ledger
}

// New checks engine and makes it ready for use.
func New(engine Engine) (*Engine, error) {
	if engine.Templates == nil || engine.Client == nil || engine.Cache == nil || engine.Live == nil {
		return nil, errors.New("an engine needs Templates, Client, Cache and Live")
	}
	if engine.Policy.Manager == "" || engine.Policy.Domain == "" {
		return nil, errors.New("an engine's policy needs Manager and Domain")
	}
	engine.ledger = newLedger()
	return &engine, nil
}

// Index adds to a cache the index that Cache is searched by.
func Index(ctx context.Context, indexer client.FieldIndexer, kinds []Kind) error {
	for _, kind := range kinds {
		err := indexer.IndexField(ctx, kind.Object, ownerIndex, func(object client.Object) []string {
			for _, reference := range object.GetOwnerReferences() {
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
	Owner Owner
	Input Input
	// Paused: look, but write nothing.
	Paused bool
	// AcceptRestarts lets workloads that are adopted restart their pods.
	AcceptRestarts bool
	// Configurations of other owners, whose readers among our workloads roll when
	// they change.
	Configurations Configurations
}

// Outcome is what a reconcile found and did.
type Outcome struct {
	// Plan as it was carried out: steps that a dry-run settled are Skip.
	Plan Plan
	// Children by key: what is live after the reconcile; nil if it does not exist.
	Children map[Key]*unstructured.Unstructured
	// Applied, Pruned, Corrected and Rolled are the children that were written,
	// deleted, put back after drift, and whose pods a changed configuration rolls.
	Applied, Pruned, Corrected, Rolled []Key
	// Unmatched are the patches that matched no object.
	Unmatched []Patch
	// RequeueAfter says when to look again without an event; zero for never.
	RequeueAfter time.Duration
}

// Held lists the steps that something stands in the way of.
func (o Outcome) Held() []Step {
	var held []Step
	for _, step := range slices.Concat(o.Plan.Steps, o.Plan.Prunes) {
		if step.Action == Hold {
			held = append(held, step)
		}
	}
	return held
}

// ChildError is what the API server, or the way there, said of one child.
type ChildError struct {
	Key Key
	Err error
}

func (e *ChildError) Error() string { return fmt.Sprintf("%s: %v", e.Key, e.Err) }
func (e *ChildError) Unwrap() error { return e.Err }

// RenderError says that the instance could not be rendered; nothing was written,
// and trying again without a change is in vain.
type RenderError struct{ Err error }

func (e *RenderError) Error() string { return e.Err.Error() }
func (e *RenderError) Unwrap() error { return e.Err }

// Reconcile renders the instance, plans and executes. The outcome is valid also
// with an error, as far as it got. Errors are a [*RenderError], or [*ChildError]s
// joined, or those of reading.
func (e *Engine) Reconcile(ctx context.Context, request Request) (Outcome, error) {
	rendering, err := Render(e.Templates, request.Input, e.Policy.ownKey)
	if err != nil {
		return Outcome{}, &RenderError{err}
	}
	situation, err := e.situation(ctx, request, rendering.Children)
	if err != nil {
		return Outcome{}, err
	}
	outcome, err := e.execute(ctx, situation)
	outcome.Unmatched = rendering.Unmatched
	return outcome, err
}

// situation observes, and migrates what is to be adopted.
func (e *Engine) situation(ctx context.Context, request Request, children []Child) (Situation, error) {
	live, err := e.observe(ctx, request.Owner, children)
	if err != nil {
		return Situation{}, err
	}
	wanted := rendered(children)
	before := liveConfigurations(live, wanted)
	maps.Copy(wanted, request.Configurations)
	maps.Copy(before, request.Configurations)
	origin := func(key Key, names []string) string {
		switch workload := live[key]; {
		case workload == nil:
			return ""
		case workload.GetAnnotations()[e.Policy.originAnnotation()] != "":
			return workload.GetAnnotations()[e.Policy.originAnnotation()]
		default:
			return before.digest(names)
		}
	}
	e.Policy.markRollouts(children, wanted, origin)

	situation := Situation{
		Owner: request.Owner, Children: children, Live: live,
		Paused: request.Paused, AcceptRestarts: request.AcceptRestarts,
		TakenOver: map[Key]bool{},
		policy:    e.Policy, marks: e.ledger.account(request.Owner.UID).marks,
	}
	if request.Paused {
		return situation, nil
	}
	return situation, e.takeOverAll(ctx, situation)
}

// liveConfigurations are those of wanted as they are in the cluster.
func liveConfigurations(live map[Key]*unstructured.Unstructured, wanted Configurations) Configurations {
	configurations := Configurations{}
	for key, object := range live {
		if _, found := wanted[key.Name]; found && (key.Kind == "ConfigMap" || key.Kind == "Secret") {
			configurations[key.Name] = object.Object["data"]
		}
	}
	return configurations
}

// takeOverAll migrates the field ownership of rendered objects that the owner
// controls and that another program made. It comes before any apply, so that a
// workload remembers the configuration its pods run with before that changes.
func (e *Engine) takeOverAll(ctx context.Context, situation Situation) error {
	var errs []error
	for _, child := range situation.Children {
		key := child.Key()
		live := situation.Live[key]
		if live == nil || live.GetDeletionTimestamp() != nil || !situation.Owner.controls(live) || isOurs(live, e.Policy) {
			continue
		}
		migrated, err := e.takeOver(ctx, situation.Owner, child, live)
		if err != nil {
			errs = append(errs, &ChildError{key, err})
			continue
		}
		situation.Live[key] = migrated
		situation.TakenOver[key] = true
	}
	return errors.Join(errs...)
}

// Forget drops what is remembered of an owner that is gone.
func (e *Engine) Forget(owner Owner) { e.ledger.forget(owner.UID) }

func (e *Engine) now() time.Time {
	if e.Now != nil {
		return e.Now()
	}
	return time.Now()
}

// labelMissing selects objects without a label.
func labelMissing(key string) (client.ListOption, error) {
	requirement, err := labels.NewRequirement(key, selection.DoesNotExist, nil)
	if err != nil {
		return nil, fmt.Errorf("select objects without label %s: %w", key, err)
	}
	return client.MatchingLabelsSelector{Selector: labels.NewSelector().Add(*requirement)}, nil
}
