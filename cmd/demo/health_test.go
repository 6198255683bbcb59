package main

import (
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// healthCase is an object with its expected state.
type healthCase struct {
	name   string
	object string
	own    state
	detail string
}

// testHealth tests a function that returns the node of an object.
func testHealth(t *testing.T, nodeOf func(*unstructured.Unstructured) *node, healthCases []healthCase) {
	t.Helper()
	for _, test := range healthCases {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			n := nodeOf(object(t, test.object))
			g.Expect(n.own).To(Equal(test.own), n.detail)
			g.Expect(n.detail).To(Equal(test.detail))
		})
	}
}

func TestNodeOf(t *testing.T) {
	server := func(ready string) string {
		return "{apiVersion: mlops.seldon.io/v1alpha1, kind: Server, metadata: {name: x, generation: 2}, status: {conditions: [" + ready + "]}}"
	}
	testHealth(t, nodeOf, []healthCase{
		{"a custom resource without status", server(""), waiting, "the operator has not seen it yet"},
		{"its condition Ready is True", server("{type: Ready, status: 'True', observedGeneration: 2}"), ready, ""},
		{"a message with a disabled component",
			server("{type: Ready, status: 'True', observedGeneration: 2, message: 'disabled: hodometer'}"), ready, "disabled: hodometer"},
		{"Ready of an earlier generation",
			server("{type: Ready, status: 'True', observedGeneration: 1}"), waiting, "the operator has not seen it yet"},
		{"another condition is True",
			server("{type: StatefulSetOrDeploymentReady, status: 'True', observedGeneration: 2}"), waiting, "the operator has not seen it yet"},
		{"it is progressing",
			server("{type: Ready, status: 'False', observedGeneration: 2, reason: Progressing, message: 0 of 1}"), waiting, "Progressing: 0 of 1"},
		{"it has failed, with a message of several lines",
			server(`{type: Ready, status: "False", observedGeneration: 2, reason: ConfigNotFound, message: "there is\n\tno \u001b[2Jone"}`),
			failed, "ConfigNotFound: there is no [2Jone"},
		{"Ready is Unknown",
			server("{type: Ready, status: Unknown, observedGeneration: 2, reason: Lost, message: disconnected}"), waiting, "Lost: disconnected"},
		{"a workload has its replicas as detail",
			"{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: x, generation: 1}, spec: {replicas: 2, updateStrategy: {type: RollingUpdate}}, " +
				"status: {observedGeneration: 1, replicas: 2, readyReplicas: 2, currentReplicas: 2, updatedReplicas: 2, currentRevision: a, updateRevision: a}}",
			ready, "2/2"},
		{"a pod has its phase as detail",
			"{apiVersion: v1, kind: Pod, metadata: {name: x}, status: {phase: Running, conditions: [{type: Ready, status: 'True'}]}}", ready, "Running"},
		{"a ConfigMap that is being deleted",
			"{apiVersion: v1, kind: ConfigMap, metadata: {name: x, deletionTimestamp: '2026-01-01T00:00:00Z'}}", waiting, "is being deleted"},
		{"a custom resource that is being deleted",
			"{apiVersion: mlops.seldon.io/v1alpha1, kind: Server, metadata: {name: x, deletionTimestamp: '2026-01-01T00:00:00Z'}}", waiting, "is being deleted"},
		{"a pod without status", "{apiVersion: v1, kind: Pod, metadata: {name: x}}", waiting, "Pod phase not available"},
		{"a Deployment that exceeded its progress deadline",
			"{apiVersion: apps/v1, kind: Deployment, metadata: {name: x, generation: 1}, spec: {replicas: 1}, status: {observedGeneration: 1, " +
				"conditions: [{type: Progressing, status: 'False', reason: ProgressDeadlineExceeded}]}}", failed, "Progress deadline exceeded"},
	})
}

func TestNodeOfResources(t *testing.T) {
	pipeline := func(conditions string) string {
		return "{apiVersion: mlops.seldon.io/v1alpha1, kind: Pipeline, metadata: {name: x, generation: 2}, status: {conditions: [" + conditions + "]}}"
	}
	const (
		loaded  = "{type: ModelsReady, status: 'True'}, {type: PipelineReady, status: 'True'}"
		loading = "{type: ModelsReady, status: 'True'}, {type: PipelineReady, status: 'False'}"
	)
	testHealth(t, nodeOf, []healthCase{
		{"without status", pipeline(""), waiting, "the scheduler has not reported it yet"},
		{"ready, with the conditions that Ready is derived from",
			pipeline(loaded + ", {type: Ready, status: 'True', reason: Ready, observedGeneration: 2}"), ready, "✓ ModelsReady, ✓ PipelineReady"},
		{"with conditions of an earlier generation",
			pipeline(loaded + ", {type: Ready, status: 'True', observedGeneration: 1}"),
			waiting, "the scheduler has not reported it yet  ✓ ModelsReady, ✓ PipelineReady"},
		{"progressing, with a message that starts with the reason",
			pipeline(loading + ", {type: Ready, status: 'False', observedGeneration: 2, reason: PipelineCreating, message: PipelineCreating}"),
			waiting, "PipelineCreating  ✓ ModelsReady, ○ PipelineReady"},
		{"failed in the scheduler",
			pipeline(loading + ", {type: Ready, status: 'False', observedGeneration: 2, reason: PipelineFailed, message: 'PipelineFailed: no room'}"),
			failed, "PipelineFailed: no room  ✓ ModelsReady, ✗ PipelineReady"},
		{"rejected by the scheduler",
			pipeline("{type: Ready, status: 'False', observedGeneration: 2, reason: Rejected, message: it has a cycle}"), failed, "Rejected: it has a cycle"},
		{"without a scheduler",
			pipeline("{type: Ready, status: 'False', observedGeneration: 2, reason: NoRuntime, message: create one}"), failed, "NoRuntime: create one"},
		{"Ready is Unknown",
			pipeline("{type: Ready, status: Unknown, observedGeneration: 2, reason: SchedulerCallFailed, message: EOF}"), waiting, "SchedulerCallFailed: EOF"},
	})
}

func TestReachability(t *testing.T) {
	runtime := func(condition string) string {
		return "{apiVersion: mlops.seldon.io/v1alpha1, kind: SeldonRuntime, metadata: {name: x}, status: {conditions: [" + condition + "]}}"
	}
	testHealth(t, reachabilityNode, []healthCase{
		{"no condition", runtime(""), waiting, "the operator has not connected yet"},
		{"connecting",
			runtime("{type: SchedulerReachable, status: 'False', reason: Connecting, message: connecting to x}"), waiting, "connecting to x"},
		{"connected",
			runtime("{type: SchedulerReachable, status: 'True', reason: Connected, message: connected to x}"), ready, "connected to x"},
		{"connection lost",
			runtime("{type: SchedulerReachable, status: 'False', reason: ConnectionLost, message: 'x: EOF'}"), failed, "ConnectionLost: x: EOF"},
	})
}
