package composition

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
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
	Hold Action = "Hold"
)

// Reason is a CamelCase word for why a step is what it is.
type Reason string

const (
	// Absent: there is no such object.
	Absent Reason = "Absent"
	// Changed: what we want has changed since we last applied it.
	Changed Reason = "Changed"
	// Drifted: somebody changed what we own.
	Drifted Reason = "Drifted"
	// Unverified: nothing in memory tells, as after a restart; a dry-run will.
	Unverified Reason = "Unverified"
	// InStep: live and wanted agree.
	InStep Reason = "InStep"
	// Adopted: an object that the owner controls, made by another program.
	Adopted Reason = "Adopted"
	// Unrendered: the owner controls it and no longer wants it.
	Unrendered Reason = "Unrendered"
	// Paused: the owner asks for no writes.
	Paused Reason = "Paused"
	// Terminating: the object is being deleted and has to go first.
	Terminating Reason = "Terminating"
	// NotOwned: an object of that name exists and the owner does not control it.
	NotOwned Reason = "NotOwned"
	// Blocked: an immutable field differs.
	Blocked Reason = "Blocked"
	// WouldRestart: adopting the workload would restart its pods.
	WouldRestart Reason = "WouldRestart"
	// Contended: another manager undoes our corrections again and again.
	Contended Reason = "Contended"
	// ClaimsGrown: only the volume claims' sizes differ, and they only grow.
	ClaimsGrown Reason = "ClaimsGrown"
)

// Step is the plan for one child.
type Step struct {
	Key    Key
	Action Action
	Reason Reason
	// Message says more where the reason alone does not: it is for people.
	Message string
	// Object to apply, for Apply and Recreate.
	Object *unstructured.Unstructured
	// Live is what the plan was made for; nil if the object does not exist.
	Live *unstructured.Unstructured
	// Verify: make a dry-run first and do nothing if it changes nothing.
	Verify bool
	// HoldRestart: with Verify, hold the step if the dry-run changes the pod template.
	HoldRestart bool
	// GiveUp are fields to drop from what we own before the apply, so that their
	// live values stay.
	GiveUp [][]any

	desired digest
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
		switch step.Action {
		case Apply, Recreate, Delete:
			count++
		}
	}
	return count
}

// Situation is all that a plan is made from. Making a plan is a pure function of it.
type Situation struct {
	Owner Owner
	// Children as rendered, complete.
	Children []Child
	// Live objects by key: those of Children that exist, and all others that the
	// owner controls.
	Live map[Key]*unstructured.Unstructured
	// Paused: plan no writes.
	Paused bool
	// AcceptRestarts lets adopted workloads restart their pods.
	AcceptRestarts bool
	// TakenOver are live workloads that are being adopted: their field ownership
	// was migrated, and our own apply has not happened yet.
	TakenOver map[Key]bool

	policy Policy
	marks  map[Key]mark
}

// MakePlan decides for each child and for each leftover.
func MakePlan(situation Situation) Plan {
	plan := Plan{}
	rendered := map[Key]bool{}
	for _, child := range situation.Children {
		rendered[child.Key()] = true
		plan.Steps = append(plan.Steps, decide(situation, child))
	}
	for key, live := range situation.Live {
		if !rendered[key] {
			plan.Prunes = append(plan.Prunes, decideLeftover(situation, key, live))
		}
	}
	slices.SortFunc(plan.Prunes, func(a, b Step) int {
		if wa, wb := waveOf(a.Key.GroupKind()), waveOf(b.Key.GroupKind()); wa != wb {
			return int(wb) - int(wa)
		}
		return a.Key.compare(b.Key)
	})
	return plan
}

// decide plans one rendered child.
func decide(s Situation, child Child) Step {
	key := child.Key()
	live := s.Live[key]
	step := Step{Key: key, Live: live, Object: s.policy.dressed(child, s.Owner)}
	if step.Live != nil {
		if reason, message, held := obstacle(s, live); held {
			return step.hold(reason, message)
		}
	}
	if s.Paused {
		return step.hold(Paused, "")
	}
	if live == nil {
		s.policy.seed(&step, child.Seed)
		step.desired = digestOf(step.Object)
		step.Action, step.Reason = Apply, Absent
		return step
	}

	s.policy.seed(&step, child.Seed)
	s.policy.yield(&step)
	if reason, message, held := meetImmutable(&step); held {
		return step.hold(reason, message)
	}
	adopting := s.TakenOver[key]
	s.policy.carry(&step, adopting && !s.AcceptRestarts)
	step.desired = digestOf(step.Object)
	if step.Action == Recreate {
		return step
	}
	return compare(s, step, adopting)
}

// obstacle tells what forbids writing to live at all.
func obstacle(s Situation, live *unstructured.Unstructured) (Reason, string, bool) {
	switch {
	case !s.Owner.controls(live):
		return NotOwned, fmt.Sprintf("%s exists and is not controlled by %s %s; delete it or rename it", KeyOf(live), s.Owner.Kind, s.Owner.Name), true
	case live.GetDeletionTimestamp() != nil:
		return Terminating, fmt.Sprintf("%s is being deleted", KeyOf(live)), true
	}
	return "", "", false
}

// compare decides between Skip and Apply, by memory first, then by content.
func compare(s Situation, step Step, adopting bool) Step {
	mark, known := s.marks[step.Key]
	switch {
	case adopting:
		step.Action, step.Reason = Apply, Adopted
		step.Verify = isWorkload(step.Key.GroupKind())
		step.HoldRestart = !s.AcceptRestarts
	case known && mark.desired == step.desired && mark.sees(step.Live, s.policy.Manager):
		step.Action, step.Reason = Skip, InStep
	default:
		differing, ok := inStep(step.Object, step.Live, s.policy.Manager)
		switch {
		case ok:
			step.Action, step.Reason = Skip, InStep
		case known && mark.desired == step.desired:
			step.Action, step.Reason, step.Message = Apply, Drifted, differing
		case known:
			step.Action, step.Reason, step.Message = Apply, Changed, differing
		default:
			step.Action, step.Reason, step.Message, step.Verify = Apply, Unverified, differing, true
		}
	}
	return step
}

// decideLeftover plans an object that the owner controls and that is not rendered.
func decideLeftover(s Situation, key Key, live *unstructured.Unstructured) Step {
	step := Step{Key: key, Live: live, Action: Delete, Reason: Unrendered}
	switch {
	case !s.Owner.controls(live):
		step.Action, step.Reason = Retain, NotOwned
	case live.GetDeletionTimestamp() != nil:
		step.Action, step.Reason = Retain, Terminating
	case key.Kind == "PersistentVolumeClaim" && key.Group == "":
		step.Action = Retain
	case s.Paused:
		return step.hold(Paused, "")
	}
	return step
}

// hold turns the step into one that writes nothing.
func (s Step) hold(reason Reason, message string) Step {
	s.Action, s.Reason, s.Message = Hold, reason, message
	return s
}

// uid is the precondition of a write to an existing object; empty for none.
func (s Step) uid() types.UID {
	if s.Live == nil {
		return ""
	}
	return s.Live.GetUID()
}

// meetImmutable looks for immutable fields in the way. Those that only look
// different keep their live form; claims that grow turn the step into Recreate.
func meetImmutable(step *Step) (Reason, string, bool) {
	mismatches := immutableMismatches(step.Object, step.Live)
	switch {
	case len(mismatches) == 0:
		keepImmutable(step.Object, step.Live)
		return "", "", false
	case len(mismatches) == 1 && mismatches[0].Field == "spec.volumeClaimTemplates" && claimsOnlyGrow(step.Object, step.Live):
		step.Action, step.Reason = Recreate, ClaimsGrown
		return "", "", false
	}
	return Blocked, fmt.Sprintf("%s: %v", step.Key, mismatches[0]), true
}
