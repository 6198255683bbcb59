package tree

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

func TestPodStatus(t *testing.T) {
	for name, c := range map[string]struct {
		status string
		want   string
		ready  Ready
	}{
		"running":              {`{phase: Running, conditions: [{type: Ready, status: "True"}], containerStatuses: [{restartCount: 2, state: {running: {}}}]}`, "Running", True},
		"without a status":     {`{}`, "Pod phase not available", False},
		"not ready":            {`{phase: Running, conditions: [{type: Ready, status: "False"}], containerStatuses: [{state: {running: {}}}]}`, "Running: not ready", False},
		"not scheduled":        {`{phase: Pending, conditions: [{type: PodScheduled, status: "False", reason: Unschedulable, message: "0/3 nodes\nare available"}]}`, "Unschedulable: 0/3 nodes are available", False},
		"crashing":             {`{phase: Running, containerStatuses: [{state: {running: {}}}, {state: {waiting: {reason: CrashLoopBackOff, message: back-off 10s}}}]}`, "CrashLoopBackOff: back-off 10s", False},
		"an exit code":         {`{phase: Failed, containerStatuses: [{state: {terminated: {exitCode: 137}}}]}`, "ExitCode:137", False},
		"an init container":    {`{phase: Pending, initContainerStatuses: [{state: {terminated: {exitCode: 0, reason: Completed}}}, {state: {waiting: {reason: ErrImagePull}}}], containerStatuses: [{state: {waiting: {reason: PodInitializing}}}]}`, "Init:ErrImagePull", False},
		"init containers done": {`{phase: Pending, initContainerStatuses: [{state: {terminated: {exitCode: 0, reason: Completed}}}], containerStatuses: [{state: {waiting: {reason: ContainerCreating}}}]}`, "ContainerCreating", False},
		"evicted":              {`{phase: Failed, reason: Evicted}`, "Evicted", False},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &unstructured.Unstructured{}
			text, err := yaml.YAMLToJSON([]byte(`{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: n}, status: ` + c.status + `}`))
			if err == nil {
				err = pod.UnmarshalJSON(text)
			}
			if err != nil {
				t.Fatal(err)
			}
			if n := newNode(pod); n.Status != c.want || n.Ready != c.ready {
				t.Errorf("got %s %q, want %s %q", n.Ready, n.Status, c.ready, c.want)
			}
		})
	}
}
