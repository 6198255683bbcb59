package main

import (
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// sample returns a tree of 15 lines, with ready nodes that can be folded.
func sample() *node {
	pod := func(name string, own state) []*node {
		return []*node{{kind: "Pod", name: name, own: own, detail: "phase"}}
	}
	return &node{kind: "SeldonRuntime", name: "seldon", own: waiting, detail: "Progressing: b", children: []*node{
		{name: "accounts", children: []*node{
			{kind: "Role", name: "one"}, {kind: "Role", name: "two"}, {kind: "RoleBinding", name: "one"}, {kind: "RoleBinding", name: "two"},
		}},
		{name: "workloads", children: []*node{
			{kind: "Deployment", name: "a", detail: "1/1", children: pod("a-0", ready)},
			{kind: "Deployment", name: "b", own: waiting, detail: "0/1", children: pod("b-0", failed)},
			{kind: "Deployment", name: "c", detail: "1/1", children: pod("c-0", ready)},
		}},
		{name: "services", children: []*node{
			{kind: "Service", name: "one"}, {kind: "Service", name: "two", own: waiting}, {kind: "Service", name: "three"},
		}},
	}}
}

func plainLines(lines []line) string {
	var text strings.Builder
	for _, drawn := range lines {
		text.WriteString(drawn.String() + "\n")
	}
	return text.String()
}

func TestFitTree(t *testing.T) {
	for _, test := range []struct {
		name   string
		height int
		want   string
	}{
		{"complete: groups have the worst state in them, and siblings are combined unless they differ", 15,
			`○ SeldonRuntime seldon  Progressing: b
├─ ✓ accounts
│  ├─ ✓ Role one, two
│  └─ ✓ RoleBinding one, two
├─ ○ workloads
│  ├─ ✓ Deployment a  1/1
│  │  └─ ✓ Pod a-0  phase
│  ├─ ○ Deployment b  0/1
│  │  └─ ✗ Pod b-0  phase
│  └─ ✓ Deployment c  1/1
│     └─ ✓ Pod c-0  phase
└─ ○ services
   ├─ ✓ Service one
   ├─ ○ Service two
   └─ ✓ Service three
`},
		{"ready leaves are folded first, and no more than needed", 14,
			`○ SeldonRuntime seldon  Progressing: b
├─ ✓ accounts
│  ├─ ✓ Role one, two
│  └─ ✓ RoleBinding one, two
├─ ○ workloads
│  ├─ ✓ Deployment a  1/1 …
│  ├─ ○ Deployment b  0/1
│  │  └─ ✗ Pod b-0  phase
│  └─ ✓ Deployment c  1/1
│     └─ ✓ Pod c-0  phase
└─ ○ services
   ├─ ✓ Service one
   ├─ ○ Service two
   └─ ✓ Service three
`},
		{"then nodes closer to the root", 11,
			`○ SeldonRuntime seldon  Progressing: b
├─ ✓ accounts  …
├─ ○ workloads
│  ├─ ✓ Deployment a  1/1 …
│  ├─ ○ Deployment b  0/1
│  │  └─ ✗ Pod b-0  phase
│  └─ ✓ Deployment c  1/1 …
└─ ○ services
   ├─ ✓ Service one
   ├─ ○ Service two
   └─ ✓ Service three
`},
		{"finally the end is cut off", 3,
			`○ SeldonRuntime seldon  Progressing: b
├─ ✓ accounts  …
… and 9 more lines
`},
		{"no lines at all", 0, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			NewWithT(t).Expect(plainLines(fitTree(sample(), test.height))).To(Equal(test.want))
		})
	}
}

func TestFitTreeAlwaysFits(t *testing.T) {
	g := NewWithT(t)
	tree := sample()
	for height := range 20 {
		g.Expect(len(fitTree(tree, height))).To(BeNumerically("<=", height))
	}
	g.Expect(tree).To(Equal(sample()), "drawing changes nothing")
}

func TestClipped(t *testing.T) {
	l := line{{faint, "├─ "}, {green, "✓"}, {unstyled, " Pod"}}
	for width, want := range map[int]string{0: "…", 1: "…", 2: "├…", 3: "├─…", 4: "├─ …", 5: "├─ ✓…", 7: "├─ ✓ P…", 8: "├─ ✓ Pod", 80: "├─ ✓ Pod"} {
		t.Run(fmt.Sprint(width), func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(l.clipped(width).String()).To(Equal(want))
		})
	}
}
