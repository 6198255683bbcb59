package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// reminder is how often plain says that a stage still goes on.
const reminder = 15 * time.Second

// plain appends to a log: what begins, what changes in the tree, what ends.
type plain struct {
	out   io.Writer
	start time.Time
	// stage is the one that goes on; told is how far it was when that was said.
	stage string
	told  time.Duration
	// known are the lines last written about the nodes of the tree, by the paths
	// to them, in the order in which they came.
	known map[string]string
	order []string
}

func newPlain(out io.Writer) *plain {
	return &plain{out: out, start: time.Now(), known: map[string]string{}}
}

func (p *plain) redraws() bool { return false }

func (p *plain) progress(stage string, elapsed time.Duration, tree *node) {
	switch {
	case stage != p.stage:
		p.stage, p.told = stage, 0
		p.line(marks[waiting] + " " + stage)
	case elapsed-p.told >= reminder:
		p.told = elapsed
		p.line(fmt.Sprintf("%s %s: for %s now", marks[waiting], stage, minutes(elapsed)))
	}
	if tree != nil {
		p.changes(tree)
	}
}

func (p *plain) finished(stage string, elapsed time.Duration, note string, well bool) {
	p.stage = ""
	p.line(outcome(stage, elapsed, note, well).String())
}

func (p *plain) say(text string) { p.print(text) }

func (p *plain) keep(tree *node) {
	p.print("\n")
	for _, drawn := range drawTree(tree) {
		p.print(drawn.String() + "\n")
	}
}

// changes writes a line for each node that is new, different or gone.
func (p *plain) changes(tree *node) {
	seen := map[string]bool{}
	p.change(tree, "", seen)
	left := p.order[:0]
	for _, path := range p.order {
		if seen[path] {
			left = append(left, path)
			continue
		}
		delete(p.known, path)
		p.line("  - " + path + "  is gone")
	}
	p.order = left
}

// change looks at a node and what is below it. The path to an object names what
// it belongs to, up to but without the runtime; groups say nothing in it.
func (p *plain) change(n *node, owner string, seen map[string]bool) {
	path := owner
	if n.kind != "" {
		path = strings.TrimPrefix(owner+" › "+n.title(), " › ")
		text := marks[n.own] + " " + path
		if n.detail != "" {
			text += "  " + n.detail
		}
		seen[path] = true
		before, isKnown := p.known[path]
		if !isKnown {
			p.order = append(p.order, path)
		}
		if before != text {
			p.known[path] = text
			p.line("  " + text)
		}
	}
	if n.kind == runtimeKind.Kind {
		path = ""
	}
	for _, child := range n.children {
		p.change(child, path, seen)
	}
}

// line writes a line with the time since the start.
func (p *plain) line(text string) {
	p.print(fmt.Sprintf("%5s %s\n", minutes(time.Since(p.start)), text))
}

// print writes text. Where it cannot be written nobody looks.
func (p *plain) print(text string) { _, _ = io.WriteString(p.out, text) }
