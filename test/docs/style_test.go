package docs_test

import (
	"regexp"
	"strings"
	"testing"
)

// generatedPages are written by a program.
var generatedPages = map[string]bool{"../docs/reference/custom-resources.md": true}

var (
	// sentenceBreak matches the end of a sentence and the beginning of another one. The
	// number of a list item does not end a sentence.
	sentenceBreak = regexp.MustCompile(`[\p{Ll})\]"*][.!?][)"*]* +["(*\[]*\p{Lu}`)
	linkTarget    = regexp.MustCompile(`\]\([^)]*\)`)
)

// Paragraphs and list items have one sentence in each line, so that a change of a sentence
// is a change of one line.
func TestOneSentencePerLine(t *testing.T) {
	for page, content := range pages(t) {
		if generatedPages[page] {
			continue
		}
		for line := range strings.Lines(fence.ReplaceAllString(content, "")) {
			if strings.HasPrefix(line, "|") || strings.HasPrefix(line, "#") {
				continue
			}
			prose := linkTarget.ReplaceAllString(span.ReplaceAllString(line, "Cc"), "]")
			if sentenceBreak.MatchString(prose) {
				t.Errorf("%s: more than one sentence in the line: %s", page, line)
			}
		}
	}
}
