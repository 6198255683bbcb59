package controllers

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/scheduler"
)

func TestTell(t *testing.T) {
	now := time.Now()
	session := func(change func(*scheduler.Observation)) scheduler.Observation {
		seen := scheduler.Observation{Session: true}
		seen.Connected = true
		change(&seen)
		return seen
	}
	// State of a Pipeline of which the parts named are not ready.
	state := func(settled bool, lacking ...string) *scheduler.State {
		state := &scheduler.State{Generation: 2, Settled: settled}
		for _, kind := range scheduler.Pipeline.Conditions() {
			condition := scheduler.Condition{Type: kind, True: true, Reason: "Fine"}
			for _, lack := range lacking {
				if lack == kind {
					condition = scheduler.Condition{Type: kind, Reason: "Not" + kind, Message: "100% of " + kind}
				}
			}
			state.Conditions = append(state.Conditions, condition)
		}
		return state
	}
	conditions := func(generation int64) []metav1.Condition {
		var conditions []metav1.Condition
		for _, kind := range scheduler.Pipeline.Conditions() {
			conditions = append(conditions, metav1.Condition{Type: kind, Status: metav1.ConditionTrue, ObservedGeneration: generation})
		}
		return conditions
	}
	for _, test := range []struct {
		name       string
		conditions []metav1.Condition
		seen       scheduler.Observation
		want       []string
		keep       []string
		wait       time.Duration
		answered   bool
	}{
		{name: "no session", seen: scheduler.Observation{}, want: []string{
			"ModelsReady False NoRuntime", "PipelineGwReady False NoRuntime", "PipelineReady False NoRuntime",
			"Ready False NoRuntime namespace team has no SeldonRuntime: create one, and this is served",
		}},
		{name: "ready", seen: session(func(o *scheduler.Observation) { o.State = state(true) }), answered: true, want: []string{
			"ModelsReady True Fine", "PipelineGwReady True Fine", "PipelineReady True Fine", "Ready True Ready",
		}},
		{name: "not ready", answered: true,
			seen: session(func(o *scheduler.Observation) { o.State = state(true, "ModelsReady", "PipelineReady") }), want: []string{
				"ModelsReady False NotModelsReady 100% of ModelsReady", "PipelineGwReady True Fine", "PipelineReady False NotPipelineReady 100% of PipelineReady",
				"Ready False NotModelsReady 100% of ModelsReady; 100% of PipelineReady",
			}},
		{name: "on its way for a moment", wait: grace - 100*time.Millisecond,
			seen: session(func(o *scheduler.Observation) {
				o.State, o.BusySince = state(false, "ModelsReady"), now.Add(-100*time.Millisecond)
			})},
		{name: "on its way for longer", answered: true,
			seen: session(func(o *scheduler.Observation) { o.State, o.BusySince = state(false, "ModelsReady"), now.Add(-grace) }), want: []string{
				"ModelsReady False NotModelsReady 100% of ModelsReady", "PipelineGwReady True Fine", "PipelineReady True Fine",
				"Ready False NotModelsReady 100% of ModelsReady",
			}},
		{name: "no word, and something to keep", conditions: conditions(2), seen: session(func(*scheduler.Observation) {})},
		{name: "no word, and the existing operator's word to keep", conditions: conditions(0), seen: session(func(*scheduler.Observation) {})},
		{name: "no word for a moment", wait: grace - time.Millisecond,
			seen: session(func(o *scheduler.Observation) { o.BusySince = now.Add(-time.Millisecond) })},
		{name: "no word about a new generation", conditions: conditions(1), keep: []string{"ModelsReady", "PipelineGwReady"},
			seen: session(func(o *scheduler.Observation) { o.BusySince = now.Add(-time.Minute) }),
			want: []string{
				"PipelineReady Unknown WaitingForScheduler the scheduler has not said anything about it yet",
				"Ready Unknown WaitingForScheduler the scheduler has not said anything about it yet",
			}},
		{name: "a runtime has come, and has said nothing yet", conditions: []metav1.Condition{{Type: "PipelineReady", Reason: "NoRuntime", ObservedGeneration: 2}},
			seen: session(func(o *scheduler.Observation) { o.BusySince = now.Add(-time.Minute) }), want: []string{
				"ModelsReady Unknown WaitingForScheduler", "PipelineGwReady Unknown WaitingForScheduler",
				"PipelineReady Unknown WaitingForScheduler the scheduler has not said anything about it yet",
				"Ready Unknown WaitingForScheduler the scheduler has not said anything about it yet",
			}},
		{name: "silence", conditions: conditions(2), seen: session(func(o *scheduler.Observation) { o.Stale = true }), want: []string{
			"ModelsReady Unknown SchedulerUnreachable", "PipelineGwReady Unknown SchedulerUnreachable", "PipelineReady Unknown SchedulerUnreachable",
			"Ready Unknown SchedulerUnreachable there is no connection to the scheduler: see the condition SchedulerReachable of the SeldonRuntime",
		}},
		{name: "refused", answered: true, seen: session(func(o *scheduler.Observation) {
			o.Failure = &scheduler.Failure{Terminal: true, Reason: scheduler.ReasonRefused, Message: "step a: 50%"}
		}), want: []string{
			"ModelsReady Unknown WaitingForScheduler", "PipelineGwReady Unknown WaitingForScheduler",
			"PipelineReady False Refused step a: 50%", "Ready False Refused step a: 50%",
		}},
		{name: "a call fails", conditions: conditions(2), keep: []string{"ModelsReady", "PipelineGwReady"},
			seen: session(func(o *scheduler.Observation) {
				o.Failure = &scheduler.Failure{Reason: scheduler.ReasonCallFailed, Message: "deadline exceeded"}
			}), want: []string{
				"PipelineReady Unknown SchedulerCallFailed deadline exceeded", "Ready Unknown SchedulerCallFailed deadline exceeded",
			}},
	} {
		pipeline := &v1alpha1.Pipeline{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "p", Generation: 2}}
		pipeline.Status.Conditions = test.conditions
		told := tell(pipeline, scheduler.Pipeline, test.seen, now)
		if told.wait != test.wait || told.answered != test.answered {
			t.Errorf("%s: wait %s, answered %t; want %s, %t", test.name, told.wait, told.answered, test.wait, test.answered)
		}
		if diff := cmp.Diff(test.keep, told.keep); diff != "" {
			t.Errorf("%s: keeps %s", test.name, diff)
		}
		if len(told.verdicts) == 0 && len(test.want) == 0 {
			continue
		}
		setConditions(pipeline, told.verdicts)
		var got []string
		for i, condition := range pipeline.Status.Conditions {
			line := strings.TrimSpace(strings.Join([]string{condition.Type, string(condition.Status), condition.Reason, condition.Message}, " "))
			if i < len(test.want) && strings.HasPrefix(line, test.want[i]) && strings.Count(test.want[i], " ") == 2 {
				line = test.want[i] // the message is Ready's
			}
			got = append(got, line)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s:\n%s", test.name, diff)
		}
	}
}

func TestProgress(t *testing.T) {
	for _, test := range []struct {
		ready verdict
		want  string
	}{
		{isTrue(v1alpha1.ConditionReady, reasonReady, ""), ""},
		{isFalse(v1alpha1.ConditionReady, "ModelProgressing", "m"), conditionReconciling},
		{verdict{v1alpha1.ConditionReady, metav1.ConditionUnknown, reasonWaiting, "m"}, conditionReconciling},
		{isFalse(v1alpha1.ConditionReady, scheduler.ReasonInvalidSpec, "m"), conditionStalled},
		{isFalse(v1alpha1.ConditionReady, "ModelFailed", "m"), ""},
		{isFalse(v1alpha1.ConditionReady, reasonNoRuntime, "m"), ""},
	} {
		got := ""
		for _, each := range progress([]verdict{isFalse(v1alpha1.ConditionModelReady, "ModelProgressing", ""), test.ready}) {
			got += each.kind
			if each.status != metav1.ConditionTrue || each.reason != test.ready.reason || each.message != "m" {
				t.Errorf("%v beside %v", each, test.ready)
			}
		}
		if got != test.want {
			t.Errorf("%q beside %v, want %q", got, test.ready, test.want)
		}
	}
}
