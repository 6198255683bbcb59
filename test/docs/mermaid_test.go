package docs_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Diagrams begin with a type that GitHub renders, and have none of the mistakes that most
// often prevent this. Mermaid itself needs a browser.
func TestDiagrams(t *testing.T) {
	found := 0
	for page, content := range pages(t) {
		for _, block := range blocks(content) {
			if block.info != "mermaid" {
				continue
			}
			found++
			for _, problem := range checkDiagram(block.text) {
				t.Errorf("%s: %s", page, problem)
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d diagrams were checked", found)
	}
}

var (
	diagramType = regexp.MustCompile(`^(flowchart (TB|TD|BT|LR|RL)|sequenceDiagram|stateDiagram-v2)$`)
	quoted      = regexp.MustCompile(`"[^"]*"`)
	edgeLabel   = regexp.MustCompile(`\|[^|]*\|`)
	// blockStart matches a line of a flowchart or sequence diagram that needs an `end`.
	blockStart = regexp.MustCompile(`^(subgraph|alt|opt|loop|par|critical|break|rect|box)\b`)
	endWord    = regexp.MustCompile(`\bend\b`)
)

// checkDiagram returns the mistakes in a diagram, with their lines.
func checkDiagram(text string) []string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if !diagramType.MatchString(lines[0]) {
		return []string{fmt.Sprintf("a diagram begins with %q, which is not a known type", lines[0])}
	}
	flowchart := strings.HasPrefix(lines[0], "flowchart")
	var problems []string
	report := func(line, problem string) {
		problems = append(problems, fmt.Sprintf("%s: %s", problem, strings.TrimSpace(line)))
	}
	open := 0 // blocks without an end
	for _, line := range lines[1:] {
		code := strings.TrimSpace(line)
		if strings.Contains(code, ";") {
			report(line, "a semicolon ends a statement")
		}
		if strings.Count(code, `"`)%2 != 0 {
			report(line, "a quote is not closed")
			continue
		}
		code = quoted.ReplaceAllString(code, "x")
		if flowchart {
			code = edgeLabel.ReplaceAllString(code, "")
		} else {
			code, _, _ = strings.Cut(code, ":") // the rest is text
		}
		switch {
		case blockStart.MatchString(code):
			open++
		case code == "end":
			open--
		case flowchart && endWord.MatchString(code):
			report(line, "the word end ends a block")
		}
		if problem := checkBrackets(code, flowchart); problem != "" {
			report(line, problem)
		}
	}
	if open != 0 {
		report(lines[0], fmt.Sprintf("%d blocks have no end", open))
	}
	return problems
}

// checkBrackets returns what is wrong with the brackets in a line, without texts in quotes;
// empty for nothing. Those of a state diagram may enclose several lines. In a flowchart,
// brackets begin after the name of a node: within a text they need quotes.
func checkBrackets(code string, flowchart bool) string {
	const opening, closing = "([{", ")]}"
	if !flowchart {
		code = strings.TrimSuffix(strings.TrimSuffix(code, "{"), "}")
	}
	var stack []rune
	previous := ' '
	for _, char := range code {
		switch {
		case strings.ContainsRune(opening, char):
			if flowchart && (previous == ' ' || previous == ',') {
				return "a text with brackets has no quotes"
			}
			stack = append(stack, char)
		case strings.ContainsRune(closing, char):
			last := len(stack) - 1
			if last < 0 || strings.IndexRune(opening, stack[last]) != strings.IndexRune(closing, char) {
				return "brackets are not balanced"
			}
			stack = stack[:last]
		}
		previous = char
	}
	if len(stack) > 0 {
		return "brackets are not balanced"
	}
	return ""
}

func TestCheckDiagram(t *testing.T) {
	for text, want := range map[string][]string{
		"flowchart LR\n  A[a] -->|\"x (y)\"| B[\"b; [c\"]":       {`a semicolon ends a statement: A[a] -->|"x (y)"| B["b; [c"]`},
		"flowchart LR\n  A([a]) --> B[(b)]\n  subgraph c\n  end": nil,
		"flowchart XX\n  A --> B":                                {`a diagram begins with "flowchart XX", which is not a known type`},
		"graph LR\n  A --> B":                                    {`a diagram begins with "graph LR", which is not a known type`},
		"flowchart LR\n  A[a --> B":                              {"brackets are not balanced: A[a --> B"},
		"flowchart LR\n  A[a) --> B":                             {"brackets are not balanced: A[a) --> B"},
		"flowchart LR\n  A[a (b)] --> B":                         {"a text with brackets has no quotes: A[a (b)] --> B"},
		"flowchart LR\n  A[\"a] --> B":                           {`a quote is not closed: A["a] --> B`},
		"flowchart LR\n  A --> end":                              {"the word end ends a block: A --> end"},
		"flowchart LR\n  subgraph a\n  A --> B":                  {"1 blocks have no end: flowchart LR"},
		"sequenceDiagram\n  A->>B: a (b\n  opt c\n  end":         nil,
		"stateDiagram-v2\n  state A {\n  [*] --> B: c)\n  }":     nil,
		"stateDiagram-v2\n  [*) --> B":                           {"brackets are not balanced: [*) --> B"},
	} {
		if got := checkDiagram(text); !slices.Equal(got, want) {
			t.Errorf("%q:\ngot  %q\nwant %q", text, got, want)
		}
	}
}
