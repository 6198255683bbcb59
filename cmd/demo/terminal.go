package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// terminal draws in place: what is said for good moves up, and below it is a
// picture of what goes on now, which the next one replaces.
type terminal struct {
	out io.Writer
	// size is the terminal's width and height; people change it.
	size func() (width, height int, err error)
	// picture is what was drawn last, in the cells that it took.
	picture []line
}

func newTerminal(out io.Writer, size func() (int, int, error)) *terminal {
	return &terminal{out: out, size: size}
}

func (t *terminal) redraws() bool { return true }

func (t *terminal) progress(stage string, elapsed time.Duration, tree *node) {
	width, height := t.room()
	picture := []line{outcomeSoFar(stage, elapsed)}
	if tree != nil {
		picture = append(picture, line{})
		picture = append(picture, fitTree(tree, height-len(picture))...)
	}
	for i := range picture {
		picture[i] = picture[i].clipped(width)
	}
	t.replace(nil, picture)
}

func (t *terminal) finished(stage string, elapsed time.Duration, note string, well bool) {
	// Not clipped, as in say: what is long here is there to be copied.
	t.replace([]line{outcome(stage, elapsed, note, well)}, nil)
}

func (t *terminal) say(text string) {
	var lines []line
	for text := range strings.Lines(text) {
		lines = append(lines, line{{plainly, strings.TrimSuffix(text, "\n")}})
	}
	t.replace(lines, nil)
}

func (t *terminal) keep(tree *node) {
	width, _ := t.room()
	lines := []line{{}}
	for _, drawn := range drawTree(tree) {
		lines = append(lines, drawn.clipped(width))
	}
	t.replace(lines, nil)
}

// room is the size of the largest picture: the last line is the cursor's, and a
// character in the last column would make terminals differ on where that is.
func (t *terminal) room() (width, height int) {
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

// replace puts lines that stay, and a new picture below them, where the old
// picture was. It is one write, so that nobody sees half of it.
func (t *terminal) replace(stay, picture []line) {
	var text strings.Builder
	text.WriteString("\r")
	if up := t.rows(); up > 0 {
		fmt.Fprintf(&text, "\x1b[%dA", up)
	}
	for _, drawn := range append(stay, picture...) {
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
	t.picture = picture
	// Where it cannot be written nobody looks.
	_, _ = io.WriteString(t.out, text.String())
}

// rows is how many rows the picture takes now: terminals that became narrower
// wrap its lines.
func (t *terminal) rows() int {
	width, _ := t.room()
	rows := 0
	for _, drawn := range t.picture {
		rows += max(0, len([]rune(drawn.String()))-1)/(width+1) + 1
	}
	return rows
}

// outcomeSoFar is the line of a stage that goes on.
func outcomeSoFar(stage string, elapsed time.Duration) line {
	return line{{yellow, marks[waiting]}, {plainly, " " + stage}, {faint, "  " + minutes(elapsed)}}
}

// outcome is the line of a stage that is over.
func outcome(stage string, elapsed time.Duration, note string, well bool) line {
	how := ready
	if !well {
		how = failed
	}
	text := fmt.Sprintf("  %.1f s", elapsed.Seconds())
	if note != "" {
		text += "  " + note
	}
	return line{{styles[how], marks[how]}, {plainly, " " + stage}, {faint, text}}
}
