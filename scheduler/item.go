package scheduler

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// What a session knows of one object, and what follows from it. Everything here
// is decided from values; the calls are in drive.go.

// Times of a dialogue about one object.
const (
	// askAfter is how long a session waits for a word on its streams after a call
	// was answered. The scheduler says nothing when a call changes nothing.
	askAfter = 500 * time.Millisecond
	// askAgain is how often it asks about an object that is being taken down, in
	// case that a word got lost.
	askAgain = 5 * time.Second
	// refusedAgain is how often it sends what the scheduler refuses: what was in the
	// way, such as another experiment with the same default, may have gone.
	refusedAgain = time.Minute
)

// wanted is what a custom resource wants.
type wanted struct {
	uid        types.UID
	generation int64
	definition digest
}

// held is what the scheduler has of an object.
type held struct {
	generation int64
	definition digest
	// trusted: it is of this incarnation. It was sent on this connection, or has the
	// definition that is wanted, or the object's status spoke of this generation when
	// it was listed. What else is listed may be of an earlier one, which counted its
	// generations from 1 as well.
	trusted bool
}

// item is what a session knows of one object.
type item struct {
	// uid of the incarnation that this is about. The wire has none.
	uid types.UID
	// generation that was handed over last.
	generation int64
	// handed: its controller has handed this incarnation over, so that it does not
	// go without us. The cache may show it earlier.
	handed bool
	// deleted: the object is being deleted, and its controller waits for our word.
	deleted bool
	// has is what the scheduler has, by its answers and listings on this connection;
	// nil is nothing.
	has *held

	// sending is the generation of a call to load it that is on its way, else 0.
	sending int64
	unload  unloading
	// ended: a word that the object is gone came before the answer to our call to
	// unload it, and can be about nothing else.
	ended bool
	// hint is a word that came before the answer to our call, and may speak of an
	// earlier incarnation: the session asks after the answer.
	hint bool
	// heard is when the last word came on a stream. It is newer than an answer to a
	// question that was asked before.
	heard time.Time
	// early is the last word from before it was known whether it is about this
	// incarnation.
	early *word
	// answered is when the scheduler last answered a call or a question.
	answered time.Time

	// state is the scheduler's last word about the incarnation; nil if there is none.
	state *State
	// busySince is when the scheduler began to work on it: with a new generation, or
	// when it last left a settled state. Zero if it is settled.
	busySince time.Time
	failure   *Failure
}

// unloading is how far the taking down of an object is.
type unloading int

const (
	loaded unloading = iota
	// asking: a call to unload it is on its way, or was.
	asking
	// underway: the scheduler has answered it.
	underway
	// unloaded: the scheduler has said that the object is gone.
	unloaded
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

// adopt makes the item one of the incarnation and generation given. A word about
// an earlier incarnation is none about this one, but the scheduler still has what
// it has.
// It tells whether that is another one than before.
func (i *item) adopt(uid types.UID, generation int64, now time.Time) (changed bool) {
	changed = i.uid != uid || i.generation != generation
	if i.uid != uid {
		before := *i
		*i = item{uid: uid}
		if before.unload < underway && before.has != nil {
			i.has = &held{generation: before.has.generation, definition: before.has.definition}
		}
	}
	if i.generation != generation {
		i.generation = generation
		i.failure = nil
		if i.busySince.IsZero() {
			i.busySince = now
		}
	}
	return changed
}

// action is what to do next about an object.
type action int

const (
	// nothing to do until something changes.
	nothing action = iota
	// send the object to the scheduler.
	send
	// takeDown asks the scheduler to unload it.
	takeDown
	// ask for its state.
	ask
)

// next decides about an object that is to be loaded. With nothing it may say to
// look again after a while.
func (i *item) next(want wanted, replaces bool, now time.Time) (action, time.Duration) {
	if i.failure != nil && i.failure.Terminal {
		if i.failure.Reason == ReasonInvalidSpec {
			return nothing, 0
		}
		if rest := refusedAgain - now.Sub(i.failure.at); rest > 0 {
			return nothing, rest
		}
	}
	switch {
	case i.unload == asking:
		// Another definition has to go first, or an unload was interrupted.
		return takeDown, 0
	case i.unload == underway:
		return i.await(askAgain, now)
	case i.upToDate(want):
		if i.state != nil && i.state.Generation == want.generation {
			return nothing, 0
		}
		return i.await(askAfter, now)
	case replaces && i.has != nil && i.has.generation == want.generation:
		return takeDown, 0
	default:
		return send, 0
	}
}

// nextDown decides about an object that is to be unloaded.
func (i *item) nextDown(now time.Time) (action, time.Duration) {
	switch {
	case i.unload == unloaded:
		return nothing, 0
	case i.unload != underway:
		return takeDown, 0
	case i.hint:
		return ask, 0
	default:
		return i.await(askAgain, now)
	}
}

// await asks once patience has passed since the last answer.
func (i *item) await(patience time.Duration, now time.Time) (action, time.Duration) {
	if rest := patience - now.Sub(i.answered); rest > 0 {
		return nothing, rest
	}
	return ask, 0
}

// upToDate tells whether the scheduler has what is wanted. Definitions decide and
// not generations alone, for an object that was made anew counts from 1 again.
// Where the scheduler tells no definition, or gives it back in other words, it has
// to be trusted.
func (i *item) upToDate(want wanted) bool {
	return i.has != nil && i.has.generation == want.generation &&
		(i.has.definition == want.definition || i.has.trusted)
}

// verify trusts what the scheduler has if it is what is wanted, and then takes in
// the word about it that came before. It tells whether that is news.
func (i *item) verify(want wanted, now time.Time) (news bool) {
	if i.has == nil || i.has.trusted || !i.upToDate(want) {
		return false
	}
	i.has.trusted = true
	early := i.early
	i.early = nil
	if early == nil || i.unload != loaded {
		return false
	}
	news, _, _ = i.hear(*early, true, now)
	return news
}

// hear takes in a word of the scheduler about the object, on a stream or, as an
// answer to a question, for certain. It tells whether the object's controller
// has something new to see, and whether the session has something to do.
func (i *item) hear(w word, certain bool, now time.Time) (news, work bool, dropped string) {
	if !certain {
		i.heard = now
	}
	if i.unload != loaded {
		return i.hearGoing(w, certain, now)
	}
	about := w.state.Generation == i.sending || i.has != nil && w.state.Generation == i.has.generation
	switch {
	case i.sending == 0 && (i.has == nil || !i.has.trusted):
		i.early = &w
		return false, false, ""
	case !about:
		return false, false, "generation"
	case w.phase == terminating || w.phase == gone:
		if i.sending != 0 {
			// Of what the call is about to replace.
			return false, false, "generation"
		}
		// Somebody took down what a custom resource wants.
		i.has, i.state = nil, nil
		return false, true, ""
	}
	return i.setState(w.state, now), false, ""
}

// hearGoing takes in a word about an object that is being unloaded.
func (i *item) hearGoing(w word, certain bool, now time.Time) (news, work bool, dropped string) {
	if w.phase != gone && w.phase != idle {
		if certain && w.phase == live && i.unload == underway {
			// It came back, or the call was forgotten.
			i.unload = asking
			return false, true, ""
		}
		// What another definition does that has to go first is nobody's status.
		return i.deleted && i.setState(w.state, now), false, ""
	}
	// Of a pipeline, earlier versions end as well, each with its own generation.
	about := i.has == nil || w.state.Generation >= i.has.generation
	switch {
	case certain || i.unload == underway && about:
		i.setGone()
		return true, true, ""
	case w.phase == gone && i.has != nil && w.state.Generation > i.has.generation && w.state.Generation == i.generation:
		// The deletion of a custom resource makes a generation, which a model gets
		// with the call.
		i.ended = true
		return false, false, ""
	default:
		i.hint = true
		return false, i.unload == underway, "early"
	}
}

// answerUnload says that the scheduler has answered the call to unload the object.
func (i *item) answerUnload(now time.Time) {
	i.unload, i.answered = underway, now
	if i.ended {
		i.setGone()
	}
}

// setGone says that the scheduler has the object no more.
func (i *item) setGone() {
	i.unload, i.has, i.state, i.hint, i.ended = unloaded, nil, nil, false, false
}

func (i *item) setState(state State, now time.Time) (news bool) {
	if state.Settled {
		i.busySince = time.Time{}
	} else if i.busySince.IsZero() {
		i.busySince = now
	}
	if i.failure != nil && i.failure.Generation == state.Generation {
		i.failure = nil
	} else if i.state.equal(&state) {
		return false
	}
	i.state = &state
	return true
}

// fail remembers an error, and tells whether it is news.
func (i *item) fail(failure Failure) bool {
	known := i.failure != nil && i.failure.Reason == failure.Reason && i.failure.Generation == failure.Generation
	i.failure = &failure
	return !known
}
