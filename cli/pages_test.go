package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// consoleBlocks are the blocks of commands on a page.
var consoleBlocks = regexp.MustCompile("(?s)```console\n(.*?)```")

// ages are how long ago something was.
var ages = regexp.MustCompile(`\(\w+ ago\)`)

// spaces are the gaps of tables, whose widths depend on the longest entry.
var spaces = regexp.MustCompile(` {2,}`)

// Commands on the pages about render and explain print the lines that are shown below them,
// in their order. A line of three dots stands for others.
func TestPagesShowTheOutput(t *testing.T) {
	isolate(t)
	read := func(page string) string {
		content, err := os.ReadFile(filepath.Join("..", "docs", "reference", "cli", page))
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	pages := map[string]string{"render.md": read("render.md"), "explain.md": read("explain.md")}
	objects, err := filepath.Abs(explainObjects)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir("..") // the paths of commands are relative to the repository
	for page, content := range pages {
		ran := 0
		for _, block := range consoleBlocks.FindAllStringSubmatch(content, -1) {
			command, shown, _ := strings.Cut(strings.TrimPrefix(block[1], "$ kubectl seldon "), "\n")
			if shown == "" {
				continue
			}
			args := strings.Fields(command)
			t.Run(command, func(t *testing.T) {
				var got result
				if args[0] == "explain" {
					got = explainWith(t, objectsOf(t, objects), args[1:]...)
				} else {
					got.code, got.out, got.err = offline(t, "", args...)
				}
				if got.code != exitDone {
					t.Errorf("%s: exit code %d", command, got.code)
				}
				comparePage(t, page, command, shown, got.out+got.err)
			})
			ran++
		}
		if ran < 2 {
			t.Errorf("%s: %d commands", page, ran)
		}
	}
}

// comparePage compares the lines below a command with its output.
func comparePage(t *testing.T, page, command, shown, output string) {
	t.Helper()
	normalized := func(line string) string {
		return spaces.ReplaceAllString(ages.ReplaceAllString(timestamps.ReplaceAllString(line, "TIME"), "(AGE)"), "  ")
	}
	lines := strings.Split(strings.TrimSpace(output), "\n")
	skip := false
	for want := range strings.Lines(shown) {
		want = strings.TrimRight(want, "\n")
		if want == "..." {
			skip = true
			continue
		}
		at := 0
		for skip && at < len(lines) && normalized(lines[at]) != normalized(want) {
			at++
		}
		if at >= len(lines) || normalized(lines[at]) != normalized(want) {
			t.Errorf("%s: %s\ndoes not print, where it is shown,\n%s", page, command, want)
			return
		}
		lines, skip = lines[at+1:], false
	}
}
