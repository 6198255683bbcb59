package apply

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/seldon-operator/seldon-operator/composition/internal/cached"
	"github.com/seldon-operator/seldon-operator/composition/internal/managedfields"
	"github.com/seldon-operator/seldon-operator/composition/object"
	"github.com/seldon-operator/seldon-operator/composition/plan"
)

// DryRuns are the results of the dry-runs of previews. Steps of different owners that send
// the same fields to objects with the same owned values share one dry-run, if the API
// server has computed the same result as [merge.Updater] for it. Safe for concurrent use.
type DryRuns struct {
	mu      sync.Mutex
	results map[object.Hash]*sharedDryRun
}

// sharedDryRun is one dry-run. Its lock is held during the request.
type sharedDryRun struct {
	mu   sync.Mutex
	done bool
	// settled is the step after the dry-run.
	settled plan.Step
}

// NewDryRuns returns an empty set of results.
func NewDryRuns() *DryRuns { return &DryRuns{results: map[object.Hash]*sharedDryRun{}} }

func (d *DryRuns) get(key object.Hash) *sharedDryRun {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.results[key] == nil {
		d.results[key] = &sharedDryRun{}
	}
	return d.results[key]
}

// Preview settles a plan like [Applier.Settle], and sets the result of each step. It makes a
// dry-run of every step that applies, and writes nothing. Orphans that would be retained,
// because a step is blocked or rejected, get that action. A step that is rejected has the
// error of its dry-run.
func (a *Applier) Preview(ctx context.Context, planned plan.Plan, dryRuns *DryRuns) plan.Plan {
	steps := make([]plan.Step, len(planned.Steps))
	inParallel(ctx, len(steps), func(i int) { steps[i] = a.preview(ctx, planned.Steps[i], dryRuns) })
	var unsettled []plan.Step
	rejected := sets.New[plan.Reference]()
	for i, step := range steps {
		if name, blocked := plan.BlockedBy(step, rejected); blocked && (step.Action == plan.Apply || step.Action == plan.Recreate) {
			steps[i] = step.Blocked(plan.DependencyRejected, dependencyRejected(step.Ref, name))
			steps[i].Result = step.Live
		}
		if steps[i].DryRunError != nil && object.IsRejection(steps[i].DryRunError) {
			rejected.Insert(plan.ReferenceTo(step.Ref))
		}
		if steps[i].Action == plan.Block || steps[i].DryRunError != nil {
			unsettled = append(unsettled, steps[i])
		}
	}
	return plan.Plan{Steps: steps, Prunes: plan.RetainInUse(unsettled, planned.Prunes)}
}

// preview settles one step and sets its result.
func (a *Applier) preview(ctx context.Context, step plan.Step, dryRuns *DryRuns) plan.Step {
	step.Result = step.Live
	if step.Err != nil {
		return step
	}
	switch step.Action {
	case plan.Recreate:
		return a.previewRecreation(ctx, step)
	case plan.Apply:
	default:
		return step
	}
	predicted, err := a.predict(step)
	if err != nil {
		step.DryRunError = err
		return step
	}
	shared := dryRuns.get(a.dryRunKey(step))
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.done {
		return infer(step, predicted, shared.settled)
	}
	settled := a.previewDryRun(ctx, step, predicted)
	if settled.DryRunError == nil && (settled.Evidence != plan.DryRun || sameContent(settled.Result, predicted)) {
		shared.done, shared.settled = true, settled
	}
	return settled
}

// previewRecreation sets the result of a step that expands the claims of a StatefulSet, or
// blocks it if these cannot be expanded.
func (a *Applier) previewRecreation(ctx context.Context, step plan.Step) plan.Step {
	err := a.StatefulSets.Check(ctx, step)
	immutable, cannotExpand := errors.AsType[*plan.ImmutableFieldError](err)
	switch {
	case isDenied(err):
		step.DryRunDenied = true
	case cannotExpand:
		return step.Blocked(plan.ImmutableFieldChanged, plan.ImmutableMessage(step.Ref, immutable.Error()))
	case err != nil:
		step.DryRunError = &object.Error{Ref: step.Ref, Err: err}
		return step
	}
	if predicted, err := a.predict(step); err == nil {
		plan.ExpandClaimTemplates(predicted, step.Live, step.Object)
		step.Result, step.Evidence = predicted, plan.ComputedInMemory
	}
	return step
}

// previewDryRun makes the dry-run of a step.
func (a *Applier) previewDryRun(ctx context.Context, step plan.Step, predicted *unstructured.Unstructured) plan.Step {
	result, _, err := a.Cluster.Apply(ctx, step.Object, step.Live, client.DryRunAll)
	if apierrors.IsInvalid(err) && step.Live != nil {
		found, searchErr := a.findConflict(ctx, step, err)
		if searchErr == nil && found != nil {
			result, err = found.result, nil
		}
	}
	switch {
	case err == nil:
		step.Evidence = plan.DryRun
		keepReleased(result, step)
	case isDryRunUnsupported(err) || isDenied(err):
		step.Evidence, result = plan.ComputedInMemory, predicted
		step.DryRunDenied = isDenied(err)
	default:
		step.DryRunError = &object.Error{Ref: step.Ref, Err: err}
		return step
	}
	return a.settle(step, result)
}

// infer settles a step as another was settled that sends the same fields to an object with
// the same owned values.
func infer(step plan.Step, predicted *unstructured.Unstructured, other plan.Step) plan.Step {
	step.Action, step.Reason, step.DryRunFirst = other.Action, other.Reason, false
	step.Evidence, step.DryRunDenied = other.Evidence, other.DryRunDenied
	if step.Evidence == plan.DryRun {
		step.Evidence = plan.Inferred
	}
	switch step.Action {
	case plan.Apply:
		step.Result = predicted
	case plan.Block:
		step.Message = plan.RestartMessage(step.Ref, plan.PodTemplate(predicted), plan.PodTemplate(step.Live))
	default:
		step.Message = ""
	}
	return step
}

// settle decides about a step by its result, and sets that.
func (a *Applier) settle(step plan.Step, result *unstructured.Unstructured) plan.Step {
	decided := a.decide(step, result)
	decided.Result = step.Live
	if decided.Action == plan.Apply {
		decided.Result = &unstructured.Unstructured{Object: maps.Clone(result.Object)}
		if spec, is := result.Object["spec"].(map[string]any); is {
			decided.Result.Object["spec"] = cached.StripClaimTypeMeta(spec) // like Live
		}
	}
	return decided
}

// predict returns the result of a step by the API server's own implementation of server-side
// apply, without its defaults and admission.
func (a *Applier) predict(step plan.Step) (*unstructured.Unstructured, error) {
	if step.Live == nil {
		return step.Object, nil
	}
	search, err := newConflictSearch(step.Live, step.Object, a.Cluster.Options.FieldManager, a.TypeConverter())
	if err != nil {
		return nil, err
	}
	content, isMap := runtime.DeepCopyJSONValue(search.merged.AsValue().Unstructured()).(map[string]any)
	if !isMap {
		return nil, fmt.Errorf("apply %s in memory: the result is not an object", step.Ref)
	}
	setAtomicDefaults(content)
	result, err := inCacheForm(&unstructured.Unstructured{Object: content}, a.Cluster.Client.Scheme())
	if err != nil {
		return nil, err
	}
	keepReleased(result, step)
	return result, nil
}

// setAtomicDefaults sets the API server's defaults in atomic structs, which an apply replaces
// as a whole: those of k8s.io/kubernetes/pkg/apis/core/v1, SetDefaults_ObjectFieldSelector.
// Other defaults that are live stay, because no manager owns them.
func setAtomicDefaults(value any) {
	switch value := value.(type) {
	case map[string]any:
		if selector, found := value["fieldRef"].(map[string]any); found && selector["apiVersion"] == nil {
			selector["apiVersion"] = "v1"
		}
		for _, below := range value {
			setAtomicDefaults(below)
		}
	case []any:
		for _, item := range value {
			setAtomicDefaults(item)
		}
	}
}

// inCacheForm returns an object in the form that it would have in the cache: without zero
// values that the API server omits, and with quantities in its form.
func inCacheForm(o *unstructured.Unstructured, types *runtime.Scheme) (*unstructured.Unstructured, error) {
	typed, err := cached.ToTyped(o, types)
	if runtime.IsNotRegisteredError(err) {
		return o, nil
	}
	if err != nil {
		return nil, err
	}
	return cached.FromTyped(typed, o.GroupVersionKind())
}

// keepReleased sets the fields of a result that the step releases before it applies.
func keepReleased(result *unstructured.Unstructured, step plan.Step) {
	for _, path := range step.ReleaseFields {
		if value, found, _ := unstructured.NestedFieldCopy(step.Live.Object, path...); found {
			object.SetField(result.Object, value, path...)
		}
	}
}

// dryRunKey identifies what determines the result of a step's dry-run, but for fields of
// other managers: what is sent, without the identity of the object and its owner, and the
// live values of the fields that the engine owns.
func (a *Applier) dryRunKey(step plan.Step) object.Hash {
	sent := object.StripIdentity(step.Object)
	if metadata, found := sent["metadata"].(map[string]any); found {
		delete(metadata, "ownerReferences")
	}
	owned := any(nil)
	if step.Live != nil {
		owned = a.ownedValues(step.Live)
	}
	return object.MemoryHash(map[string]any{
		"kind": step.Ref.GroupVersionKind.String(), "sent": sent, "owned": owned, "live": step.Live != nil, "reason": string(step.Reason),
		"blockOnRestart": step.BlockOnRestart, "released": len(step.ReleaseFields),
	})
}

// ownedValues returns the live values of the fields that the engine owns, or the whole spec
// if they cannot be determined.
func (a *Applier) ownedValues(live *unstructured.Unstructured) any {
	content := map[string]any{"owned": managedfields.OwnWithoutOwnerRefs(live, a.Cluster.Options.FieldManager), "content": contentOf(live)}
	for _, entry := range live.GetManagedFields() {
		if !managedfields.IsOwnEntry(entry, a.Cluster.Options.FieldManager) {
			continue
		}
		fields, err := decodeFields(entry)
		if err != nil {
			return content
		}
		value, err := a.TypeConverter().ObjectToTyped(live, typed.AllowDuplicates)
		if err != nil {
			return content
		}
		owned := value.ExtractItems(fields.Leaves(), typed.WithAppendKeyFields()).AsValue().Unstructured()
		if owned, isMap := owned.(map[string]any); isMap {
			stripped := object.StripIdentity(&unstructured.Unstructured{Object: owned})
			if metadata, found := stripped["metadata"].(map[string]any); found {
				delete(metadata, "ownerReferences")
			}
			return stripped
		}
	}
	return content
}

// contentOf returns the fields of an object without its status and what the API server sets in
// its metadata.
func contentOf(o *unstructured.Unstructured) map[string]any {
	fields := object.StripIdentity(o)
	delete(fields, "status")
	metadata, _ := o.Object["metadata"].(map[string]any)
	fields["metadata"] = map[string]any{"labels": metadata["labels"], "annotations": metadata["annotations"]}
	return fields
}

// sameContent reports whether two results have the same content.
func sameContent(a, b *unstructured.Unstructured) bool {
	return equality.Semantic.DeepEqual(contentOf(a), contentOf(b))
}

// isDenied reports whether RBAC does not permit a request. An admission plugin that rejects
// an object responds with Forbidden too (apiserver, responsewriters.Forbidden).
func isDenied(err error) bool {
	return err != nil && apierrors.IsForbidden(err) && strings.Contains(err.Error(), `" cannot `)
}

// dependencyRejected is the message of a step that is not carried out because of another.
func dependencyRejected(ref object.Ref, rejected plan.Reference) string {
	return fmt.Sprintf("%s is not applied, because the API server rejects %s %s, which it refers to", ref, rejected.Kind, rejected.Name)
}
