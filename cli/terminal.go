package cli

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// Values of --color.
const (
	colorAuto   = "auto"
	colorAlways = "always"
	colorNever  = "never"
)

// terminal is how to write to a stream.
type terminal struct {
	// color: use ANSI colours. A colour never is the only difference of two texts.
	color bool
	// ascii: use no other characters than those of ASCII in trees and marks.
	ascii bool
	// width in columns; 0 if the stream is no terminal: lines are not cut then.
	width int
	// interactive: the stream is a terminal, on which output can be redrawn.
	interactive bool
}

// newTerminal returns how to write to a stream. It reads NO_COLOR, FORCE_COLOR,
// CLICOLOR_FORCE, TERM, COLUMNS, LC_ALL, LC_CTYPE and LANG.
func newTerminal(out io.Writer, color string, getenv func(string) string) (terminal, error) {
	t := terminal{}
	if file, ok := out.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		t.interactive = true
		if width, _, err := term.GetSize(int(file.Fd())); err == nil {
			t.width = width
		}
	}
	if columns, err := strconv.Atoi(getenv("COLUMNS")); err == nil && columns > 0 {
		t.width = columns
	}
	switch color {
	case colorAlways:
		t.color = true
	case colorNever:
	case colorAuto:
		forced := getenv("FORCE_COLOR") != "" || getenv("CLICOLOR_FORCE") != "" && getenv("CLICOLOR_FORCE") != "0"
		t.color = forced || t.interactive && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
	default:
		return t, usageError(fmt.Errorf("--color=%s: must be auto, always or never", color))
	}
	locale := ""
	for _, key := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if locale = getenv(key); locale != "" {
			break
		}
	}
	locale = strings.ToLower(locale)
	t.ascii = !strings.Contains(locale, "utf-8") && !strings.Contains(locale, "utf8")
	return t, nil
}

// style is an ANSI colour or attribute.
type style string

const (
	bold   style = "1"
	gray   style = "90"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
)

// paint returns text in a style, if colours are used.
func (t terminal) paint(s style, text string) string {
	if !t.color || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

// cut shortens a line to the width of the terminal, which may be 0 for any. Escape sequences
// of colours take no width, and are kept.
func (t terminal) cut(line string) string {
	ellipsis := "…"
	if t.ascii {
		ellipsis = "..."
	}
	plain := utf8.RuneCountInString(escapes.ReplaceAllString(line, ""))
	if t.width <= 0 || plain <= t.width {
		return line
	}
	var kept strings.Builder
	remaining := max(0, t.width-utf8.RuneCountInString(ellipsis))
	for len(line) > 0 {
		if escape := escapes.FindStringIndex(line); escape != nil && escape[0] == 0 {
			kept.WriteString(line[:escape[1]])
			line = line[escape[1]:]
			continue
		}
		_, size := utf8.DecodeRuneInString(line)
		if remaining > 0 {
			kept.WriteString(line[:size])
			if remaining--; remaining == 0 {
				kept.WriteString(ellipsis)
			}
		}
		line = line[size:]
	}
	return kept.String()
}

// escapes are the escape sequences of [terminal.paint].
var escapes = regexp.MustCompile("\x1b\\[[0-9]*m")
