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

func TestNext(t *testing.T) {
	now := time.Now()
	state := &State{Generation: 2}
	want := wanted{generation: 2, definition: aDefinition}
	for _, test := range []struct {
		name     string
		item     item
		want     wanted
		replaces bool
		action   action
		again    time.Duration
	}{
		{"nothing known", item{}, want, false, send, 0},
		{"an older generation", item{has: &held{1, aDefinition, true}}, want, true, send, 0},
		{"another definition of a model", item{has: &held{2, anotherDefinition, false}}, want, false, send, 0},
		{"another definition of a pipeline", item{has: &held{2, anotherDefinition, false}}, want, true, takeDown, 0},
		{"another definition, trusted", item{has: &held{2, anotherDefinition, true}, state: state}, want, true, nothing, 0},
		{"up to date", item{has: &held{2, aDefinition, true}, state: state}, want, true, nothing, 0},
		{"no word yet", item{has: &held{2, aDefinition, true}, answered: now.Add(-100 * time.Millisecond)}, want, true, nothing, askAfter - 100*time.Millisecond},
		{"no word for too long", item{has: &held{2, aDefinition, true}, state: &State{Generation: 1}, answered: now.Add(-askAfter)}, want, true, ask, 0},
		{"refused", item{failure: &Failure{Terminal: true, at: now}}, want, true, nothing, refusedAgain},
		{"refused a while ago", item{failure: &Failure{Terminal: true, at: now.Add(-refusedAgain)}}, want, true, send, 0},
		{"invalid", item{failure: &Failure{Terminal: true, Reason: ReasonInvalidSpec}}, want, true, nothing, 0},
		{"a call failed", item{failure: &Failure{}}, want, true, send, 0},
		{"another one is going", item{unload: underway, answered: now}, want, true, nothing, askAgain},
	} {
		if action, again := test.item.next(test.want, test.replaces, now); action != test.action || again != test.again {
			t.Errorf("%s: action %d after %s, want %d after %s", test.name, action, again, test.action, test.again)
		}
	}
}

func TestNextDown(t *testing.T) {
	now := time.Now()
	for _, test := range []struct {
		name   string
		item   item
		action action
		again  time.Duration
	}{
		{"not asked", item{has: &held{1, aDefinition, true}}, takeDown, 0},
		{"not there", item{}, takeDown, 0},
		{"asked, and no answer", item{unload: asking}, takeDown, 0},
		{"answered", item{unload: underway, answered: now}, nothing, askAgain},
		{"answered, and a word came before", item{unload: underway, answered: now, hint: true}, ask, 0},
		{"answered long ago", item{unload: underway, answered: now.Add(-askAgain)}, ask, 0},
		{"gone", item{unload: unloaded}, nothing, 0},
	} {
		if action, again := test.item.nextDown(now); action != test.action || again != test.again {
			t.Errorf("%s: action %d after %s, want %d after %s", test.name, action, again, test.action, test.again)
		}
	}
}

// The words about an object, and what an item makes of them.
func TestHear(t *testing.T) {
	now := time.Now()
	speak := func(phase phase, generation int64) word {
		return word{phase: phase, state: State{Generation: generation}}
	}
	for _, test := range []struct {
		name       string
		item       item
		word       word
		certain    bool
		news, work bool
		dropped    string
		check      func(item) bool
	}{
		{"its generation", item{has: &held{2, aDefinition, true}}, speak(live, 2), false, true, false, "",
			func(i item) bool { return i.state.Generation == 2 && !i.busySince.IsZero() }},
		{"the same again", item{has: &held{2, aDefinition, true}, state: &State{Generation: 2}}, speak(live, 2), false, false, false, "", nil},
		{"an old generation", item{has: &held{2, aDefinition, true}}, speak(live, 1), false, false, false, "generation",
			func(i item) bool { return i.state == nil }},
		{"before the answer to the call", item{sending: 2}, speak(live, 2), false, true, false, "",
			func(i item) bool { return i.state != nil }},
		{"of a predecessor that the call replaces", item{sending: 2}, speak(gone, 2), false, false, false, "generation",
			func(i item) bool { return i.state == nil }},
		{"of what may be an earlier incarnation", item{has: &held{2, aDefinition, false}}, speak(live, 2), true, false, false, "",
			func(i item) bool { return i.early != nil && i.state == nil }},
		{"before it is known what the scheduler has", item{}, speak(live, 2), false, false, false, "",
			func(i item) bool { return i.early != nil && i.state == nil }},
		{"somebody takes it down", item{has: &held{2, aDefinition, true}, state: &State{Generation: 2}}, speak(terminating, 2), false, false, true, "",
			func(i item) bool { return i.has == nil && i.state == nil }},
		{"an experiment does not run", item{has: &held{2, aDefinition, true}}, speak(idle, 2), false, true, false, "",
			func(i item) bool { return i.has != nil }},
		{"a word ends a failure of its generation", item{has: &held{2, aDefinition, true}, failure: &Failure{Generation: 2}}, speak(live, 2), false, true, false, "",
			func(i item) bool { return i.failure == nil }},
		{"a word of what runs leaves the failure of what does not", item{has: &held{1, aDefinition, true}, failure: &Failure{Generation: 2}}, speak(live, 1), false, true, false, "",
			func(i item) bool { return i.failure != nil }},

		{"gone, after the answer", item{unload: underway, has: &held{2, aDefinition, true}}, speak(gone, 3), false, true, true, "",
			func(i item) bool { return i.unload == unloaded }},
		{"gone, before the answer, by the generation of the deletion", item{unload: asking, generation: 3, has: &held{2, aDefinition, true}}, speak(gone, 3), false, false, false, "",
			func(i item) bool { i.answerUnload(now); return i.unload == unloaded }},
		{"gone, before the answer, perhaps a predecessor", item{unload: asking, generation: 3, has: &held{2, aDefinition, true}}, speak(gone, 2), false, false, false, "early",
			func(i item) bool { i.answerUnload(now); return i.unload == underway && i.hint }},
		{"an earlier version is gone", item{unload: underway, has: &held{2, aDefinition, true}}, speak(gone, 1), false, false, true, "early",
			func(i item) bool { return i.unload == underway }},
		{"stopped, after the answer", item{unload: underway, has: &held{2, aDefinition, true}}, speak(idle, 2), false, true, true, "",
			func(i item) bool { return i.unload == unloaded }},
		{"on its way", item{deleted: true, unload: underway, has: &held{2, aDefinition, true}}, speak(terminating, 2), false, true, false, "",
			func(i item) bool { return i.unload == underway }},
		{"another definition on its way", item{unload: underway, has: &held{2, aDefinition, false}}, speak(terminating, 2), false, false, false, "",
			func(i item) bool { return i.state == nil }},
		{"live on a stream, which may be late", item{deleted: true, unload: underway, has: &held{2, aDefinition, true}}, speak(live, 2), false, true, false, "",
			func(i item) bool { return i.unload == underway }},
		{"live for certain", item{unload: underway, has: &held{2, aDefinition, true}}, speak(live, 2), true, false, true, "",
			func(i item) bool { return i.unload == asking }},
		{"gone for certain", item{unload: underway, has: &held{2, aDefinition, true}}, speak(gone, 1), true, true, true, "",
			func(i item) bool { return i.unload == unloaded }},
	} {
		it := test.item
		news, work, dropped := it.hear(test.word, test.certain, now)
		if news != test.news || work != test.work || dropped != test.dropped {
			t.Errorf("%s: news %t, work %t, dropped %q; want %t, %t, %q", test.name, news, work, dropped, test.news, test.work, test.dropped)
		}
		if test.check != nil && !test.check(it) {
			t.Errorf("%s: %+v", test.name, it)
		}
	}
}

func TestAdopt(t *testing.T) {
	now := time.Now()
	has := &held{1, aDefinition, true}
	for _, test := range []struct {
		name  string
		item  item
		uid   types.UID
		check func(item) bool
	}{
		{"another incarnation knows nothing but what the scheduler has, which may be the earlier one", item{uid: "a", generation: 1, has: has, state: &State{}, failure: &Failure{}}, "b",
			func(i item) bool { return *i.has == held{1, aDefinition, false} && i.state == nil && i.failure == nil }},
		{"of one that was unloaded, nothing", item{uid: "a", has: has, unload: underway}, "b",
			func(i item) bool { return i.has == nil && i.unload == loaded }},
		{"another generation tries again what was refused", item{uid: "a", generation: 1, failure: &Failure{Terminal: true}}, "a",
			func(i item) bool { return i.failure == nil && i.busySince.Equal(now) }},
		{"the same generation changes nothing", item{uid: "a", generation: 2, failure: &Failure{Terminal: true}}, "a",
			func(i item) bool { return i.failure != nil && i.busySince.IsZero() }},
	} {
		it := test.item
		if changed := it.adopt(test.uid, 2, now); changed != (test.item.uid != test.uid || test.item.generation != 2) {
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
	want := wanted{generation: 2, definition: aDefinition}
	early := word{phase: live, state: State{Generation: 2}}
	it := item{has: &held{2, anotherDefinition, false}, early: &early}
	if it.verify(want, now) || it.has.trusted || it.state != nil {
		t.Errorf("another definition is trusted: %+v", it)
	}
	it.has.definition = aDefinition
	if !it.verify(want, now) || !it.has.trusted || it.state == nil {
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
