package tree

import (
	"fmt"
	"io"
	"strings"
)

// DOT prints nodes as a graph for Graphviz.
func DOT(to io.Writer, nodes []*Node) error {
	return writeGraph(to, nodes, graph{
		header: "digraph seldon {\n  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];\n", footer: "}\n", newline: `\n`,
		node: func(id, label string, ready Ready) string {
			return fmt.Sprintf("  %s [label=\"%s\", color=%s];\n", id, strings.ReplaceAll(label, `"`, `\"`), dotColors[ready])
		},
		edge:   func(from, to string) string { return fmt.Sprintf("  %s -> %s;\n", from, to) },
		escape: func(text string) string { return strings.ReplaceAll(text, `\`, `\\`) },
	})
}

var dotColors = map[Ready]string{True: "darkgreen", False: "red", Unknown: "orange", NotApplicable: "orange"}

// Mermaid prints nodes as a flowchart for Mermaid.
func Mermaid(to io.Writer, nodes []*Node) error {
	return writeGraph(to, nodes, graph{
		header: "flowchart LR\n", newline: "<br/>",
		node: func(id, label string, _ Ready) string { return fmt.Sprintf("  %s[\"%s\"]\n", id, label) },
		edge: func(from, to string) string { return fmt.Sprintf("  %s --> %s\n", from, to) },
		// Characters with a meaning in labels.
		escape: strings.NewReplacer(`"`, "'", ";", ",", "<", "(", ">", ")", "#", "", "`", "'").Replace,
	})
}

// graph is a format of graphs.
type graph struct {
	header, footer, newline string
	node                    func(id, label string, ready Ready) string
	edge                    func(from, to string) string
	escape                  func(text string) string
}

// writeGraph writes each node followed by its edges. Identifiers are n0, n1, … from top to
// bottom.
func writeGraph(to io.Writer, nodes []*Node, format graph) error {
	var text strings.Builder
	text.WriteString(format.header)
	next := 0
	var add func(n *Node) string
	add = func(n *Node) string {
		id := fmt.Sprintf("n%d", next)
		next++
		label := format.escape(n.Label()) + format.newline + string(n.Ready)
		if n.Status != nothing {
			label += format.newline + format.escape(n.Status)
		}
		text.WriteString(format.node(id, label, n.Ready))
		for _, child := range n.Children {
			text.WriteString(format.edge(id, add(child)))
		}
		return id
	}
	for _, n := range nodes {
		add(n)
	}
	text.WriteString(format.footer)
	_, err := io.WriteString(to, text.String())
	return err
}
