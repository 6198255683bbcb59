package main

import (
	"regexp"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// withoutTimes removes the times since the start.
func withoutTimes(text string) string {
	return regexp.MustCompile(`(?m)^ *\d+:\d\d `).ReplaceAllString(text, "")
}

func TestLogRendererAppendsChanges(t *testing.T) {
	g := NewWithT(t)
	out := &strings.Builder{}
	p := newLogRenderer(out)
	appended := func() string {
		defer out.Reset()
		return withoutTimes(out.String())
	}
	tree := &node{kind: "SeldonRuntime", name: "seldon", own: waiting, detail: "Progressing: a", children: []*node{
		{name: "workloads", children: []*node{
			{kind: "Deployment", name: "a", own: waiting, detail: "0/1", children: []*node{{kind: "Pod", name: "a-0", own: waiting}}},
		}},
	}}

	p.progress("Wait", 0, nil)
	g.Expect(appended()).To(Equal("○ Wait\n"))
	p.progress("Wait", time.Second, tree)
	g.Expect(appended()).To(Equal(`  ○ SeldonRuntime seldon  Progressing: a
  ○ Deployment a  0/1
  ○ Deployment a › Pod a-0
`))
	p.progress("Wait", 2*time.Second, tree)
	g.Expect(appended()).To(BeEmpty(), "nothing has changed")
	p.progress("Wait", progressInterval, tree)
	g.Expect(appended()).To(Equal("○ Wait: running for 0:15\n"), "the progress is printed from time to time")

	workload := tree.children[0].children[0]
	workload.own, workload.detail = ready, "1/1"
	workload.children = []*node{{kind: "Pod", name: "a-1", own: failed, detail: "Error"}}
	p.progress("Wait", progressInterval, tree)
	g.Expect(appended()).To(Equal(`  ✓ Deployment a  1/1
  ✗ Deployment a › Pod a-1  Error
  - Deployment a › Pod a-0  is deleted
`))
	p.progress("Wait", progressInterval, tree)
	g.Expect(appended()).To(BeEmpty(), "a deletion is printed once")

	p.finished("Wait", 1500*time.Millisecond, "", true)
	p.finished("Stop", 0, "why", false)
	p.print("text\n")
	p.printFinal(tree)
	g.Expect(appended()).To(Equal(`✓ Wait  1.5 s
✗ Stop  0.0 s  why
text

○ SeldonRuntime seldon  Progressing: a
└─ ✓ workloads
   └─ ✓ Deployment a  1/1
      └─ ✗ Pod a-1  Error
`))
}
