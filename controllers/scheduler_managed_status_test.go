package controllers

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/composition/reconciler"
	"github.com/seldon-operator/seldon-operator/relay"
)

func TestComputeStatus(t *testing.T) {
	now := time.Now()
	session := func(change func(*relay.Observation)) relay.Observation {
		seen := relay.Observation{Session: true}
		seen.Connected = true
		change(&seen)
		return seen
	}
	// State of a Pipeline of which the given parts are not ready.
	state := func(stable bool, lacking ...string) *relay.State {
		state := &relay.State{Generation: 2, Stable: stable}
		for _, kind := range relay.Pipeline.Conditions() {
			condition := relay.Condition{Type: kind, True: true, Reason: "Fine"}
			for _, lack := range lacking {
				if lack == kind {
					condition = relay.Condition{Type: kind, Reason: "Not" + kind, Message: "100% of " + kind}
				}
			}
			state.Conditions = append(state.Conditions, condition)
		}
		return state
	}
	conditions := func(generation int64) []metav1.Condition {
		var conditions []metav1.Condition
		for _, kind := range relay.Pipeline.Conditions() {
			conditions = append(conditions, metav1.Condition{Type: kind, Status: metav1.ConditionTrue, ObservedGeneration: generation})
		}
		return conditions
	}
	for _, test := range []struct {
		name       string
		conditions []metav1.Condition
		seen       relay.Observation
		want       []string
		keep       []string
		wait       time.Duration
		observed   bool
	}{
		{name: "no session", seen: relay.Observation{}, want: []string{
			"ModelsReady False NoRuntime", "PipelineGwReady False NoRuntime", "PipelineReady False NoRuntime",
			"Ready False NoRuntime namespace team has no SeldonRuntime; create one for this Pipeline to be served",
		}},
		{name: "ready", seen: session(func(o *relay.Observation) { o.State = state(true) }), observed: true, want: []string{
			"ModelsReady True Fine", "PipelineGwReady True Fine", "PipelineReady True Fine", "Ready True Ready",
		}},
		{name: "not ready", observed: true,
			seen: session(func(o *relay.Observation) { o.State = state(true, "ModelsReady", "PipelineReady") }), want: []string{
				"ModelsReady False NotModelsReady 100% of ModelsReady", "PipelineGwReady True Fine", "PipelineReady False NotPipelineReady 100% of PipelineReady",
				"Ready False NotModelsReady 100% of ModelsReady; 100% of PipelineReady",
			}},
		{name: "progressing for a moment", wait: settlePeriod - 100*time.Millisecond,
			seen: session(func(o *relay.Observation) {
				o.State, o.ProgressingSince = state(false, "ModelsReady"), now.Add(-100*time.Millisecond)
			})},
		{name: "progressing for longer", observed: true,
			seen: session(func(o *relay.Observation) {
				o.State, o.ProgressingSince = state(false, "ModelsReady"), now.Add(-settlePeriod)
			}), want: []string{
				"ModelsReady False NotModelsReady 100% of ModelsReady", "PipelineGwReady True Fine", "PipelineReady True Fine",
				"Ready False NotModelsReady 100% of ModelsReady",
			}},
		{name: "nothing reported, and conditions to keep", conditions: conditions(2), seen: session(func(*relay.Observation) {})},
		{name: "nothing reported, and conditions of the upstream operator to keep", conditions: conditions(0), seen: session(func(*relay.Observation) {})},
		{name: "nothing reported for a moment", wait: settlePeriod - time.Millisecond,
			seen: session(func(o *relay.Observation) { o.ProgressingSince = now.Add(-time.Millisecond) })},
		{name: "nothing reported about a new generation", conditions: conditions(1), keep: []string{"ModelsReady", "PipelineGwReady"},
			seen: session(func(o *relay.Observation) { o.ProgressingSince = now.Add(-time.Minute) }),
			want: []string{
				"PipelineReady Unknown WaitingForScheduler the scheduler has not reported anything about it yet; " + adviseConditions,
				"Ready Unknown WaitingForScheduler the scheduler has not reported anything about it yet; " + adviseConditions,
			}},
		{name: "a runtime was created, and nothing is reported yet", conditions: []metav1.Condition{{Type: "PipelineReady", Reason: "NoRuntime", ObservedGeneration: 2}},
			seen: session(func(o *relay.Observation) { o.ProgressingSince = now.Add(-time.Minute) }), want: []string{
				"ModelsReady Unknown WaitingForScheduler", "PipelineGwReady Unknown WaitingForScheduler",
				"PipelineReady Unknown WaitingForScheduler the scheduler has not reported anything about it yet; " + adviseConditions,
				"Ready Unknown WaitingForScheduler the scheduler has not reported anything about it yet; " + adviseConditions,
			}},
		{name: "unreachable", conditions: conditions(2), seen: session(func(o *relay.Observation) { o.Stale = true }), want: []string{
			"ModelsReady Unknown SchedulerUnreachable", "PipelineGwReady Unknown SchedulerUnreachable", "PipelineReady Unknown SchedulerUnreachable",
			"Ready Unknown SchedulerUnreachable " + messageUnreachable,
		}},
		{name: "rejected", observed: true, seen: session(func(o *relay.Observation) {
			o.Failure = &relay.Failure{Terminal: true, Reason: relay.ReasonRejected, Message: "step a: 50%"}
		}), want: []string{
			"ModelsReady Unknown WaitingForScheduler", "PipelineGwReady Unknown WaitingForScheduler",
			"PipelineReady False Rejected the scheduler rejects the object: step a: 50%; correct the object or the cause",
			"Ready False Rejected the scheduler rejects the object: step a: 50%; correct the object or the cause",
		}},
		{name: "a call fails", conditions: conditions(2), keep: []string{"ModelsReady", "PipelineGwReady"},
			seen: session(func(o *relay.Observation) {
				o.Failure = &relay.Failure{Reason: relay.ReasonCallFailed, Message: "deadline exceeded"}
			}), want: []string{
				"PipelineReady Unknown SchedulerCallFailed the object could not be loaded: deadline exceeded; this is retried; if it lasts, check the scheduler's log",
				"Ready Unknown SchedulerCallFailed the object could not be loaded: deadline exceeded; this is retried; if it lasts, check the scheduler's log",
			}},
	} {
		pipeline := &v1alpha1.Pipeline{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "p", Generation: 2}}
		pipeline.Status.Conditions = test.conditions
		update := computeStatus(pipeline, relay.Pipeline, test.seen, now)
		if update.requeueAfter != test.wait || update.observed != test.observed {
			t.Errorf("%s: wait %s, observed %t; want %s, %t", test.name, update.requeueAfter, update.observed, test.wait, test.observed)
		}
		if diff := cmp.Diff(test.keep, update.keep); diff != "" {
			t.Errorf("%s: keeps %s", test.name, diff)
		}
		if len(update.conditions) == 0 && len(test.want) == 0 {
			continue
		}
		reconciler.SetConditions(pipeline, update.conditions)
		var got []string
		for i, condition := range pipeline.Status.Conditions {
			line := strings.TrimSpace(strings.Join([]string{condition.Type, string(condition.Status), condition.Reason, condition.Message}, " "))
			if i < len(test.want) && strings.HasPrefix(line, test.want[i]) && strings.Count(test.want[i], " ") == 2 {
				line = test.want[i] // the message is that of Ready
			}
			got = append(got, line)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s:\n%s", test.name, diff)
		}
	}
}

// An outage costs one status write per object, and its end one more, however often the
// scheduler connects and disconnects meanwhile.
func TestOutageWritesOnce(t *testing.T) {
	now := time.Now()
	seen := func(change func(*relay.Observation)) relay.Observation {
		observation := relay.Observation{Session: true, ProgressingSince: now.Add(-time.Hour)}
		change(&observation)
		return observation
	}
	failure := func(terminal bool, reason string) *relay.Failure {
		return &relay.Failure{Generation: 1, Terminal: terminal, Reason: reason, Message: "boom"}
	}
	state := func(status bool) *relay.State {
		return &relay.State{Generation: 1, Stable: true, Conditions: []relay.Condition{{Type: v1alpha1.ConditionModelReady, True: status, Reason: "R"}}}
	}
	stale := seen(func(o *relay.Observation) { o.Stale = true })
	model := &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Name: "m", Generation: 1}}
	for i, step := range []struct {
		name   string
		seen   relay.Observation
		writes bool
		want   string
	}{
		{"connected", seen(func(o *relay.Observation) { o.Connected, o.State = true, state(true) }), true, "True Ready"},
		{"lost", seen(func(o *relay.Observation) { o.State = state(true) }), false, "True Ready"},
		{"lost for too long", stale, true, "Unknown SchedulerUnreachable"},
		{"established", stale, false, "Unknown SchedulerUnreachable"},
		{"a call returned", seen(func(*relay.Observation) {}), false, "Unknown SchedulerUnreachable"},
		{"a call failed with the connection", seen(func(o *relay.Observation) { o.Failure = failure(false, relay.ReasonCallFailed) }), false, "Unknown SchedulerUnreachable"},
		{"lost for too long again", stale, false, "Unknown SchedulerUnreachable"},
		{"stable", seen(func(o *relay.Observation) { o.Connected = true }), false, "Unknown SchedulerUnreachable"},
		{"a call fails", seen(func(o *relay.Observation) {
			o.Connected, o.Failure = true, failure(false, relay.ReasonCallFailed)
		}), true, "Unknown SchedulerCallFailed"},
		{"recovered", seen(func(o *relay.Observation) { o.Connected, o.State = true, state(true) }), true, "True Ready"},
		{"lost for too long once more", stale, true, "Unknown SchedulerUnreachable"},
		{"rejected", seen(func(o *relay.Observation) { o.Failure = failure(true, relay.ReasonRejected) }), true, "False Rejected"},
	} {
		before := model.DeepCopy()
		update := computeStatus(model, relay.Model, step.seen, now)
		if update.requeueAfter > 0 {
			t.Fatalf("%d %s: waits %s", i, step.name, update.requeueAfter)
		}
		if len(update.conditions) > 0 {
			reconciler.SetConditions(model, append(update.conditions, progressConditions(update.conditions)...), update.keep...)
		}
		if writes := !equality.Semantic.DeepEqual(before, model); writes != step.writes {
			t.Errorf("%d %s: writes %t:\n%s", i, step.name, writes, cmp.Diff(before.Status, model.Status))
		}
		ready := meta.FindStatusCondition(model.Status.Conditions, v1alpha1.ConditionReady)
		if got := string(ready.Status) + " " + ready.Reason; got != step.want {
			t.Errorf("%d %s: Ready is %s, want %s", i, step.name, got, step.want)
		}
	}
	// A change of the object is reported for its generation, also during an outage.
	model.Generation = 2
	if update := computeStatus(model, relay.Model, stale, now); len(update.conditions) == 0 {
		t.Error("an outage is not reported for a new generation")
	}
}

func TestProgressConditions(t *testing.T) {
	for _, test := range []struct {
		ready metav1.Condition
		want  string
	}{
		{reconciler.True(v1alpha1.ConditionReady, reconciler.ReasonReady, ""), ""},
		{reconciler.False(v1alpha1.ConditionReady, "ModelProgressing", "m"), reconciler.ConditionReconciling},
		{metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionUnknown, Reason: reasonWaiting, Message: "m"}, reconciler.ConditionReconciling},
		{reconciler.False(v1alpha1.ConditionReady, relay.ReasonInvalidSpec, "m"), reconciler.ConditionStalled},
		{reconciler.False(v1alpha1.ConditionReady, "ModelFailed", "m"), ""},
		{reconciler.False(v1alpha1.ConditionReady, reasonNoRuntime, "m"), ""},
	} {
		got := ""
		for _, each := range progressConditions([]metav1.Condition{reconciler.False(v1alpha1.ConditionModelReady, "ModelProgressing", ""), test.ready}) {
			got += each.Type
			if each.Status != metav1.ConditionTrue || each.Reason != test.ready.Reason || each.Message != "m" {
				t.Errorf("%v beside %v", each, test.ready)
			}
		}
		if got != test.want {
			t.Errorf("%q beside %v, want %q", got, test.ready, test.want)
		}
	}
}

// Messages begin with what failed, and end with what to do.
func TestFailureMessage(t *testing.T) {
	for reason, want := range map[string]string{
		relay.ReasonInvalidSpec:                "the object cannot be converted to a message to the scheduler: boom; correct the field",
		relay.ReasonRejected:                   "the scheduler rejects the object: boom; correct the object or the cause",
		relay.ReasonWaitingForPreviousDeletion: "the scheduler is still unloading a previous object of this name: boom; it is loaded after that",
		relay.ReasonCallFailed:                 "the object could not be loaded: boom; this is retried; if it lasts, check the scheduler's log",
	} {
		if got := failureMessage(&relay.Failure{Reason: reason, Message: "boom"}); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestUnconfirmedBecause(t *testing.T) {
	failure := &relay.Failure{Message: "boom"}
	for want, seen := range map[string]relay.Observation{
		"has no session yet":                                 {},
		"there is no connection to the scheduler":            {Session: true, Failure: failure},
		"the call failed and is retried: boom":               {Session: true, Connected: true, Failure: failure},
		"it has not confirmed the unload; see the condition": {Session: true, Connected: true},
	} {
		if got := unconfirmedBecause(seen); !strings.Contains(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
