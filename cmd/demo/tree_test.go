package main

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// treeOf builds a tree from objects, each in one line of YAML.
func treeOf(t *testing.T, documents string) *node {
	t.Helper()
	var objects []*unstructured.Unstructured
	for document := range strings.Lines(documents) {
		// Via JSON, so that integers are int64, as from the API server.
		content, err := yaml.YAMLToJSON([]byte(document))
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		object := &unstructured.Unstructured{}
		NewWithT(t).Expect(object.UnmarshalJSON(content)).To(Succeed())
		objects = append(objects, object)
	}
	return buildTree("team", objects)
}

const (
	model   = "{apiVersion: mlops.seldon.io/v1alpha1, kind: Model, metadata: {name: iris, uid: m, generation: 2}, status: {conditions: ["
	iris    = model + "{type: Ready, status: 'True', observedGeneration: 1}]}}\n"
	failed  = model + "{type: Ready, status: 'False', observedGeneration: 2}, {type: Stalled, status: 'True', observedGeneration: 2, message: invalid}]}}\n"
	runtime = `{apiVersion: mlops.seldon.io/v1alpha1, kind: SeldonRuntime, metadata: {name: seldon, uid: r}, status: {conditions: [{type: Ready, status: "True"}, {type: SchedulerReachable, status: "False", message: "closed\nby a"}]}}
{apiVersion: v1, kind: ConfigMap, metadata: {name: kafka, uid: c, ownerReferences: [{uid: r, controller: true}]}}
{apiVersion: v1, kind: ConfigMap, metadata: {name: tracing, uid: d, ownerReferences: [{uid: r, controller: true}]}}
{apiVersion: v1, kind: ConfigMap, metadata: {name: not-controlled, uid: e, ownerReferences: [{uid: r}]}}
{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: scheduler, uid: s, generation: 1, ownerReferences: [{uid: r, controller: true}]}, status: {observedGeneration: 1}}
{apiVersion: v1, kind: Pod, metadata: {name: scheduler-0, uid: p, ownerReferences: [{uid: s, controller: true}]}, status: {phase: Running, conditions: [{type: Ready, status: "True"}]}}
`
)

func TestTree(t *testing.T) {
	g := NewWithT(t)
	tree := treeOf(t, runtime+iris)
	g.Expect(tree.String()).To(Equal(`✓ Namespace team
├─ ✓ SeldonRuntime seldon
│  ├─ ○ Condition SchedulerReachable  closed by a
│  ├─ ✓ ConfigMap kafka, tracing
│  └─ ○ StatefulSet scheduler  0 of 1 replicas are ready
│     └─ ✓ Pod scheduler-0
└─ ○ Model iris  its controller has not observed it yet
`))
	g.Expect(tree.summary().String()).To(Equal(`✓ Namespace team
├─ ✓ SeldonRuntime seldon …
│  ├─ ○ Condition SchedulerReachable  closed by a
│  └─ ○ StatefulSet scheduler …  0 of 1 replicas are ready
└─ ○ Model iris  its controller has not observed it yet
`))
	g.Expect(allReady(tree)).To(MatchError(HavePrefix("Condition SchedulerReachable is not ready: closed")))
	g.Expect(notReady("Model iris")(tree)).To(Succeed())
	g.Expect(notReady("Pod scheduler-0")(tree)).To(MatchError("Pod scheduler-0 is still ready"))
	tree.message = strings.Repeat("é", maxLine)
	g.Expect([]rune(tree.line())).To(HaveLen(maxLine))
}

func TestChanges(t *testing.T) {
	g := NewWithT(t)
	before := treeOf(t, runtime+iris)
	g.Expect(changes(nil, before)).To(ContainElements("✓ ConfigMap kafka, tracing", "✓ Pod scheduler-0"))
	g.Expect(changes(before, treeOf(t, runtime+iris))).To(BeEmpty())
	g.Expect(changes(before, treeOf(t, runtime+failed))).To(ConsistOf("✗ Model iris  invalid"))
	g.Expect(changes(before, treeOf(t, iris))).To(ContainElements("- SeldonRuntime seldon  is deleted", "- ConfigMap kafka, tracing  is deleted"))
}
