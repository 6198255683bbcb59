package main

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/term"
)

// screen is what people see. It is used by one goroutine.
type screen interface {
	// progress shows that a stage goes on, and the tree if there is one (not nil).
	// It is called over and over again.
	progress(stage string, elapsed time.Duration, tree *node)
	// finished says that a stage is over. note adds to that, if there is one.
	finished(stage string, elapsed time.Duration, note string, well bool)
	// say shows text, which may have several lines, for good.
	say(text string)
	// keep shows the whole tree for good.
	keep(tree *node)
	// redraws tells whether progress draws the tree, over and over in the same
	// place, and not just what has changed in it.
	redraws() bool
}

// newScreen returns a screen that suits the file.
func newScreen(out *os.File) screen {
	descriptor := int(out.Fd())
	if !term.IsTerminal(descriptor) || os.Getenv("TERM") == "dumb" || os.Getenv("NO_COLOR") != "" || os.Getenv("CI") != "" {
		return newPlain(out)
	}
	return newTerminal(out, func() (int, int, error) { return term.GetSize(descriptor) })
}

// minutes writes a duration as people do.
func minutes(elapsed time.Duration) string {
	seconds := int(elapsed.Seconds())
	return fmt.Sprintf("%d:%02d", seconds/60, seconds%60)
}
