package scheduler

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

var (
	aDefinition       = digest{1}
	anotherDefinition = digest{2}
)

func TestDecide(t *testing.T) {
	now := time.Now()
	state := &State{Generation: 2}
	want := desired{generation: 2, definition: aDefinition}
	for _, test := range []struct {
		name     string
		item     objectState
		want     desired
		replaces bool
		action   action
		again    time.Duration
	}{
		{"nothing known", objectState{}, want, false, actionLoad, 0},
		{"an older generation", objectState{remote: &remoteObject{1, aDefinition, true}}, want, true, actionLoad, 0},
		{"another definition of a model", objectState{remote: &remoteObject{2, anotherDefinition, false}}, want, false, actionLoad, 0},
		{"another definition of a pipeline", objectState{remote: &remoteObject{2, anotherDefinition, false}}, want, true, actionUnload, 0},
		{"another definition, trusted", objectState{remote: &remoteObject{2, anotherDefinition, true}, state: state}, want, true, actionNone, 0},
		{"up to date", objectState{remote: &remoteObject{2, aDefinition, true}, state: state}, want, true, actionNone, 0},
		{"no word yet", objectState{remote: &remoteObject{2, aDefinition, true}, lastReplyAt: now.Add(-100 * time.Millisecond)}, want, true, actionNone, statusPollDelay - 100*time.Millisecond},
		{"no word for too long", objectState{remote: &remoteObject{2, aDefinition, true}, state: &State{Generation: 1}, lastReplyAt: now.Add(-statusPollDelay)}, want, true, actionPollStatus, 0},
		{"refused", objectState{failure: &Failure{Terminal: true, at: now}}, want, true, actionNone, rejectedRetryInterval},
		{"refused a while ago", objectState{failure: &Failure{Terminal: true, at: now.Add(-rejectedRetryInterval)}}, want, true, actionLoad, 0},
		{"invalid", objectState{failure: &Failure{Terminal: true, Reason: ReasonInvalidSpec}}, want, true, actionNone, 0},
		{"a call failed", objectState{failure: &Failure{}}, want, true, actionLoad, 0},
		{"another one is going", objectState{unload: unloadAcknowledged, lastReplyAt: now}, want, true, actionNone, statusPollInterval},
	} {
		if action, again := test.item.decide(test.want, test.replaces, now); action != test.action || again != test.again {
			t.Errorf("%s: action %d after %s, want %d after %s", test.name, action, again, test.action, test.again)
		}
	}
}

func TestDecideDeletion(t *testing.T) {
	now := time.Now()
	for _, test := range []struct {
		name   string
		item   objectState
		action action
		again  time.Duration
	}{
		{"not asked", objectState{remote: &remoteObject{1, aDefinition, true}}, actionUnload, 0},
		{"not there", objectState{}, actionUnload, 0},
		{"asked, and no answer", objectState{unload: unloadRequested}, actionUnload, 0},
		{"answered", objectState{unload: unloadAcknowledged, lastReplyAt: now}, actionNone, statusPollInterval},
		{"answered, and a word came before", objectState{unload: unloadAcknowledged, lastReplyAt: now, recheckAfterUnload: true}, actionPollStatus, 0},
		{"answered long ago", objectState{unload: unloadAcknowledged, lastReplyAt: now.Add(-statusPollInterval)}, actionPollStatus, 0},
		{"gone", objectState{unload: unloadConfirmed}, actionNone, 0},
	} {
		if action, again := test.item.decideDeletion(now); action != test.action || again != test.again {
			t.Errorf("%s: action %d after %s, want %d after %s", test.name, action, again, test.action, test.again)
		}
	}
}

// The words about an object, and what an item makes of them.
func TestHandleEvent(t *testing.T) {
	now := time.Now()
	event := func(phase phase, generation int64) word {
		return word{phase: phase, state: State{Generation: generation}}
	}
	for _, test := range []struct {
		name       string
		item       objectState
		word       word
		certain    bool
		news, work bool
		dropped    string
		check      func(objectState) bool
	}{
		{"its generation", objectState{remote: &remoteObject{2, aDefinition, true}}, event(live, 2), false, true, false, "",
			func(i objectState) bool { return i.state.Generation == 2 && !i.progressingSince.IsZero() }},
		{"the same again", objectState{remote: &remoteObject{2, aDefinition, true}, state: &State{Generation: 2}}, event(live, 2), false, false, false, "", nil},
		{"an old generation", objectState{remote: &remoteObject{2, aDefinition, true}}, event(live, 1), false, false, false, "generation",
			func(i objectState) bool { return i.state == nil }},
		{"before the answer to the call", objectState{inFlightGeneration: 2}, event(live, 2), false, true, false, "",
			func(i objectState) bool { return i.state != nil }},
		{"of a predecessor that the call replaces", objectState{inFlightGeneration: 2}, event(gone, 2), false, false, false, "generation",
			func(i objectState) bool { return i.state == nil }},
		{"of what may be an earlier incarnation", objectState{remote: &remoteObject{2, aDefinition, false}}, event(live, 2), true, false, false, "",
			func(i objectState) bool { return i.bufferedEvent != nil && i.state == nil }},
		{"before it is known what the scheduler has", objectState{}, event(live, 2), false, false, false, "",
			func(i objectState) bool { return i.bufferedEvent != nil && i.state == nil }},
		{"somebody takes it down", objectState{remote: &remoteObject{2, aDefinition, true}, state: &State{Generation: 2}}, event(terminating, 2), false, false, true, "",
			func(i objectState) bool { return i.remote == nil && i.state == nil }},
		{"an experiment does not run", objectState{remote: &remoteObject{2, aDefinition, true}}, event(idle, 2), false, true, false, "",
			func(i objectState) bool { return i.remote != nil }},
		{"a word ends a failure of its generation", objectState{remote: &remoteObject{2, aDefinition, true}, failure: &Failure{Generation: 2}}, event(live, 2), false, true, false, "",
			func(i objectState) bool { return i.failure == nil }},
		{"a word of what runs leaves the failure of what does not", objectState{remote: &remoteObject{1, aDefinition, true}, failure: &Failure{Generation: 2}}, event(live, 1), false, true, false, "",
			func(i objectState) bool { return i.failure != nil }},

		{"gone, after the answer", objectState{unload: unloadAcknowledged, remote: &remoteObject{2, aDefinition, true}}, event(gone, 3), false, true, true, "",
			func(i objectState) bool { return i.unload == unloadConfirmed }},
		{"gone, before the answer, by the generation of the deletion", objectState{unload: unloadRequested, generation: 3, remote: &remoteObject{2, aDefinition, true}}, event(gone, 3), false, false, false, "",
			func(i objectState) bool { i.acknowledgeUnload(now); return i.unload == unloadConfirmed }},
		{"gone, before the answer, perhaps a predecessor", objectState{unload: unloadRequested, generation: 3, remote: &remoteObject{2, aDefinition, true}}, event(gone, 2), false, false, false, "early",
			func(i objectState) bool {
				i.acknowledgeUnload(now)
				return i.unload == unloadAcknowledged && i.recheckAfterUnload
			}},
		{"an earlier version is gone", objectState{unload: unloadAcknowledged, remote: &remoteObject{2, aDefinition, true}}, event(gone, 1), false, false, true, "early",
			func(i objectState) bool { return i.unload == unloadAcknowledged }},
		{"stopped, after the answer", objectState{unload: unloadAcknowledged, remote: &remoteObject{2, aDefinition, true}}, event(idle, 2), false, true, true, "",
			func(i objectState) bool { return i.unload == unloadConfirmed }},
		{"on its way", objectState{deleting: true, unload: unloadAcknowledged, remote: &remoteObject{2, aDefinition, true}}, event(terminating, 2), false, true, false, "",
			func(i objectState) bool { return i.unload == unloadAcknowledged }},
		{"another definition on its way", objectState{unload: unloadAcknowledged, remote: &remoteObject{2, aDefinition, false}}, event(terminating, 2), false, false, false, "",
			func(i objectState) bool { return i.state == nil }},
		{"live on a stream, which may be late", objectState{deleting: true, unload: unloadAcknowledged, remote: &remoteObject{2, aDefinition, true}}, event(live, 2), false, true, false, "",
			func(i objectState) bool { return i.unload == unloadAcknowledged }},
		{"live for certain", objectState{unload: unloadAcknowledged, remote: &remoteObject{2, aDefinition, true}}, event(live, 2), true, false, true, "",
			func(i objectState) bool { return i.unload == unloadRequested }},
		{"gone for certain", objectState{unload: unloadAcknowledged, remote: &remoteObject{2, aDefinition, true}}, event(gone, 1), true, true, true, "",
			func(i objectState) bool { return i.unload == unloadConfirmed }},
	} {
		it := test.item
		news, work, dropped := it.handleEvent(test.word, test.certain, now)
		if news != test.news || work != test.work || dropped != test.dropped {
			t.Errorf("%s: news %t, work %t, dropped %q; want %t, %t, %q", test.name, news, work, dropped, test.news, test.work, test.dropped)
		}
		if test.check != nil && !test.check(it) {
			t.Errorf("%s: %+v", test.name, it)
		}
	}
}

func TestSetIncarnation(t *testing.T) {
	now := time.Now()
	remote := &remoteObject{1, aDefinition, true}
	for _, test := range []struct {
		name  string
		item  objectState
		uid   types.UID
		check func(objectState) bool
	}{
		{"another incarnation knows nothing but what the scheduler has, which may be the earlier one", objectState{uid: "a", generation: 1, remote: remote, state: &State{}, failure: &Failure{}}, "b",
			func(i objectState) bool {
				return *i.remote == remoteObject{1, aDefinition, false} && i.state == nil && i.failure == nil
			}},
		{"of one that was unloaded, nothing", objectState{uid: "a", remote: remote, unload: unloadAcknowledged}, "b",
			func(i objectState) bool { return i.remote == nil && i.unload == unloadNotRequested }},
		{"another generation tries again what was refused", objectState{uid: "a", generation: 1, failure: &Failure{Terminal: true}}, "a",
			func(i objectState) bool { return i.failure == nil && i.progressingSince.Equal(now) }},
		{"the same generation changes nothing", objectState{uid: "a", generation: 2, failure: &Failure{Terminal: true}}, "a",
			func(i objectState) bool { return i.failure != nil && i.progressingSince.IsZero() }},
	} {
		it := test.item
		if changed := it.setIncarnation(test.uid, 2, now); changed != (test.item.uid != test.uid || test.item.generation != 2) {
			t.Errorf("%s: changed %t", test.name, changed)
		}
		if !test.check(it) {
			t.Errorf("%s: %+v", test.name, it)
		}
	}
}

func TestClassify(t *testing.T) {
	for code, want := range map[codes.Code]class{
		codes.FailedPrecondition: classTerminal, codes.Unimplemented: classTerminal, codes.InvalidArgument: classTerminal,
		codes.PermissionDenied: classTerminal, codes.Unauthenticated: classTerminal, codes.NotFound: classTerminal,
		codes.Unavailable: classRetry, codes.DeadlineExceeded: classRetry, codes.Canceled: classRetry, codes.Internal: classRetry,
		codes.Unknown: classRetry, codes.ResourceExhausted: classRetry, codes.Aborted: classRetry,
	} {
		if got := classify(status.Error(code, ""), false); got != want {
			t.Errorf("%s: class %d, want %d", code, got, want)
		}
	}
	if got := classify(status.Error(codes.FailedPrecondition, ""), true); got != classWait {
		t.Errorf("while terminating: class %d", got)
	}
	if got := classify(errors.New("no answer"), false); got != classRetry {
		t.Errorf("an error that is not gRPC's: class %d", got)
	}
	if got := classify(fmt.Errorf("wrapped: %w", status.Error(codes.FailedPrecondition, "")), false); got != classTerminal {
		t.Errorf("a wrapped error: class %d", got)
	}
	if got := text(fmt.Errorf("wrapped: %w", status.Error(codes.Internal, "100%"))); got != "100%" {
		t.Errorf("text %q", got)
	}
	if got := text(fmt.Errorf("%w: one of five", errEnded)); got != errEnded.Error() {
		t.Errorf("text %q", got)
	}
}

func TestVerify(t *testing.T) {
	now := time.Now()
	want := desired{generation: 2, definition: aDefinition}
	early := word{phase: live, state: State{Generation: 2}}
	it := objectState{remote: &remoteObject{2, anotherDefinition, false}, bufferedEvent: &early}
	if it.verify(want, now) || it.remote.verified || it.state != nil {
		t.Errorf("another definition is trusted: %+v", it)
	}
	it.remote.definition = aDefinition
	if !it.verify(want, now) || !it.remote.verified || it.state == nil {
		t.Errorf("the definition that is wanted is not trusted, or its word is lost: %+v", it)
	}
}

// Whether a status holds the scheduler's word about its generation.
func TestConfirmed(t *testing.T) {
	for _, test := range []struct {
		name             string
		observed, spoken int64
		reason           string
		want             bool
	}{
		{"of its generation", 2, 2, "Ready", true},
		{"of an older one", 1, 2, "WaitingForScheduler", false},
		{"only ours", 0, 2, "NoRuntime", false},
		{"the existing operator's", 0, 0, "", true},
		{"refused", 2, 2, ReasonRefused, false},
		{"none", 0, 0, "none", false},
	} {
		model := &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Generation: 2}}
		model.Status.ObservedGeneration = test.observed
		if test.reason != "none" {
			model.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Reason: test.reason, ObservedGeneration: test.spoken}}
		}
		if got := confirmed(model); got != test.want {
			t.Errorf("%s: confirmed %t", test.name, got)
		}
	}
}
