package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// progressInterval is how often logRenderer prints that a step is still running.
const progressInterval = 15 * time.Second

// logRenderer appends lines to a log: when a step starts and ends, and changes of the
// tree.
type logRenderer struct {
	out   io.Writer
	start time.Time
	// step is the running step, and printed its duration when its progress was last
	// printed.
	step    string
	printed time.Duration
	// known are the last lines about the nodes of the tree, by their paths, and order are
	// the paths in the order of their appearance.
	known map[string]string
	order []string
}

func newLogRenderer(out io.Writer) *logRenderer {
	return &logRenderer{out: out, start: time.Now(), known: map[string]string{}}
}

func (p *logRenderer) redraws() bool { return false }

func (p *logRenderer) progress(step string, elapsed time.Duration, tree *node) {
	switch {
	case step != p.step:
		p.step, p.printed = step, 0
		p.line(marks[waiting] + " " + step)
	case elapsed-p.printed >= progressInterval:
		p.printed = elapsed
		p.line(fmt.Sprintf("%s %s: running for %s", marks[waiting], step, formatElapsed(elapsed)))
	}
	if tree != nil {
		p.changes(tree)
	}
}

func (p *logRenderer) finished(step string, elapsed time.Duration, note string, well bool) {
	p.step = ""
	p.line(outcome(step, elapsed, note, well).String())
}

func (p *logRenderer) printFinal(tree *node) {
	p.print("\n")
	for _, drawn := range drawTree(tree) {
		p.print(drawn.String() + "\n")
	}
}

// changes writes a line for each node that is new, changed or deleted.
func (p *logRenderer) changes(tree *node) {
	seen := map[string]bool{}
	p.change(tree, "", seen)
	remaining := p.order[:0]
	for _, path := range p.order {
		if seen[path] {
			remaining = append(remaining, path)
			continue
		}
		delete(p.known, path)
		p.line("  - " + path + "  is deleted")
	}
	p.order = remaining
}

// change writes the changes of a node and its children. The path of a node has its
// owners, without the runtime and groups.
func (p *logRenderer) change(n *node, owner string, seen map[string]bool) {
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
func (p *logRenderer) line(text string) {
	p.print(fmt.Sprintf("%5s %s\n", formatElapsed(time.Since(p.start)), text))
}

// print writes text and ignores errors.
func (p *logRenderer) print(text string) { _, _ = io.WriteString(p.out, text) }
