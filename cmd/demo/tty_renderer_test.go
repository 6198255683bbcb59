package main

import (
	"errors"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// emulator emulates the features of a terminal that ttyRenderer uses. It keeps all rows
// that were written.
type emulator struct {
	rows        [][]rune
	row, column int
	// colours counts the sequences that set a colour.
	colours int
}

var sequence = regexp.MustCompile(`^\x1b\[(\d*)([A-Za-z])`)

func (e *emulator) Write(written []byte) (int, error) {
	for text := string(written); text != ""; {
		for e.row >= len(e.rows) {
			e.rows = append(e.rows, nil)
		}
		if found := sequence.FindStringSubmatch(text); found != nil {
			text = text[len(found[0]):]
			count, _ := strconv.Atoi(found[1])
			switch found[2] {
			case "A":
				e.row = max(0, e.row-count)
			case "K":
				e.rows[e.row] = e.rows[e.row][:min(e.column, len(e.rows[e.row]))]
			case "J":
				e.rows = e.rows[:e.row+1]
				e.rows[e.row] = e.rows[e.row][:min(e.column, len(e.rows[e.row]))]
			case "m":
				e.colours++
			default:
				return 0, errors.New("unknown sequence " + strconv.Quote(found[0]))
			}
			continue
		}
		char := []rune(text)[0]
		text = text[len(string(char)):]
		switch char {
		case '\r':
			e.column = 0
		case '\n':
			e.row, e.column = e.row+1, 0
		default:
			e.rows[e.row] = append(e.rows[e.row][:min(e.column, len(e.rows[e.row]))], char)
			e.column++
		}
	}
	return len(written), nil
}

// shown returns the text in the rows, without empty ones at the end.
func (e *emulator) shown() string {
	var text strings.Builder
	for _, row := range e.rows {
		text.WriteString(string(row) + "\n")
	}
	return strings.TrimRight(text.String(), "\n") + "\n"
}

func TestTTYRendererRedrawsInPlace(t *testing.T) {
	g := NewWithT(t)
	e := &emulator{}
	width, height := 40, 24
	term := newTTYRenderer(e, func() (int, int, error) { return width, height, nil })
	tree := &node{kind: "SeldonRuntime", name: "seldon", own: waiting, children: []*node{
		{name: "workloads", children: []*node{{kind: "Deployment", name: "a", own: waiting, detail: "0/1"}}},
	}}

	term.progress("Start", 0, nil)
	term.progress("Start", 3*time.Second, nil)
	g.Expect(e.shown()).To(Equal("○ Start  0:03\n"))
	term.finished("Start", 3*time.Second, "a note that is longer than the terminal is wide", true)
	term.progress("Wait", time.Second, tree)
	const started = "✓ Start  3.0 s  a note that is longer than the terminal is wide\n"
	g.Expect(e.shown()).To(Equal(started + `○ Wait  0:01

○ SeldonRuntime seldon
└─ ○ workloads
   └─ ○ Deployment a  0/1
`))

	tree.own, tree.children[0].children = ready, nil
	tree.children[0].name = "workloads that have a name as long as this"
	term.progress("Wait", 2*time.Second, tree)
	g.Expect(e.shown()).To(Equal(started+`○ Wait  0:02

✓ SeldonRuntime seldon
└─ ✓ workloads that have a name as lon…
`), "nothing of the longer snapshot is left, and lines end before the last column")

	width = 20 // the terminal wraps the two lines that are too long now
	g.Expect(term.rows()).To(Equal(6))
	width, height = 40, 4
	term.progress("Wait", 2*time.Second, tree)
	g.Expect(strings.Count(e.shown(), "\n")).To(Equal(1+height-1), "it does not fit with the cursor below it: %s", e.shown())

	term.finished("Wait", 2*time.Second, "", true)
	term.print("\nInspect it.\n")
	term.printFinal(tree)
	term.progress("Stop", 0, nil)
	term.finished("Stop", 0, "", false)
	g.Expect(e.shown()).To(Equal(started + `✓ Wait  2.0 s

Inspect it.

✓ SeldonRuntime seldon
└─ ✓ workloads that have a name as lon…
✗ Stop  0.0 s
`))
	g.Expect(e.colours).To(BeNumerically(">", 0))
}

func TestTTYRendererDefaultSize(t *testing.T) {
	g := NewWithT(t)
	term := newTTYRenderer(&emulator{}, func() (int, int, error) { return 0, 0, errors.New("no size") })
	width, height := term.usableSize()
	g.Expect([]int{width, height}).To(Equal([]int{79, 23}))
}

func TestNewRendererForFiles(t *testing.T) {
	g := NewWithT(t)
	file, err := os.Create(t.TempDir() + "/log")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(newRenderer(file).redraws()).To(BeFalse())
	g.Expect(file.Close()).To(Succeed())
}
