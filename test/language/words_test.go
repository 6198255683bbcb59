package language

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// excluded matches files that are not checked: generated ones, and those of this
// package.
var excluded = regexp.MustCompile(`zz_generated|\.pb\.go$|^config/crd/bases/|^config/rbac/role\.yaml$|^charts/[^/]+/files/|^docs/reference\.md$|^test/language/`)

func TestSourcesAndPages(t *testing.T) {
	list := exec.Command("git", "ls-files", "*.go", "*.md", "*.proto", "*.sh", "*.tpl", "*.yaml")
	list.Dir = root
	files, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for file := range strings.Lines(string(files)) {
		file = strings.TrimSpace(file)
		if excluded.MatchString(file) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(root, file))
		if os.IsNotExist(err) {
			continue // deleted and not yet committed
		}
		if err != nil {
			t.Fatal(err)
		}
		checked++
		for _, each := range Find(string(text)) {
			t.Errorf("%s:%s", file, each)
		}
	}
	if checked < 300 {
		t.Errorf("only %d files were checked", checked)
	}
}

func TestFind(t *testing.T) {
	text := "The operator\nTells it by hand, and tells\nnothing else. Retold, foretell, hand.\n"
	var got []string
	for _, found := range Find(text) {
		got = append(got, found.String())
	}
	want := []string{
		`2: "by hand": use manually`,
		`2: "Tells": use return, set, report, log, print`,
		`2: "tells": use return, set, report, log, print`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if found := Find("Kubernetes applies each field once; a word, a hand, steps and instep are fine.\n"); found != nil {
		t.Errorf("got %v", found)
	}
}
