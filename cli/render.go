package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/cli/internal/compose"
	"github.com/seldon-operator/seldon-operator/cli/internal/manifest"
	"github.com/seldon-operator/seldon-operator/cli/internal/operator"
	"github.com/seldon-operator/seldon-operator/cli/internal/render"
)

// renderOptions are the flags of render.
type renderOptions struct {
	*factory
	files                resource.FilenameOptions
	output               string
	explain, fromCluster bool
	useDeployments       bool
	maxReplicas          int64
	// compose are the options of a Compose file, and composeFlags their flags.
	compose      compose.Options
	composeFlags *pflag.FlagSet
	// services is the number of services of the Compose file.
	services int
}

// newRenderCommand returns the command render.
func newRenderCommand(f *factory) *cobra.Command { return (&renderOptions{factory: f}).command() }

func (o *renderOptions) command() *cobra.Command {
	command := &cobra.Command{
		Use:   "render -f FILE...",
		Short: "Print the objects that the operator creates for SeldonRuntimes and Servers",
		Long: "Print the objects that the operator creates for the SeldonRuntimes and Servers in files, the objects of a runtime's Servers included.\n\n" +
			"No cluster is needed: configurations are those in the files or, for a kind of which the files have none, those of a default installation. " +
			"With --from-cluster, what the files do not have is read from the cluster. Objects of other kinds are printed as they are, and custom resources of the operator are omitted.\n\n" +
			"With --output=compose, the objects are translated into a file for Docker Compose.",
		Example: "  # all objects of a runtime\n" +
			"  %[1]s render -n team-a -f runtime.yaml\n\n" +
			"  # with your own configurations, and the layer that sets each field\n" +
			"  %[1]s render -f seldonconfig.yaml -f runtime.yaml --explain\n\n" +
			"  # with the configurations of the cluster\n" +
			"  %[1]s render -f runtime.yaml --from-cluster -o name\n\n" +
			"  # a Compose file with the scheduler, Envoy and the Servers, which loads the Models in the folder models\n" +
			"  %[1]s render -f runtime.yaml -o compose --without-kafka > compose.yaml",
		RunE: func(command *cobra.Command, _ []string) error {
			if err := o.checkCompose(command.Flags()); err != nil {
				return err
			}
			return o.run(command.Context())
		},
	}
	command.Example = fmt.Sprintf(command.Example, o.Name)
	flags := command.Flags()
	bindFiles(flags, &o.files, "SeldonRuntimes, Servers, SeldonConfigs, ServerConfigs and other objects")
	flags.StringVarP(&o.output, "output", "o", "yaml", "yaml, json, name, or compose for a Compose file")
	completeValues(command, "output", append(slices.Clone(manifest.Formats), outputCompose)...)
	flags.BoolVar(&o.explain, "explain", false, "name the layer that sets each field, in comments")
	flags.BoolVar(&o.fromCluster, "from-cluster", false, "read configurations, and counts of Models and replicas, from the cluster")
	flags.BoolVar(&o.useDeployments, "use-deployments-for-servers", false, "render Servers as Deployments; with --from-cluster this is a setting of the operator")
	flags.Int64Var(&o.maxReplicas, "max-replicas-per-server", operator.Assumed("").MaxReplicasPerServer, "render at most that many replicas of a Server; with --from-cluster this is a setting of the operator")
	o.composeFlags = bindCompose(flags, &o.compose, o.Version)
	return command
}

func (o *renderOptions) run(ctx context.Context) error {
	files, err := o.load()
	if err != nil {
		return err
	}
	var api client.Reader
	if o.fromCluster {
		if api, err = o.client(); err != nil {
			return err
		}
	}
	return o.render(ctx, files, api)
}

// load validates the flags, and reads the files.
func (o *renderOptions) load() ([]manifest.Object, error) {
	switch {
	case o.output != outputCompose && !slices.Contains(manifest.Formats, o.output):
		return nil, usageError(fmt.Errorf("--output=%s: must be yaml, json, name or compose", o.output))
	case o.explain && o.output != "yaml":
		return nil, usageError(fmt.Errorf("--explain adds comments, which --output=%s does not have; use --output=yaml", o.output))
	}
	namespace, explicit, err := o.namespace()
	if err != nil {
		return nil, err
	}
	switch {
	case explicit:
	case o.output == outputCompose:
		namespace = defaultComposeNamespace
	default:
		namespace = ""
	}
	files, err := manifest.Load(manifest.Options{FilenameOptions: o.files, In: o.Streams.In, Namespace: namespace})
	if err != nil {
		return nil, usageError(err)
	}
	return files, nil
}

// render prints what the operator renders from files and, if api is not nil, from objects of
// the cluster.
func (o *renderOptions) render(ctx context.Context, files []manifest.Object, api client.Reader) error {
	options := render.Options{Scheme: o.scheme, Explain: o.explain, Operator: operator.Assumed(o.operatorNamespace)}
	options.Operator.UseDeployments, options.Operator.MaxReplicasPerServer = o.useDeployments, o.maxReplicas
	if api != nil {
		serving, err := o.operatorOf(ctx, files, api)
		if err != nil {
			return err
		}
		options.Cluster, options.Operator = api, serving
	}
	result, err := render.Render(ctx, files, options)
	if _, is := errors.AsType[*render.InputError](err); is {
		return usageError(err)
	}
	if err != nil {
		return err
	}
	if err := o.print(result); err != nil {
		return err
	}
	o.report(result)
	return nil
}

// operatorOf returns the operator that serves the namespace of the owners in files.
func (o *renderOptions) operatorOf(ctx context.Context, files []manifest.Object, api client.Reader) (*operator.Operator, error) {
	namespace := ""
	for _, file := range files {
		if file.Typed != nil && !manifest.IsConfig(file.GroupVersionKind().GroupKind()) {
			namespace = file.GetNamespace()
			break
		}
	}
	serving, err := o.serving(ctx, api, namespace)
	if err != nil {
		return nil, err
	}
	if serving.Version != "" && serving.Version != o.Version {
		o.warn("the operator is %s, and the objects are rendered by the templates of %s", serving.Version, o.Version)
	}
	return serving, nil
}

// print writes the objects of a result.
func (o *renderOptions) print(result *render.Result) error {
	if o.output == "yaml" {
		return render.PrintYAML(o.Streams.Out, result.Objects)
	}
	contents := make([]*unstructured.Unstructured, len(result.Objects))
	for i, object := range result.Objects {
		contents[i] = object.Unstructured
	}
	if o.output == outputCompose {
		return o.printCompose(contents)
	}
	return manifest.Print(o.Streams.Out, contents, o.output)
}

// report writes what a result says about its objects to the standard error.
func (o *renderOptions) report(result *render.Result) {
	for _, used := range result.BuiltIn {
		o.note("the files have no %s: the built-in one of version %s is used", used, o.Version)
	}
	for _, left := range result.LeftOut {
		o.note("left out: %s", left)
	}
	for _, warning := range result.Warnings {
		o.warn("%s", warning)
	}
	for _, denied := range result.Denied {
		o.note("? %s", denied)
	}
	translated := ""
	if o.output == outputCompose {
		translated = ", and these as " + count(o.services, "service", "services") + " for Docker Compose"
	}
	o.note("Rendered %s and %s as %s%s.", count(result.Runtimes, "SeldonRuntime", "SeldonRuntimes"),
		count(result.Servers, "Server", "Servers"), count(len(result.Objects), "object", "objects"), translated)
}
