package main

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// object decodes YAML.
func object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	g := NewWithT(t)
	// By way of JSON, as from the API server: integers are int64 then.
	content, err := yaml.YAMLToJSON([]byte(text))
	g.Expect(err).NotTo(HaveOccurred())
	decoded := &unstructured.Unstructured{}
	g.Expect(decoded.UnmarshalJSON(content)).To(Succeed())
	return decoded
}

// child is an object of a kind with a controller, or none if that is empty. Its
// UID is its name.
func child(t *testing.T, apiVersion, kind, name, controller string) *unstructured.Unstructured {
	t.Helper()
	text := "{apiVersion: " + apiVersion + ", kind: " + kind + ", metadata: {name: " + name + ", uid: " + name
	if controller != "" {
		text += ", ownerReferences: [{uid: " + controller + ", controller: true}]"
	}
	return object(t, text+"}}")
}

// outline writes a tree's titles, two spaces in for each level.
func outline(n *node) string {
	text := n.title() + "\n"
	for _, child := range n.children {
		for below := range strings.Lines(outline(child)) {
			text += "  " + below
		}
	}
	return text
}

func TestBuildTree(t *testing.T) {
	const ours = "mlops.seldon.io/v1alpha1"
	for _, test := range []struct {
		name    string
		objects func(t *testing.T) []*unstructured.Unstructured
		want    string
	}{
		{"no runtime yet", func(*testing.T) []*unstructured.Unstructured { return nil }, "SeldonRuntime seldon\n"},
		{"children by kind, whatever the order they come in", func(t *testing.T) []*unstructured.Unstructured {
			return []*unstructured.Unstructured{
				child(t, "v1", "Service", "mesh", "seldon"),
				child(t, "v1", "Secret", "key", "seldon"),
				child(t, ours, "SeldonRuntime", "seldon", ""),
				child(t, "v1", "ConfigMap", "kafka", "seldon"),
				child(t, "rbac.authorization.k8s.io/v1", "Role", "agent", "seldon"),
				child(t, "v1", "ServiceAccount", "scheduler", "seldon"),
				child(t, "v1", "ServiceAccount", "hodometer", "seldon"),
			}
		}, `SeldonRuntime seldon
  accounts
    ServiceAccount hodometer
    ServiceAccount scheduler
    Role agent
  configuration
    ConfigMap kafka
  services
    Service mesh
  others
    Secret key
`},
		{"each level belongs to the one above, and pods to what runs them", func(t *testing.T) []*unstructured.Unstructured {
			return []*unstructured.Unstructured{
				child(t, ours, "SeldonRuntime", "seldon", ""),
				child(t, ours, "Server", "mlserver", "seldon"),
				child(t, "apps/v1", "StatefulSet", "mlserver-set", "mlserver"),
				child(t, "v1", "Pod", "mlserver-0", "mlserver-set"),
				child(t, "v1", "Service", "mlserver-0-svc", "mlserver"),
				child(t, "apps/v1", "Deployment", "envoy", "seldon"),
				child(t, "apps/v1", "ReplicaSet", "envoy-1", "envoy"),
				child(t, "apps/v1", "ReplicaSet", "envoy-2", "envoy"),
				child(t, "v1", "Pod", "envoy-1-a", "envoy-1"),
				child(t, "v1", "Pod", "envoy-2-b", "envoy-2"),
			}
		}, `SeldonRuntime seldon
  workloads
    Deployment envoy
      Pod envoy-1-a
      Pod envoy-2-b
  servers
    Server mlserver
      Service mlserver-0-svc
      StatefulSet mlserver-set
        Pod mlserver-0
`},
		{"what belongs to others is left out", func(t *testing.T) []*unstructured.Unstructured {
			return []*unstructured.Unstructured{
				child(t, ours, "SeldonRuntime", "seldon", ""),
				child(t, ours, "SeldonRuntime", "another", ""),
				child(t, "v1", "ConfigMap", "of-another", "another"),
				child(t, "v1", "ConfigMap", "of-nobody", ""),
				object(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: not-controlled, ownerReferences: [{uid: seldon}]}}"),
			}
		}, "SeldonRuntime seldon\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			NewWithT(t).Expect(outline(buildTree("seldon", test.objects(t)))).To(Equal(test.want))
		})
	}
}

func TestBuildTreeWithoutARuntimeIsNotReady(t *testing.T) {
	g := NewWithT(t)
	tree := buildTree("seldon", nil)
	g.Expect(tree.own).To(Equal(waiting))
	g.Expect(tree.detail).To(Equal("does not exist"))
}

func TestNodeOf(t *testing.T) {
	server := func(ready string) string {
		return "{apiVersion: mlops.seldon.io/v1alpha1, kind: Server, metadata: {name: x, generation: 2}, status: {conditions: [" + ready + "]}}"
	}
	for _, test := range []struct {
		name   string
		object string
		own    state
		detail string
	}{
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
	} {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			n := nodeOf(object(t, test.object))
			g.Expect(n.own).To(Equal(test.own), n.detail)
			g.Expect(n.detail).To(Equal(test.detail))
		})
	}
}

func TestWatchedKindsAreThoseOfThePicture(t *testing.T) {
	g := NewWithT(t)
	g.Expect(watchedKinds()).To(ContainElements(runtimeKind, serverKind, deploymentKind, replicaSetKind, statefulSetKind, podKind))
	g.Expect(watchedKinds()).To(HaveLen(11), "each kind once")
}
