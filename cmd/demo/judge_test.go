package main

import (
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// judgement is how an object must be judged.
type judgement struct {
	name   string
	object string
	own    state
	detail string
}

// hold holds a judge to judgements.
func hold(t *testing.T, judge func(*unstructured.Unstructured) *node, judgements []judgement) {
	t.Helper()
	for _, test := range judgements {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			n := judge(object(t, test.object))
			g.Expect(n.own).To(Equal(test.own), n.detail)
			g.Expect(n.detail).To(Equal(test.detail))
		})
	}
}

func TestNodeOf(t *testing.T) {
	server := func(ready string) string {
		return "{apiVersion: mlops.seldon.io/v1alpha1, kind: Server, metadata: {name: x, generation: 2}, status: {conditions: [" + ready + "]}}"
	}
	hold(t, nodeOf, []judgement{
		{"an object of ours without a status", server(""), waiting, "the operator has not seen it yet"},
		{"is ready by its Ready condition", server("{type: Ready, status: 'True', observedGeneration: 2}"), ready, ""},
		{"and says with that what is disabled",
			server("{type: Ready, status: 'True', observedGeneration: 2, message: 'disabled: hodometer'}"), ready, "disabled: hodometer"},
		{"but not by one of an older spec",
			server("{type: Ready, status: 'True', observedGeneration: 1}"), waiting, "the operator has not seen it yet"},
		{"nor by another condition",
			server("{type: StatefulSetOrDeploymentReady, status: 'True', observedGeneration: 2}"), waiting, "the operator has not seen it yet"},
		{"it is on its way",
			server("{type: Ready, status: 'False', observedGeneration: 2, reason: Progressing, message: 0 of 1}"), waiting, "Progressing: 0 of 1"},
		{"or in need of help, told in one line",
			server(`{type: Ready, status: "False", observedGeneration: 2, reason: ConfigNotFound, message: "there is\n\tno \u001b[2Jone"}`),
			failed, "ConfigNotFound: there is no [2Jone"},
		{"or nobody knows",
			server("{type: Ready, status: Unknown, observedGeneration: 2, reason: Lost, message: no word}"), waiting, "Lost: no word"},
		{"a workload says how many of how many",
			"{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: x, generation: 1}, spec: {replicas: 2, updateStrategy: {type: RollingUpdate}}, " +
				"status: {observedGeneration: 1, replicas: 2, readyReplicas: 2, currentReplicas: 2, updatedReplicas: 2, currentRevision: a, updateRevision: a}}",
			ready, "2/2"},
		{"a pod its phase",
			"{apiVersion: v1, kind: Pod, metadata: {name: x}, status: {phase: Running, conditions: [{type: Ready, status: 'True'}]}}", ready, "Running"},
		{"what is being deleted is not ready",
			"{apiVersion: v1, kind: ConfigMap, metadata: {name: x, deletionTimestamp: '2026-01-01T00:00:00Z'}}", waiting, "is being deleted"},
		{"ours neither",
			"{apiVersion: mlops.seldon.io/v1alpha1, kind: Server, metadata: {name: x, deletionTimestamp: '2026-01-01T00:00:00Z'}}", waiting, "is being deleted"},
		{"what is not there yet is not ready either", "{apiVersion: v1, kind: Pod, metadata: {name: x}}", waiting, "Pod phase not available"},
		{"what its controller gave up on has failed",
			"{apiVersion: apps/v1, kind: Deployment, metadata: {name: x, generation: 1}, spec: {replicas: 1}, status: {observedGeneration: 1, " +
				"conditions: [{type: Progressing, status: 'False', reason: ProgressDeadlineExceeded}]}}", failed, "Progress deadline exceeded"},
	})
}

func TestNodeOfWhatTheSchedulerServes(t *testing.T) {
	pipeline := func(conditions string) string {
		return "{apiVersion: mlops.seldon.io/v1alpha1, kind: Pipeline, metadata: {name: x, generation: 2}, status: {conditions: [" + conditions + "]}}"
	}
	const (
		loaded  = "{type: ModelsReady, status: 'True'}, {type: PipelineReady, status: 'True'}"
		loading = "{type: ModelsReady, status: 'True'}, {type: PipelineReady, status: 'False'}"
	)
	hold(t, nodeOf, []judgement{
		{"before the scheduler's first word", pipeline(""), waiting, "the scheduler has not spoken of it yet"},
		{"with the conditions that Ready is made of",
			pipeline(loaded + ", {type: Ready, status: 'True', reason: Ready, observedGeneration: 2}"), ready, "✓ ModelsReady, ✓ PipelineReady"},
		{"with those of an older spec",
			pipeline(loaded + ", {type: Ready, status: 'True', observedGeneration: 1}"),
			waiting, "the scheduler has not spoken of it yet  ✓ ModelsReady, ✓ PipelineReady"},
		{"the scheduler works on it: a reason that the message begins with is told once",
			pipeline(loading + ", {type: Ready, status: 'False', observedGeneration: 2, reason: PipelineCreating, message: PipelineCreating}"),
			waiting, "PipelineCreating  ✓ ModelsReady, ○ PipelineReady"},
		{"the scheduler gave it up",
			pipeline(loading + ", {type: Ready, status: 'False', observedGeneration: 2, reason: PipelineFailed, message: 'PipelineFailed: no room'}"),
			failed, "PipelineFailed: no room  ✓ ModelsReady, ✗ PipelineReady"},
		{"the scheduler never took it",
			pipeline("{type: Ready, status: 'False', observedGeneration: 2, reason: Rejected, message: it has a cycle}"), failed, "Rejected: it has a cycle"},
		{"there is no scheduler",
			pipeline("{type: Ready, status: 'False', observedGeneration: 2, reason: NoRuntime, message: create one}"), failed, "NoRuntime: create one"},
		{"nobody knows",
			pipeline("{type: Ready, status: Unknown, observedGeneration: 2, reason: SchedulerCallFailed, message: EOF}"), waiting, "SchedulerCallFailed: EOF"},
	})
}

func TestReachability(t *testing.T) {
	runtime := func(condition string) string {
		return "{apiVersion: mlops.seldon.io/v1alpha1, kind: SeldonRuntime, metadata: {name: x}, status: {conditions: [" + condition + "]}}"
	}
	hold(t, reachability, []judgement{
		{"nothing is told", runtime(""), waiting, "the operator has not tried yet"},
		{"it tries",
			runtime("{type: SchedulerReachable, status: 'False', reason: Connecting, message: connecting to x}"), waiting, "connecting to x"},
		{"it is connected",
			runtime("{type: SchedulerReachable, status: 'True', reason: Connected, message: connected to x}"), ready, "connected to x"},
		{"it is not",
			runtime("{type: SchedulerReachable, status: 'False', reason: ConnectionLost, message: 'x: EOF'}"), failed, "ConnectionLost: x: EOF"},
	})
}
