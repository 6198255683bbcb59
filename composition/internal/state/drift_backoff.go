package state

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/seldon-operator/seldon-operator/composition/object"
	"github.com/seldon-operator/seldon-operator/composition/plan"
)

// Two controllers that write the same field would revert each other as fast as the API
// server allows. Drift that comes back is therefore corrected without delay this many
// times within the window, and after that once per interval, until there was none for a
// whole window.
const (
	maxImmediateCorrections = 5
	// maxImmediateRemovals is the same for fields of other managers that are removed.
	maxImmediateRemovals = 3
	correctionWindow     = 5 * time.Minute
	correctionInterval   = time.Minute
)

// backoff has the times of the last corrections of one field, oldest first.
type backoff struct {
	times []time.Time
	// active: corrections wait. It stays until the window is empty, so that the condition
	// does not flap.
	active bool
}

// with returns the backoff after one more correction. It is active once there are
// maxImmediate within the window.
func (b backoff) with(now time.Time, maxImmediate int) backoff {
	b = b.at(now)
	b.times = append(b.times, now)
	b.active = b.active || len(b.times) >= maxImmediate
	return b
}

// at returns the backoff without the corrections that are outside the window at now.
func (b backoff) at(now time.Time) backoff {
	b.times = slices.DeleteFunc(slices.Clone(b.times), func(at time.Time) bool { return now.Sub(at) > correctionWindow })
	b.active = b.active && len(b.times) > 0
	return b
}

// untilNext returns how long the next correction has to wait; zero for not at all.
func (b backoff) untilNext(now time.Time) time.Duration {
	if b = b.at(now); !b.active {
		return 0
	}
	return max(0, b.times[len(b.times)-1].Add(correctionInterval).Sub(now))
}

// untilInactive returns when the backoff ends without more corrections; zero if it is not
// active.
func (b backoff) untilInactive(now time.Time) time.Duration {
	if b = b.at(now); !b.active {
		return 0
	}
	return b.times[len(b.times)-1].Add(correctionWindow).Sub(now) + time.Second
}

// UntilNextCorrection returns how long a correction of drift of ref has to wait.
func (o *Owner) UntilNextCorrection(ref object.Ref, now time.Time) time.Duration {
	return o.children[ref].corrections.untilNext(now)
}

// UntilNextRemoval returns how long the removal of fields of other managers, by their
// description, has to wait.
func (o *Owner) UntilNextRemoval(ref object.Ref, removed string, now time.Time) time.Duration {
	return o.children[ref].removals[removed].untilNext(now)
}

// BlockedRemoval returns the message of a removal that drift of ref waits for, if any.
func (o *Owner) BlockedRemoval(ref object.Ref, now time.Time) (message string, blocked bool) {
	removals := o.children[ref].removals
	for _, removed := range slices.Sorted(maps.Keys(removals)) {
		if removals[removed].untilNext(now) > 0 {
			return RemovalConflictMessage(ref, removed), true
		}
	}
	return "", false
}

// ConflictingManager returns the manager that changes field back, if that is known.
// search: the next correction makes the backoff active, and the manager is to be found.
func (o *Owner) ConflictingManager(ref object.Ref, field string, now time.Time) (manager string, search bool) {
	child := o.children[ref]
	known := child.driftedField == field && child.conflictingManager != ""
	return child.conflictingManager, !known && child.corrections.with(now, maxImmediateCorrections).active
}

// WarnOfConflicts adds a warning to a step for each field that is corrected repeatedly. A
// blocked step reports that itself.
func (o *Owner) WarnOfConflicts(step *plan.Step, now time.Time) {
	if step.Action == plan.Block {
		return
	}
	child := o.children[step.Ref]
	if child.corrections.at(now).active {
		step.Warn(plan.FieldManagerConflict, ConflictMessage(step.Ref, child.driftedField, child.conflictingManager))
	}
	for _, removed := range slices.Sorted(maps.Keys(child.removals)) {
		if child.removals[removed].at(now).active {
			step.Warn(plan.FieldManagerConflict, RemovalConflictMessage(step.Ref, removed))
		}
	}
}

// RequeueAfter returns when a step is to be planned again without an event; zero for never.
func (o *Owner) RequeueAfter(step plan.Step, now time.Time) time.Duration {
	child := o.children[step.Ref]
	var waits []time.Duration
	for _, backoff := range append(slices.Collect(maps.Values(child.removals)), child.corrections) {
		if ends := backoff.untilInactive(now); ends > 0 {
			waits = append(waits, ends)
		}
		if wait := backoff.untilNext(now); wait > 0 {
			waits = append(waits, max(time.Second, wait))
		}
	}
	if slices.Contains(step.Warnings, plan.Warning{Reason: plan.ImmutableFieldChanged, Message: child.expansion.Message}) {
		waits = append(waits, max(time.Second, child.expansionAt.Add(BlockedRecheckInterval).Sub(now)))
	}
	switch {
	case step.Action != plan.Block || step.Reason == plan.Paused || step.Reason == plan.FieldManagerConflict:
	case step.Reason == plan.ImmutableFieldChanged:
		waits = append(waits, time.Second) // the other changes are applied then
	default:
		waits = append(waits, BlockedRecheckInterval)
	}
	if len(waits) == 0 {
		return 0
	}
	return slices.Min(waits)
}

// ConflictMessage is the message of a field that another manager changes repeatedly. path
// is the first place that differs.
func ConflictMessage(ref object.Ref, path, manager string) string {
	if manager == "" {
		manager = "another manager"
	}
	return fmt.Sprintf("%s: %s is changed repeatedly by %s, and is corrected once a minute until that stops",
		ref, strings.TrimPrefix(path, "."), manager)
}

// RemovalConflictMessage is the message of fields that are set and removed repeatedly.
func RemovalConflictMessage(ref object.Ref, removed string) string {
	return fmt.Sprintf("%s: %s is set repeatedly, the desired state is invalid together with it, and it is removed at most once a minute until that stops",
		ref, removed)
}
