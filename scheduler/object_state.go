package scheduler

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// What a session knows of one object, and what follows from it. Everything here
// is decided from values; the calls are in reconcile.go.

// Times of a dialogue about one object.
const (
	// statusPollDelay is how long a session waits for a word on its streams after a call
	// was answered. The scheduler says nothing when a call changes nothing.
	statusPollDelay = 500 * time.Millisecond
	// statusPollInterval is how often it asks about an object that is being taken down, in
	// case that a word got lost.
	statusPollInterval = 5 * time.Second
	// rejectedRetryInterval is how often it sends what the scheduler refuses: what was in the
	// way, such as another experiment with the same default, may have gone.
	rejectedRetryInterval = time.Minute
)

// desired is what a custom resource wants.
type desired struct {
	uid        types.UID
	generation int64
	definition digest
}

// remoteObject is what the scheduler has of an object.
type remoteObject struct {
	generation int64
	definition digest
	// verified: it is of this incarnation. It was sent on this connection, or has the
	// definition that is wanted, or the object's status spoke of this generation when
	// it was listed. What else is listed may be of an earlier one, which counted its
	// generations from 1 as well.
	verified bool
}

// objectState is what a session knows of one object.
type objectState struct {
	// uid of the incarnation that this is about. The wire has none.
	uid types.UID
	// generation that was handed over last.
	generation int64
	// registered: its controller has handed this incarnation over, so that it does not
	// go without us. The cache may show it earlier.
	registered bool
	// deleting: the object is being deleted, and its controller waits for our word.
	deleting bool
	// remote is what the scheduler has, by its answers and listings on this connection;
	// nil is nothing.
	remote *remoteObject

	// inFlightGeneration is the generation of a call to load it that is on its way, else 0.
	inFlightGeneration int64
	// reloadRequestedAt is when it was requested that the object is loaded although the
	// scheduler has it, so that it is placed again. Zero if it was not.
	reloadRequestedAt time.Time
	unload            unloadPhase
	// terminatedEarly: a word that the object is gone came before the answer to our call to
	// unload it, and can be about nothing else.
	terminatedEarly bool
	// recheckAfterUnload is a word that came before the answer to our call, and may speak of an
	// earlier incarnation: the session asks after the answer.
	recheckAfterUnload bool
	// lastEventAt is when the last word came on a stream. It is newer than an answer to a
	// question that was asked before.
	lastEventAt time.Time
	// bufferedEvent is the last word from before it was known whether it is about this
	// incarnation.
	bufferedEvent *word
	// lastReplyAt is when the scheduler last answered a call or a question.
	lastReplyAt time.Time

	// state is the scheduler's last word about the incarnation; nil if there is none.
	state *State
	// progressingSince is when the scheduler began to work on it: with a new generation, or
	// when it last left a settled state. Zero if it is settled.
	progressingSince time.Time
	failure          *Failure
	// stale: the state has expired, and nothing is known of the object since.
	stale bool
}

// reconnected drops what a new connection must not rely on, and reports whether the
// session has something to do at once.
func (o *objectState) reconnected() bool {
	o.remote, o.bufferedEvent, o.inFlightGeneration, o.recheckAfterUnload, o.terminatedEarly = nil, nil, 0, false, false
	if o.unload == unloadAcknowledged {
		o.unload = unloadRequested
	}
	return o.deleting && o.unload == unloadRequested
}

// expire gives up the state that the scheduler reported.
func (o *objectState) expire() { o.state, o.stale = nil, true }

// unloadPhase is how far the taking down of an object is.
type unloadPhase int

const (
	unloadNotRequested unloadPhase = iota
	// unloadRequested: a call to unload it is on its way, or was.
	unloadRequested
	// unloadAcknowledged: the scheduler has answered it.
	unloadAcknowledged
	// unloadConfirmed: the scheduler has said that the object is gone.
	unloadConfirmed
)

// Failure is an error of a call about an object.
type Failure struct {
	// Generation of the object that was sent.
	Generation int64
	// Terminal: the object has to change, or what it refers to.
	Terminal bool
	Reason   string // in CamelCase
	Message  string
	// at is when the scheduler said so.
	at time.Time
}

// Reasons of failures.
const (
	// ReasonInvalidSpec: the object cannot be told to the scheduler.
	ReasonInvalidSpec = "InvalidSpec"
	// ReasonRefused: the scheduler refuses it.
	ReasonRefused = "Refused"
	// ReasonTerminating: the scheduler is taking down an earlier one of that name.
	ReasonTerminating = "TerminatingPredecessor"
	// ReasonCallFailed: the scheduler did not take the call; it is tried again.
	ReasonCallFailed = "SchedulerCallFailed"
)

// setIncarnation makes the state one of the incarnation and generation given. A word about
// an earlier incarnation is none about this one, but the scheduler still has what
// it has.
// It tells whether that is another one than before.
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
		if o.progressingSince.IsZero() {
			o.progressingSince = now
		}
	}
	return changed
}

// action is what to do next about an object.
type action int

const (
	// actionNone: nothing to do until something changes.
	actionNone action = iota
	// actionLoad sends the object to the scheduler.
	actionLoad
	// actionUnload asks the scheduler to unload it.
	actionUnload
	// actionPollStatus asks for its state.
	actionPollStatus
)

// decide decides about an object that is to be loaded. With nothing it may say to
// look again after a while.
func (o *objectState) decide(want desired, replaces bool, now time.Time) (action, time.Duration) {
	if o.failure != nil && o.failure.Terminal {
		if o.failure.Reason == ReasonInvalidSpec {
			return actionNone, 0
		}
		if rest := rejectedRetryInterval - now.Sub(o.failure.at); rest > 0 {
			return actionNone, rest
		}
	}
	switch {
	case o.unload == unloadRequested:
		// Another definition has to go first, or an unload was interrupted.
		return actionUnload, 0
	case o.unload == unloadAcknowledged:
		return o.await(statusPollInterval, now)
	case !o.reloadRequestedAt.IsZero():
		return actionLoad, 0
	case o.upToDate(want):
		if o.state != nil && o.state.Generation == want.generation {
			return actionNone, 0
		}
		return o.await(statusPollDelay, now)
	case replaces && o.remote != nil && o.remote.generation == want.generation:
		return actionUnload, 0
	default:
		return actionLoad, 0
	}
}

// decideDeletion decides about an object that is to be unloaded.
func (o *objectState) decideDeletion(now time.Time) (action, time.Duration) {
	switch {
	case o.unload == unloadConfirmed:
		return actionNone, 0
	case o.unload != unloadAcknowledged:
		return actionUnload, 0
	case o.recheckAfterUnload:
		return actionPollStatus, 0
	default:
		return o.await(statusPollInterval, now)
	}
}

// await asks once patience has passed since the last answer.
func (o *objectState) await(patience time.Duration, now time.Time) (action, time.Duration) {
	if rest := patience - now.Sub(o.lastReplyAt); rest > 0 {
		return actionNone, rest
	}
	return actionPollStatus, 0
}

// upToDate tells whether the scheduler has what is wanted. Definitions decide and
// not generations alone, for an object that was made anew counts from 1 again.
// Where the scheduler tells no definition, or gives it back in other words, it has
// to be trusted.
func (o *objectState) upToDate(want desired) bool {
	return o.remote != nil && o.remote.generation == want.generation &&
		(o.remote.definition == want.definition || o.remote.verified)
}

// verify trusts what the scheduler has if it is what is wanted, and then takes in
// the word about it that came before. It tells whether that is news.
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
	news, _, _ = o.handleEvent(*early, true, now)
	return news
}

// handleEvent takes in a word of the scheduler about the object, on a stream or, as an
// answer to a question, for certain. It tells whether the object's controller
// has something new to see, and whether the session has something to do.
func (o *objectState) handleEvent(w word, certain bool, now time.Time) (news, work bool, dropped string) {
	if !certain {
		o.lastEventAt = now
	}
	if o.unload != unloadNotRequested {
		return o.handleEventWhileUnloading(w, certain, now)
	}
	about := w.state.Generation == o.inFlightGeneration || o.remote != nil && w.state.Generation == o.remote.generation
	switch {
	case o.inFlightGeneration == 0 && (o.remote == nil || !o.remote.verified):
		o.bufferedEvent = &w
		return false, false, ""
	case !about:
		return false, false, "generation"
	case w.phase == terminating || w.phase == gone:
		if o.inFlightGeneration != 0 {
			// Of what the call is about to replace.
			return false, false, "generation"
		}
		// Somebody took down what a custom resource wants.
		o.remote, o.state = nil, nil
		return false, true, ""
	}
	return o.setState(w.state, now), false, ""
}

// handleEventWhileUnloading takes in a word about an object that is being unloaded.
func (o *objectState) handleEventWhileUnloading(w word, certain bool, now time.Time) (news, work bool, dropped string) {
	if w.phase != gone && w.phase != idle {
		if certain && w.phase == live && o.unload == unloadAcknowledged {
			// It came back, or the call was forgotten.
			o.unload = unloadRequested
			return false, true, ""
		}
		// What another definition does that has to go first is nobody's status.
		return o.deleting && o.setState(w.state, now), false, ""
	}
	// Of a pipeline, earlier versions end as well, each with its own generation.
	about := o.remote == nil || w.state.Generation >= o.remote.generation
	switch {
	case certain || o.unload == unloadAcknowledged && about:
		o.confirmUnload()
		return true, true, ""
	case w.phase == gone && o.remote != nil && w.state.Generation > o.remote.generation && w.state.Generation == o.generation:
		// The deletion of a custom resource makes a generation, which a model gets
		// with the call.
		o.terminatedEarly = true
		return false, false, ""
	default:
		o.recheckAfterUnload = true
		return false, o.unload == unloadAcknowledged, "early"
	}
}

// acknowledgeUnload says that the scheduler has answered the call to unload the object.
func (o *objectState) acknowledgeUnload(now time.Time) {
	o.unload, o.lastReplyAt = unloadAcknowledged, now
	if o.terminatedEarly {
		o.confirmUnload()
	}
}

// confirmUnload says that the scheduler has the object no more.
func (o *objectState) confirmUnload() {
	o.unload, o.remote, o.state, o.recheckAfterUnload, o.terminatedEarly = unloadConfirmed, nil, nil, false, false
}

func (o *objectState) setState(state State, now time.Time) (news bool) {
	o.stale = false
	if state.Settled {
		o.progressingSince = time.Time{}
	} else if o.progressingSince.IsZero() {
		o.progressingSince = now
	}
	if o.failure != nil && o.failure.Generation == state.Generation {
		o.failure = nil
	} else if o.state.equal(&state) {
		return false
	}
	o.state = &state
	return true
}

// fail remembers an error, and tells whether it is news.
func (o *objectState) fail(failure Failure) bool {
	known := o.failure != nil && o.failure.Reason == failure.Reason && o.failure.Generation == failure.Generation
	o.failure = &failure
	return !known
}
