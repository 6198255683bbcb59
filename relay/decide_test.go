package relay

import (
	"testing"
	"time"
)

var (
	aDefinition       = digest{1}
	anotherDefinition = digest{2}
)

func TestDecide(t *testing.T) {
	now := time.Now()
	state := &State{Generation: 2}
	want := desired{generation: 2, definition: aDefinition}
	verified := &remoteObject{2, aDefinition, true}
	for _, test := range []struct {
		name     string
		object   objectState
		replaces bool
		action   action
		again    time.Duration
	}{
		{"nothing known", objectState{}, false, actionLoad, 0},
		{"an older generation", objectState{remote: &remoteObject{1, aDefinition, true}}, true, actionLoad, 0},
		{"another definition of a Model", objectState{remote: &remoteObject{2, anotherDefinition, false}}, false, actionLoad, 0},
		{"another definition of a Pipeline", objectState{remote: &remoteObject{2, anotherDefinition, false}}, true, actionUnload, 0},
		{"another definition, verified", objectState{remote: &remoteObject{2, anotherDefinition, true}, state: state}, true, actionNone, 0},
		{"up to date", objectState{remote: verified, state: state}, true, actionNone, 0},
		{"no event yet", objectState{remote: verified, lastReplyAt: now.Add(-100 * time.Millisecond)}, true, actionNone, statusPollDelay - 100*time.Millisecond},
		{"no event for too long", objectState{remote: verified, state: &State{Generation: 1}, lastReplyAt: now.Add(-statusPollDelay)}, true, actionPollStatus, 0},
		{"polled three times", objectState{remote: verified, polls: 3, lastReplyAt: now}, true, actionNone, 8 * statusPollDelay},
		{"polled very often", objectState{remote: verified, polls: 99, lastReplyAt: now}, true, actionNone, backoffLimit},
		{"an event since the last poll", objectState{remote: verified, lastReplyAt: now.Add(-time.Hour), lastEventAt: now}, true, actionNone, statusPollDelay},
		{"to be checked again", objectState{remote: verified, state: state, recheck: true}, true, actionPollStatus, 0},
		{"to be checked again, just after a reply", objectState{remote: verified, state: state, recheck: true, lastReplyAt: now}, true, actionNone, statusPollDelay},
		{"not known whether a load was carried out", objectState{recheck: true}, true, actionPollStatus, 0},
		{"accepted before and not there", objectState{accepted: 1, acceptedAt: now}, true, actionNone, statusPollDelay},
		{"accepted often and not there", objectState{accepted: 99, acceptedAt: now}, true, actionNone, backoffLimit},
		{"accepted a while ago and not there", objectState{accepted: 99, acceptedAt: now.Add(-backoffLimit)}, true, actionLoad, 0},
		{"rejected", objectState{failure: &Failure{Terminal: true, retryAt: now.Add(time.Minute)}}, true, actionNone, time.Minute},
		{"rejected a while ago", objectState{failure: &Failure{Terminal: true, retryAt: now}}, true, actionLoad, 0},
		{"invalid", objectState{failure: &Failure{Terminal: true, Reason: ReasonInvalidSpec}}, true, actionNone, 0},
		{"a call failed", objectState{failure: &Failure{}}, true, actionLoad, 0},
		{"another definition is being unloaded", objectState{unload: unloadAcknowledged, lastReplyAt: now}, true, actionNone, statusPollInterval},
		{"the unload of another definition failed", objectState{unload: unloadRequested}, true, actionUnload, 0},
	} {
		if action, again := test.object.decide(want, test.replaces, now); action != test.action || again != test.again {
			t.Errorf("%s: action %d after %s, want %d after %s", test.name, action, again, test.action, test.again)
		}
	}
}

func TestDecideDeletion(t *testing.T) {
	now := time.Now()
	for _, test := range []struct {
		name   string
		object objectState
		action action
		again  time.Duration
	}{
		{"not requested", objectState{remote: &remoteObject{1, aDefinition, true}}, actionUnload, 0},
		{"not in the scheduler", objectState{}, actionUnload, 0},
		{"its load was rejected", objectState{failure: &Failure{retryAt: now.Add(time.Minute)}}, actionUnload, 0},
		{"requested, not answered", objectState{unload: unloadRequested}, actionUnload, 0},
		{"requested, not permitted", objectState{unload: unloadRequested, failure: &Failure{retryAt: now.Add(time.Minute)}}, actionNone, time.Minute},
		{"acknowledged", objectState{unload: unloadAcknowledged, lastReplyAt: now}, actionNone, statusPollInterval},
		{"acknowledged, after an early event", objectState{unload: unloadAcknowledged, lastReplyAt: now, recheck: true}, actionPollStatus, 0},
		{"acknowledged long ago", objectState{unload: unloadAcknowledged, lastReplyAt: now.Add(-statusPollInterval)}, actionPollStatus, 0},
		{"acknowledged long ago, with an event since", objectState{unload: unloadAcknowledged, lastReplyAt: now.Add(-time.Hour), lastEventAt: now}, actionNone, statusPollInterval},
		{"polled very often", objectState{unload: unloadAcknowledged, polls: 99, lastReplyAt: now}, actionNone, backoffLimit},
		{"confirmed", objectState{unload: unloadConfirmed}, actionNone, 0},
	} {
		if action, again := test.object.decideDeletion(now); action != test.action || again != test.again {
			t.Errorf("%s: action %d after %s, want %d after %s", test.name, action, again, test.action, test.again)
		}
	}
}

// What failed is tried again after a time that doubles up to a limit, and at once on a
// new connection.
func TestRetryLater(t *testing.T) {
	now := time.Now()
	object := objectState{}
	for attempt, minutes := range []int{1, 2, 4, 8, 10, 10} {
		want := time.Duration(minutes) * time.Minute
		object.fail(Failure{Reason: ReasonRejected})
		if got := object.retryLater(time.Minute, now); got != want || !object.retryTime().Equal(now.Add(got)) {
			t.Errorf("attempt %d: after %s, want %s", attempt, got, want)
		}
	}
	object.reconnected()
	if !object.retryTime().IsZero() {
		t.Error("it waits on a new connection")
	}
	object.fail(Failure{Reason: ReasonRejected})
	if got := object.retryLater(time.Minute, now); got != time.Minute {
		t.Errorf("on a new connection: after %s", got)
	}
}
