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
	want := desiredObject{generation: 2, definition: aDefinition}
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
		{"another definition, verified", objectState{remote: &remoteObject{2, anotherDefinition, true}, observed: observedState{state: state}}, true, actionNone, 0},
		{"up to date", objectState{remote: verified, observed: observedState{state: state}}, true, actionNone, 0},
		{"no event yet", objectState{remote: verified, polling: pollingState{lastReplyAt: now.Add(-100 * time.Millisecond)}}, true, actionNone, statusPollDelay - 100*time.Millisecond},
		{"no event for too long", objectState{remote: verified, observed: observedState{state: &State{Generation: 1}}, polling: pollingState{lastReplyAt: now.Add(-statusPollDelay)}}, true, actionPollStatus, 0},
		{"polled three times", objectState{remote: verified, polling: pollingState{count: 3, lastReplyAt: now}}, true, actionNone, 8 * statusPollDelay},
		{"polled very often", objectState{remote: verified, polling: pollingState{count: 99, lastReplyAt: now}}, true, actionNone, pollBackoff.limit},
		{"the last poll failed", objectState{remote: verified, polling: pollingState{count: 3, lastReplyAt: now.Add(-time.Hour), lastFailureAt: now}}, true, actionNone, 8 * statusPollDelay},
		{"an event since the last poll", objectState{remote: verified, polling: pollingState{lastReplyAt: now.Add(-time.Hour), lastEventAt: now}}, true, actionNone, statusPollDelay},
		{"to be checked again", objectState{remote: verified, observed: observedState{state: state}, polling: pollingState{required: true}}, true, actionPollStatus, 0},
		{"to be checked again, just after a reply", objectState{remote: verified, observed: observedState{state: state}, polling: pollingState{required: true, lastReplyAt: now}}, true, actionNone, statusPollDelay},
		{"not known whether a load was carried out", objectState{polling: pollingState{required: true}}, true, actionPollStatus, 0},
		{"accepted before and not there", objectState{load: loadState{accepted: 1, acceptedAt: now}}, true, actionNone, statusPollDelay},
		{"accepted often and not there", objectState{load: loadState{accepted: 99, acceptedAt: now}}, true, actionNone, loadBackoff.limit},
		{"accepted a while ago and not there", objectState{load: loadState{accepted: 99, acceptedAt: now.Add(-loadBackoff.limit)}}, true, actionLoad, 0},
		{"rejected", objectState{observed: observedState{failure: &Failure{Terminal: true, retryAt: now.Add(time.Minute)}}}, true, actionNone, time.Minute},
		{"rejected a while ago", objectState{observed: observedState{failure: &Failure{Terminal: true, retryAt: now}}}, true, actionLoad, 0},
		{"invalid", objectState{observed: observedState{failure: &Failure{Terminal: true, Reason: ReasonInvalidSpec}}}, true, actionNone, 0},
		{"a call failed", objectState{observed: observedState{failure: &Failure{}}}, true, actionLoad, 0},
		{"another definition is being unloaded", objectState{unload: unloadState{phase: unloadAcknowledged}, polling: pollingState{lastReplyAt: now}}, true, actionNone, statusPollInterval},
		{"the unload of another definition failed", objectState{unload: unloadState{phase: unloadRequested}}, true, actionUnload, 0},
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
		{"its load was rejected", objectState{observed: observedState{failure: &Failure{retryAt: now.Add(time.Minute)}}}, actionUnload, 0},
		{"requested, without a response", objectState{unload: unloadState{phase: unloadRequested}}, actionUnload, 0},
		{"requested, not permitted", objectState{unload: unloadState{phase: unloadRequested}, observed: observedState{failure: &Failure{retryAt: now.Add(time.Minute)}}}, actionNone, time.Minute},
		{"acknowledged", objectState{unload: unloadState{phase: unloadAcknowledged}, polling: pollingState{lastReplyAt: now}}, actionNone, statusPollInterval},
		{"acknowledged, after an early event", objectState{unload: unloadState{phase: unloadAcknowledged}, polling: pollingState{lastReplyAt: now, required: true}}, actionPollStatus, 0},
		{"acknowledged long ago", objectState{unload: unloadState{phase: unloadAcknowledged}, polling: pollingState{lastReplyAt: now.Add(-statusPollInterval)}}, actionPollStatus, 0},
		{"acknowledged long ago, with an event since", objectState{unload: unloadState{phase: unloadAcknowledged}, polling: pollingState{lastReplyAt: now.Add(-time.Hour), lastEventAt: now}}, actionNone, statusPollInterval},
		{"polled very often", objectState{unload: unloadState{phase: unloadAcknowledged}, polling: pollingState{count: 99, lastReplyAt: now}}, actionNone, pollBackoff.limit},
		{"confirmed", objectState{unload: unloadState{phase: unloadConfirmed}}, actionNone, 0},
	} {
		if action, again := test.object.decideDeletion(now); action != test.action || again != test.again {
			t.Errorf("%s: action %d after %s, want %d after %s", test.name, action, again, test.action, test.again)
		}
	}
}

// A failed call is repeated after a delay that doubles up to a limit, and immediately on a
// new connection.
func TestRetryAfterFailure(t *testing.T) {
	now := time.Now()
	object := objectState{}
	for attempt, minutes := range []int{1, 2, 4, 8, 10, 10} {
		want := time.Duration(minutes) * time.Minute
		if _, got := object.fail(Failure{Reason: ReasonRejected}, rejectedBackoff, now); got != want || !object.retryTime().Equal(now.Add(got)) {
			t.Errorf("attempt %d: after %s, want %s", attempt, got, want)
		}
	}
	object.reconnected()
	if !object.retryTime().IsZero() {
		t.Error("it waits on a new connection")
	}
	if _, got := object.fail(Failure{Reason: ReasonRejected}, rejectedBackoff, now); got != time.Minute {
		t.Errorf("on a new connection: after %s", got)
	}
}
