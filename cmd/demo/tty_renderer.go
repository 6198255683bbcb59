package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// ttyRenderer draws on a terminal: permanent lines, and below them a snapshot of the
// current state, which is replaced by the next one.
type ttyRenderer struct {
	out io.Writer
	// size returns the current width and height of the terminal.
	size func() (width, height int, err error)
	// snapshot are the lines that were drawn last.
	snapshot []line
}

func newTTYRenderer(out io.Writer, size func() (int, int, error)) *ttyRenderer {
	return &ttyRenderer{out: out, size: size}
}

func (t *ttyRenderer) redraws() bool { return true }

func (t *ttyRenderer) progress(step string, elapsed time.Duration, tree *node) {
	width, height := t.usableSize()
	snapshot := []line{outcomeSoFar(step, elapsed)}
	if tree != nil {
		snapshot = append(snapshot, line{})
		snapshot = append(snapshot, fitTree(tree, height-len(snapshot))...)
	}
	for i := range snapshot {
		snapshot[i] = snapshot[i].clipped(width)
	}
	t.replace(nil, snapshot)
}

func (t *ttyRenderer) finished(step string, elapsed time.Duration, note string, well bool) {
	// Not clipped, so that long texts can be copied.
	t.replace([]line{outcome(step, elapsed, note, well)}, nil)
}

func (t *ttyRenderer) print(text string) {
	var lines []line
	for text := range strings.Lines(text) {
		lines = append(lines, line{{unstyled, strings.TrimSuffix(text, "\n")}})
	}
	t.replace(lines, nil)
}

func (t *ttyRenderer) printFinal(tree *node) {
	width, _ := t.usableSize()
	lines := []line{{}}
	for _, drawn := range drawTree(tree) {
		lines = append(lines, drawn.clipped(width))
	}
	t.replace(lines, nil)
}

// usableSize returns the maximum size of a snapshot. The last line is for the cursor, and
// the last column is not used, since terminals differ in where the cursor is after it.
func (t *ttyRenderer) usableSize() (width, height int) {
	width, height, err := t.size()
	if err != nil || width <= 0 || height <= 0 {
		width, height = 80, 24
	}
	return width - 1, height - 1
}

// Control sequences (ECMA-48).
const (
	eraseToEndOfLine   = "\x1b[K"
	eraseToEndOfScreen = "\x1b[J"
	resetStyle         = "\x1b[0m"
)

var selectStyle = map[style]string{faint: "\x1b[2m", green: "\x1b[32m", yellow: "\x1b[33m", red: "\x1b[31m"}

// replace replaces the old snapshot by permanent lines and a new snapshot below them. It
// is one write, so that no partial drawing is visible.
func (t *ttyRenderer) replace(stay, snapshot []line) {
	var text strings.Builder
	text.WriteString("\r")
	if up := t.rows(); up > 0 {
		fmt.Fprintf(&text, "\x1b[%dA", up)
	}
	for _, drawn := range append(stay, snapshot...) {
		for _, p := range drawn {
			if code := selectStyle[p.style]; code != "" {
				text.WriteString(code + p.text + resetStyle)
				continue
			}
			text.WriteString(p.text)
		}
		text.WriteString(eraseToEndOfLine + "\n")
	}
	text.WriteString(eraseToEndOfScreen)
	t.snapshot = snapshot
	// Errors are ignored, as in logRenderer.
	_, _ = io.WriteString(t.out, text.String())
}

// rows returns the number of rows of the snapshot at the current width: a terminal that
// became narrower wraps its lines.
func (t *ttyRenderer) rows() int {
	width, _ := t.usableSize()
	rows := 0
	for _, drawn := range t.snapshot {
		rows += max(0, len([]rune(drawn.String()))-1)/(width+1) + 1
	}
	return rows
}

// outcomeSoFar returns the line of a running step.
func outcomeSoFar(step string, elapsed time.Duration) line {
	return line{{yellow, marks[waiting]}, {unstyled, " " + step}, {faint, "  " + formatElapsed(elapsed)}}
}

// outcome returns the line of a finished step.
func outcome(step string, elapsed time.Duration, note string, well bool) line {
	how := ready
	if !well {
		how = failed
	}
	text := fmt.Sprintf("  %.1f s", elapsed.Seconds())
	if note != "" {
		text += "  " + note
	}
	return line{{styles[how], marks[how]}, {unstyled, " " + step}, {faint, text}}
}
