package relay

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// What to do next about one object. The first line that applies counts:
//
//	desired                                          deleted
//	------------------------------------------------ -------------------------------------
//	invalid spec              none                   unload confirmed     none
//	unload is requested       unload again           is acknowledged      poll
//	unload is acknowledged    poll                   otherwise            unload
//	to be checked again       poll
//	rejected, or call failed  none until the retry
//	up to date, with a state  none
//	up to date, without       poll
//	other definition of a     unload
//	pipeline's generation
//	otherwise                 load
//
// Polls, loads and retries wait longer each time.

const (
	// statusPollDelay is how long the session waits for an event after a load was
	// accepted: the scheduler sends none when a load changes nothing. It doubles with
	// every poll, up to backoffLimit.
	statusPollDelay = 500 * time.Millisecond
	// statusPollInterval is the least time between polls of an object that is being
	// unloaded, in case that an event was lost.
	statusPollInterval = 5 * time.Second
	// backoffLimit bounds the time between polls of an object, and between loads that
	// the scheduler accepts but does not carry out.
	backoffLimit = time.Minute
	// loadsForgottenAfter is how long after an accepted load the next one counts as the
	// first.
	loadsForgottenAfter = 2 * backoffLimit

	// rejectedRetryInterval is how long after a rejection an object is sent again: what
	// was in the way, such as another experiment with the same default, may not exist
	// any more. It doubles with every rejection, up to failureRetryLimit.
	rejectedRetryInterval = time.Minute
	// deniedRetryInterval is that of a call that was not permitted, or is unknown.
	deniedRetryInterval = time.Second
	failureRetryLimit   = 10 * time.Minute

	// retryJitter spreads what is due at the same time: up to that part of a time is
	// added to it.
	retryJitter = 0.5
)

// desired is what a custom resource asks for.
type desired struct {
	uid        types.UID
	generation int64
	definition digest
}

// Failure is an error of a call about an object.
type Failure struct {
	// Generation of the object that was sent.
	Generation int64
	// Terminal: the object has to change, or what it refers to.
	Terminal bool
	Reason   string // in CamelCase
	Message  string
	// attempts in a row that failed for this reason.
	attempts int
	// retryAt is when to try again; zero if the queue's backoff alone decides.
	retryAt time.Time
}

// Reasons of failures.
const (
	// ReasonInvalidSpec: the object cannot be translated for the scheduler.
	ReasonInvalidSpec = "InvalidSpec"
	// ReasonRejected: the scheduler rejects it.
	ReasonRejected = "Rejected"
	// ReasonWaitingForPreviousDeletion: the scheduler still unloads an earlier one of that name.
	ReasonWaitingForPreviousDeletion = "WaitingForPreviousDeletion"
	// ReasonCallFailed: the call to the scheduler failed; it is tried again.
	ReasonCallFailed = "SchedulerCallFailed"
)

// action is what to do next about an object.
type action int

const (
	// actionNone: nothing to do until something changes, or for a while.
	actionNone action = iota
	// actionLoad sends the object to the scheduler.
	actionLoad
	// actionUnload asks the scheduler to unload it.
	actionUnload
	// actionPollStatus asks the scheduler for its state.
	actionPollStatus
)

// decide returns what to do about an object that is to be loaded. With actionNone it
// may return when to decide again.
func (o *objectState) decide(want desired, replaces bool, now time.Time) (action, time.Duration) {
	if o.failure != nil && o.failure.Reason == ReasonInvalidSpec {
		return actionNone, 0
	}
	switch {
	case o.unload == unloadRequested:
		// Another definition has to be unloaded first.
		return o.after(o.retryTime(), actionUnload, now)
	case o.unload == unloadAcknowledged:
		return o.pollUnload(now)
	case o.recheck:
		return o.poll(statusPollDelay, now)
	case o.retryTime().After(now):
		return actionNone, o.retryTime().Sub(now)
	case o.upToDate(want) && !o.reload:
		if o.state != nil && o.state.Generation == want.generation {
			return actionNone, 0
		}
		return o.poll(statusPollDelay, now)
	case replaces && o.remote != nil && o.remote.generation == want.generation:
		return actionUnload, 0
	default:
		return o.after(o.nextLoadAt(), actionLoad, now)
	}
}

// decideDeletion returns what to do about an object that is to be unloaded.
func (o *objectState) decideDeletion(now time.Time) (action, time.Duration) {
	switch o.unload {
	case unloadConfirmed:
		return actionNone, 0
	case unloadAcknowledged:
		return o.pollUnload(now)
	case unloadRequested:
		return o.after(o.retryTime(), actionUnload, now)
	default:
		return actionUnload, 0
	}
}

// pollUnload polls an object that is being unloaded; at once if it has to be checked
// again, since its last event may have come before the answer to the call.
func (o *objectState) pollUnload(now time.Time) (action, time.Duration) {
	if o.recheck {
		return o.poll(0, now)
	}
	return o.poll(statusPollInterval, now)
}

// poll asks for the state some time after the last event or reply, which doubles with
// every poll.
func (o *objectState) poll(delay time.Duration, now time.Time) (action, time.Duration) {
	if o.polls > 0 {
		delay = max(delay, exponential(statusPollDelay, o.polls, backoffLimit))
	}
	since := o.lastReplyAt
	if o.lastEventAt.After(since) {
		since = o.lastEventAt
	}
	return o.after(since.Add(delay), actionPollStatus, now)
}

// after returns an action once it is time for it.
func (o *objectState) after(at time.Time, then action, now time.Time) (action, time.Duration) {
	if rest := at.Sub(now); rest > 0 {
		return actionNone, rest
	}
	return then, 0
}

// nextLoadAt is when a load may be sent. Each one that the scheduler accepts, and does
// not carry out, delays the next.
func (o *objectState) nextLoadAt() time.Time {
	if o.accepted == 0 {
		return time.Time{}
	}
	return o.acceptedAt.Add(exponential(statusPollDelay, o.accepted-1, backoffLimit))
}

// retryTime is when to try again what failed; zero for at once. The failure may be of an
// earlier generation, whose call was in flight when the object changed.
func (o *objectState) retryTime() time.Time {
	if o.failure == nil || o.failure.Generation != o.generation {
		return time.Time{}
	}
	return o.failure.retryAt
}

// retryLater has what failed tried again after a while, which is longer each time. It
// returns how long.
func (o *objectState) retryLater(first time.Duration, now time.Time) time.Duration {
	delay := exponential(first, o.failure.attempts-1, failureRetryLimit)
	o.failure.retryAt = now.Add(delay)
	return delay
}

// exponential doubles a time as often as given, up to a limit.
func exponential(first time.Duration, doublings int, limit time.Duration) time.Duration {
	return min(first<<min(doublings, 16), limit)
}

// upToDate reports whether the scheduler has what is desired. Definitions decide and
// not generations alone, since those of an object that was recreated begin at 1 again.
// Where the scheduler reports no definition, or another form of it, it has to be
// verified.
func (o *objectState) upToDate(want desired) bool {
	return o.remote != nil && o.remote.generation == want.generation &&
		(o.remote.definition == want.definition || o.remote.verified)
}

// settled reports whether nothing is to be done until something changes, as far as the
// definition that is desired is not needed to know that.
func (o *objectState) settled() bool {
	return o.registered && !o.deleting && o.unload == unloadNotRequested && o.failure == nil && !o.recheck && !o.inFlight && !o.reload &&
		o.remote != nil && o.remote.verified && o.remote.generation == o.generation &&
		o.state != nil && o.state.Generation == o.generation
}
