package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/cli/internal/explain"
	"github.com/seldon-operator/seldon-operator/cli/internal/fields"
	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/inputs"
)

// explainCommand has the flags and the arguments of explain.
type explainCommand struct {
	*factory
	output string
	ref    composition.ObjectRef
	// field to select; empty for all.
	field string
}

// newExplainCommand returns the command explain.
func newExplainCommand(f *factory) *cobra.Command { return (&explainCommand{factory: f}).command() }

func (e *explainCommand) command() *cobra.Command {
	command := &cobra.Command{
		Use:   "explain TYPE/NAME [FIELD]",
		Short: "Show which layer sets the fields of a child object, and which field managers own them",
		Long: "Show where the fields of a child object of a SeldonRuntime or a Server are from: the template, SeldonConfig, ServerConfig, " +
			"SeldonRuntime, Server or patch that sets each, the values of lower layers that it overrides, and the field managers that own it in the cluster.\n\n" +
			"With FIELD, only that field and the fields below it are shown, such as spec.replicas, spec.template.spec.containers[name=envoy].image or data[kafka.json].",
		Example: "  # every field, by layer\n" +
			"  %[1]s explain deployment/seldon-envoy\n\n" +
			"  # where the image is from, and who changed it\n" +
			"  %[1]s explain deployment/seldon-envoy spec.template.spec.containers[name=envoy].image",
		Args:              cobra.RangeArgs(1, 3),
		ValidArgsFunction: e.completeTarget,
		RunE: func(command *cobra.Command, args []string) error {
			if err := e.parse(args); err != nil {
				return err
			}
			api, err := e.client()
			if err != nil {
				return err
			}
			return e.explain(command.Context(), api)
		},
	}
	command.Example = fmt.Sprintf(command.Example, e.Name)
	command.Flags().StringVarP(&e.output, "output", "o", "text", "text, json or yaml")
	completeValues(command, "output", "text", "json", "yaml")
	return command
}

// parse sets the object and the field that arguments name.
func (e *explainCommand) parse(args []string) error {
	if !slices.Contains([]string{"text", "json", "yaml"}, e.output) {
		return usageError(fmt.Errorf("--output=%s: must be text, json or yaml", e.output))
	}
	named, field, err := parseField(args)
	if err != nil {
		return err
	}
	namespace, _, err := e.namespace()
	if err != nil {
		return err
	}
	e.ref, e.field = composition.ObjectRef{GroupVersionKind: named.GroupVersionKind, Namespace: namespace, Name: named.Name}, field
	return nil
}

// explain prints where the fields of the object are from.
func (e *explainCommand) explain(ctx context.Context, api client.Reader) error {
	serving, err := e.serving(ctx, api, e.ref.Namespace)
	if err != nil {
		return err
	}
	report, err := explain.Of(ctx, api, serving, e.ref)
	if _, is := errors.AsType[*explain.NotAChildError](err); is {
		return usageError(err)
	}
	if err != nil {
		return err
	}
	if serving.Version != "" && serving.Version != e.Version {
		e.warn("the operator is %s, and the layers are those of the templates of %s", serving.Version, e.Version)
	}
	if e.field != "" {
		if report, err = report.Select(e.field); err != nil {
			return usageError(err)
		}
	}
	if err := e.printExplanation(report, e.output, e.field != ""); err != nil {
		return err
	}
	for _, denied := range report.Denied {
		e.note("? %s", denied)
	}
	e.note("%s of %s %s/%s, which is rendered from %s.", count(len(report.Fields), "field", "fields"), report.Kind, report.Namespace, report.Name, report.Owner)
	return nil
}

// parseField parses TYPE/NAME or TYPE NAME, and the field that may follow.
func parseField(args []string) (named target, field string, err error) {
	length := 1
	if !strings.Contains(args[0], "/") {
		if length = 2; len(args) < 2 {
			return target{}, "", usageError(fmt.Errorf("%q names no child object; use TYPE/NAME, such as deployment/seldon-envoy", args[0]))
		}
	}
	if len(args) > length+1 {
		return target{}, "", usageError(errors.New("name one object and at most one field"))
	}
	if len(args) == length+1 {
		field = args[length]
	}
	named, err = parseTarget(args[:length])
	return named, field, err
}

// printExplanation prints a report; in detail: all of each field.
func (f *factory) printExplanation(report *explain.Report, output string, detailed bool) error {
	if output != "text" {
		return printStructured(f.Streams.Out, report, output)
	}
	screen, err := newTerminal(f.Streams.Out, f.color, os.Getenv)
	if err != nil {
		return err
	}
	var lines []string
	if detailed {
		lines = detailLines(report, screen)
	} else {
		lines = tableLines(report, screen)
	}
	_, err = fmt.Fprintln(f.Streams.Out, strings.Join(lines, "\n"))
	return err
}

// detailLines describes each field in several lines.
func detailLines(report *explain.Report, screen terminal) []string {
	var lines []string
	add := func(label, text string) {
		lines = append(lines, screen.cut(screen.paint(bold, fmt.Sprintf("%-10s", label))+"  "+text))
	}
	for i, field := range report.Fields {
		if i > 0 {
			lines = append(lines, "")
		}
		add("FIELD", field.Path)
		add("VALUE", fields.Format(field.Value, 0))
		if field.Rendered != nil {
			add("RENDERED", fields.Format(field.Rendered, 0))
		}
		add("SET BY", layerOf(field))
		for _, lower := range slices.Backward(field.Overridden) {
			add("OVERRIDES", strings.TrimSpace(lower.Layer+" "+lower.LayerPath)+": "+fields.Format(lower.Value, 0))
		}
		for j, manager := range field.Managers {
			label := "MANAGERS"
			if j > 0 {
				label = ""
			}
			text := manager.String()
			if manager.Time != nil {
				text += fmt.Sprintf(", last write %s (%s ago)", manager.Time.UTC().Format(time.RFC3339), duration.HumanDuration(time.Since(*manager.Time)))
			}
			add(label, text)
		}
	}
	return lines
}

// layerOf names the layer of a field.
func layerOf(field explain.Field) string {
	if field.Layer != "" {
		return strings.TrimSpace(field.Layer + " " + field.LayerPath)
	}
	if len(field.Managers) == 0 {
		return "no layer: a default of the API server"
	}
	return "no layer"
}

// tableLines lists the fields below their layers.
func tableLines(report *explain.Report, screen terminal) []string {
	width := 0
	for _, field := range report.Fields {
		width = max(width, utf8.RuneCountInString(field.Path))
	}
	if screen.width > 0 {
		width = min(width, screen.width*2/3)
	}
	var lines []string
	last := ""
	for i, field := range report.Fields {
		if layer := layerOf(field); i == 0 || layer != last {
			if last = layer; i > 0 {
				lines = append(lines, "")
			}
			lines = append(lines, screen.paint(bold, layer))
		}
		text := fields.Format(field.Value, 0)
		if field.Rendered != nil {
			text += "  rendered: " + fields.Format(field.Rendered, 0)
		}
		if others := otherManagers(field); others != "" {
			text += "  managed by: " + others
		}
		line := "  " + field.Path + strings.Repeat(" ", max(width-utf8.RuneCountInString(field.Path), 0)) + "  " + text
		lines = append(lines, screen.cut(line))
	}
	if report.Defaults > 0 {
		lines = append(lines, "", screen.paint(gray, count(report.Defaults, "more field is a default", "more fields are defaults")+" of the API server"))
	}
	return lines
}

// otherManagers names the managers of a field, other than the operator if a layer sets it.
func otherManagers(field explain.Field) string {
	var names []string
	for _, manager := range field.Managers {
		if field.Layer == "" || !manager.IsApply(inputs.FieldManager) {
			names = append(names, manager.String())
		}
	}
	return strings.Join(names, ", ")
}
