package relay

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// The next call about an object. The first row that applies counts:
//
//	state of an object to be loaded          | next call
//	-----------------------------------------+-----------------------------
//	its spec is invalid                      | none
//	unloadRequested                          | unload, when the retry is due
//	unloadAcknowledged                       | poll
//	a poll is required                       | poll
//	the retry of a failed call is not due    | none
//	up to date, with a state                 | none
//	up to date, without a state              | poll
//	another definition of the generation     | unload, if the kind replaces
//	otherwise                                | load
//
//	state of an object being deleted         | next call
//	-----------------------------------------+-----------------------------
//	unloadConfirmed                          | none
//	unloadAcknowledged                       | poll
//	unloadRequested                          | unload, when the retry is due
//	otherwise                                | unload
//
// Polls, loads and retries have a backoff, see backoff.go.

const (
	// statusPollDelay is how long after a load the session waits for an event: the
	// scheduler sends none when a load changes nothing.
	statusPollDelay = 500 * time.Millisecond
	// statusPollInterval is the least time between polls of an object that is being
	// unloaded, in case that an event was lost.
	statusPollInterval = 5 * time.Second
	// loadsForgottenAfter is how long after an accepted load the next load counts as the
	// first.
	loadsForgottenAfter = 2 * time.Minute
)

// desiredObject is what a custom resource specifies.
type desiredObject struct {
	uid        types.UID
	generation int64
	definition digest
}

// Failure is the error of a call about an object.
type Failure struct {
	// Generation of the object that was sent.
	Generation int64
	// Terminal: the same call fails until the object, or what it refers to, is changed.
	Terminal bool
	Reason   string // in CamelCase
	Message  string
	// attempts is the number of consecutive failures for this reason.
	attempts int
	// retryAt is when the call may be repeated; zero for immediately, subject to the
	// backoff of the queue.
	retryAt time.Time
}

// Reasons of failures.
const (
	// ReasonInvalidSpec: the object cannot be translated to the scheduler's message.
	ReasonInvalidSpec = "InvalidSpec"
	// ReasonRejected: the scheduler rejects the object.
	ReasonRejected = "Rejected"
	// ReasonWaitingForPreviousDeletion: the scheduler is still unloading an earlier object of that name.
	ReasonWaitingForPreviousDeletion = "WaitingForPreviousDeletion"
	// ReasonCallFailed: the call to the scheduler failed, and is repeated.
	ReasonCallFailed = "SchedulerCallFailed"
)

// action is the next call about an object.
type action int

const (
	// actionNone: none until something changes, or until a delay has passed.
	actionNone action = iota
	actionLoad
	actionUnload
	actionPollStatus
)

// decide returns the next call about an object to be loaded. With actionNone, it may
// return when to decide again. replaces is that of the kind's [resource].
func (o *objectState) decide(desired desiredObject, replaces bool, now time.Time) (action, time.Duration) {
	if failure := o.observed.failure; failure != nil && failure.Reason == ReasonInvalidSpec {
		return actionNone, 0
	}
	switch {
	case o.unload.phase == unloadRequested:
		// Another definition has to be unloaded first.
		return at(o.retryTime(), actionUnload, now)
	case o.unload.phase == unloadAcknowledged:
		return o.pollUnload(now)
	case o.polling.required:
		return o.poll(statusPollDelay, now)
	case o.retryTime().After(now):
		return actionNone, o.retryTime().Sub(now)
	case o.upToDate(desired) && !o.load.forced:
		if state := o.observed.state; state != nil && state.Generation == desired.generation {
			return actionNone, 0
		}
		return o.poll(statusPollDelay, now)
	case replaces && o.remote != nil && o.remote.generation == desired.generation:
		return actionUnload, 0
	default:
		return at(o.nextLoadAt(), actionLoad, now)
	}
}

// decideDeletion returns the next call about an object that is being deleted.
func (o *objectState) decideDeletion(now time.Time) (action, time.Duration) {
	switch o.unload.phase {
	case unloadConfirmed:
		return actionNone, 0
	case unloadAcknowledged:
		return o.pollUnload(now)
	case unloadRequested:
		return at(o.retryTime(), actionUnload, now)
	default:
		return actionUnload, 0
	}
}

// pollUnload polls an object that is being unloaded; immediately if a poll is required, since
// the last event may have arrived before the unload returned.
func (o *objectState) pollUnload(now time.Time) (action, time.Duration) {
	if o.polling.required {
		return o.poll(0, now)
	}
	return o.poll(statusPollInterval, now)
}

// poll polls the status once a delay has passed since the last event, reply or failure.
// The delay grows with each poll.
func (o *objectState) poll(delay time.Duration, now time.Time) (action, time.Duration) {
	if o.polling.count > 0 {
		delay = max(delay, pollBackoff.after(o.polling.count))
	}
	since := o.polling.lastReplyAt
	for _, each := range []time.Time{o.polling.lastEventAt, o.polling.lastFailureAt} {
		if each.After(since) {
			since = each
		}
	}
	return at(since.Add(delay), actionPollStatus, now)
}

// at returns an action if it is due, and else when to decide again.
func at(due time.Time, next action, now time.Time) (action, time.Duration) {
	if remaining := due.Sub(now); remaining > 0 {
		return actionNone, remaining
	}
	return next, 0
}

// nextLoadAt is when a load may be sent. Each one that the scheduler accepts, and does
// not carry out, delays the next.
func (o *objectState) nextLoadAt() time.Time {
	if o.load.accepted == 0 {
		return time.Time{}
	}
	return o.load.acceptedAt.Add(loadBackoff.after(o.load.accepted - 1))
}

// retryTime is when a failed call may be repeated; zero for immediately. A failure of an
// earlier generation, whose call was in flight when the object changed, does not count.
func (o *objectState) retryTime() time.Time {
	failure := o.observed.failure
	if failure == nil || failure.Generation != o.generation {
		return time.Time{}
	}
	return failure.retryAt
}
