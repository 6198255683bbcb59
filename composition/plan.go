package composition

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/seldon-operator/seldon-operator/composition/object"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
)

// Action is what a plan wants done about one child.
type Action string

const (
	// Skip: the child is as we want it, as far as memory and cache tell.
	Skip Action = "Skip"
	// Apply by server-side apply.
	Apply Action = "Apply"
	// Recreate: grow the volume claims, then make the StatefulSet anew around its pods.
	Recreate Action = "Recreate"
	// Delete what is no longer rendered.
	Delete Action = "Delete"
	// Retain what is no longer rendered but is not ours to delete.
	Retain Action = "Retain"
	// Hold: something stands in the way; nothing is written, and it is told.
	Block Action = "Hold"
)

// Reason is a CamelCase word for why a step is what it is.
type Reason string

const (
	// Absent: there is no such object.
	NotFound Reason = "Absent"
	// Changed: what we want has changed since we last applied it.
	DesiredChanged Reason = "Changed"
	// Drifted: somebody changed what we own.
	Drifted Reason = "Drifted"
	// Unverified: nothing in memory tells, as after a restart; a dry-run will.
	Unverified Reason = "Unverified"
	// InStep: live and wanted agree.
	UpToDate Reason = "InStep"
	// Adopted: an object that the owner controls, made by another program.
	Adopting Reason = "Adopted"
	// Unrendered: the owner controls it and no longer wants it.
	Orphaned Reason = "Unrendered"
	// Paused: the owner asks for no writes.
	Paused Reason = "Paused"
	// PruneDisabled: an annotation keeps the orphan: [Policy.Domain]prune or
	// kustomize.toolkit.fluxcd.io/prune with the value disabled.
	PruneDisabled Reason = "PruneDisabled"
	// Terminating: the object is being deleted and has to go first.
	Terminating Reason = "Terminating"
	// OwnershipConflict: an object of that name exists and the owner does not control it.
	OwnershipConflict Reason = "OwnershipConflict"
	// ImmutableFieldChanged: an immutable field differs.
	ImmutableFieldChanged Reason = "ImmutableFieldChanged"
	// RestartRequired: adopting the workload would restart its pods.
	RestartRequired Reason = "RestartRequired"
	// FieldManagerConflict: another manager undoes our corrections again and again.
	FieldManagerConflict Reason = "FieldManagerConflict"
	// InUse: an orphan that a child which is not as desired still uses.
	InUse Reason = "InUse"
	// DependencyRejected: the API server rejects a child that this one refers to.
	DependencyRejected Reason = "DependencyRejected"
	// MetadataPending: labels or annotations of the owner reach the pods with the next
	// rollout.
	MetadataPending Reason = "MetadataPending"
	// RecreationFailed: the StatefulSet was deleted to grow its volume claims, and the
	// API server does not accept it again.
	RecreationFailed Reason = "RecreationFailed"
	// ClaimsGrown: only the volume claims' sizes differ, and they only grow.
	VolumeExpansion Reason = "ClaimsGrown"
)

// Step is the plan for one child.
type Step struct {
	Ref    object.Ref
	Action Action
	Reason Reason
	// Message says more where the reason alone does not: it is for people.
	Message string
	// Object to apply, for Apply and Recreate.
	Object *unstructured.Unstructured
	// Live is what the plan was made for; nil if the object does not exist.
	Live *unstructured.Unstructured
	// Verify: make a dry-run first and do nothing if it changes nothing.
	DryRunFirst bool
	// HoldRestart: with Verify, hold the step if the dry-run changes the pod template.
	BlockOnRestart bool
	// GiveUp are fields to drop from what we own before the apply, so that their
	// live values stay.
	ReleaseFields [][]string
	// Warnings are what keeps the child from being as desired although the step is
	// carried out: an immutable field, another manager that changes it again.
	Warnings []Warning
	// Rolls: the step rolls pods because a configuration that they read has changed.
	TriggersRollout bool

	desired object.Hash
}

// Warning is a reason and its message, for people.
type Warning struct {
	Reason  Reason
	Message string
}

// Plan is what has to happen to bring the cluster to a rendering: a step for
// each child, and one for each object that is no longer wanted. It writes nothing.
type Plan struct {
	// Steps in the order of waves.
	Steps []Step
	// Prunes in the reverse order of waves. They happen only after Steps went
	// without an error.
	Prunes []Step
}

// Writes counts the steps that may write.
func (p Plan) Writes() int {
	count := 0
	for _, step := range slices.Concat(p.Steps, p.Prunes) {
		if step.Action == Apply || step.Action == Recreate || step.Action == Delete {
			count++
		}
	}
	return count
}

// Situation is all that a plan is made from. Making a plan is a pure function of it.
type State struct {
	Owner object.Owner
	// Children as rendered, complete.
	Objects []object.Object
	// Live objects by key: those of Children that exist, and all others that the
	// owner controls.
	Live map[object.Ref]*unstructured.Unstructured
	// Paused: plan no writes.
	Paused bool
	// AcceptRestarts lets adopted workloads restart their pods.
	AllowRestarts bool
	// ApplyMetadata: see [Request].
	ApplyMetadata bool
	// Revision of the owner: see [Request].
	Revision string
	// Adopting are the live objects under adoption: their field ownership was
	// migrated, and our first apply has not happened yet. The value is the owner's
	// revision at the migration.
	Adopting map[object.Ref]string
	// Policy of the engine.
	Options object.Options

	marks map[object.Ref]mark
	// failed are the children whose adoption failed.
	failed map[object.Ref]error
	// refused are the claims that could not grow a moment ago.
	refused map[object.Ref]refusal
	// recreated are the StatefulSets that have a backup.
	recreated recreations
	// beforeRecreate: see [Request].
	beforeRecreate func(context.Context) error
	// types are the Go types of the children's kinds; nil for the built-in ones.
	types *runtime.Scheme
}

// MakePlan decides for each child and for each leftover.
func Compute(situation State) Plan {
	plan := Plan{}
	rendered := map[object.Ref]bool{}
	for _, child := range situation.Objects {
		rendered[child.Ref()] = true
		plan.Steps = append(plan.Steps, decide(situation, child))
	}
	for key, live := range situation.Live {
		if !rendered[key] {
			plan.Prunes = append(plan.Prunes, decideLeftover(situation, key, live))
		}
	}
	for key, recreation := range situation.recreated {
		if !rendered[key] && recreation.err != nil {
			plan.Prunes = append(plan.Prunes, Step{Ref: key}.block(RecreationFailed, recreation.err.Error()))
		}
	}
	slices.SortFunc(plan.Prunes, func(a, b Step) int { return object.CompareReverse(a.Ref, b.Ref) })
	return plan
}

// decide plans one rendered child.
func decide(s State, child object.Object) Step {
	step := Step{Ref: child.Ref(), Live: s.Live[child.Ref()]}
	if step.Live != nil {
		if reason, message, held := obstacle(s, step.Ref, step.Live); held {
			return step.block(reason, message)
		}
	}
	if err := s.recreated[step.Ref].err; err != nil {
		return step.block(RecreationFailed, err.Error())
	}
	if s.Paused {
		return step.block(Paused, "")
	}
	step.Object = s.Options.WithOwnerMetadata(child, s.Owner)
	var seed []string
	if child.InitialOnlyField != "" {
		seed = strings.Split(child.InitialOnlyField, ".")
		applyInitialOnly(s.Options, &step, seed)
	}
	if step.Live == nil {
		step.desired = object.MemoryHash(step.Object.Object)
		step.Action, step.Reason = Apply, NotFound
		return step
	}

	releaseUnset(s.Options, &step, replicas)
	if seed != nil && !slices.Equal(seed, replicas) {
		releaseUnset(s.Options, &step, seed)
	}
	keepImmutable(s.Options, &step, s.refused[step.Ref])
	carry(s.Options, &step, s.keepsPods(step.Ref))
	if _, adopting := s.Adopting[step.Ref]; !s.ApplyMetadata {
		keepMetadata(s.Options, &step, adopting)
	}
	step.desired = object.MemoryHash(step.Object.Object)
	step.TriggersRollout = object.IsWorkload(step.Ref.GroupKind()) && rollMark(s.Options, step.Object) != rollMark(s.Options, step.Live)
	if step.Action == Recreate {
		return step
	}
	return compare(s, step)
}

// keepsPods reports whether a child is under adoption and its pods may not restart:
// the caller does not allow it, and the owner has the revision of the adoption.
func (s State) keepsPods(key object.Ref) bool {
	revision, adopting := s.Adopting[key]
	return adopting && !s.AllowRestarts && revision == s.Revision
}

// obstacle tells what forbids writing to live at all.
func obstacle(s State, key object.Ref, live *unstructured.Unstructured) (Reason, string, bool) {
	switch {
	case !mayWrite(s.Options, live, s.Owner):
		return OwnershipConflict, fmt.Sprintf("%s exists and is not controlled by %s %s; delete it or rename it", key, s.Owner.Kind, s.Owner.Name), true
	case live.GetDeletionTimestamp() != nil:
		return Terminating, fmt.Sprintf("%s is being deleted", key), true
	}
	return "", "", false
}

// compare decides between Skip and Apply, by memory first, then by content.
func compare(s State, step Step) Step {
	mark, known := s.marks[step.Ref]
	known = known && mark.desired != object.Hash{}
	remembered := known && mark.desired == step.desired && mark.sees(step.Live, s.Options.FieldManager)
	if _, adopting := s.Adopting[step.Ref]; adopting {
		if remembered && mark.wouldRestart != "" && s.keepsPods(step.Ref) {
			return step.block(RestartRequired, mark.wouldRestart)
		}
		step.Action, step.Reason = Apply, Adopting
		step.DryRunFirst = object.IsWorkload(step.Ref.GroupKind()) && s.keepsPods(step.Ref)
		step.BlockOnRestart = step.DryRunFirst
		return step
	}
	if remembered && mark.wouldRestart == "" {
		step.Action, step.Reason = Skip, UpToDate
		return step
	}
	differing, ok := inStep(step.Object, step.Live, s.Options.FieldManager, cmp.Or(s.types, scheme.Scheme))
	switch {
	case ok:
		step.Action, step.Reason = Skip, UpToDate
	case known && mark.desired == step.desired:
		step.Action, step.Reason, step.Message = Apply, Drifted, differing
	case known:
		step.Action, step.Reason, step.Message = Apply, DesiredChanged, differing
	default:
		step.Action, step.Reason, step.Message, step.DryRunFirst = Apply, Unverified, differing, true
	}
	return step
}

// decideLeftover plans an object that the owner controls and that is not rendered.
func decideLeftover(s State, key object.Ref, live *unstructured.Unstructured) Step {
	step := Step{Ref: key, Live: live, Action: Delete, Reason: Orphaned}
	switch {
	case !s.Owner.IsControllerOf(live):
		step.Action, step.Reason = Retain, OwnershipConflict
	case live.GetDeletionTimestamp() != nil:
		step.Action, step.Reason = Retain, Terminating
	case isClaim(key):
		step.Action = Retain
	case s.Options.PruneDisabled(live):
		step.Action, step.Reason = Retain, PruneDisabled
	case s.Paused:
		return step.block(Paused, "")
	}
	return step
}

// hold turns the step into one that writes nothing.
func (s Step) block(reason Reason, message string) Step {
	s.Action, s.Reason, s.Message = Block, reason, message
	return s
}

// uid is the precondition of a write to an existing object; empty for none.
func (s Step) uid() types.UID {
	if s.Live == nil {
		return ""
	}
	return s.Live.GetUID()
}

// warn adds a warning to the step.
func (s *Step) warn(reason Reason, message string) {
	s.Warnings = append(slices.Clip(s.Warnings), Warning{reason, message})
}
