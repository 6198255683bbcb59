package relay

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

func report(phase phase, generation int64) statusEvent {
	return statusEvent{phase: phase, hasOrigin: true, state: State{Generation: generation}}
}

// Events about an object, and how they change its state.
func TestHandleEvent(t *testing.T) {
	now := time.Now()
	verified, listed := remoteObject{2, aDefinition, true}, remoteObject{2, aDefinition, false}
	for _, test := range []struct {
		name                string
		object              objectState
		event               statusEvent
		observed, reconcile bool
		dropped             string
		check               func(objectState) bool
	}{
		{"of its generation", objectState{remote: &verified}, report(phaseActive, 2), true, false, "",
			func(o objectState) bool {
				return o.observed.state.Generation == 2 && !o.observed.progressingSince.IsZero()
			}},
		{"of its generation, unchanged", objectState{remote: &verified, observed: observedState{state: &State{Generation: 2}}, polling: pollingState{count: 3}}, report(phaseActive, 2), false, false, "",
			func(o objectState) bool { return o.polling.lastEventAt.Equal(now) && o.polling.count == 0 }},
		{"of an older generation", objectState{remote: &verified}, report(phaseActive, 1), false, true, "generation",
			func(o objectState) bool { return o.observed.state == nil && o.polling.required }},
		{"of a newer generation", objectState{remote: &verified}, report(phaseActive, 3), false, true, "generation",
			func(o objectState) bool { return o.observed.state == nil && o.polling.required }},
		{"an older version of a Pipeline is terminated", objectState{remote: &verified}, report(phaseTerminated, 1), false, false, "generation",
			func(o objectState) bool { return !o.polling.required }},
		{"of a load in flight", objectState{load: loadState{generation: 2, inFlight: true}}, report(phaseActive, 2), true, false, "",
			func(o objectState) bool { return o.observed.state != nil }},
		{"of the object that the call replaces", objectState{load: loadState{generation: 2, inFlight: true}}, report(phaseTerminated, 2), false, false, "generation",
			func(o objectState) bool { return o.observed.state == nil && !o.polling.required }},
		{"of what may be an earlier incarnation", objectState{remote: &listed}, report(phaseActive, 2), false, false, "",
			func(o objectState) bool { return o.bufferedEvent != nil && o.observed.state == nil }},
		{"of a load without a response", objectState{load: loadState{generation: 2}}, report(phaseActive, 2), false, true, "",
			func(o objectState) bool {
				return o.bufferedEvent != nil && o.observed.state == nil && o.polling.required
			}},
		{"terminated, and not known in the scheduler", objectState{}, report(phaseTerminated, 2), false, false, "generation",
			func(o objectState) bool { return !o.polling.required }},
		{"another client unloads it", objectState{remote: &verified, observed: observedState{state: &State{Generation: 2}}}, report(phaseTerminating, 2), false, true, "",
			func(o objectState) bool { return o.polling.required }},
		{"an Experiment is inactive", objectState{remote: &verified}, report(phaseInactive, 2), true, false, "",
			func(o objectState) bool { return o.remote != nil }},
		{"of its generation, after a failure", objectState{remote: &verified, observed: observedState{failure: &Failure{Generation: 2}}}, report(phaseActive, 2), true, false, "",
			func(o objectState) bool { return o.observed.failure == nil }},
		{"of the loaded generation, after a failure of a newer one", objectState{remote: &remoteObject{1, aDefinition, true}, observed: observedState{failure: &Failure{Generation: 2}}}, report(phaseActive, 1), true, false, "",
			func(o objectState) bool { return o.observed.failure != nil }},
		{"the same state after it had expired", objectState{remote: &verified, observed: observedState{state: &State{Generation: 2}, progressingSince: now, stale: true}}, report(phaseActive, 2), true, false, "",
			func(o objectState) bool { return !o.observed.stale }},

		{"terminated, after the acknowledgement", objectState{unload: unloadState{phase: unloadAcknowledged}, remote: &verified}, report(phaseTerminated, 3), true, true, "",
			func(o objectState) bool { return o.unload.phase == unloadConfirmed }},
		{"terminated, after the acknowledgement, and not known in the scheduler", objectState{unload: unloadState{phase: unloadAcknowledged}}, report(phaseTerminated, 3), false, true, "early",
			func(o objectState) bool { return o.unload.phase == unloadAcknowledged && o.polling.required }},
		{"terminated, before the acknowledgement, with the generation of the deletion", objectState{unload: unloadState{phase: unloadRequested}, generation: 3, remote: &verified}, report(phaseTerminated, 3), false, false, "",
			func(o objectState) bool { o.acknowledgeUnload(now); return o.unload.phase == unloadConfirmed }},
		{"terminated, before the acknowledgement, maybe of an earlier incarnation", objectState{unload: unloadState{phase: unloadRequested}, generation: 3, remote: &verified}, report(phaseTerminated, 2), false, false, "early",
			func(o objectState) bool {
				o.acknowledgeUnload(now)
				return o.unload.phase == unloadAcknowledged && o.polling.required
			}},
		{"inactive, before the acknowledgement", objectState{unload: unloadState{phase: unloadRequested}, generation: 3, remote: &verified}, report(phaseInactive, 2), false, false, "early",
			func(o objectState) bool { return o.unload.phase == unloadRequested }},
		{"an older version is terminated", objectState{unload: unloadState{phase: unloadAcknowledged}, remote: &verified}, report(phaseTerminated, 1), false, true, "early",
			func(o objectState) bool { return o.unload.phase == unloadAcknowledged }},
		{"inactive, after the acknowledgement", objectState{unload: unloadState{phase: unloadAcknowledged}, remote: &verified}, report(phaseInactive, 2), true, true, "",
			func(o objectState) bool { return o.unload.phase == unloadConfirmed }},
		{"terminating does not change the observation", objectState{deleting: true, unload: unloadState{phase: unloadAcknowledged}, remote: &verified, polling: pollingState{count: 3}}, report(phaseTerminating, 2), false, false, "",
			func(o objectState) bool {
				return o.unload.phase == unloadAcknowledged && o.polling.lastEventAt.Equal(now) && o.polling.count == 0
			}},
		{"its termination fails", objectState{deleting: true, unload: unloadState{phase: unloadAcknowledged}, remote: &verified},
			statusEvent{phase: phaseTerminating, state: State{Generation: 2, Stable: true}}, true, false, "",
			func(o objectState) bool { return o.unload.phase == unloadAcknowledged && o.observed.state != nil }},
		{"another definition is terminating", objectState{unload: unloadState{phase: unloadAcknowledged}, remote: &listed}, report(phaseTerminating, 2), false, false, "",
			func(o objectState) bool { return o.observed.state == nil }},
		{"active, which may be late", objectState{deleting: true, unload: unloadState{phase: unloadAcknowledged}, remote: &verified}, report(phaseActive, 2), false, false, "early",
			func(o objectState) bool { return o.unload.phase == unloadAcknowledged }},
		{"active, after it was confirmed", objectState{deleting: true, unload: unloadState{phase: unloadConfirmed}}, report(phaseActive, 2), false, true, "",
			func(o objectState) bool { return o.unload.phase == unloadRequested }},
	} {
		object := test.object
		if got, want := object.handleEvent(test.event, now), (eventResult{test.observed, test.reconcile, test.dropped}); got != want {
			t.Errorf("%s: %+v, want %+v", test.name, got, want)
		}
		if !test.check(object) {
			t.Errorf("%s: %+v", test.name, object)
		}
	}
}

// Replies while an object is being unloaded: an
// Experiment that is inactive is unloaded only if its stop was acknowledged on this
// connection.
func TestHandleReplyWhileUnloading(t *testing.T) {
	for phase, want := range map[phase][3]unloadPhase{
		phaseActive:      {unloadRequested, unloadRequested, unloadRequested},
		phaseInactive:    {unloadRequested, unloadConfirmed, unloadConfirmed},
		phaseTerminating: {unloadRequested, unloadAcknowledged, unloadConfirmed},
		phaseTerminated:  {unloadConfirmed, unloadConfirmed, unloadConfirmed},
	} {
		for i, before := range []unloadPhase{unloadRequested, unloadAcknowledged, unloadConfirmed} {
			object := objectState{deleting: true, unload: unloadState{phase: before}, polling: pollingState{required: true}}
			result := object.handleReply(report(phase, 1), true, time.Now())
			if object.unload.phase != want[i] || object.polling.required {
				t.Errorf("phase %d in unload phase %d: %+v", phase, before, object)
			}
			if changed := object.unload.phase != before; result.reconcile != changed || result.observed != (changed && object.unload.phase == unloadConfirmed) {
				t.Errorf("phase %d in unload phase %d: %+v", phase, before, result)
			}
		}
	}
}

// Only a complete listing confirms that an object does not exist, and only after its
// unload was acknowledged.
func TestHandleAbsence(t *testing.T) {
	for _, complete := range []bool{false, true} {
		for _, before := range []unloadPhase{unloadNotRequested, unloadRequested, unloadAcknowledged, unloadConfirmed} {
			object := objectState{unload: unloadState{phase: before}, remote: &remoteObject{1, aDefinition, true}, observed: observedState{state: &State{}}}
			result := object.handleAbsence(complete, time.Now())
			confirmed := complete && before == unloadAcknowledged
			if (object.unload.phase == unloadConfirmed) != (confirmed || before == unloadConfirmed) || result.observed != confirmed || result.reconcile != (confirmed || before == unloadNotRequested) {
				t.Errorf("unload phase %d, complete %t: %+v, %+v", before, complete, result, object)
			}
			if before == unloadNotRequested && (object.remote != nil || object.observed.state != nil) {
				t.Errorf("complete %t: it is kept: %+v", complete, object)
			}
		}
	}
}

// Replies about an object to be loaded.
func TestHandleReply(t *testing.T) {
	now := time.Now()
	defined := func(w statusEvent, definition digest) statusEvent {
		w.definition = definition
		return w
	}
	early := report(phaseActive, 2)
	early.state.Stable = true
	for _, test := range []struct {
		name                string
		object              objectState
		reply               statusEvent
		trusted             bool
		observed, reconcile bool
		check               func(objectState) bool
	}{
		{"of the first listing", objectState{generation: 2}, defined(report(phaseActive, 2), aDefinition), false, false, true,
			func(o objectState) bool {
				return *o.remote == remoteObject{2, aDefinition, false} && o.observed.state == nil && o.bufferedEvent != nil
			}},
		{"that the status has reported before", objectState{generation: 2}, report(phaseActive, 2), true, true, false,
			func(o objectState) bool { return o.remote.verified && o.observed.state != nil }},
		{"of an older generation than the status has reported", objectState{generation: 2}, report(phaseActive, 1), true, false, true,
			func(o objectState) bool { return !o.remote.verified }},
		{"what was sent, in another form", objectState{generation: 2, remote: &remoteObject{2, aDefinition, true}}, defined(report(phaseActive, 2), anotherDefinition), false, true, false,
			func(o objectState) bool { return o.remote.verified }},
		{"a load without a response was carried out", objectState{generation: 2, load: loadState{generation: 2}, polling: pollingState{required: true}, remote: &remoteObject{1, aDefinition, true}}, report(phaseActive, 2), false, true, false,
			func(o objectState) bool {
				return o.remote.verified && o.observed.state.Generation == 2 && !o.polling.required
			}},
		{"of the generation of a load without a response, with another definition", objectState{generation: 2, load: loadState{generation: 2}, polling: pollingState{required: true}}, defined(report(phaseActive, 2), anotherDefinition), false, false, true,
			func(o objectState) bool { return !o.remote.verified && !o.polling.required }},
		{"of the generation of a load without a response, maybe of an earlier incarnation", objectState{generation: 2, load: loadState{generation: 2}, polling: pollingState{required: true}, remote: &remoteObject{2, aDefinition, false}}, report(phaseActive, 2), false, false, true,
			func(o objectState) bool { return !o.remote.verified }},
		{"an earlier load was carried out late", objectState{generation: 2, load: loadState{generation: 2}, polling: pollingState{required: true}, remote: &remoteObject{2, aDefinition, true}, observed: observedState{state: &State{Generation: 2}}}, report(phaseActive, 1), false, false, true,
			func(o objectState) bool {
				return o.remote.generation == 1 && !o.remote.verified && o.observed.state == nil
			}},
		{"another client unloaded it", objectState{generation: 2, polling: pollingState{required: true}, remote: &remoteObject{2, aDefinition, true}, observed: observedState{state: &State{Generation: 2}}}, report(phaseTerminating, 2), false, false, true,
			func(o objectState) bool { return o.remote == nil && o.observed.state == nil && !o.polling.required }},
		{"after a buffered event", objectState{generation: 2, bufferedEvent: &early}, report(phaseActive, 2), true, true, false,
			func(o objectState) bool { return o.observed.state.Stable && o.bufferedEvent == nil }},
	} {
		object := test.object
		result := object.handleReply(test.reply, test.trusted, now)
		if result.observed != test.observed || result.reconcile != test.reconcile || !test.check(object) {
			t.Errorf("%s: %+v: %+v", test.name, result, object)
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
		{"another incarnation keeps only what the scheduler has, which may be the earlier one", objectState{uid: "a", generation: 1, remote: remote, observed: observedState{state: &State{}, failure: &Failure{}}, load: loadState{generation: 1}}, "b",
			func(o objectState) bool {
				return *o.remote == remoteObject{1, aDefinition, false} && o.observed.state == nil && o.observed.failure == nil && o.load.generation == 0
			}},
		{"of one that was unloaded, nothing", objectState{uid: "a", remote: remote, unload: unloadState{phase: unloadAcknowledged}}, "b",
			func(o objectState) bool { return o.remote == nil && o.unload.phase == unloadNotRequested }},
		{"another generation tries again what was rejected", objectState{uid: "a", generation: 1, observed: observedState{failure: &Failure{Terminal: true}}, load: loadState{accepted: 3}, polling: pollingState{count: 3}}, "a",
			func(o objectState) bool {
				return o.observed.failure == nil && o.observed.progressingSince.Equal(now) && o.load.accepted == 0 && o.polling.count == 0
			}},
		{"the same generation changes nothing", objectState{uid: "a", generation: 2, observed: observedState{failure: &Failure{Terminal: true}}}, "a",
			func(o objectState) bool { return o.observed.failure != nil && o.observed.progressingSince.IsZero() }},
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

// State that is kept for a new connection, and objects that are reconciled immediately.
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
		object := objectState{deleting: test.deleting, unload: unloadState{phase: test.unload, terminatedEarly: true}, remote: &remoteObject{}, bufferedEvent: &statusEvent{}, load: loadState{generation: 2, inFlight: true}, polling: pollingState{required: true}, observed: observedState{state: &State{}, failure: &Failure{}}}
		work := object.reconnected()
		if work != test.work || object.unload.phase != test.want {
			t.Errorf("%+v: work %t, unload phase %d", test, work, object.unload.phase)
		}
		if object.remote != nil || object.bufferedEvent != nil || object.load.generation != 0 || object.load.inFlight || object.polling.required || object.unload.terminatedEarly {
			t.Errorf("%+v: state of the previous connection is kept: %+v", test, object)
		}
		if object.observed.state == nil || object.observed.failure == nil {
			t.Errorf("%+v: the observation is lost: %+v", test, object)
		}
	}
}

// The acknowledgement of an unload that a listing has confirmed meanwhile changes nothing.
func TestAcknowledgeConfirmedUnload(t *testing.T) {
	object := objectState{deleting: true, unload: unloadState{phase: unloadConfirmed}}
	if object.acknowledgeUnload(time.Now()); object.unload.phase != unloadConfirmed {
		t.Errorf("%+v", object)
	}
}

func TestVerify(t *testing.T) {
	now := time.Now()
	want := desiredObject{generation: 2, definition: aDefinition}
	early := report(phaseActive, 2)
	object := objectState{remote: &remoteObject{2, anotherDefinition, false}, bufferedEvent: &early}
	if object.verify(want, now) || object.remote.verified || object.observed.state != nil {
		t.Errorf("another definition is verified: %+v", object)
	}
	object.remote.definition = aDefinition
	if !object.verify(want, now) || !object.remote.verified || object.observed.state == nil {
		t.Errorf("the desired definition is not verified, or its event is lost: %+v", object)
	}
}

// A failure changes the observation once per reason and generation, and after the
// observation had expired.
func TestFailChangesObservationOnce(t *testing.T) {
	object := objectState{}
	fail := func(generation int64) bool {
		changed, _ := object.fail(Failure{Generation: generation, Reason: ReasonRejected}, exponential{}, time.Now())
		return changed
	}
	if !fail(1) || fail(1) {
		t.Error("the first failure, and only that, must change the observation")
	}
	object.expire()
	if !fail(1) || object.observed.stale {
		t.Errorf("the observation had expired, and is unchanged: %+v", object)
	}
	if !fail(2) || object.observed.failure.attempts != 1 {
		t.Errorf("a failure of another generation leaves the observation unchanged: %+v", object)
	}
}

// A repeated load may be acknowledged after the last event about the first one.
func TestAcceptRepeatedLoad(t *testing.T) {
	now := time.Now()
	want := desiredObject{generation: 2, definition: aDefinition}
	object := objectState{registered: true, generation: 2, remote: &remoteObject{generation: 1}, observed: observedState{state: &State{Generation: 2}}}
	object.handleEvent(report(phaseActive, 2), now)
	object.startLoad(2)
	object.acceptLoad(want, now)
	if next, _ := object.decide(want, false, now.Add(time.Hour)); next != actionPollStatus {
		t.Errorf("%+v", object)
	}
}
