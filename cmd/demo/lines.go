package main

import (
	"fmt"
	"strings"
)

// style is how a piece of a line looks where there are colours.
type style int

const (
	plainly style = iota
	faint
	green
	yellow
	red
)

// piece is a part of a line in one style.
type piece struct {
	style style
	text  string
}

// line is one line of the picture.
type line []piece

func (l line) String() string {
	var text strings.Builder
	for _, p := range l {
		text.WriteString(p.text)
	}
	return text.String()
}

// clipped is the line in at most width columns. Every character of ours takes
// one.
func (l line) clipped(width int) line {
	if len([]rune(l.String())) <= width {
		return l
	}
	var clipped line
	left := max(0, width-1) // the last one says that there is more
	for _, p := range l {
		runes := []rune(p.text)
		if len(runes) > left {
			return append(clipped, piece{p.style, string(runes[:left]) + "…"})
		}
		left -= len(runes)
		clipped = append(clipped, p)
	}
	return clipped
}

// marks of the states, and their styles.
var (
	marks  = map[state]string{ready: "✓", waiting: "○", failed: "✗"}
	styles = map[state]style{ready: green, waiting: yellow, failed: red}
)

// drawTree draws the tree in full.
func drawTree(root *node) []line {
	return drawNode(summarized(root), "", "")
}

// fitTree draws the tree in at most height lines. As much of what is ready is
// folded as that takes, from the leaves towards the root and from the top down;
// if it is not enough the end is cut off.
func fitTree(root *node, height int) []line {
	root = summarized(root)
	lines := drawNode(root, "", "")
	for level := depth(root) - 2; level > 0; level-- {
		for _, n := range atLevel(root, level) {
			if len(lines) <= height {
				return lines
			}
			if fold(n) {
				lines = drawNode(root, "", "")
			}
		}
	}
	if len(lines) <= height {
		return lines
	}
	if height <= 0 {
		return nil
	}
	hidden := len(lines) - height + 1
	return append(lines[:height-1], line{{faint, fmt.Sprintf("… and %d more lines", hidden)}})
}

// drawNode draws a node and what is below it. first goes before its own line,
// rest before those below.
func drawNode(n *node, first, rest string) []line {
	drawn := line{{faint, first}, {styles[n.shown()], marks[n.shown()]}, {plainly, " " + n.title()}}
	if n.detail != "" {
		how := faint
		if n.own != ready {
			how = styles[n.own]
		}
		drawn = append(drawn, piece{how, "  " + n.detail})
	}
	lines := []line{drawn}
	for i, child := range n.children {
		if i == len(n.children)-1 {
			lines = append(lines, drawNode(child, rest+"└─ ", rest+"   ")...)
			continue
		}
		lines = append(lines, drawNode(child, rest+"├─ ", rest+"│  ")...)
	}
	return lines
}

// summarized is a copy of the tree with siblings of one kind that are ready, and
// of which there is no more to say than their names, in one node.
func summarized(n *node) *node {
	summary := *n
	summary.children = nil
	for _, child := range n.children {
		child = summarized(child)
		if last := len(summary.children) - 1; last >= 0 && isPlain(child) &&
			isPlain(summary.children[last]) && summary.children[last].kind == child.kind {
			summary.children[last].name += ", " + child.name
			continue
		}
		summary.children = append(summary.children, child)
	}
	return &summary
}

func isPlain(n *node) bool {
	return n.kind != "" && n.own == ready && n.detail == "" && len(n.children) == 0
}

// fold takes away what is below a node that is ready with all of it, and tells
// whether there was anything to take.
func fold(n *node) bool {
	if len(n.children) == 0 || n.worst() != ready {
		return false
	}
	n.detail = strings.TrimSpace(n.detail + " …")
	n.children = nil
	return true
}

// atLevel lists the nodes of a level, from the top down; the root's level is 0.
func atLevel(n *node, level int) []*node {
	if level == 0 {
		return []*node{n}
	}
	var nodes []*node
	for _, child := range n.children {
		nodes = append(nodes, atLevel(child, level-1)...)
	}
	return nodes
}

// depth is the number of levels.
func depth(n *node) int {
	deepest := 0
	for _, child := range n.children {
		deepest = max(deepest, depth(child))
	}
	return deepest + 1
}
