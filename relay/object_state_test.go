package relay

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

func report(phase phase, generation int64) word {
	return word{phase: phase, addressed: true, state: State{Generation: generation}}
}

// The events about an object, and how they change its state.
func TestHandleEvent(t *testing.T) {
	now := time.Now()
	verified, listed := remoteObject{2, aDefinition, true}, remoteObject{2, aDefinition, false}
	for _, test := range []struct {
		name       string
		object     objectState
		event      word
		news, work bool
		dropped    string
		check      func(objectState) bool
	}{
		{"its generation", objectState{remote: &verified}, report(live, 2), true, false, "",
			func(o objectState) bool { return o.state.Generation == 2 && !o.progressingSince.IsZero() }},
		{"the same again", objectState{remote: &verified, state: &State{Generation: 2}, polls: 3}, report(live, 2), false, false, "",
			func(o objectState) bool { return o.lastEventAt.Equal(now) && o.polls == 0 }},
		{"an older generation", objectState{remote: &verified}, report(live, 1), false, true, "generation",
			func(o objectState) bool { return o.state == nil && o.recheck }},
		{"a newer generation", objectState{remote: &verified}, report(live, 3), false, true, "generation",
			func(o objectState) bool { return o.state == nil && o.recheck }},
		{"an older version of a Pipeline ends", objectState{remote: &verified}, report(gone, 1), false, false, "generation",
			func(o objectState) bool { return !o.recheck }},
		{"before the answer to the call", objectState{sentGeneration: 2, inFlight: true}, report(live, 2), true, false, "",
			func(o objectState) bool { return o.state != nil }},
		{"of the object that the call replaces", objectState{sentGeneration: 2, inFlight: true}, report(gone, 2), false, false, "generation",
			func(o objectState) bool { return o.state == nil && !o.recheck }},
		{"of what may be an earlier incarnation", objectState{remote: &listed}, report(live, 2), false, false, "",
			func(o objectState) bool { return o.bufferedEvent != nil && o.state == nil }},
		{"of a load that was not answered", objectState{sentGeneration: 2}, report(live, 2), false, true, "",
			func(o objectState) bool { return o.bufferedEvent != nil && o.state == nil && o.recheck }},
		{"something ends that the scheduler does not have", objectState{}, report(gone, 2), false, false, "generation",
			func(o objectState) bool { return !o.recheck }},
		{"another client unloads it", objectState{remote: &verified, state: &State{Generation: 2}}, report(terminating, 2), false, true, "",
			func(o objectState) bool { return o.recheck }},
		{"an Experiment is inactive", objectState{remote: &verified}, report(idle, 2), true, false, "",
			func(o objectState) bool { return o.remote != nil }},
		{"ends a failure of its generation", objectState{remote: &verified, failure: &Failure{Generation: 2}}, report(live, 2), true, false, "",
			func(o objectState) bool { return o.failure == nil }},
		{"of what is loaded leaves the failure of what is not", objectState{remote: &remoteObject{1, aDefinition, true}, failure: &Failure{Generation: 2}}, report(live, 1), true, false, "",
			func(o objectState) bool { return o.failure != nil }},
		{"the same state after it had expired", objectState{remote: &verified, state: &State{Generation: 2}, progressingSince: now, stale: true}, report(live, 2), true, false, "",
			func(o objectState) bool { return !o.stale }},

		{"terminated, after the answer", objectState{unload: unloadAcknowledged, remote: &verified}, report(gone, 3), true, true, "",
			func(o objectState) bool { return o.unload == unloadConfirmed }},
		{"terminated, after the answer, and nothing known of what the scheduler has", objectState{unload: unloadAcknowledged}, report(gone, 3), false, true, "early",
			func(o objectState) bool { return o.unload == unloadAcknowledged && o.recheck }},
		{"terminated, before the answer, with the generation of the deletion", objectState{unload: unloadRequested, generation: 3, remote: &verified}, report(gone, 3), false, false, "",
			func(o objectState) bool { o.acknowledgeUnload(now); return o.unload == unloadConfirmed }},
		{"terminated, before the answer, perhaps an earlier incarnation", objectState{unload: unloadRequested, generation: 3, remote: &verified}, report(gone, 2), false, false, "early",
			func(o objectState) bool {
				o.acknowledgeUnload(now)
				return o.unload == unloadAcknowledged && o.recheck
			}},
		{"inactive, before the answer", objectState{unload: unloadRequested, generation: 3, remote: &verified}, report(idle, 2), false, false, "early",
			func(o objectState) bool { return o.unload == unloadRequested }},
		{"an older version is terminated", objectState{unload: unloadAcknowledged, remote: &verified}, report(gone, 1), false, true, "early",
			func(o objectState) bool { return o.unload == unloadAcknowledged }},
		{"inactive, after the answer", objectState{unload: unloadAcknowledged, remote: &verified}, report(idle, 2), true, true, "",
			func(o objectState) bool { return o.unload == unloadConfirmed }},
		{"terminating is no news", objectState{deleting: true, unload: unloadAcknowledged, remote: &verified, polls: 3}, report(terminating, 2), false, false, "",
			func(o objectState) bool {
				return o.unload == unloadAcknowledged && o.lastEventAt.Equal(now) && o.polls == 0
			}},
		{"its termination fails", objectState{deleting: true, unload: unloadAcknowledged, remote: &verified},
			word{phase: terminating, state: State{Generation: 2, Stable: true}}, true, false, "",
			func(o objectState) bool { return o.unload == unloadAcknowledged && o.state != nil }},
		{"another definition is terminating", objectState{unload: unloadAcknowledged, remote: &listed}, report(terminating, 2), false, false, "",
			func(o objectState) bool { return o.state == nil }},
		{"active, which may be late", objectState{deleting: true, unload: unloadAcknowledged, remote: &verified}, report(live, 2), false, false, "early",
			func(o objectState) bool { return o.unload == unloadAcknowledged }},
		{"active, after it was confirmed", objectState{deleting: true, unload: unloadConfirmed}, report(live, 2), false, true, "",
			func(o objectState) bool { return o.unload == unloadRequested }},
	} {
		object := test.object
		news, work, dropped := object.handleEvent(test.event, now)
		if news != test.news || work != test.work || dropped != test.dropped {
			t.Errorf("%s: news %t, work %t, dropped %q; want %t, %t, %q", test.name, news, work, dropped, test.news, test.work, test.dropped)
		}
		if !test.check(object) {
			t.Errorf("%s: %+v", test.name, object)
		}
	}
}

// What the scheduler reports for certain while an object is being unloaded: an
// Experiment that is inactive is unloaded only if its stop was acknowledged on this
// connection.
func TestHandleReplyWhileUnloading(t *testing.T) {
	for phase, want := range map[phase][3]unloadPhase{
		live:        {unloadRequested, unloadRequested, unloadRequested},
		idle:        {unloadRequested, unloadConfirmed, unloadConfirmed},
		terminating: {unloadRequested, unloadAcknowledged, unloadConfirmed},
		gone:        {unloadConfirmed, unloadConfirmed, unloadConfirmed},
	} {
		for i, before := range []unloadPhase{unloadRequested, unloadAcknowledged, unloadConfirmed} {
			object := objectState{deleting: true, unload: before, recheck: true}
			news, work := object.handleReply(report(phase, 1), true, time.Now())
			if object.unload != want[i] || object.recheck {
				t.Errorf("phase %d in unload phase %d: %+v", phase, before, object)
			}
			if changed := object.unload != before; work != changed || news != (changed && object.unload == unloadConfirmed) {
				t.Errorf("phase %d in unload phase %d: news %t, work %t", phase, before, news, work)
			}
		}
	}
}

// Only a complete listing confirms that an object does not exist, and only after its
// unload was acknowledged.
func TestHandleAbsence(t *testing.T) {
	for _, complete := range []bool{false, true} {
		for _, before := range []unloadPhase{unloadNotRequested, unloadRequested, unloadAcknowledged, unloadConfirmed} {
			object := objectState{unload: before, remote: &remoteObject{1, aDefinition, true}, state: &State{}}
			news, work := object.handleAbsence(complete)
			confirmed := complete && before == unloadAcknowledged
			if (object.unload == unloadConfirmed) != (confirmed || before == unloadConfirmed) || news != confirmed || work != (confirmed || before == unloadNotRequested) {
				t.Errorf("unload phase %d, complete %t: news %t, work %t, %+v", before, complete, news, work, object)
			}
			if before == unloadNotRequested && (object.remote != nil || object.state != nil) {
				t.Errorf("complete %t: it is kept: %+v", complete, object)
			}
		}
	}
}

// What the scheduler reports to have of an object that is desired.
func TestHandleReply(t *testing.T) {
	now := time.Now()
	defined := func(w word, definition digest) word {
		w.definition = definition
		return w
	}
	early := report(live, 2)
	early.state.Stable = true
	for _, test := range []struct {
		name       string
		object     objectState
		reply      word
		trusted    bool
		news, work bool
		check      func(objectState) bool
	}{
		{"of the first listing", objectState{generation: 2}, defined(report(live, 2), aDefinition), false, false, true,
			func(o objectState) bool {
				return *o.remote == remoteObject{2, aDefinition, false} && o.state == nil && o.bufferedEvent != nil
			}},
		{"that the status has reported before", objectState{generation: 2}, report(live, 2), true, true, false,
			func(o objectState) bool { return o.remote.verified && o.state != nil }},
		{"of an older generation than the status has reported", objectState{generation: 2}, report(live, 1), true, false, true,
			func(o objectState) bool { return !o.remote.verified }},
		{"what was sent, in another form", objectState{generation: 2, remote: &remoteObject{2, aDefinition, true}}, defined(report(live, 2), anotherDefinition), false, true, false,
			func(o objectState) bool { return o.remote.verified }},
		{"a load that was not answered has been carried out", objectState{generation: 2, sentGeneration: 2, recheck: true, remote: &remoteObject{1, aDefinition, true}}, report(live, 2), false, true, false,
			func(o objectState) bool { return o.remote.verified && o.state.Generation == 2 && !o.recheck }},
		{"a load that was not answered may be another's, by its definition", objectState{generation: 2, sentGeneration: 2, recheck: true}, defined(report(live, 2), anotherDefinition), false, false, true,
			func(o objectState) bool { return !o.remote.verified && !o.recheck }},
		{"a load that was not answered may be of an earlier incarnation", objectState{generation: 2, sentGeneration: 2, recheck: true, remote: &remoteObject{2, aDefinition, false}}, report(live, 2), false, false, true,
			func(o objectState) bool { return !o.remote.verified }},
		{"an earlier load was carried out late", objectState{generation: 2, sentGeneration: 2, recheck: true, remote: &remoteObject{2, aDefinition, true}, state: &State{Generation: 2}}, report(live, 1), false, false, true,
			func(o objectState) bool { return o.remote.generation == 1 && !o.remote.verified && o.state == nil }},
		{"another client unloaded it", objectState{generation: 2, recheck: true, remote: &remoteObject{2, aDefinition, true}, state: &State{Generation: 2}}, report(terminating, 2), false, false, true,
			func(o objectState) bool { return o.remote == nil && o.state == nil && !o.recheck }},
		{"an event came before", objectState{generation: 2, bufferedEvent: &early}, report(live, 2), true, true, false,
			func(o objectState) bool { return o.state.Stable && o.bufferedEvent == nil }},
	} {
		object := test.object
		news, work := object.handleReply(test.reply, test.trusted, now)
		if news != test.news || work != test.work || !test.check(object) {
			t.Errorf("%s: news %t, work %t: %+v", test.name, news, work, object)
		}
	}
}

func TestSetIncarnation(t *testing.T) {
	now := time.Now()
	remote := &remoteObject{1, aDefinition, true}
	for _, test := range []struct {
		name   string
		object objectState
		uid    types.UID
		check  func(objectState) bool
	}{
		{"another incarnation keeps only what the scheduler has, which may be the earlier one", objectState{uid: "a", generation: 1, remote: remote, state: &State{}, failure: &Failure{}, sentGeneration: 1}, "b",
			func(o objectState) bool {
				return *o.remote == remoteObject{1, aDefinition, false} && o.state == nil && o.failure == nil && o.sentGeneration == 0
			}},
		{"of one that was unloaded, nothing", objectState{uid: "a", remote: remote, unload: unloadAcknowledged}, "b",
			func(o objectState) bool { return o.remote == nil && o.unload == unloadNotRequested }},
		{"another generation tries again what was rejected", objectState{uid: "a", generation: 1, failure: &Failure{Terminal: true}, accepted: 3, polls: 3}, "a",
			func(o objectState) bool {
				return o.failure == nil && o.progressingSince.Equal(now) && o.accepted == 0 && o.polls == 0
			}},
		{"the same generation changes nothing", objectState{uid: "a", generation: 2, failure: &Failure{Terminal: true}}, "a",
			func(o objectState) bool { return o.failure != nil && o.progressingSince.IsZero() }},
	} {
		object := test.object
		if changed := object.setIncarnation(test.uid, 2, now); changed != (test.object.uid != test.uid || test.object.generation != 2) {
			t.Errorf("%s: changed %t", test.name, changed)
		}
		if !test.check(object) {
			t.Errorf("%s: %+v", test.name, object)
		}
	}
}

// What a new connection relies on, and which objects have their turn at once.
func TestReconnected(t *testing.T) {
	for _, test := range []struct {
		deleting bool
		unload   unloadPhase
		want     unloadPhase
		work     bool
	}{
		{false, unloadNotRequested, unloadNotRequested, false},
		{false, unloadRequested, unloadNotRequested, false},
		{false, unloadAcknowledged, unloadNotRequested, false},
		{true, unloadNotRequested, unloadNotRequested, true},
		{true, unloadRequested, unloadRequested, true},
		{true, unloadAcknowledged, unloadRequested, true},
		{true, unloadConfirmed, unloadConfirmed, false},
	} {
		object := objectState{
			deleting: test.deleting, unload: test.unload, remote: &remoteObject{}, bufferedEvent: &word{}, sentGeneration: 2, inFlight: true,
			recheck: true, terminatedEarly: true, state: &State{}, failure: &Failure{},
		}
		work := object.reconnected()
		if work != test.work || object.unload != test.want {
			t.Errorf("%+v: work %t, unload phase %d", test, work, object.unload)
		}
		if object.remote != nil || object.bufferedEvent != nil || object.sentGeneration != 0 || object.inFlight || object.recheck || object.terminatedEarly {
			t.Errorf("%+v: it relies on what it knew before: %+v", test, object)
		}
		if object.state == nil || object.failure == nil {
			t.Errorf("%+v: what the status shows is lost: %+v", test, object)
		}
	}
}

// The answer to an unload that a listing has confirmed meanwhile changes nothing.
func TestAcknowledgeConfirmedUnload(t *testing.T) {
	object := objectState{deleting: true, unload: unloadConfirmed}
	if object.acknowledgeUnload(time.Now()); object.unload != unloadConfirmed {
		t.Errorf("%+v", object)
	}
}

func TestVerify(t *testing.T) {
	now := time.Now()
	want := desired{generation: 2, definition: aDefinition}
	early := report(live, 2)
	object := objectState{remote: &remoteObject{2, anotherDefinition, false}, bufferedEvent: &early}
	if object.verify(want, now) || object.remote.verified || object.state != nil {
		t.Errorf("another definition is verified: %+v", object)
	}
	object.remote.definition = aDefinition
	if !object.verify(want, now) || !object.remote.verified || object.state == nil {
		t.Errorf("the desired definition is not verified, or its event is lost: %+v", object)
	}
}

// A failure is news once per reason and generation, and when nothing was known before.
func TestFailIsNewsOnce(t *testing.T) {
	object := objectState{}
	failure := Failure{Generation: 1, Reason: ReasonRejected}
	if !object.fail(failure) || object.fail(failure) {
		t.Error("it is not news exactly once")
	}
	object.expire()
	if !object.fail(failure) || object.stale {
		t.Errorf("it is no news after the state had expired: %+v", object)
	}
	failure.Generation = 2
	if !object.fail(failure) || object.failure.attempts != 1 {
		t.Errorf("that of another generation is no news: %+v", object)
	}
}

// The answer to a load that was sent before may come after the last event about it.
func TestAcceptRepeatedLoad(t *testing.T) {
	now := time.Now()
	want := desired{generation: 2, definition: aDefinition}
	object := objectState{registered: true, generation: 2, remote: &remoteObject{generation: 1}, state: &State{Generation: 2}}
	object.handleEvent(report(live, 2), now)
	object.startLoad(2)
	object.acceptLoad(want, now)
	if next, _ := object.decide(want, false, now.Add(time.Hour)); next != actionPollStatus {
		t.Errorf("%+v", object)
	}
}
