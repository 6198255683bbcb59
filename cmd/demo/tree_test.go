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
	// Via JSON, so that integers are int64, as from the API server.
	content, err := yaml.YAMLToJSON([]byte(text))
	g.Expect(err).NotTo(HaveOccurred())
	decoded := &unstructured.Unstructured{}
	g.Expect(decoded.UnmarshalJSON(content)).To(Succeed())
	return decoded
}

// child returns an object with a controller, or without one if that is empty. Its UID is
// its name.
func child(t *testing.T, apiVersion, kind, name, controller string) *unstructured.Unstructured {
	t.Helper()
	text := "{apiVersion: " + apiVersion + ", kind: " + kind + ", metadata: {name: " + name + ", uid: " + name
	if controller != "" {
		text += ", ownerReferences: [{uid: " + controller + ", controller: true}]"
	}
	return object(t, text+"}}")
}

// outline returns the titles of a tree, indented by two spaces per level.
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
		{"a runtime has a scheduler, with all Models, Pipelines and Experiments of the namespace", func(t *testing.T) []*unstructured.Unstructured {
			return []*unstructured.Unstructured{
				child(t, ours, "Experiment", "a", ""),
				child(t, ours, "Pipeline", "b", ""),
				child(t, ours, "Model", "d", "other"),
				child(t, ours, "Model", "c", ""),
				child(t, ours, "SeldonRuntime", "seldon", ""),
			}
		}, `SeldonRuntime seldon
  scheduler
    SchedulerReachable
    Model c
    Model d
    Pipeline b
    Experiment a
`},
		{"children are ordered by kind", func(t *testing.T) []*unstructured.Unstructured {
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
  scheduler
    SchedulerReachable
`},
		{"descendants are below their controller, and pods below their workload", func(t *testing.T) []*unstructured.Unstructured {
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
  scheduler
    SchedulerReachable
`},
		{"objects of other owners are ignored", func(t *testing.T) []*unstructured.Unstructured {
			return []*unstructured.Unstructured{
				child(t, ours, "SeldonRuntime", "seldon", ""),
				child(t, ours, "SeldonRuntime", "another", ""),
				child(t, "v1", "ConfigMap", "of-another", "another"),
				child(t, "v1", "ConfigMap", "without-owner", ""),
				object(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: not-controlled, ownerReferences: [{uid: seldon}]}}"),
			}
		}, "SeldonRuntime seldon\n  scheduler\n    SchedulerReachable\n"},
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

func TestFindAndFirstUnready(t *testing.T) {
	g := NewWithT(t)
	tree := sample()
	g.Expect(tree.firstUnready()).To(BeIdenticalTo(tree), "from the top down")
	tree.own = ready
	g.Expect(tree.firstUnready().title()).To(Equal("Deployment b"))
	tree.find("Deployment b").own, tree.find("Pod b-0").own, tree.find("Service two").own = ready, ready, ready
	g.Expect(tree.firstUnready()).To(BeNil())
	g.Expect(tree.find("Pod b")).To(BeNil())
}

func TestWatchedKinds(t *testing.T) {
	g := NewWithT(t)
	g.Expect(watchedKinds()).To(ContainElements(runtimeKind, serverKind, deploymentKind, replicaSetKind, statefulSetKind, podKind, modelKind))
	g.Expect(watchedKinds()).To(HaveLen(14), "each kind once")
}
