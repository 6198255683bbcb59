package main

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/term"
)

// renderer shows the demonstration. It is not safe for concurrent use.
type renderer interface {
	// progress shows that a step is running, and the tree unless it is nil. It is called
	// repeatedly.
	progress(step string, elapsed time.Duration, tree *node)
	// finished shows that a step has finished, with a note unless it is empty.
	finished(step string, elapsed time.Duration, note string, well bool)
	// print prints text, which may have several lines, permanently.
	print(text string)
	// printFinal prints the whole tree permanently.
	printFinal(tree *node)
	// redraws returns whether progress redraws the tree in place, instead of printing
	// changes only.
	redraws() bool
}

// newRenderer returns a ttyRenderer for a terminal, and a logRenderer otherwise.
func newRenderer(out *os.File) renderer {
	descriptor := int(out.Fd())
	if !term.IsTerminal(descriptor) || os.Getenv("TERM") == "dumb" || os.Getenv("NO_COLOR") != "" || os.Getenv("CI") != "" {
		return newLogRenderer(out)
	}
	return newTTYRenderer(out, func() (int, int, error) { return term.GetSize(descriptor) })
}

// formatElapsed formats a duration as minutes:seconds.
func formatElapsed(elapsed time.Duration) string {
	seconds := int(elapsed.Seconds())
	return fmt.Sprintf("%d:%02d", seconds/60, seconds%60)
}
