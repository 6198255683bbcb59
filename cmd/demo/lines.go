package main

import (
	"fmt"
	"strings"
)

// style is the style of a piece of a line on a terminal with colours.
type style int

const (
	unstyled style = iota
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

// line is one line of the snapshot.
type line []piece

func (l line) String() string {
	var text strings.Builder
	for _, p := range l {
		text.WriteString(p.text)
	}
	return text.String()
}

// clipped returns the line clipped to width columns. Every character takes one.
func (l line) clipped(width int) line {
	if len([]rune(l.String())) <= width {
		return l
	}
	var clipped line
	left := max(0, width-1) // the last column is for the ellipsis
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

// marks and styles are those of the states.
var (
	marks  = map[state]string{ready: "✓", waiting: "○", failed: "✗"}
	styles = map[state]style{ready: green, waiting: yellow, failed: red}
)

// drawTree draws the tree in full.
func drawTree(root *node) []line {
	return drawNode(summarized(root), "", "")
}

// fitTree draws the tree in at most height lines. It folds ready nodes as needed, from
// the leaves to the root and from top to bottom. If that is not sufficient, it cuts off
// the end.
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

// drawNode draws a node and its children. first is the prefix of its own line, and rest
// that of the others.
func drawNode(n *node, first, rest string) []line {
	drawn := line{{faint, first}, {styles[n.shown()], marks[n.shown()]}, {unstyled, " " + n.title()}}
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

// summarized returns a copy of the tree that combines ready siblings of one kind without
// details into one node.
func summarized(n *node) *node {
	summary := *n
	summary.children = nil
	for _, child := range n.children {
		child = summarized(child)
		if last := len(summary.children) - 1; last >= 0 && isLeaf(child) &&
			isLeaf(summary.children[last]) && summary.children[last].kind == child.kind {
			summary.children[last].name += ", " + child.name
			continue
		}
		summary.children = append(summary.children, child)
	}
	return &summary
}

func isLeaf(n *node) bool {
	return n.kind != "" && n.own == ready && n.detail == "" && len(n.children) == 0
}

// fold removes the children of a node if they and the node are ready. It returns whether
// it did.
func fold(n *node) bool {
	if len(n.children) == 0 || n.worst() != ready {
		return false
	}
	n.detail = strings.TrimSpace(n.detail + " …")
	n.children = nil
	return true
}

// atLevel returns the nodes of a level, from top to bottom. The root has level 0.
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

// depth returns the number of levels.
func depth(n *node) int {
	deepest := 0
	for _, child := range n.children {
		deepest = max(deepest, depth(child))
	}
	return deepest + 1
}
