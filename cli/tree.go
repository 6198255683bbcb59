package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"sigs.k8s.io/yaml"

	"github.com/seldon-operator/seldon-operator/cli/tree"
)

// treeAPIVersion identifies the format of -o json and -o yaml.
const treeAPIVersion = "tree.mlops.seldon.io/v1"

// redrawInterval is how often the ages on a terminal are updated.
const redrawInterval = 10 * time.Second

// treeCommand has the flags of tree.
type treeCommand struct {
	*factory
	allNamespaces, all, watch, noHeaders bool
	output                               string
	// named: an argument names the root.
	named bool
}

func newTreeCommand(f *factory) *cobra.Command {
	return (&treeCommand{factory: f}).command()
}

func (t *treeCommand) command() *cobra.Command {
	command := &cobra.Command{
		Use:   "tree [TYPE/NAME]",
		Short: "Show objects with their child objects and pods, and what is not ready",
		Long: `Show SeldonRuntimes with their child objects and pods, the Models, Pipelines and Experiments that they
serve, whether these are ready, and the reason of what is not.

What is ready is summarized in one line for each owner; --all shows all objects. READY and STATUS are those
of the condition Ready, or are computed by the rules of kstatus. Conditions of an owner that do not count
towards Ready are shown below it while they need attention. A kind that may not be listed is shown as "?".`,
		Example: `  kubectl seldon tree -n team-a
  kubectl seldon tree server/mlserver -n team-a --all
  kubectl seldon tree -A -w
  kubectl seldon tree -n team-a -o mermaid`,
		Args:              cobra.MaximumNArgs(2),
		ValidArgsFunction: t.completeTarget,
		RunE:              func(command *cobra.Command, args []string) error { return t.run(command.Context(), args) },
	}
	flags := command.Flags()
	flags.BoolVarP(&t.allNamespaces, "all-namespaces", "A", false, "show the objects of all namespaces")
	flags.BoolVar(&t.all, "all", false, "show all objects, including those that are ready")
	flags.BoolVarP(&t.watch, "watch", "w", false, "show changes until interrupted: redraw the tree on a terminal, else print one line for each change")
	flags.BoolVar(&t.noHeaders, "no-headers", false, "print no headers")
	flags.StringVarP(&t.output, "output", "o", "", "output format: wide, json, yaml, dot or mermaid")
	completeValues(command, "output", "wide", "json", "yaml", "dot", "mermaid")
	return command
}

// scope validates the flags, and returns what to read.
func (t *treeCommand) scope(args []string) (tree.Scope, error) {
	scope := tree.Scope{}
	if _, known := t.formats()[t.output]; !known {
		return scope, usageError(fmt.Errorf("--output=%s: must be wide, json, yaml, dot or mermaid", t.output))
	}
	if t.watch && t.output != "" && t.output != "wide" {
		return scope, usageError(fmt.Errorf("--watch cannot be combined with --output=%s", t.output))
	}
	if !t.allNamespaces {
		namespace, _, err := t.namespace()
		if err != nil {
			return scope, err
		}
		scope.Namespace = namespace
	}
	if len(args) == 0 {
		return scope, nil
	}
	named, err := parseTarget(args)
	if err != nil {
		return scope, err
	}
	if t.allNamespaces {
		return scope, usageError(errors.New("a name cannot be combined with --all-namespaces; set --namespace"))
	}
	t.named = true
	scope.Root = &tree.Root{GroupVersionKind: named.GroupVersionKind, Name: named.Name}
	return scope, nil
}

func (t *treeCommand) run(ctx context.Context, args []string) error {
	scope, err := t.scope(args)
	if err != nil {
		return err
	}
	out, err := newTerminal(t.Streams.Out, t.color, os.Getenv)
	if err != nil {
		return err
	}
	c, err := t.client()
	if err != nil {
		return err
	}
	objects, err := tree.Read(ctx, c, scope)
	if err != nil {
		return err
	}
	if t.watch {
		return t.follow(ctx, out, func(ctx context.Context, interval time.Duration, changed func() error) error {
			return objects.Watch(ctx, c, interval, changed)
		}, objects)
	}
	return t.show(out, scope, objects.Tree(), objects.Problems())
}

// show prints what was read of a scope, and which requests failed.
func (t *treeCommand) show(out terminal, scope tree.Scope, nodes []*tree.Node, problems []tree.Problem) error {
	if err := t.formats()[t.output](out, nodes, problems); err != nil {
		return err
	}
	t.noteProblems(problems)
	t.note("%s", conclusion(nodes, scope))
	return nil
}

// noteProblems prints one line for the requests that failed for the same reason.
func (t *treeCommand) noteProblems(problems []tree.Problem) {
	byCause := map[string][]string{}
	for _, problem := range problems {
		resource := problem.Resource
		problem.Resource = ""
		cause := problem.String()
		byCause[cause] = append(byCause[cause], resource)
	}
	for _, cause := range slices.Sorted(maps.Keys(byCause)) {
		t.note("Incomplete: %s (%s).", strings.Join(byCause[cause], ", "), cause)
	}
}

// conclusion returns the last line.
func conclusion(nodes []*tree.Node, scope tree.Scope) string {
	objects, notReady := tree.Count(nodes)
	switch {
	case objects == 0 && scope.Namespace == "":
		return "There are no SeldonRuntimes, and no Servers, Models, Pipelines and Experiments in any namespace."
	case objects == 0:
		return fmt.Sprintf("There are no SeldonRuntimes, and no Servers, Models, Pipelines and Experiments in namespace %s.", scope.Namespace)
	case notReady == 0 && objects == 1:
		return "The object is ready."
	case notReady == 0:
		return fmt.Sprintf("All %d objects are ready.", objects)
	case objects == 1:
		return "The object is not ready."
	case notReady == 1:
		return fmt.Sprintf("1 of %d objects is not ready.", objects)
	default:
		return fmt.Sprintf("%d of %d objects are not ready.", notReady, objects)
	}
}

// treeFormat prints nodes.
type treeFormat func(out terminal, nodes []*tree.Node, problems []tree.Problem) error

func (t *treeCommand) formats() map[string]treeFormat {
	table := func(out terminal, nodes []*tree.Node, problems []tree.Problem) error {
		return tree.Print(t.Streams.Out, t.visible(nodes, problems), t.style(out))
	}
	graph := func(write func(io.Writer, []*tree.Node) error) treeFormat {
		return func(_ terminal, nodes []*tree.Node, problems []tree.Problem) error {
			return write(t.Streams.Out, t.visible(nodes, problems))
		}
	}
	encode := func(marshal func(any) ([]byte, error)) treeFormat {
		return func(_ terminal, nodes []*tree.Node, problems []tree.Problem) error {
			text, err := marshal(struct {
				APIVersion string         `json:"apiVersion"`
				Kind       string         `json:"kind"`
				Roots      []*tree.Node   `json:"roots"`
				Problems   []tree.Problem `json:"problems"`
			}{treeAPIVersion, "Tree", append([]*tree.Node{}, nodes...), append([]tree.Problem{}, problems...)})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(t.Streams.Out, strings.TrimRight(string(text), "\n"))
			return err
		}
	}
	return map[string]treeFormat{
		"": table, "wide": table, "dot": graph(tree.DOT), "mermaid": graph(tree.Mermaid),
		"json": encode(func(v any) ([]byte, error) { return json.MarshalIndent(v, "", "  ") }),
		"yaml": encode(yaml.Marshal),
	}
}

// visible returns the nodes to show.
func (t *treeCommand) visible(nodes []*tree.Node, problems []tree.Problem) []*tree.Node {
	if t.named {
		roots := nodes
		nodes = nil
		for _, n := range roots {
			root := *n
			root.Children = tree.Group(n.Children)
			nodes = append(nodes, &root)
		}
	} else {
		nodes = tree.Group(nodes)
	}
	if !t.all {
		nodes = tree.Fold(nodes)
	}
	return append(nodes, tree.Unreadable(problems)...)
}

func (t *treeCommand) style(out terminal) tree.Style {
	return tree.Style{
		Wide: t.output == "wide", Namespace: t.allNamespaces, NoHeaders: t.noHeaders, ASCII: out.ascii, Width: out.width, Now: time.Now(),
		Paint: func(ready tree.Ready, text string) string {
			return out.paint(map[tree.Ready]style{tree.True: green, tree.False: red, tree.Unknown: yellow, tree.NotApplicable: yellow}[ready], text)
		},
	}
}

// follow shows changes until the context ends.
func (t *treeCommand) follow(ctx context.Context, out terminal, watch func(context.Context, time.Duration, func() error) error, objects *tree.Objects) error {
	if out.interactive {
		redraw := t.redrawer(out, objects)
		if err := redraw(); err != nil {
			return err
		}
		return watch(ctx, redrawInterval, redraw)
	}
	printer := &tree.Printer{Style: t.style(out)}
	before := objects.Tree()
	if err := printer.Print(t.Streams.Out, t.visible(before, objects.Problems())); err != nil {
		return err
	}
	problems := objects.Problems()
	t.noteProblems(problems)
	return watch(ctx, 0, func() error {
		if now := objects.Problems(); !slices.Equal(now, problems) {
			problems = now
			t.noteProblems(problems)
		}
		after := objects.Tree()
		changes := tree.Changes(before, after)
		before = after
		printer.Now = time.Now()
		return printer.PrintChanges(t.Streams.Out, changes)
	})
}

// redrawer returns a function that draws the tree in the place of what it drew before.
func (t *treeCommand) redrawer(out terminal, objects *tree.Objects) func() error {
	drawn := 0
	return func() error {
		width, height := out.width, 0
		if file, ok := t.Streams.Out.(*os.File); ok {
			if columns, rows, err := term.GetSize(int(file.Fd())); err == nil {
				width, height = columns, rows
			}
		}
		style := t.style(out)
		style.Width = width
		text := bytes.Buffer{}
		if err := tree.Print(&text, t.visible(objects.Tree(), objects.Problems()), style); err != nil {
			return err
		}
		lines := strings.SplitAfter(strings.TrimSuffix(text.String(), "\n"), "\n")
		// The cursor cannot move above the first line of the terminal.
		if room := height - 2; height > 0 && len(lines) > room && room > 0 {
			lines = append(lines[:room], fmt.Sprintf("%d more lines do not fit the terminal", len(lines)-room))
		}
		if drawn > 0 {
			if _, err := fmt.Fprintf(t.Streams.Out, "\x1b[%dA\x1b[J", drawn); err != nil {
				return err
			}
		}
		drawn = len(lines)
		_, err := fmt.Fprintln(t.Streams.Out, strings.Join(lines, ""))
		return err
	}
}
