package controllers

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/relay"
)

func TestSchedulerConditions(t *testing.T) {
	now := time.Now()
	condition := func(conditionType string, status metav1.ConditionStatus) metav1.Condition {
		return metav1.Condition{Type: conditionType, Status: status}
	}
	existing := []metav1.Condition{
		condition(v1alpha1.ConditionSchedulerReachable, metav1.ConditionTrue), condition(v1alpha1.ConditionSchedulerSynced, metav1.ConditionTrue),
	}
	afterOutage := []metav1.Condition{
		condition(v1alpha1.ConditionSchedulerReachable, metav1.ConditionFalse), condition(v1alpha1.ConditionSchedulerSynced, metav1.ConditionUnknown),
	}
	connected := relay.ConnectionStatus{Connected: true, Since: now.Add(-3 * time.Second), Reason: relay.ReasonConnected, Message: "connected to a"}
	with := func(reach relay.ConnectionStatus, change func(*relay.ConnectionStatus)) relay.ConnectionStatus {
		change(&reach)
		return reach
	}
	waiting := with(connected, func(r *relay.ConnectionStatus) {
		r.SyncReason, r.SyncMessage = relay.ReasonWaitingForScheduler, "Pipeline not requested yet"
	})
	lost := relay.ConnectionStatus{Reason: relay.ReasonConnectionLost, Message: "a: EOF", SyncReason: relay.ReasonNotConnected}
	for _, test := range []struct {
		name     string
		existing []metav1.Condition
		reach    relay.ConnectionStatus
		want     []string
		after    time.Duration
	}{
		{name: "new session of a new runtime", reach: relay.ConnectionStatus{Reason: relay.ReasonConnecting, Message: "connecting to a", SyncReason: relay.ReasonNotConnected},
			want: []string{"SchedulerReachable False Connecting connecting to a", "SchedulerSynced Unknown NotConnected "}},
		{name: "new session of a runtime with conditions", existing: existing,
			reach: relay.ConnectionStatus{Reason: relay.ReasonConnecting, SyncReason: relay.ReasonNotConnected}},
		{name: "session that reports no synchronization", reach: connected, want: []string{"SchedulerReachable True Connected connected to a"}},
		{name: "synced", reach: with(connected, func(r *relay.ConnectionStatus) { r.Synced, r.SyncReason = true, relay.ReasonSynced }),
			want: []string{"SchedulerReachable True Connected connected to a", "SchedulerSynced True Synced "}},
		{name: "outage", existing: existing, reach: lost,
			want: []string{"SchedulerReachable False ConnectionLost a: EOF", "SchedulerSynced Unknown NotConnected "}},
		{name: "restart of the operator, kinds not requested yet", existing: existing, reach: waiting,
			want: []string{"SchedulerReachable True Connected connected to a"}, after: 7 * time.Second},
		{name: "restart of the operator, gate closed", existing: existing,
			reach: with(waiting, func(r *relay.ConnectionStatus) { r.Since = now.Add(-syncSettlePeriod) }),
			want:  []string{"SchedulerReachable True Connected connected to a", "SchedulerSynced False WaitingForScheduler Pipeline not requested yet"}},
		{name: "after an outage, gate closed", existing: afterOutage, reach: waiting,
			want: []string{"SchedulerReachable True Connected connected to a", "SchedulerSynced False WaitingForScheduler Pipeline not requested yet"}},
		{name: "listing fails", existing: existing,
			reach: with(connected, func(r *relay.ConnectionStatus) {
				r.SyncReason, r.SyncMessage = relay.ReasonListFailed, "ModelStatus: deadline exceeded"
			}),
			want: []string{"SchedulerReachable True Connected connected to a", "SchedulerSynced False ListFailed ModelStatus: deadline exceeded"}},
	} {
		conditions, after := schedulerConditions(test.existing, test.reach, now)
		var got []string
		for _, each := range conditions {
			got = append(got, each.Type+" "+string(each.Status)+" "+each.Reason+" "+each.Message)
		}
		if diff := cmp.Diff(test.want, got); diff != "" || after != test.after {
			t.Errorf("%s: again after %s, want %s\n%s", test.name, after, test.after, diff)
		}
	}
}
