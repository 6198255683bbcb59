package relay

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The state of one object, and how calls change it; object_events.go has how events and
// replies change it. All of it is computed from values: decide.go chooses the next call,
// reconcile.go sends it.
//
// The unload phase of an object:
//
//	                     requestUnload                 acknowledgeUnload
//	unloadNotRequested ────────────────▶ unloadRequested ────────────▶ unloadAcknowledged
//	  ▲  ▲                                │ │ ▲ ▲                          │ │
//	  │  └──── reconnected, desired ──────┘ │ │ └─ reported active, or ────┘ │
//	  │                                     │ │    reconnected               │
//	  │                 reported terminated │ │ active        terminated or  │
//	  │                                     ▼ │ again         not listed     │
//	  └─── desired, so loaded again ─── unloadConfirmed ◀────────────────────┘
//
// "Reported" means by a reply to a status call or by a listing, which are up to date,
// whereas an event may be late. On a new connection, a desired object is in
// unloadNotRequested again from unloadAcknowledged as well. In unloadAcknowledged, by the
// phase of the object:
//
//	             | event of its generation | other event | reply        | complete listing
//	 terminated  | confirmed               | poll        | confirmed    | confirmed
//	 inactive    | confirmed               | poll        | confirmed    | confirmed
//	 terminating | -                       | -           | -            | -
//	 active      | -                       | -           | unload again | unload again
//	 not found   |                         |             | list         | confirmed
//
// In unloadRequested, only a reported terminated object is confirmed: an experiment that
// is inactive may never have been stopped.

// remoteObject is what the scheduler has of an object.
type remoteObject struct {
	generation int64
	definition digest
	// verified: it is of the current incarnation. It was sent on this connection, or has
	// the desired definition, or the object's status reported this generation when it was
	// listed. Otherwise it may be of an earlier incarnation, whose generations started at
	// 1 as well.
	verified bool
}

// objectState is what a session knows about one object. It is guarded by the session's
// lock.
type objectState struct {
	// uid of the incarnation; the scheduler does not know it. It is empty for an object
	// that only the scheduler has.
	uid types.UID
	// generation that was synced last.
	generation int64
	// registered: the object's controller has synced this incarnation, and so its
	// finalizer is set. The cache may contain it earlier.
	registered bool
	// deleting: the object is being deleted, and its controller waits for the unload.
	deleting bool
	// mayRemain: the custom resource was deleted, and the unload was not confirmed. An
	// experiment with it is stopped even if it is listed as inactive.
	mayRemain bool

	// remote is what the scheduler has, by its replies and listings on this connection;
	// nil for nothing.
	remote *remoteObject
	// bufferedEvent is the last event that arrived while it was not known whether it is
	// about this incarnation.
	bufferedEvent *statusEvent

	load     loadState
	unload   unloadState
	polling  pollingState
	observed observedState
}

// loadState is the progress of loading an object.
type loadState struct {
	// generation that was sent last on this connection, unless the call certainly failed;
	// 0 for none. inFlight: the call has not returned.
	generation int64
	inFlight   bool
	// accepted is the number of consecutive loads of the generation that the scheduler
	// has accepted, the last one at acceptedAt.
	accepted   int
	acceptedAt time.Time
	// forced: the object has to be loaded although the scheduler has it, so that it is
	// scheduled again. forcedInFlight: the call in flight does that.
	forced, forcedInFlight bool
}

// unloadState is the progress of unloading an object.
type unloadState struct {
	phase unloadPhase
	// terminatedEarly: before the call to unload the object returned, an event reported
	// that it is terminated, with a generation that only the deletion has.
	terminatedEarly bool
}

// pollingState determines when to poll the status of an object.
type pollingState struct {
	// required: an event contradicts what is known, or a call that failed may have been
	// carried out. The reply to a status call decides.
	required bool
	// count of polls since the last event.
	count int
	// lastEventAt is when the last event arrived, lastReplyAt when the last call
	// returned. Replies to earlier calls are outdated. lastFailureAt is when a status call
	// last failed.
	lastEventAt, lastReplyAt, lastFailureAt time.Time
}

// observedState is what the object's controller observes.
type observedState struct {
	// state that the scheduler reported of the incarnation; nil for none.
	state *State
	// stale: the state has expired, and nothing was observed since.
	stale bool
	// progressingSince is when the scheduler started to work on the object: with a new
	// generation, or when it last left a stable state. Zero if it is stable or rejected.
	progressingSince time.Time
	// failure of the last call; nil if it succeeded.
	failure *Failure
}

// unloadPhase is the phase of unloading an object.
type unloadPhase int

const (
	unloadNotRequested unloadPhase = iota
	// unloadRequested: the unload was called on this or an earlier connection.
	unloadRequested
	// unloadAcknowledged: the call succeeded on this connection.
	unloadAcknowledged
	// unloadConfirmed: the scheduler has reported that it does not have the object.
	unloadConfirmed
)

// setIncarnation sets the incarnation and generation, and reports whether either has
// changed. What the scheduler has of an earlier incarnation is kept as not verified.
func (o *objectState) setIncarnation(uid types.UID, generation int64, now time.Time) (changed bool) {
	changed = o.uid != uid || o.generation != generation
	if o.uid != uid {
		before := *o
		*o = objectState{uid: uid}
		if before.unload.phase < unloadAcknowledged && before.remote != nil {
			o.remote = &remoteObject{generation: before.remote.generation, definition: before.remote.definition}
		}
	}
	if o.generation != generation {
		o.generation = generation
		o.observed.failure = nil
		o.load.accepted, o.polling.count = 0, 0
		if o.observed.progressingSince.IsZero() {
			o.observed.progressingSince = now
		}
	}
	return changed
}

// isAt reports whether an object from the cache is the incarnation that its controller
// has synced, at the same or a later generation. If not, the controller syncs it later.
func (o *objectState) isAt(object client.Object) bool {
	return o.registered && o.uid == object.GetUID() && o.generation <= object.GetGeneration()
}

// upToDate reports whether the scheduler has the desired object. Generations do not
// suffice, since those of a recreated object start at 1 again. Where the scheduler
// reports no definition, or another form of it, it has to be verified.
func (o *objectState) upToDate(desired desiredObject) bool {
	return o.remote != nil && o.remote.generation == desired.generation &&
		(o.remote.definition == desired.definition || o.remote.verified)
}

// isSynced reports whether nothing is due for an object to be loaded until something
// changes, as far as that can be decided without its definition.
func (o *objectState) isSynced() bool {
	return o.registered && !o.deleting && o.unload.phase == unloadNotRequested && o.observed.failure == nil &&
		!o.polling.required && !o.load.inFlight && !o.load.forced &&
		o.remote != nil && o.remote.verified && o.remote.generation == o.generation &&
		o.observed.state != nil && o.observed.state.Generation == o.generation
}

// reconnected drops what does not hold on a new connection, and reports whether the
// object has to be reconciled immediately, before its kind is resynced.
func (o *objectState) reconnected() bool {
	o.remote, o.bufferedEvent = nil, nil
	o.load.generation, o.load.inFlight, o.load.accepted = 0, false, 0
	o.unload.terminatedEarly = false
	o.polling.required, o.polling.count = false, 0
	if failure := o.observed.failure; failure != nil {
		failure.retryAt, failure.attempts = time.Time{}, 0
	}
	switch {
	case o.unload.phase == unloadConfirmed:
	case o.deleting && o.unload.phase == unloadAcknowledged:
		o.unload.phase = unloadRequested
	case !o.deleting:
		o.unload.phase = unloadNotRequested
	}
	return o.deleting && o.unload.phase != unloadConfirmed
}

// startLoad records that a load of a generation is called.
func (o *objectState) startLoad(generation int64) {
	o.load.generation, o.load.inFlight = generation, true
	o.load.forced, o.load.forcedInFlight = false, o.load.forced
}

// acceptLoad records that the scheduler has accepted the load.
func (o *objectState) acceptLoad(desired desiredObject, now time.Time) {
	if now.Sub(o.load.acceptedAt) > loadsForgottenAfter {
		o.load.accepted = 0
	}
	o.load.accepted, o.load.acceptedAt = o.load.accepted+1, now
	o.load.inFlight, o.observed.stale, o.polling.count = false, false, 0
	// An earlier call that failed may have been carried out, with its last event before
	// this call, which then changes nothing and causes no event.
	o.polling.required = o.bufferedEvent != nil && o.bufferedEvent.state.Generation == desired.generation
	o.polling.lastReplyAt = now
	o.remote, o.bufferedEvent = &remoteObject{desired.generation, desired.definition, true}, nil
	if failure := o.observed.failure; failure != nil && failure.Terminal {
		o.observed.failure = nil
	}
}

// finishEarlierLoad records the result of a load of an earlier incarnation: the scheduler
// has that if it accepted the call, and may have it if the result is uncertain.
func (o *objectState) finishEarlierLoad(sent desiredObject, accepted, uncertain bool) {
	if accepted {
		o.remote = &remoteObject{generation: sent.generation, definition: sent.definition}
	}
	o.polling.required = o.polling.required || uncertain
}

// failLoad records that the load failed with an error of a class, and returns whether
// the observation has changed, and when to repeat the call; see fail. After an error that
// may be transient the scheduler may have carried it out.
func (o *objectState) failLoad(failure Failure, class errorClass, now time.Time) (changed bool, after time.Duration) {
	uncertain := class == errorClassRetry
	o.load.inFlight, o.polling.required = false, uncertain
	o.load.forced = o.load.forced || o.load.forcedInFlight
	if !uncertain {
		o.load.generation = 0
	}
	return o.fail(failure, class.backoff(), now)
}

// failPoll records that a status call failed. A load that waits for it is sent instead.
func (o *objectState) failPoll(now time.Time) {
	o.polling.lastFailureAt = now
	if o.unload.phase == unloadNotRequested && (o.remote == nil || o.remote.generation != o.generation) {
		o.polling.required = false
	}
}

// requestUnload records that the unload is called.
func (o *objectState) requestUnload() {
	if o.unload.phase == unloadNotRequested {
		o.polling.count, o.polling.required = 0, false
	}
	o.unload.phase, o.load.inFlight = unloadRequested, false
}

// acknowledgeUnload records that the unload succeeded.
func (o *objectState) acknowledgeUnload(now time.Time) {
	o.polling.lastReplyAt, o.observed.failure = now, nil
	if o.unload.phase != unloadRequested {
		return // a listing has confirmed it meanwhile
	}
	o.unload.phase = unloadAcknowledged
	if o.unload.terminatedEarly {
		o.confirmUnload()
	}
}

// confirmUnload records that the scheduler does not have the object.
func (o *objectState) confirmUnload() {
	o.unload = unloadState{phase: unloadConfirmed}
	o.remote, o.bufferedEvent, o.observed.state = nil, nil, nil
	o.load.generation, o.polling.required = 0, false
}

// fail records a failed call, and returns whether the observation has changed, and when
// to repeat the call; 0 for the backoff of the queue, which a zero backoff stands for.
func (o *objectState) fail(failure Failure, backoff exponential, now time.Time) (changed bool, after time.Duration) {
	changed = o.observed.stale
	if before := o.observed.failure; before != nil && before.Reason == failure.Reason && before.Generation == failure.Generation {
		failure.attempts = before.attempts
	} else {
		changed = true
	}
	if after = backoff.after(failure.attempts); after > 0 {
		failure.retryAt = now.Add(after)
	}
	failure.attempts++
	o.observed.failure, o.observed.stale = &failure, false
	if failure.Terminal {
		o.observed.progressingSince = time.Time{}
	}
	return changed, after
}
