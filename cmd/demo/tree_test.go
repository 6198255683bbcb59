package main

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/seldon-operator/seldon-operator/cli/tree"
)

func TestDescribe(t *testing.T) {
	g := NewWithT(t)
	model := func(name string, ready tree.Ready, status string) *tree.Node {
		return &tree.Node{Kind: "Model", Name: name, Ready: ready, Status: status}
	}
	before := []*tree.Node{model("a", tree.True, "-"), model("b", tree.True, "-"), model("c", tree.True, "-")}
	after := []*tree.Node{model("a", tree.False, "failed"), model("c", tree.True, "-"), model("d", tree.False, "failed"), model("e", tree.False, strings.Repeat("é", 200))}
	g.Expect(describe(tree.Changes(before, after))).To(Equal([]string{
		"Model/a, d  False failed", "Model/e  False " + strings.Repeat("é", maxStatus-1) + "…", "Model/b  - Deleted",
	}))
	g.Expect(describe(tree.Changes(after, after))).To(BeEmpty())
}

func TestReadiness(t *testing.T) {
	g := NewWithT(t)
	reachable := &tree.Node{Kind: "Condition", Name: "SchedulerReachable", Ready: tree.False, Status: "closed"}
	objects := []*tree.Node{{Kind: "SeldonRuntime", Name: "seldon", Ready: tree.True, Status: "-", Children: []*tree.Node{reachable}}}
	g.Expect(allReady(objects)).To(MatchError("Condition/SchedulerReachable is not ready: closed"))
	g.Expect(notReady(schedulerReachable)(objects)).To(Succeed())
	reachable.Ready = tree.True
	g.Expect(allReady(objects)).To(Succeed())
	g.Expect(notReady(schedulerReachable)(objects)).To(MatchError("Condition/SchedulerReachable is still ready"))
	g.Expect(allReady(nil)).To(MatchError("Condition/SchedulerReachable does not exist"))
	g.Expect(draw(tree.Fold(tree.Group(objects)))).To(Equal("NAME                  READY  STATUS  AGE\nSeldonRuntime/seldon  True   -\n"))
}
