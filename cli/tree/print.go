package tree

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/duration"
)

// Style is how to print a tree.
type Style struct {
	// Wide adds the columns RESTARTS and REVISION.
	Wide bool
	// Namespace adds the column NAMESPACE.
	Namespace bool
	NoHeaders bool
	// ASCII: draw the tree with characters of ASCII only.
	ASCII bool
	// Width is the maximum number of columns of a line; 0 for no limit.
	Width int
	// Paint adds colours to a text of the column READY; nil for none.
	Paint func(ready Ready, text string) string
	// Now is the time that ages refer to.
	Now time.Time
}

// Unreadable are the lines of the requests that failed.
func Unreadable(problems []Problem) []*Node {
	var nodes []*Node
	for _, problem := range problems {
		nodes = append(nodes, &Node{Title: "? " + problem.Resource, Namespace: problem.Namespace, Ready: Unknown, Status: problem.String()})
	}
	return nodes
}

// row is a line of the table.
type row struct {
	cells []string
	ready Ready
}

// Print prints nodes as a table.
func Print(to io.Writer, nodes []*Node, style Style) error {
	return style.print(to, style.rows(nodes, "", true))
}

// Printer prints rows of the same widths, one at a time: later rows only widen the columns.
type Printer struct {
	Style
	widths []int
}

// Print prints a table.
func (p *Printer) Print(to io.Writer, nodes []*Node) error {
	rows := p.rows(nodes, "", true)
	p.widths = p.columnWidths(rows, p.widths)
	return p.printRows(to, rows, p.widths, !p.NoHeaders)
}

// PrintChanges prints one row for each change, without a tree and headers.
func (p *Printer) PrintChanges(to io.Writer, changes []Change) error {
	var rows []row
	for _, change := range changes {
		rows = append(rows, p.row(change.Node, change.Label()))
	}
	p.widths = p.columnWidths(rows, p.widths)
	return p.printRows(to, rows, p.widths, false)
}

func (s Style) print(to io.Writer, rows []row) error {
	return s.printRows(to, rows, s.columnWidths(rows, nil), !s.NoHeaders)
}

// columns returns the titles of the columns, and the index of STATUS, which is cut if a line is
// too wide.
func (s Style) columns() (titles []string, status int) {
	titles = []string{"NAME", "READY", "STATUS"}
	if s.Wide {
		titles = append(titles, "RESTARTS")
	}
	titles = append(titles, "AGE")
	if s.Wide {
		titles = append(titles, "REVISION")
	}
	if s.Namespace {
		titles = append([]string{"NAMESPACE"}, titles...)
	}
	return titles, slices.Index(titles, "STATUS")
}

// rows returns the rows of nodes and their descendants. Roots are not drawn as branches.
func (s Style) rows(nodes []*Node, indent string, roots bool) []row {
	branch, lastBranch, line := "├─ ", "└─ ", "│  "
	if s.ASCII {
		branch, lastBranch, line = "|- ", "`- ", "|  "
	}
	var rows []row
	for i, n := range nodes {
		first, rest := indent+branch, indent+line
		switch {
		case roots:
			first, rest = indent, indent
		case i == len(nodes)-1:
			first, rest = indent+lastBranch, indent+"   "
		}
		rows = append(rows, s.row(n, first+n.Label()))
		rows = append(rows, s.rows(n.Children, rest, false)...)
	}
	return rows
}

// row returns the row of a node without its descendants.
func (s Style) row(n *Node, name string) row {
	cells := []string{name, string(n.Ready), n.Status}
	if s.Wide {
		restarts := ""
		if n.Restarts != nil {
			restarts = strconv.FormatInt(*n.Restarts, 10)
		}
		cells = append(cells, restarts)
	}
	age := ""
	if since, known := n.age(s.Now); known {
		age = duration.HumanDuration(since)
	}
	cells = append(cells, age)
	if s.Wide {
		cells = append(cells, n.Revision)
	}
	if s.Namespace {
		cells = append([]string{n.Namespace}, cells...)
	}
	return row{cells, n.Ready}
}

// maxStatusWidth is the maximum width of the column STATUS if lines have no maximum: a longer
// status moves only what follows in its own line.
const maxStatusWidth = 80

// columnWidths returns the widths of the columns, at least those of before.
func (s Style) columnWidths(rows []row, before []int) []int {
	titles, status := s.columns()
	widths := slices.Clone(before)
	for _, r := range append([]row{{cells: titles}}, rows...) {
		for i, cell := range r.cells {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			if width := utf8.RuneCountInString(cell); s.Width > 0 || i != status || width <= maxStatusWidth {
				widths[i] = max(widths[i], width)
			}
		}
	}
	if s.Width > 0 {
		total := 2 * (len(widths) - 1)
		for _, width := range widths {
			total += width
		}
		const minimum = 20
		if excess := total - s.Width; excess > 0 {
			widths[status] = max(min(minimum, widths[status]), widths[status]-excess)
		}
	}
	return widths
}

func (s Style) printRows(to io.Writer, rows []row, widths []int, headers bool) error {
	titles, _ := s.columns()
	readyColumn := slices.Index(titles, "READY")
	if headers {
		rows = append([]row{{cells: titles}}, rows...)
	}
	for _, r := range rows {
		var line strings.Builder
		room := s.Width
		for i, cell := range r.cells {
			if s.Width > 0 {
				cell = s.cut(cell, min(widths[i], max(0, room)))
				room -= widths[i] + 2
			}
			padding := strings.Repeat(" ", max(0, widths[i]-utf8.RuneCountInString(cell))+2)
			if i == readyColumn && r.ready != "" && s.Paint != nil {
				cell = s.Paint(r.ready, cell)
			}
			line.WriteString(cell + padding)
		}
		if _, err := fmt.Fprintln(to, strings.TrimRight(line.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}

// cut cuts a text to a number of characters.
func (s Style) cut(text string, width int) string {
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	ellipsis := "…"
	if s.ASCII {
		ellipsis = "..."
	}
	kept := width - utf8.RuneCountInString(ellipsis)
	if kept <= 0 {
		return string([]rune(text)[:width])
	}
	return string([]rune(text)[:kept]) + ellipsis
}
