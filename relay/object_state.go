package relay

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The state of one object, and how calls, events and replies change it. Everything
// here is computed from values: decide.go chooses the next call, reconcile.go makes it.
//
//	                     requestUnload                 acknowledgeUnload
//	unloadNotRequested ────────────────▶ unloadRequested ────────────▶ unloadAcknowledged
//	  ▲  ▲                                │ │ ▲ ▲                          │ │
//	  │  └──── reconnected, desired ──────┘ │ │ └─ reported active, or ────┘ │
//	  │                                     │ │    reconnected               │
//	  │                 reported terminated │ │ active        ended or not   │
//	  │                                     ▼ │ again         listed         │
//	  └─── desired, so loaded again ─── unloadConfirmed ◀────────────────────┘
//
// "Reported" is a reply to a status call, or a listing: it is certain, where an event
// may be late. What leads from unloadAcknowledged to unloadConfirmed:
//
//	              | event of its generation | other event | reply       | complete listing
//	 terminated   | confirmed               | poll        | confirmed   | confirmed
//	 inactive     | confirmed               | poll        | confirmed   | confirmed
//	 terminating  | -                       | -           | -           | -
//	 active       | -                       | -           | unload again| unload again
//	 not found    |                         |             | list        | confirmed
//
// In unloadRequested, only a terminated object that is reported is confirmed: an
// experiment that is inactive may never have been stopped.

// remoteObject is what the scheduler has of an object.
type remoteObject struct {
	generation int64
	definition digest
	// verified: it is of this incarnation. It was sent on this connection, or has the
	// desired definition, or the object's status reported this generation when it was
	// listed. Others may be of an earlier incarnation, whose generations began at 1 as
	// well.
	verified bool
}

// objectState is what a session knows of one object. It belongs to the session's lock.
type objectState struct {
	// uid of the incarnation; the scheduler has none. It is empty for an object that
	// only the scheduler has.
	uid types.UID
	// generation that was synced last.
	generation int64
	// registered: the object's controller has synced this incarnation, and so its
	// finalizer is set. The cache may show it earlier.
	registered bool
	// mayRemain: the custom resource is gone, and the unload was not confirmed. An
	// experiment of which that is known is stopped even if it is listed as inactive.
	mayRemain bool
	// deleting: the object is being deleted, and its controller waits for the unload.
	deleting bool
	// remote is what the scheduler has, by its answers, replies and listings on this
	// connection; nil is nothing.
	remote *remoteObject

	// sentGeneration was last sent on this connection and did not fail for certain, 0 for
	// none. It is in flight until the call is answered.
	sentGeneration int64
	inFlight       bool
	// accepted loads of the generation in a row, the last one at acceptedAt.
	accepted   int
	acceptedAt time.Time
	// reload: the object is to be loaded although the scheduler has it, so that it is
	// placed again; reloading, while that is in flight.
	reload, reloading bool

	unload unloadPhase
	// terminatedEarly: an event that the object is terminated came before the answer to
	// the call to unload it, and can be about nothing else.
	terminatedEarly bool

	// recheck: an event contradicts what is known, or a call may have been carried out
	// although it was not answered. The reply to a status call decides.
	recheck bool
	// polls since the last event about the object.
	polls int
	// lastEventAt is when the last event about the object came. Replies to what was
	// asked before are older.
	lastEventAt time.Time
	// lastReplyAt is when the scheduler last answered a call about it.
	lastReplyAt time.Time
	// bufferedEvent came last while it was not known whether it is about this
	// incarnation.
	bufferedEvent *word

	// state that the scheduler reported of the incarnation; nil if there is none.
	state *State
	// stale: the state has expired, and nothing is known of the object since.
	stale bool
	// progressingSince is when the scheduler began to work on it: with a new generation,
	// or when it last left a settled state. Zero if it is settled, or was rejected.
	progressingSince time.Time
	failure          *Failure
}

// unloadPhase is how far the unloading of an object is.
type unloadPhase int

const (
	unloadNotRequested unloadPhase = iota
	// unloadRequested: a call to unload it is in flight, or was.
	unloadRequested
	// unloadAcknowledged: the scheduler has answered it on this connection.
	unloadAcknowledged
	// unloadConfirmed: the scheduler has reported that it does not have the object.
	unloadConfirmed
)

// setIncarnation makes the state one of the incarnation and generation given, and
// reports whether that is another one than before. The scheduler still has what it had
// of an earlier incarnation.
func (o *objectState) setIncarnation(uid types.UID, generation int64, now time.Time) (changed bool) {
	changed = o.uid != uid || o.generation != generation
	if o.uid != uid {
		before := *o
		*o = objectState{uid: uid}
		if before.unload < unloadAcknowledged && before.remote != nil {
			o.remote = &remoteObject{generation: before.remote.generation, definition: before.remote.definition}
		}
	}
	if o.generation != generation {
		o.generation = generation
		o.failure = nil
		o.accepted, o.polls = 0, 0
		if o.progressingSince.IsZero() {
			o.progressingSince = now
		}
	}
	return changed
}

// isAt reports whether an object from the cache is the incarnation that its controller
// has synced, at the same generation or a later one. The controller's own turn follows
// if it is not.
func (o *objectState) isAt(object client.Object) bool {
	return o.registered && o.uid == object.GetUID() && o.generation <= object.GetGeneration()
}

// reconnected drops what a new connection must not rely on, and reports whether the
// session has something to do at once, before the kind is compared.
func (o *objectState) reconnected() bool {
	o.remote, o.bufferedEvent = nil, nil
	o.sentGeneration, o.inFlight, o.accepted = 0, false, 0
	o.recheck, o.terminatedEarly, o.polls = false, false, 0
	if o.failure != nil {
		o.failure.retryAt, o.failure.attempts = time.Time{}, 0
	}
	switch {
	case o.unload == unloadConfirmed:
	case o.deleting && o.unload == unloadAcknowledged:
		o.unload = unloadRequested
	case !o.deleting:
		o.unload = unloadNotRequested
	}
	return o.deleting && o.unload != unloadConfirmed
}

// expire gives up the state that the scheduler reported.
func (o *objectState) expire() { o.state, o.stale = nil, true }

// newerThan reports whether the scheduler answered, or sent an event about the object,
// after a status was asked for.
func (o *objectState) newerThan(begun time.Time) bool {
	return o.lastReplyAt.After(begun) || o.lastEventAt.After(begun)
}

// handleEvent takes an event of the object's kind that came on a stream. It reports
// whether its controller has news to read, whether the session has something to do,
// and why the event was dropped, if it was.
func (o *objectState) handleEvent(w word, now time.Time) (news, work bool, dropped string) {
	if o.unload != unloadNotRequested {
		return o.handleEventWhileUnloading(w, now)
	}
	generation := w.state.Generation
	ended := w.phase == terminating || w.phase == gone
	current := o.remote != nil && o.remote.verified && o.remote.generation == generation ||
		o.inFlight && o.sentGeneration == generation
	switch {
	case current && !ended:
		o.lastEventAt, o.polls = now, 0
		return o.setState(w.state, now), false, ""
	case o.inFlight:
		// About what the call is about to replace.
		return false, false, "generation"
	case o.remote != nil && !o.remote.verified:
		o.bufferedEvent = &w
		return false, false, ""
	case ended && (o.remote == nil || generation < o.remote.generation):
		// Of a pipeline, each earlier version ends with a generation of its own.
		return false, false, "generation"
	case o.remote == nil:
		o.bufferedEvent = &w
	case !current:
		dropped = "generation"
	}
	// Another client unloaded it, or a call was carried out after its deadline.
	o.recheck = true
	return false, true, dropped
}

// handleEventWhileUnloading takes an event while the object is being unloaded.
func (o *objectState) handleEventWhileUnloading(w word, now time.Time) (news, work bool, dropped string) {
	o.lastEventAt, o.polls = now, 0
	switch w.phase {
	case live:
		if o.unload != unloadConfirmed {
			return false, false, "early"
		}
		// It is late, or a load was carried out after its deadline.
		o.unload = unloadRequested
		return false, true, ""
	case terminating:
		// What another definition does on its way out is not the object's status, and
		// progress of a deletion is no news.
		return o.deleting && o.setState(w.state, now) && w.state.Stable, false, ""
	case idle, gone:
	}
	// Of a pipeline, each earlier version ends with a generation of its own.
	current := o.remote != nil && w.state.Generation >= o.remote.generation
	switch {
	case o.unload == unloadConfirmed:
		return false, false, ""
	case o.unload == unloadAcknowledged && current:
		o.confirmUnload()
		return true, true, ""
	case w.phase == gone && o.remote != nil && w.state.Generation > o.remote.generation && w.state.Generation == o.generation:
		// The deletion of a custom resource increments the generation, and a Model's is
		// sent with the call.
		o.terminatedEarly = true
		return false, false, ""
	default:
		o.recheck = true
		return false, o.unload == unloadAcknowledged, "early"
	}
}

// handleReply takes the state that a status call or a listing reported, unless it is
// older than what is known (newerThan). With trusted, an object of the generation is of
// this incarnation. The results are those of handleEvent.
func (o *objectState) handleReply(w word, trusted bool, now time.Time) (news, work bool) {
	o.recheck = false
	ended := w.phase == terminating || w.phase == gone
	switch {
	case o.unload == unloadNotRequested && ended:
		return o.handleAbsence(true)
	case o.unload == unloadNotRequested:
		return o.handleRemote(w, trusted, now)
	case o.unload == unloadConfirmed && w.phase != live:
		return false, false
	case w.phase == gone || w.phase == idle && o.unload == unloadAcknowledged:
		o.confirmUnload()
		return true, true
	}
	o.remote = &remoteObject{w.state.Generation, w.definition, false}
	switch w.phase {
	case live:
		// It was loaded again, or the unload was forgotten.
		changed := o.unload != unloadRequested
		o.unload = unloadRequested
		return false, changed
	case terminating:
		return o.deleting && o.setState(w.state, now) && w.state.Stable, false
	default:
		return false, false
	}
}

// handleRemote takes what the scheduler reports to have of an object that is not being
// unloaded.
func (o *objectState) handleRemote(w word, trusted bool, now time.Time) (news, work bool) {
	generation := w.state.Generation
	verified := trusted && generation == o.generation
	if o.remote != nil && o.remote.generation == generation {
		verified = verified || o.remote.verified
	} else {
		// The scheduler did not have this generation when it was sent. Where it reports
		// definitions, they decide.
		verified = verified || generation == o.sentGeneration && w.definition == digest{}
	}
	event := &w
	if early := o.bufferedEvent; early != nil && early.state.Generation == generation && (early.phase == live || early.phase == idle) {
		event = early // it is newer, or is followed by one that is
	}
	o.remote, o.bufferedEvent = &remoteObject{generation, w.definition, verified}, nil
	if o.inFlight {
		return false, false
	}
	if o.state != nil && o.state.Generation != generation {
		o.state = nil
	}
	if !verified {
		o.bufferedEvent = event
		return false, true
	}
	return o.setState(event.state, now), generation != o.generation
}

// handleAbsence takes the report that the scheduler does not have the object; complete
// if it comes from a listing, or for an object that ends: the error of a status call
// may have other causes, and does not confirm an unload. The results are those of
// handleEvent.
func (o *objectState) handleAbsence(complete bool) (news, work bool) {
	o.recheck = false
	switch {
	case o.unload == unloadNotRequested:
		o.remote, o.bufferedEvent = nil, nil
		if o.inFlight {
			return false, false
		}
		o.state = nil
		if o.accepted > 1 {
			news = o.fail(Failure{
				Generation: o.generation, Reason: ReasonCallFailed,
				Message: "the scheduler accepted the object several times, and reports each time that it does not have it",
			})
		}
		return news, true
	case o.unload == unloadAcknowledged && complete:
		o.confirmUnload()
		return true, true
	default:
		return false, false
	}
}

// verify marks what the scheduler has as this incarnation's if it is what is desired,
// and then takes the event that was buffered. It reports whether that is news.
func (o *objectState) verify(want desired, now time.Time) (news bool) {
	if o.remote == nil || o.remote.verified || !o.upToDate(want) {
		return false
	}
	o.remote.verified = true
	early := o.bufferedEvent
	o.bufferedEvent = nil
	if early == nil || o.unload != unloadNotRequested {
		return false
	}
	news, _, _ = o.handleEvent(*early, now)
	return news
}

// startLoad records that a call to load a generation is sent.
func (o *objectState) startLoad(generation int64) {
	o.sentGeneration, o.inFlight = generation, true
	o.reload, o.reloading = false, o.reload
}

// acceptLoad records that the scheduler has accepted the load.
func (o *objectState) acceptLoad(want desired, now time.Time) {
	if now.Sub(o.acceptedAt) > loadsForgottenAfter {
		o.accepted = 0
	}
	o.accepted, o.acceptedAt = o.accepted+1, now
	o.inFlight, o.stale, o.polls = false, false, 0
	// An earlier call may have been carried out, and its last event have come before this
	// one, which then changes nothing and causes no event.
	o.recheck = o.bufferedEvent != nil && o.bufferedEvent.state.Generation == want.generation
	o.lastReplyAt = now
	o.remote, o.bufferedEvent = &remoteObject{want.generation, want.definition, true}, nil
	if o.failure != nil && o.failure.Terminal {
		o.failure = nil
	}
}

// answerEarlierLoad records the answer to a call to load an earlier incarnation: the
// scheduler has that if it accepted the call, and may have it if that is uncertain.
func (o *objectState) answerEarlierLoad(sent desired, accepted, uncertain bool) {
	if accepted {
		o.remote = &remoteObject{generation: sent.generation, definition: sent.definition}
	}
	o.recheck = o.recheck || uncertain
}

// failLoad records that the load failed, and reports whether that is news. With
// uncertain, the scheduler may have carried it out.
func (o *objectState) failLoad(failure Failure, uncertain bool) (news bool) {
	o.inFlight, o.recheck = false, uncertain
	o.reload = o.reload || o.reloading
	if !uncertain {
		o.sentGeneration = 0
	}
	return o.fail(failure)
}

// failPoll records that a status call failed. A load that waits for it is sent instead.
func (o *objectState) failPoll() {
	if o.unload == unloadNotRequested && (o.remote == nil || o.remote.generation != o.generation) {
		o.recheck = false
	}
}

// requestUnload records that a call to unload the object is sent.
func (o *objectState) requestUnload() {
	if o.unload == unloadNotRequested {
		o.polls, o.recheck = 0, false
	}
	o.unload, o.inFlight = unloadRequested, false
}

// acknowledgeUnload records that the scheduler has answered the call to unload the
// object.
func (o *objectState) acknowledgeUnload(now time.Time) {
	o.lastReplyAt, o.failure = now, nil
	if o.unload != unloadRequested {
		return // a listing has confirmed it meanwhile
	}
	o.unload = unloadAcknowledged
	if o.terminatedEarly {
		o.confirmUnload()
	}
}

// confirmUnload records that the scheduler does not have the object.
func (o *objectState) confirmUnload() {
	o.unload, o.remote, o.state, o.bufferedEvent = unloadConfirmed, nil, nil, nil
	o.sentGeneration, o.recheck, o.terminatedEarly = 0, false, false
}

// setState takes a state that is about this incarnation, and reports whether it is news.
func (o *objectState) setState(state State, now time.Time) (news bool) {
	news, o.stale = o.stale, false
	if state.Stable {
		o.progressingSince = time.Time{}
	} else if o.progressingSince.IsZero() {
		o.progressingSince = now
	}
	if o.failure != nil && o.failure.Generation == state.Generation {
		o.failure = nil
	} else if o.state.equal(&state) {
		return news
	}
	o.state = &state
	return true
}

// fail records an error, and reports whether it is news.
func (o *objectState) fail(failure Failure) (news bool) {
	news = o.stale
	if before := o.failure; before != nil && before.Reason == failure.Reason && before.Generation == failure.Generation {
		failure.attempts = before.attempts
	} else {
		news = true
	}
	failure.attempts++
	o.failure, o.stale = &failure, false
	if failure.Terminal {
		o.progressingSince = time.Time{}
	}
	return news
}
