package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/resource"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/cli/internal/manifest"
	"github.com/seldon-operator/seldon-operator/cli/internal/preview"
	"github.com/seldon-operator/seldon-operator/cli/internal/snapshot"
	"github.com/seldon-operator/seldon-operator/composition/plan"
)

// planOptions are the flags that plan and diff share.
type planOptions struct {
	*factory
	files resource.FilenameOptions
	all   bool
}

func (o *planOptions) bind(command *cobra.Command) {
	command.ValidArgsFunction = o.completeOwner
	flags := command.Flags()
	flags.BoolVarP(&o.all, "all-namespaces", "A", false, "plan the objects of all namespaces")
	bindFiles(flags, &o.files, "SeldonConfigs, ServerConfigs, SeldonRuntimes and Servers as they are proposed")
}

// planned plans the objects that args and flags select.
func (o *planOptions) planned(ctx context.Context, args []string) (*preview.Report, error) {
	selection, err := o.selection(args)
	if err != nil {
		return nil, err
	}
	var files []*unstructured.Unstructured
	if len(o.files.Filenames) > 0 || o.files.Kustomize != "" {
		if files, err = o.proposed(); err != nil {
			return nil, err
		}
	}
	for _, file := range files {
		if namespace := file.GetNamespace(); !manifest.IsConfig(file.GroupVersionKind().GroupKind()) && selection.Namespace != "" && namespace != selection.Namespace {
			return nil, usageError(fmt.Errorf("%s %s is in namespace %s, and the plan is for namespace %s: set -n %s, or -A for all namespaces",
				file.GetKind(), file.GetName(), namespace, selection.Namespace, namespace))
		}
	}
	api, err := o.client()
	if err != nil {
		return nil, err
	}
	taken := snapshot.New(api)
	if err := preview.Load(ctx, taken, selection.Namespace); err != nil {
		return nil, err
	}
	serving, err := o.serving(ctx, taken, selection.Namespace)
	if err != nil {
		return nil, err
	}
	if serving.Version != "" && serving.Version != o.Version {
		o.warn("the operator is %s, and this plan is made by the templates of %s: what a change of the operator's version changes is part of it", serving.Version, o.Version)
	}
	if err := preview.LoadConfigs(ctx, taken, serving.Namespace); err != nil {
		return nil, err
	}
	planner := &preview.Planner{Snapshot: taken, Operator: serving, Version: o.Version, Files: files}
	report, err := planner.Plan(ctx, selection)
	if _, invalid := errors.AsType[*preview.InvalidError](err); invalid {
		return nil, usageError(err)
	}
	return report, err
}

// selection parses args.
func (o *planOptions) selection(args []string) (preview.Selection, error) {
	namespace, _, err := o.namespace()
	if err != nil {
		return preview.Selection{}, err
	}
	selection := preview.Selection{Namespace: namespace}
	if o.all {
		if len(args) > 0 {
			return selection, usageError(errors.New("a name and -A exclude each other"))
		}
		return preview.Selection{}, nil
	}
	if len(args) == 0 {
		return selection, nil
	}
	named, err := parseTarget(args)
	if err != nil {
		return selection, err
	}
	switch named.Kind {
	case v1alpha1.KindSeldonRuntime:
		selection.Runtime = named.Name
	case v1alpha1.KindServer:
		selection.Server = named.Name
	default:
		return selection, usageError(fmt.Errorf("%s has no child objects to plan: name a SeldonRuntime or a Server", named.Kind))
	}
	return selection, nil
}

// proposed returns the objects in the files that determine plans.
func (o *planOptions) proposed() ([]*unstructured.Unstructured, error) {
	namespace, explicit, err := o.namespace()
	if err != nil {
		return nil, err
	}
	if !explicit && o.all {
		namespace = ""
	}
	loaded, err := manifest.Load(manifest.Options{FilenameOptions: o.files, In: o.Streams.In, Namespace: namespace})
	if err != nil {
		return nil, usageError(err)
	}
	var proposed []*unstructured.Unstructured
	for _, object := range loaded {
		switch object.Unstructured.GetKind() {
		case v1alpha1.KindSeldonConfig, v1alpha1.KindServerConfig, v1alpha1.KindSeldonRuntime, v1alpha1.KindServer:
			proposed = append(proposed, object.Unstructured)
		default:
			o.warn("%s does not change child objects, and is ignored", object)
		}
	}
	return proposed, nil
}

// newPlanCommand returns the command plan.
func newPlanCommand(f *factory) *cobra.Command {
	options := &planOptions{factory: f}
	var output, failOn string
	var detailed, exitOnChanges bool
	command := &cobra.Command{
		Use:   "plan [NAME | TYPE/NAME]",
		Short: "Show what the operator would do, now or with proposed objects",
		Long: "Show what the operator would do: for each child object the step, its impact, and the fields that change.\n\n" +
			"With -f, the plan is for the proposed SeldonConfigs, ServerConfigs, SeldonRuntimes and Servers in files: " +
			"what the operator will do when they are applied. Nothing is written.",
		Example: "  # what the operator would do in the current namespace\n" +
			"  %[1]s plan\n\n" +
			"  # what a changed configuration does in all namespaces\n" +
			"  %[1]s plan -A -f seldonconfig.yaml\n\n" +
			"  # in CI: fail if pods would have to stop\n" +
			"  %[1]s plan -f runtime.yaml --fail-on Outage",
		Args: cobra.MaximumNArgs(2),
		RunE: func(command *cobra.Command, args []string) error {
			limit, err := parseImpact(failOn)
			if err != nil {
				return err
			}
			if !slices.Contains([]string{"text", "json", "yaml", "markdown"}, output) {
				return usageError(fmt.Errorf("--output=%s: must be text, json, yaml or markdown", output))
			}
			report, err := options.planned(command.Context(), args)
			if err != nil {
				return err
			}
			if err := f.printReport(report, output, detailed); err != nil {
				return err
			}
			f.closing(report)
			switch {
			case limit != nil && report.Summary.Writes > 0 && report.Summary.MaxImpact >= *limit:
				return &exitError{code: exitImpact}
			case exitOnChanges && report.Summary.Writes > 0:
				return &exitError{code: exitChanges}
			}
			return nil
		},
	}
	command.Example = fmt.Sprintf(command.Example, f.Name)
	options.bind(command)
	flags := command.Flags()
	flags.StringVarP(&output, "output", "o", "text", "text, json, yaml or markdown")
	completeValues(command, "output", "text", "json", "yaml", "markdown")
	flags.BoolVar(&detailed, "detailed", false, "show every owner and all changed fields")
	flags.BoolVar(&exitOnChanges, "exit-code", false, "exit with 3 if something would change")
	flags.StringVar(&failOn, "fail-on", "", "exit with 4 if a step has this impact or a higher one: "+impactNames())
	return command
}

// impactNames lists the impacts, from the lowest.
func impactNames() string {
	var names []string
	for _, impact := range plan.Impacts() {
		names = append(names, impact.String())
	}
	return strings.Join(names, ", ")
}

// parseImpact parses --fail-on; nil if it is not set.
func parseImpact(text string) (*plan.Impact, error) {
	if text == "" {
		return nil, nil
	}
	for _, impact := range plan.Impacts() {
		if strings.EqualFold(impact.String(), text) {
			return &impact, nil
		}
	}
	return nil, usageError(fmt.Errorf("--fail-on=%s: must be one of %s", text, impactNames()))
}

// printReport prints a report.
func (f *factory) printReport(report *preview.Report, output string, detailed bool) error {
	switch output {
	case "json", "yaml":
		return printStructured(f.Streams.Out, report, output)
	case "markdown":
		return f.printMarkdown(report, detailed)
	default:
		return f.printText(report, detailed)
	}
}

// closing prints one sentence about a report, after what could not be verified or read.
func (f *factory) closing(report *preview.Report) {
	for _, denied := range report.Denied {
		f.warn("not permitted: %s", denied)
	}
	if n := report.Summary.Unverified; n > 0 {
		f.warn("%s unverified: dry-runs are not permitted, and the result is computed without the API server's defaults and admission", count(n, "step is", "steps are"))
	}
	f.note("%s", sentence(report.Summary))
}

// sentence summarizes a plan.
func sentence(s preview.Summary) string {
	var parts []string
	switch {
	case s.Writes == 0 && s.Blocked == 0 && s.Unknown == 0:
		return "Nothing would change."
	case s.Writes == 0:
		parts = append(parts, "Nothing would be written")
	default:
		parts = append(parts, count(s.Writes, "object would be written", "objects would be written"))
		if s.Restarts > 0 {
			parts = append(parts, count(s.Restarts, "workload replaces its pods", "workloads replace their pods"))
		}
		if s.Deletes > 0 {
			parts = append(parts, count(s.Deletes, "object is deleted", "objects are deleted"))
		}
		if s.MaxImpact == plan.ImpactDataLoss {
			parts = append(parts, "data is lost")
		}
	}
	if s.Blocked > 0 {
		parts = append(parts, count(s.Blocked, "step is blocked", "steps are blocked"))
	}
	if s.Unknown > 0 {
		parts = append(parts, count(s.Unknown, "step or owner is unknown", "steps or owners are unknown"))
	}
	if s.Inferred > 0 {
		parts = append(parts, count(s.Inferred, "step is inferred from an equal one", "steps are inferred from equal ones"))
	}
	return strings.Join(parts, "; ") + "."
}

// count returns a number and its noun.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
