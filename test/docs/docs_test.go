// Package docs_test tests the documentation: links resolve, snippets are valid
// objects of the API, and commands and examples give the output that their page
// shows. The tests run in the folder docs, so that paths are those of its pages.
package docs_test

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/seldon-operator/seldon-operator/composition/merge"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

const (
	readme = "../README.md"
	index  = "../docs/README.md"
	alerts = "../config/components/monitoring/prometheusrule.yaml"
)

// inDocs changes to the folder docs, at the first call. TestMain must not do that: the go
// command would not learn which files the tests read, and would show the results of an
// earlier run after a change of a page.
var inDocs = sync.OnceFunc(func() {
	if err := os.Chdir(filepath.Join("..", "..", "docs")); err != nil {
		panic(err)
	}
})

// pages returns the pages of the top folder and all pages below docs, by their path.
func pages(t *testing.T) map[string]string {
	t.Helper()
	inDocs()
	found := map[string]string{}
	top, err := filepath.Glob("../*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range top {
		found[path] = read(t, path)
	}
	err = filepath.WalkDir("../docs", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && filepath.Ext(path) == ".md" {
			found[path] = read(t, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func read(t *testing.T, path string) string {
	t.Helper()
	inDocs()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// block is a fenced code block: its info string and its text.
type block struct{ info, text string }

var fence = regexp.MustCompile("(?ms)^```([^\n]*)\n(.*?)^```$")

func blocks(page string) []block {
	var found []block
	for _, match := range fence.FindAllStringSubmatch(page, -1) {
		found = append(found, block{strings.TrimSpace(match[1]), match[2]})
	}
	return found
}

var (
	link = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	// span matches inline code, in which brackets are not a link.
	span    = regexp.MustCompile("`[^`\n]*`")
	heading = regexp.MustCompile(`(?m)^#+ +(.*)$`)
	// unslugged matches the characters that GitHub removes for the anchor of a heading.
	unslugged = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors returns the anchors of the headings of a page.
func anchors(page string) []string {
	var found []string
	for _, match := range heading.FindAllStringSubmatch(fence.ReplaceAllString(page, ""), -1) {
		slug := unslugged.ReplaceAllString(strings.ToLower(match[1]), "")
		found = append(found, strings.ReplaceAll(slug, " ", "-"))
	}
	return found
}

func TestLinksResolve(t *testing.T) {
	all := pages(t)
	linked := map[string]bool{readme: true, index: true}
	for page, content := range all {
		for _, match := range link.FindAllStringSubmatch(span.ReplaceAllString(fence.ReplaceAllString(content, ""), ""), -1) {
			// Of the README, GitHub also resolves links to its own pages, such as releases.
			ofGitHub := page == readme && strings.HasPrefix(match[1], "../../")
			if ofGitHub || strings.Contains(match[1], "://") {
				continue
			}
			path, anchor, _ := strings.Cut(match[1], "#")
			target := page
			if path != "" {
				target = filepath.Join(filepath.Dir(page), path)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: link %s: %v", page, match[1], err)
				continue
			}
			if anchor != "" && !slices.Contains(anchors(all[target]), anchor) {
				t.Errorf("%s: link %s: %s has no such heading", page, match[1], target)
			}
			if page == readme || page == index {
				linked[target] = true
			}
		}
	}
	for page := range all {
		if !linked[page] {
			t.Errorf("%s: neither %s nor %s links to it", page, readme, index)
		}
	}
}

var (
	// repositoryPath matches a path in the repository in a command.
	repositoryPath = regexp.MustCompile(`(?:^|[\s=':])(?:\./)?((?:charts|cmd|config|docs|examples|hack|test)/[\w./-]*\w)`)
	makeCommand    = regexp.MustCompile(`(?:^|\s)make ([a-z-]+(?: [a-z-]+)*)`)
	makeTarget     = regexp.MustCompile(`(?m)^([a-z-]+):`)
)

// Commands on all pages use files of the repository and targets of the Makefile that
// exist.
func TestCommandsNameFilesAndTargets(t *testing.T) {
	targets := map[string]bool{}
	for _, match := range makeTarget.FindAllStringSubmatch(read(t, "../Makefile"), -1) {
		targets[match[1]] = true
	}
	files, makes := 0, 0
	for page, content := range pages(t) {
		for _, b := range blocks(content) {
			if language, _, _ := strings.Cut(b.info, " "); language != "console" {
				continue
			}
			for _, c := range parseCommands(b.text) {
				text, _, _ := strings.Cut(c.text, " #")
				for _, match := range repositoryPath.FindAllStringSubmatch(text, -1) {
					files++
					if _, err := os.Stat(filepath.Join("..", match[1])); err != nil {
						t.Errorf("%s: %s: %v", page, text, err)
					}
				}
				for _, match := range makeCommand.FindAllStringSubmatch(text, -1) {
					for target := range strings.FieldsSeq(match[1]) {
						makes++
						if !targets[target] {
							t.Errorf("%s: %s: the Makefile has no target %s", page, text, target)
						}
					}
				}
			}
		}
	}
	if files == 0 || makes == 0 {
		t.Errorf("found %d files and %d targets", files, makes)
	}
}

// newScheme returns a scheme with the kinds of v1alpha1 only.
func newScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	return scheme
}

// documents decodes the YAML documents of a block.
func documents(t *testing.T, page string, b block) []map[string]any {
	t.Helper()
	var found []map[string]any
	for text := range strings.SplitSeq(b.text, "\n---\n") {
		var content any
		if err := yaml.UnmarshalStrict([]byte(text), &content); err != nil {
			t.Fatalf("%s: %v in\n%s", page, err, text)
		}
		if object, isObject := content.(map[string]any); isObject {
			found = append(found, object)
		}
	}
	return found
}

// typed decodes a document strictly as an object of v1alpha1. It returns nil if the
// document is something else.
func typed(t *testing.T, scheme *runtime.Scheme, page string, document map[string]any) runtime.Object {
	t.Helper()
	apiVersion, _ := document["apiVersion"].(string)
	kind, _ := document["kind"].(string)
	gvk := schema.FromAPIVersionAndKind(apiVersion, kind)
	if gvk.Group != v1alpha1.GroupVersion.Group {
		return nil
	}
	object, err := scheme.New(gvk)
	if err != nil {
		t.Fatalf("%s: %v", page, err)
	}
	text, err := yaml.Marshal(document)
	if err == nil {
		err = yaml.UnmarshalStrict(text, object)
	}
	if err != nil {
		t.Errorf("%s: %s: %v in\n%s", page, kind, err, text)
	}
	checkPodSpecs(t, page, document)
	return object
}

// checkPodSpecs reports unknown fields in pod specs, whose decoding is lenient on
// purpose. It merges them onto an empty pod, which fails for an unknown field.
func checkPodSpecs(t *testing.T, page string, value any) {
	t.Helper()
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			checkPodSpecs(t, page, item)
		}
	case map[string]any:
		for key, below := range value {
			if pod, isObject := below.(map[string]any); key == "podSpec" && isObject {
				gvk := schema.GroupVersionKind{Version: "v1", Kind: "Pod"}
				if _, err := merge.StrategicMerge(gvk, map[string]any{}, map[string]any{"spec": pod}); err != nil && strings.Contains(err.Error(), "unknown field") {
					t.Errorf("%s: podSpec: %v", page, err)
				}
			}
			checkPodSpecs(t, page, below)
		}
	}
}

func TestSnippetsAreValid(t *testing.T) {
	scheme := newScheme(t)
	objects := 0
	for page, content := range pages(t) {
		for _, b := range blocks(content) {
			if language, _, _ := strings.Cut(b.info, " "); language != "yaml" {
				continue
			}
			for _, document := range documents(t, page, b) {
				if typed(t, scheme, page, document) != nil {
					objects++
				}
			}
		}
	}
	if objects == 0 {
		t.Error("no snippet is an object of v1alpha1")
	}
}

// Snippets on the pages about the engine are excerpts of the example that a test runs:
// those in Go of its main file, those in YAML of its templates. All Go on other pages is
// as well.
func TestEngineSnippetsAreExcerpts(t *testing.T) {
	const example = "../examples/website"
	pagesOfEngine := []string{"../docs/explanation/engine.md", "../docs/how-to/build-an-operator.md"}
	files := map[string]string{"go": read(t, filepath.Join(example, "main.go"))}
	err := filepath.WalkDir(example, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && filepath.Ext(path) == ".yaml" {
			files["yaml"] += read(t, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for name, content := range pages(t) {
		for _, b := range blocks(content) {
			if b.info != "go" && (b.info != "yaml" || !slices.Contains(pagesOfEngine, name)) {
				continue
			}
			found[b.info]++
			if !strings.Contains(undented(files[b.info]), undented(b.text)) {
				t.Errorf("%s: no file of %s has\n%s", name, example, b.text)
			}
		}
	}
	if found["go"] == 0 || found["yaml"] == 0 {
		t.Errorf("%s: found no snippets of a language: %v", pagesOfEngine, found)
	}
}

// undented removes the indentation of all lines.
func undented(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimLeft(lines[i], " \t")
	}
	return strings.Join(lines, "\n")
}

// Conditions and reasons are documented on the page about conditions, and actions and
// reasons of plans in the reference of the engine.
func TestReasonsAreExplained(t *testing.T) {
	for _, test := range []struct {
		page, source string
		explained    func(name, kind string) bool
	}{
		{"reference/conditions-and-events.md", "../composition/reconciler/conditions.go", func(name, _ string) bool {
			return strings.HasPrefix(name, "Condition") || strings.HasPrefix(name, "Reason")
		}},
		{"reference/conditions-and-events.md", "../controllers/conditions.go", func(name, _ string) bool {
			return strings.HasPrefix(name, "condition") || strings.HasPrefix(name, "reason")
		}},
		{"reference/conditions-and-events.md", "../controllers/scheduler_managed_status.go", func(name, _ string) bool { return strings.HasPrefix(name, "reason") }},
		{"reference/conditions-and-events.md", "../relay/decide.go", func(name, _ string) bool { return strings.HasPrefix(name, "Reason") }},
		{"reference/conditions-and-events.md", "../relay/status.go", func(name, _ string) bool { return strings.HasPrefix(name, "Reason") }},
		{"reference/engine.md", "../composition/plan/plan.go", func(_, kind string) bool {
			return kind == "Action" || kind == "Reason"
		}},
	} {
		page := read(t, test.page)
		found := 0
		for _, value := range constants(t, test.source, test.explained) {
			found++
			if !strings.Contains(page, "`"+value+"`") {
				t.Errorf("%s: does not explain %s of %s", test.page, value, test.source)
			}
		}
		if found == 0 {
			t.Errorf("%s: has no constants of this sort", test.source)
		}
	}
}

// Each condition that is not True has a remedy: in tables with the column "what to do",
// this cell is not empty, unless the row is about True.
func TestReasonsHaveARemedy(t *testing.T) {
	const page = "reference/conditions-and-events.md"
	rows := 0
	column := 0 // of "what to do", in the table of the line
	for line := range strings.Lines(read(t, page)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		switch {
		case !strings.HasPrefix(line, "|"):
			column = 0
		case strings.TrimSpace(cells[len(cells)-1]) == "what to do":
			column = len(cells) - 1
		case column == 0 || strings.HasPrefix(line, "|---") || strings.TrimSpace(cells[0]) == "True":
		default:
			rows++
			if len(cells) <= column || strings.TrimSpace(cells[column]) == "" {
				t.Errorf("%s: the cell \"what to do\" is empty: %s", page, line)
			}
		}
	}
	if rows < 20 {
		t.Errorf("%s: only %d rows have a remedy", page, rows)
	}
}

// Each alert is on the page about monitoring, and links to its section on the page
// about troubleshooting.
func TestAlertsHaveASection(t *testing.T) {
	var object struct {
		Spec struct {
			Groups []struct {
				Rules []struct {
					Alert       string            `json:"alert"`
					Annotations map[string]string `json:"annotations"`
				} `json:"rules"`
			} `json:"groups"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal([]byte(read(t, alerts)), &object); err != nil {
		t.Fatal(err)
	}
	monitoring, sections := read(t, "how-to/monitoring.md"), anchors(read(t, "how-to/troubleshooting.md"))
	found := 0
	for _, group := range object.Spec.Groups {
		for _, rule := range group.Rules {
			found++
			if !strings.Contains(monitoring, "| `"+rule.Alert+"` |") {
				t.Errorf("monitoring.md: does not list the alert %s", rule.Alert)
			}
			link, anchor, _ := strings.Cut(rule.Annotations["runbook_url"], "#")
			if !strings.HasSuffix(link, "/docs/how-to/troubleshooting.md") || anchor != strings.ToLower(rule.Alert) || !slices.Contains(sections, anchor) {
				t.Errorf("%s: the runbook_url of %s is not the anchor of its section: %s", alerts, rule.Alert, rule.Annotations["runbook_url"])
			}
		}
	}
	if found == 0 {
		t.Errorf("%s: no alert found", alerts)
	}
}

// The command on the page about monitoring for a Prometheus without an operator prints
// the groups of the PrometheusRule.
func TestAlertsAsFile(t *testing.T) {
	shown := regexp.MustCompile(`(?m)^\$ (sed .*) >\S+$`).FindStringSubmatch(read(t, "how-to/monitoring.md"))
	if shown == nil {
		t.Fatal("monitoring.md: the sed command is missing")
	}
	command := exec.Command("bash", "-c", shown[1])
	command.Dir = ".."
	text, err := command.Output()
	if err != nil {
		t.Fatalf("%s: %v", shown[1], err)
	}
	var file any
	var object struct {
		Spec any `json:"spec"`
	}
	if err := errors.Join(yaml.Unmarshal(text, &file), yaml.Unmarshal([]byte(read(t, alerts)), &object)); err != nil {
		t.Fatal(err)
	}
	if file == nil || !reflect.DeepEqual(file, object.Spec) {
		t.Errorf("%s prints\n%s", shown[1], text)
	}
}

// constants returns the values of the string constants in a file whose name and type
// are chosen, and that its package uses.
func constants(t *testing.T, file string, chosen func(name, kind string) bool) []string {
	t.Helper()
	siblings, err := filepath.Glob(filepath.Join(filepath.Dir(file), "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var source strings.Builder
	for _, sibling := range siblings {
		source.WriteString(read(t, sibling))
	}
	used := func(name string) bool {
		return len(regexp.MustCompile(`\b`+name+`\b`).FindAllString(source.String(), 2)) == 2
	}
	syntax, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	ast.Inspect(syntax, func(node ast.Node) bool {
		spec, isValue := node.(*ast.ValueSpec)
		if !isValue || len(spec.Values) != 1 {
			return true
		}
		kind, _ := spec.Type.(*ast.Ident)
		literal, isLiteral := spec.Values[0].(*ast.BasicLit)
		constant := spec.Names[0].Name
		if !isLiteral || literal.Kind != token.STRING || !chosen(constant, name(kind)) || !used(constant) {
			return true
		}
		if value, err := strconv.Unquote(literal.Value); err == nil {
			values = append(values, value)
		}
		return true
	})
	return values
}

func name(identifier *ast.Ident) string {
	if identifier == nil {
		return ""
	}
	return identifier.Name
}
