package preview

import (
	"cmp"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/seldon-operator/seldon-operator/cli/internal/fields"
	"github.com/seldon-operator/seldon-operator/cli/internal/provenance"
	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/composition/plan"
	"github.com/seldon-operator/seldon-operator/inputs"
	"github.com/seldon-operator/seldon-operator/templates"
)

// addSteps adds the steps of a plan to its owner. refine returns the refinement of the sources
// of fields.
func (p *Planner) addSteps(owner *Owner, request composition.Request, planned plan.Plan, refine func() provenance.Refinement) {
	origins := sync.OnceValue(func() *provenance.Origins {
		// Objects that could not be rendered have no plan.
		origins, err := provenance.Of(p.templates, request.Input, inputs.EngineOptions, refine())
		if err != nil {
			return nil
		}
		return origins
	})
	for _, step := range slices.Concat(planned.Steps, planned.Prunes) {
		converted := p.step(step, origins)
		withRemedies(&converted, request.Owner)
		owner.Steps = append(owner.Steps, converted)
		owner.Impact = max(owner.Impact, converted.Impact)
	}
}

// withRemedies adds what to do to the messages of a step that is blocked or has warnings.
func withRemedies(step *Step, owner composition.Owner) {
	remedy := func(reason plan.Reason, message string) string {
		if text := plan.Remedy(inputs.EngineOptions, reason, owner.Kind+" "+owner.Name); text != "" {
			return message + "; " + text
		}
		return message
	}
	for i, warning := range step.Warnings {
		step.Warnings[i].Message = remedy(warning.Reason, warning.Message)
	}
	if step.Verb == Block && len(step.Warnings) == 0 {
		step.Message = remedy(step.Reason, step.Message)
	}
}

// step converts a step of the engine.
func (p *Planner) step(step plan.Step, origins func() *provenance.Origins) Step {
	converted := Step{
		APIVersion: step.Ref.GroupVersion().String(), Kind: step.Ref.Kind, Name: step.Ref.Name,
		Reason: step.Reason, Message: step.Message, Evidence: step.Evidence, Unverified: step.DryRunDenied, Impact: templates.ImpactOf(step),
	}
	if step.Reason == plan.Unverified {
		// Nothing is remembered here, other than in the operator.
		converted.Reason = plan.DesiredChanged
	}
	for _, warning := range step.Warnings {
		converted.Warnings = append(converted.Warnings, Warning{warning.Reason, warning.Message})
	}
	if p.Snapshot.IsDenied(step.Ref.GroupVersionKind, step.Ref.Namespace) != nil {
		converted.Verb, converted.Impact, converted.Reason, converted.Message = Unknown, plan.ImpactNoOp, "", "it could not be read"
		return converted
	}
	if err := cmp.Or(step.Err, step.DryRunError); err != nil {
		converted.Verb, converted.Impact, converted.Message = Block, plan.ImpactNoOp, err.Error()
		converted.Reason = "Rejected"
		return converted
	}
	switch step.Action {
	case plan.Delete:
		converted.Verb = Delete
	case plan.Retain:
		converted.Verb = Retain
	case plan.Block:
		converted.Verb = Block
	case plan.Skip:
		converted.Verb = None
		if len(step.Warnings) > 0 {
			converted.Verb, converted.Reason = Block, step.Warnings[0].Reason
		}
	case plan.Apply, plan.Recreate:
		p.addChanges(&converted, step, origins)
	}
	if converted.Writes() {
		converted.Before, converted.After = printable(step.Ref, step.Live), printable(step.Ref, step.Result)
		if step.Action == plan.Delete {
			converted.After = nil
		}
	}
	converted.Restarts = converted.Writes() && plan.PodImpactOf(step) >= plan.ImpactRestart
	return converted
}

// addChanges sets the verb and the changes of a step that writes.
func (p *Planner) addChanges(converted *Step, step plan.Step, origins func() *provenance.Origins) {
	if step.Live == nil {
		converted.Verb = Create
		return
	}
	converted.Verb = Patch
	if step.Action == plan.Recreate {
		converted.Verb = Recreate
	}
	changes := fields.Diff(step.Ref.GroupVersionKind, fields.WithoutBookkeeping(step.Live.Object), fields.WithoutBookkeeping(step.Result.Object))
	ownership, err := fields.OwnershipOf(step.Live)
	if err != nil {
		ownership = &fields.Ownership{} // managedFields that the API server could not have stored
	}
	for _, change := range fields.Mask(step.Ref.GroupKind(), changes) {
		converted.Changes = append(converted.Changes, Change{Path: change.Path, Old: change.Old, New: change.New, Manager: otherManager(ownership, step, change), Source: sourceOf(origins(), step, change)})
	}
	converted.Message = "" // the path of the first change
	if len(converted.Changes) == 0 && step.Action == plan.Apply {
		// Only field ownership changes.
		converted.Verb, converted.Impact = None, plan.ImpactNoOp
	}
}

// otherManager returns a field manager other than the operator that owns the live value of a
// changed field; empty if there is none.
func otherManager(ownership *fields.Ownership, step plan.Step, change fields.Change) string {
	_, path, found, err := fields.Find(step.Live.Object, change.Path)
	if err != nil || !found {
		return ""
	}
	for _, manager := range ownership.Of(path) {
		if manager.Name != inputs.FieldManager {
			return manager.Name
		}
	}
	return ""
}

// sourceOf returns the layer that sets a field of a step's object; nil if none does.
func sourceOf(origins *provenance.Origins, step plan.Step, change fields.Change) *provenance.Source {
	if origins == nil {
		return nil
	}
	if isEngines(change.New) {
		return &provenance.Source{Layer: provenance.Engine}
	}
	if source := origins.Field(step.Ref, change.Path); source.Layer != "" {
		return &source
	}
	return nil
}

// isEngines reports whether a value is a map of labels or annotations that only the engine
// sets, such as the hash of a configuration.
func isEngines(value any) bool {
	keys, isMap := value.(map[string]any)
	for key := range keys {
		if !inputs.EngineOptions.IsReserved(key) {
			return false
		}
	}
	return isMap && len(keys) > 0
}

// printable returns the fields of an object that users see, with the values of Secrets masked;
// nil for nil.
func printable(ref composition.ObjectRef, o *unstructured.Unstructured) map[string]any {
	if o == nil {
		return nil
	}
	return fields.MaskObject(ref.GroupKind(), fields.WithoutBookkeeping(o.Object))
}

// revisionOf returns a short hash of an object's spec.
func revisionOf(o *unstructured.Unstructured) string { return shortHash(o.Object["spec"]) }
