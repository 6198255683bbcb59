// Package language has the words that the project does not use, each with standard
// ones to use instead, and finds them in a text. Its test applies them to all source
// files and pages.
package language

import (
	"fmt"
	"regexp"
	"strings"
)

// word is an expression that is not used.
type word struct {
	// pattern matches it, in lower case and between word boundaries.
	pattern string
	// instead are standard words for it.
	instead string
}

// words is short on purpose: it has expressions that were common here and that are
// not ambiguous. Words with a technical meaning elsewhere are left to reviewers.
var words = []word{
	{`(hold|holds|holding|held) back`, "block, delay"},
	{`anew`, "again; recreated, restarted"},
	{`by hand`, "manually"},
	{`crews?`, "worker pool"},
	{`(duty|duties)`, "task"},
	{`finalizers? off`, "remove the finalizer"},
	{`first contact`, "initial scan"},
	{`for good`, "permanently"},
	{`(has|have|had) a say`, "take precedence"},
	{`(hear|hears|heard)`, "receive, observe"},
	{`in step`, "in sync, up to date"},
	{`(lay|lays|laid|laying) over`, "merge onto"},
	{`leftovers?`, "orphaned objects; remaining files"},
	{`(look|looks|looking|looked) after`, "manage"},
	{`(mend|mends|mended|mending)`, "fix, repair"},
	{`(?-i:[Nn]obody|[Ss]omebody)`, "no user, another controller; name who it is"},
	{`noted`, "record, log"},
	{`rights|missing right`, "permissions, RBAC rules"},
	{`rivals?`, "another field manager, conflicting manager"},
	{`side by side`, "in parallel, at the same time"},
	{`(speak|speaks|speaking|spoke|spoken)`, "report, use; about"},
	{`(tell|tells|telling|told)`, "return, set, report, log, print"},
	{`the existing operator`, "the upstream operator"},
	{`(the (scheduler|operator|owner|user|server)'s|of a) word`, "reported state, status event"},
	{`verdicts?`, "condition, result"},
	{`veterans?`, "preexisting"},
	{`what is ours`, "managed objects, owned fields"},
	{`wish(es|ed)?`, "request"},
}

// Finding is a word in a line.
type Finding struct {
	// Line is the number of the line, from 1.
	Line int
	// Word is the text that was found.
	Word string
	// Instead are the words to use.
	Instead string
}

func (f Finding) String() string { return fmt.Sprintf("%d: %q: use %s", f.Line, f.Word, f.Instead) }

// Find returns all words in a text, in the order of lines and, in a line, of the list.
func Find(text string) []Finding {
	var found []Finding
	line := 0
	for content := range strings.Lines(text) {
		line++
		for i, pattern := range patterns {
			for _, match := range pattern.FindAllString(content, -1) {
				found = append(found, Finding{Line: line, Word: match, Instead: words[i].instead})
			}
		}
	}
	return found
}

// patterns are the compiled words.
var patterns = func() []*regexp.Regexp {
	compiled := make([]*regexp.Regexp, len(words))
	for i, w := range words {
		compiled[i] = regexp.MustCompile(`(?i)\b` + w.pattern + `\b`)
	}
	return compiled
}()
