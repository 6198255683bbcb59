package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	. "github.com/onsi/gomega"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/cli/tree"
)

const treeObjects = "testdata/tree/objects.yaml"

// treeWith runs tree with objects and with the problems of reading others.
func treeWith(t *testing.T, objects []*unstructured.Unstructured, problems []tree.Problem, args ...string) result {
	t.Helper()
	return runWith(t, func(f *factory) (*cobra.Command, func(context.Context, []string) error) {
		c := &treeCommand{factory: f}
		return c.command(), func(ctx context.Context, args []string) error {
			scope, err := c.scope(args)
			if err != nil {
				return err
			}
			out, err := newTerminal(f.Streams.Out, f.color, os.Getenv)
			if err != nil {
				return err
			}
			read, err := tree.Read(ctx, readerOf(objects), scope)
			if err != nil {
				return err
			}
			return c.show(out, scope, read.Tree(), append(read.Problems(), problems...))
		}
	}, args...)
}

// customResourcesOnly returns what an account may read that may read only custom resources.
func customResourcesOnly(t *testing.T) (objects []*unstructured.Unstructured, problems []tree.Problem) {
	for _, object := range objectsOf(t, treeObjects) {
		if object.GroupVersionKind().Group == v1alpha1.GroupVersion.Group {
			objects = append(objects, object)
		}
	}
	for _, resource := range []string{"configmaps", "deployments.apps", "pods", "rolebindings.rbac.authorization.k8s.io", "roles.rbac.authorization.k8s.io", "serviceaccounts", "services", "statefulsets.apps"} {
		problems = append(problems, tree.Problem{Verb: "list", Resource: resource, Namespace: "team-a", Message: "forbidden"})
	}
	return objects, problems
}

func TestTreeGolden(t *testing.T) {
	for name, c := range map[string]struct {
		args    []string
		columns string
		ascii   bool
	}{
		"default":         {},
		"width-80":        {columns: "80"},
		"width-200":       {columns: "200"},
		"ascii":           {ascii: true, columns: "80"},
		"all":             {args: []string{"--all"}},
		"wide":            {args: []string{"--all", "-o", "wide"}},
		"server":          {args: []string{"server/mlserver"}},
		"deployment":      {args: []string{"deploy", "seldon-envoy"}},
		"model":           {args: []string{"model/iris", "--no-headers"}},
		"all-namespaces":  {args: []string{"-A"}},
		"dot":             {args: []string{"-o", "dot"}},
		"mermaid":         {args: []string{"-o", "mermaid"}},
		"color":           {args: []string{"--color=always"}, columns: "80"},
		"empty-namespace": {args: []string{"-n", "team-z"}},
	} {
		t.Run(name, func(t *testing.T) {
			isolate(t)
			t.Setenv("COLUMNS", c.columns)
			if c.ascii {
				t.Setenv("LC_ALL", "C")
			}
			got := treeWith(t, objectsOf(t, treeObjects), nil, append([]string{"-n", "team-a"}, c.args...)...)
			NewWithT(t).Expect(got.code).To(Equal(0), got.err)
			expectGolden(t, "tree/"+name+".txt", got.out+"--- stderr\n"+got.err)
		})
	}
}

func TestTreeForbidden(t *testing.T) {
	isolate(t)
	objects, problems := customResourcesOnly(t)
	got := treeWith(t, objects, problems, "-n", "team-a")
	NewWithT(t).Expect(got.code).To(Equal(0))
	expectGolden(t, "tree/forbidden.txt", got.out+"--- stderr\n"+got.err)
}

// TestTreePage runs the commands on the page about tree that are followed by their output.
func TestTreePage(t *testing.T) {
	isolate(t)
	page, err := os.ReadFile(filepath.Join("..", "docs", "reference", "cli", "tree.md"))
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, block := range consoleBlocks.FindAllStringSubmatch(string(page), -1) {
		command, shown, _ := strings.Cut(strings.TrimPrefix(block[1], "$ kubectl seldon "), "\n")
		if shown == "" {
			continue
		}
		ran++
		objects, problems := objectsOf(t, treeObjects), []tree.Problem(nil)
		if strings.Contains(command, "--as=") {
			objects, problems = customResourcesOnly(t)
		}
		got := treeWith(t, objects, problems, strings.Fields(command)[1:]...)
		comparePage(t, "tree.md", command, shown, got.out+got.err)
	}
	if ran < 3 {
		t.Errorf("ran %d commands", ran)
	}
}

func TestTreeJSON(t *testing.T) {
	isolate(t)
	g := NewWithT(t)
	problems := []tree.Problem{{Verb: "list", Resource: "pods", Namespace: "team-a", Message: "forbidden"}}
	type node struct {
		Kind, Name, Ready, Status, Revision string
		Served, Terminating                 bool
		CreatedAt                           string
		Children                            []node
	}
	var printed struct {
		APIVersion, Kind string
		Roots            []node
		Problems         []map[string]string
	}
	got := treeWith(t, objectsOf(t, treeObjects), problems, "-n", "team-a", "-o", "json")
	g.Expect(got.code).To(Equal(0))
	g.Expect(json.Unmarshal([]byte(got.out), &printed)).To(Succeed())
	g.Expect(printed.APIVersion + " " + printed.Kind).To(Equal("tree.mlops.seldon.io/v1 Tree"))
	g.Expect(printed.Problems).To(Equal([]map[string]string{{"verb": "list", "resource": "pods", "namespace": "team-a", "message": "forbidden"}}))
	g.Expect(printed.Roots).To(HaveLen(1))
	served := map[string]bool{}
	for _, child := range printed.Roots[0].Children {
		served[child.Kind+"/"+child.Name] = child.Served
	}
	g.Expect(served).To(And(HaveKeyWithValue("Server/mlserver", false), HaveKeyWithValue("Server/triton", true), HaveKeyWithValue("Model/iris", true)))
	empty := treeWith(t, objectsOf(t, treeObjects), nil, "-n", "team-z", "-o", "json")
	g.Expect(empty.out).To(ContainSubstring(`"roots": []`))
}

func TestTreeErrors(t *testing.T) {
	isolate(t)
	for args, want := range map[string]result{
		"tree server/x -A":     {"", "error: a name cannot be combined with --all-namespaces; set --namespace\n", 2},
		"tree -o xml":          {"", "error: --output=xml: must be wide, json, yaml, dot or mermaid\n", 2},
		"tree -w -o json":      {"", "error: --watch cannot be combined with --output=json\n", 2},
		"tree widget/x":        {"", `error: "widget" is not a kind that this command knows; use for example seldonruntime, server, model or deployment` + "\n", 2},
		"tree --color=blue":    {"", "error: --color=blue: must be auto, always or never\n", 2},
		"tree a b c":           {"", "error: accepts at most 2 arg(s), received 3\n", 2},
		"tree --nothing":       {"", "error: unknown flag: --nothing\n", 2},
		"__complete tree -o m": {"wide\njson\nyaml\ndot\nmermaid\n:4\n", "Completion ended with directive: ShellCompDirectiveNoFileComp\n", 0},
	} {
		t.Run(args, func(t *testing.T) {
			code, stdout, stderr := offline(t, "", strings.Fields(args)...)
			NewWithT(t).Expect(result{stdout, stderr, code}).To(Equal(want))
		})
	}
	got := treeWith(t, objectsOf(t, treeObjects), nil, "nothing", "-n", "team-a")
	NewWithT(t).Expect(got).To(Equal(result{"", "error: SeldonRuntime nothing does not exist in namespace team-a\n", 1}))
}

// TestTreeRedraw draws over what was drawn before, and cuts lines at the width.
func TestTreeRedraw(t *testing.T) {
	isolate(t)
	g := NewWithT(t)
	out := &buffer{}
	f := newFactory(Config{Streams: genericiooptions.IOStreams{Out: out, ErrOut: out}})
	objects, err := tree.Read(t.Context(), readerOf(objectsOf(t, treeObjects)), tree.Scope{Namespace: "team-a"})
	g.Expect(err).NotTo(HaveOccurred())
	redraw := (&treeCommand{factory: f}).redrawer(terminal{interactive: true, width: 80}, objects)
	g.Expect(redraw()).To(Succeed())
	first := out.String()
	g.Expect(redraw()).To(Succeed())
	lines := strings.Count(first, "\n")
	g.Expect(out.String()).To(Equal(first + fmt.Sprintf("\x1b[%dA\x1b[J", lines) + first))
	for line := range strings.Lines(first) {
		g.Expect(utf8.RuneCountInString(line)).To(BeNumerically("<=", 81), line)
	}
}
