package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/seldon-operator/seldon-operator/composition/internal/cached"
	"github.com/seldon-operator/seldon-operator/composition/object"
)

// Action is what a plan does with one object.
type Action string

const (
	// Skip: the object is up to date, as far as memory and cache show.
	Skip Action = "Skip"
	// Apply by server-side apply.
	Apply Action = "Apply"
	// Recreate: expand the volume claims, then recreate the StatefulSet and keep its pods.
	Recreate Action = "Recreate"
	// Delete an object that is no longer rendered.
	Delete Action = "Delete"
	// Retain an object that is no longer rendered but must not be deleted.
	Retain Action = "Retain"
	// Block: the object is not as desired, and nothing is written. The reason and the
	// message are reported.
	Block Action = "Block"
)

// Reason is why a step has its action, in CamelCase.
type Reason string

const (
	// NotFound: the object does not exist.
	NotFound Reason = "NotFound"
	// DesiredChanged: the desired object differs from the last one that was applied.
	DesiredChanged Reason = "DesiredChanged"
	// Drifted: another manager changed a field that the engine owns.
	Drifted Reason = "Drifted"
	// Unverified: nothing is remembered of the object, as after a restart, and memory and
	// cache cannot show that it is up to date. A dry-run will.
	Unverified Reason = "Unverified"
	// UpToDate: the live object is as desired.
	UpToDate Reason = "UpToDate"
	// Adopting: another program created the object, which the owner controls or which is from
	// a rendered manifest.
	Adopting Reason = "Adopting"
	// Orphaned: the owner controls the object, and it is no longer rendered.
	Orphaned Reason = "Orphaned"
	// Paused: the owner allows no writes.
	Paused Reason = "Paused"
	// PruneDisabled: an annotation keeps the orphan: <KeyPrefix>prune or
	// kustomize.toolkit.fluxcd.io/prune with the value disabled.
	PruneDisabled Reason = "PruneDisabled"
	// Terminating: the object is being deleted; the step waits for that.
	Terminating Reason = "Terminating"
	// OwnershipConflict: an object of that name exists and the owner does not control it.
	OwnershipConflict Reason = "OwnershipConflict"
	// ImmutableFieldChanged: an immutable field differs.
	ImmutableFieldChanged Reason = "ImmutableFieldChanged"
	// RestartRequired: to adopt the workload would restart its pods.
	RestartRequired Reason = "RestartRequired"
	// FieldManagerConflict: another manager reverts the engine's corrections repeatedly.
	FieldManagerConflict Reason = "FieldManagerConflict"
	// InUse: an orphan that an object which is not as desired still uses.
	InUse Reason = "InUse"
	// DependencyRejected: the API server rejects an object that this one refers to.
	DependencyRejected Reason = "DependencyRejected"
	// MetadataPending: labels or annotations of the owner reach the pods with the next
	// rollout.
	MetadataPending Reason = "MetadataPending"
	// RecreationFailed: the StatefulSet was deleted to expand its volume claims, and the
	// API server rejects its recreation.
	RecreationFailed Reason = "RecreationFailed"
	// VolumeExpansion: only the sizes of the volume claims differ, and none shrinks.
	VolumeExpansion Reason = "VolumeExpansion"
)

// Step is the plan for one object.
type Step struct {
	Ref    object.Ref
	Action Action
	Reason Reason
	// Message explains the reason to users, where the reason alone does not.
	Message string
	// Object to apply, for Apply and Recreate.
	Object *unstructured.Unstructured
	// Live is what the step was computed for; nil if the object does not exist.
	Live *unstructured.Unstructured
	// DryRunFirst: a dry-run decides. The step is skipped if that changes nothing.
	DryRunFirst bool
	// BlockOnRestart: with DryRunFirst, the step is blocked if the dry-run changes the
	// pod template.
	BlockOnRestart bool
	// ReleaseFields are fields to remove from what the engine owns before the apply, so
	// that their live values stay.
	ReleaseFields [][]string
	// Warnings are why the object will not be as desired although the step is carried
	// out: an immutable field, another manager that changes it back.
	Warnings []Warning
	// TriggersRollout: the step restarts pods because a configuration that they read at
	// start has changed.
	TriggersRollout bool
	// Err is why the object could not be adopted: the step is not carried out.
	Err error
	// DryRunError is the error of a dry-run that failed.
	DryRunError error
	// DryRunDenied: RBAC does not permit the dry-run, so that Result is computed in memory.
	DryRunDenied bool
	// Result is the object as it would be after the step: that of Evidence for Apply and
	// Recreate, Live for other actions. Only previews set it.
	Result   *unstructured.Unstructured
	Evidence Evidence
	// DesiredHash identifies Object among the apply configurations of this object.
	DesiredHash object.Hash
}

// Evidence is how the result of a step was determined; empty for a step that needs none.
type Evidence string

const (
	// DryRun: the API server returned it.
	DryRun Evidence = "DryRun"
	// Inferred: the API server returned it for another object that is sent the same fields
	// and had the same owned values.
	Inferred Evidence = "Inferred"
	// ComputedInMemory: by the API server's implementation of server-side apply, without
	// its defaults and admission.
	ComputedInMemory Evidence = "ComputedInMemory"
)

// Warning is a reason and its message for users.
type Warning struct {
	Reason  Reason
	Message string
}

// Plan has a step for each rendered object, and one for each object that the owner
// controls and that is no longer rendered.
type Plan struct {
	// Steps in the order of waves.
	Steps []Step
	// Prunes in the reverse order of waves. They are carried out only after all Steps,
	// and only if none of these failed with a transient error.
	Prunes []Step
}

// State is everything that a plan is computed from.
type State struct {
	Owner object.Owner
	// Objects as rendered, complete, in the order of waves.
	Objects []object.Object
	// Live objects: those of Objects that exist, and all others that the owner controls.
	Live map[object.Ref]*unstructured.Unstructured
	// Remembered is what is known of objects from an earlier reconcile. Without it the
	// plan leaves more to dry-runs.
	Remembered map[object.Ref]Remembered
	// AdoptionErrors are why objects could not be adopted; their steps are not carried out.
	AdoptionErrors map[object.Ref]error
	// ExpansionErrors are why volume claims of StatefulSets cannot be expanded.
	ExpansionErrors map[object.Ref]ExpansionError
	// RecreationErrors are why StatefulSets that have a backup cannot be recreated.
	RecreationErrors map[object.Ref]error
	// ExternalConfigs are the configurations of other owners that pods read at start.
	ExternalConfigs ConfigHashes
	// Paused: plan no writes.
	Paused bool
	// AllowRestarts allows that workloads which are adopted restart their pods.
	AllowRestarts bool
	// ApplyMetadata sends the owner's labels and annotations to pods at once, although
	// that restarts them; see [object.Options.PropagatedAnnotation].
	ApplyMetadata bool
	// Revision identifies what of the owner causes rollouts. Workloads under adoption may
	// restart their pods once it differs from that at the migration.
	Revision string
	Options  object.Options
	// Scheme has the Go types of the objects' kinds; nil for client-go's.
	Scheme *runtime.Scheme
}

// Remembered is what is known of an object from an earlier reconcile, in which it was
// applied, found up to date, or blocked by a dry-run.
type Remembered struct {
	// Desired is the hash of the apply configuration; zero if nothing is known.
	Desired object.Hash
	// Live and ResourceVersion are those of the live object at that time.
	Live            object.Hash
	ResourceVersion string
	// RestartRequired is the message of the dry-run that blocked the object; else empty.
	RestartRequired string
}

// Remember returns what is to be remembered of an object that was found or applied.
func Remember(desired object.Hash, live *unstructured.Unstructured, fieldManager string) Remembered {
	return Remembered{Desired: desired, Live: cached.LiveHash(live, fieldManager), ResourceVersion: live.GetResourceVersion()}
}

// matches reports whether live is, except for its status, the remembered object.
func (r Remembered) matches(live *unstructured.Unstructured, fieldManager string) bool {
	return live.GetResourceVersion() == r.ResourceVersion ||
		r.Live != object.Hash{} && cached.LiveHash(live, fieldManager) == r.Live
}

// ExpansionError is why the volume claims of a StatefulSet could not be expanded.
type ExpansionError struct {
	// Claims is the hash of the desired claim templates; see [ClaimTemplatesHash].
	Claims  object.Hash
	Message string
}

// Compute returns the plan for a state. It is a pure function: it sends no request and
// changes nothing of the state. Objects in the plan share parts with those of the state.
//
// The first rule that applies to a rendered object decides:
//
//	live object                                    action    reason
//	not the owner's                                Block     OwnershipConflict
//	being deleted                                  Block     Terminating
//	a StatefulSet that cannot be recreated         Block     RecreationFailed
//	any, the owner is paused                       Block     Paused
//	does not exist                                 Apply     NotFound
//	only claims differ, and they grow              Recreate  VolumeExpansion
//	under adoption, known to restart pods          Block     RestartRequired
//	under adoption                                 Apply     Adopting (dry-run first for pods)
//	remembered as up to date, or equal in memory   Skip      UpToDate
//	differs, nothing is remembered                 Apply     Unverified (dry-run first)
//	differs, the desired object is the remembered  Apply     Drifted
//	differs                                        Apply     DesiredChanged
//
// and to an object that is no longer rendered:
//
//	not controlled by the owner                    Retain    OwnershipConflict
//	being deleted                                  Retain    Terminating
//	a volume claim                                 Retain    Orphaned
//	has an annotation against pruning              Retain    PruneDisabled
//	any, the owner is paused                       Block     Paused
//	else                                           Delete    Orphaned
func Compute(state State) Plan {
	state.Objects = state.WithConfigHashes()
	plan := Plan{}
	rendered := map[object.Ref]bool{}
	for _, child := range state.Objects {
		rendered[child.Ref()] = true
		plan.Steps = append(plan.Steps, planDesired(state, child))
	}
	for ref, live := range state.Live {
		if !rendered[ref] {
			plan.Prunes = append(plan.Prunes, planOrphan(state, ref, live))
		}
	}
	for ref, err := range state.RecreationErrors {
		if !rendered[ref] {
			plan.Prunes = append(plan.Prunes, Step{Ref: ref}.Blocked(RecreationFailed, err.Error()))
		}
	}
	slices.SortFunc(plan.Prunes, func(a, b Step) int { return object.CompareReverse(a.Ref, b.Ref) })
	return plan
}

// planDesired plans one rendered object.
func planDesired(s State, child object.Object) Step {
	step := Step{Ref: child.Ref(), Live: s.Live[child.Ref()], Err: s.AdoptionErrors[child.Ref()]}
	if step.Live != nil {
		if reason, message, blocked := precheck(s, step.Ref, step.Live); blocked {
			return step.Blocked(reason, message)
		}
	}
	if err := s.RecreationErrors[step.Ref]; err != nil {
		return step.Blocked(RecreationFailed, err.Error())
	}
	if s.Paused {
		return step.Blocked(Paused, "")
	}
	step.Object = s.Options.WithOwnerMetadata(child, s.Owner)
	var initialOnly []string
	if child.InitialOnlyField != "" {
		initialOnly = strings.Split(child.InitialOnlyField, ".")
		applyInitialOnly(s.Options, &step, initialOnly)
	}
	if step.Live == nil {
		step.DesiredHash = object.MemoryHash(step.Object.Object)
		step.Action, step.Reason = Apply, NotFound
		return step
	}

	releaseUnset(s.Options, &step, ReplicasPath)
	if initialOnly != nil && !slices.Equal(initialOnly, ReplicasPath) {
		releaseUnset(s.Options, &step, initialOnly)
	}
	checkImmutable(s.Options, &step, s.ExpansionErrors[step.Ref])
	adopting, keepsPods := s.adoption(step.Live)
	preservePodTemplateKeys(s.Options, &step, keepsPods)
	if !s.ApplyMetadata {
		deferMetadata(s.Options, &step, adopting)
	}
	step.DesiredHash = object.MemoryHash(step.Object.Object)
	step.TriggersRollout = object.IsWorkload(step.Ref.GroupKind()) && podTemplateHash(s.Options, step.Object) != podTemplateHash(s.Options, step.Live)
	if step.Action == Recreate {
		return step
	}
	return compare(s, step, adopting, keepsPods)
}

// adoption reports whether live is under adoption, and whether its pods may not restart: the
// caller does not allow it, and the owner has the revision of the adoption. An object whose
// field ownership was not migrated yet is adopted now.
func (s State) adoption(live *unstructured.Unstructured) (adopting, keepsPods bool) {
	if !CanAdopt(s.Options, live, s.Owner) {
		return false, false
	}
	revision := s.Revision
	if IsManaged(s.Options, live) {
		if revision, adopting = AdoptionRevision(s.Options, live); !adopting {
			return false, false
		}
	}
	return true, !s.AllowRestarts && revision == s.Revision
}

// precheck returns why live must not be written at all.
func precheck(s State, ref object.Ref, live *unstructured.Unstructured) (reason Reason, message string, blocked bool) {
	switch {
	case !MayWrite(s.Options, live, s.Owner):
		return OwnershipConflict, fmt.Sprintf("%s exists, is not controlled by %s %s and is not changed; delete it, or recreate it with another name", ref, s.Owner.Kind, s.Owner.Name), true
	case live.GetDeletionTimestamp() != nil:
		return Terminating, fmt.Sprintf("%s is being deleted; if this lasts, check its finalizers", ref), true
	}
	return "", "", false
}

// compare chooses between Skip and Apply: by what is remembered first, then by content.
func compare(s State, step Step, adopting, keepsPods bool) Step {
	last := s.Remembered[step.Ref]
	known := last.Desired != object.Hash{}
	unchanged := known && last.Desired == step.DesiredHash && last.matches(step.Live, s.Options.FieldManager)
	if adopting {
		if unchanged && last.RestartRequired != "" && keepsPods {
			return step.Blocked(RestartRequired, last.RestartRequired)
		}
		step.Action, step.Reason = Apply, Adopting
		step.DryRunFirst = object.IsWorkload(step.Ref.GroupKind()) && keepsPods
		step.BlockOnRestart = step.DryRunFirst
		return step
	}
	if unchanged && last.RestartRequired == "" {
		step.Action, step.Reason = Skip, UpToDate
		return step
	}
	differing, ok := isUpToDate(step.Object, step.Live, s.Options.FieldManager, cmp.Or(s.Scheme, scheme.Scheme))
	switch {
	case ok:
		step.Action, step.Reason = Skip, UpToDate
	case known && last.Desired == step.DesiredHash:
		step.Action, step.Reason, step.Message = Apply, Drifted, differing
	case known:
		step.Action, step.Reason, step.Message = Apply, DesiredChanged, differing
	default:
		step.Action, step.Reason, step.Message, step.DryRunFirst = Apply, Unverified, differing, true
	}
	return step
}

// planOrphan plans an object that the owner controls and that is not rendered.
func planOrphan(s State, ref object.Ref, live *unstructured.Unstructured) Step {
	step := Step{Ref: ref, Live: live, Action: Delete, Reason: Orphaned}
	switch {
	case !s.Owner.IsControllerOf(live):
		step.Action, step.Reason = Retain, OwnershipConflict
	case live.GetDeletionTimestamp() != nil:
		step.Action, step.Reason = Retain, Terminating
	case object.IsPVC(ref):
		step.Action = Retain
	case s.Options.PruneDisabled(live):
		step.Action, step.Reason = Retain, PruneDisabled
	case s.Paused:
		return step.Blocked(Paused, "")
	}
	return step
}

// Blocked returns the step as one that writes nothing.
func (s Step) Blocked(reason Reason, message string) Step {
	s.Action, s.Reason, s.Message = Block, reason, message
	return s
}

// LiveUID is the precondition of a write to an existing object; empty for none.
func (s Step) LiveUID() types.UID {
	if s.Live == nil {
		return ""
	}
	return s.Live.GetUID()
}

// Warn adds a warning to the step.
func (s *Step) Warn(reason Reason, message string) {
	s.Warnings = append(slices.Clip(s.Warnings), Warning{reason, message})
}
