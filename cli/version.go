package cli

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/cli/internal/operator"
)

// versionCommand has the flags of version.
type versionCommand struct {
	*factory
	clientOnly bool
	output     string
}

// versions is the output of version.
type versions struct {
	Client    clientVersion     `json:"client"`
	Operators []operatorVersion `json:"operators,omitempty"`
}

type clientVersion struct {
	Version   string `json:"version"`
	Commit    string `json:"commit,omitempty"`
	Date      string `json:"date,omitempty"`
	Modified  bool   `json:"modified,omitempty"`
	GoVersion string `json:"goVersion"`
	Platform  string `json:"platform"`
}

type operatorVersion struct {
	Namespace  string `json:"namespace"`
	Deployment string `json:"deployment"`
	Version    string `json:"version,omitempty"`
	Image      string `json:"image"`
	Available  bool   `json:"available"`
	Upstream   bool   `json:"upstream,omitempty"`
	// WatchedNamespaces are empty for all.
	WatchedNamespaces []string `json:"watchedNamespaces,omitempty"`
	// ConfigurationNamespace contains SeldonConfigs and ServerConfigs.
	ConfigurationNamespace string `json:"configurationNamespace"`
}

func newVersionCommand(f *factory) *cobra.Command {
	return (&versionCommand{factory: f}).command()
}

func (v *versionCommand) command() *cobra.Command {
	command := &cobra.Command{
		Use:   "version",
		Short: "Show the versions of this program and of the operator",
		Long: `Show the versions of this program and of the operators in the cluster, and warn if they differ: plan and
render use the templates of this program.

The version of an operator is the tag of its image or, for an image with a digest, the label
app.kubernetes.io/version of its Deployment.`,
		Example: `  kubectl seldon version
  kubectl seldon version --client -o json`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error { return v.run(command.Context()) },
	}
	flags := command.Flags()
	flags.BoolVar(&v.clientOnly, "client", false, "show only the version of this program, without a request")
	flags.StringVarP(&v.output, "output", "o", "", "output format: json or yaml")
	completeValues(command, "output", "json", "yaml")
	return command
}

func (v *versionCommand) run(ctx context.Context) error {
	if !slices.Contains([]string{"", "json", "yaml"}, v.output) {
		return usageError(fmt.Errorf("--output=%s: must be json or yaml", v.output))
	}
	if v.output == "" {
		// Before the requests, which may take time.
		v.printLine("%s: %s", v.Name, v.ofClient())
	}
	if v.clientOnly {
		return v.show(nil)
	}
	c, err := v.client()
	if err != nil {
		return errors.Join(err, v.show(nil))
	}
	found, err := v.find(ctx, c)
	if err != nil {
		return errors.Join(err, v.show(nil))
	}
	return v.show(found)
}

// ofClient returns the version of this program.
func (v *versionCommand) ofClient() clientVersion {
	return clientVersion{
		Version: v.Version, Commit: v.Commit, Date: v.Date, Modified: v.Modified, GoVersion: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
}

// show prints the operators that were found, and compares their versions; nil if none was
// looked for, or the search failed.
func (v *versionCommand) show(found *operator.Found) error {
	shown := versions{Client: v.ofClient()}
	if found == nil {
		return v.printVersions(shown)
	}
	for _, each := range found.Operators {
		shown.Operators = append(shown.Operators, operatorVersion{
			Namespace: each.Deployment.Namespace, Deployment: each.Deployment.Name, Version: each.Version, Image: each.Image,
			Available: each.Ready, Upstream: each.Upstream, WatchedNamespaces: each.WatchedNamespaces, ConfigurationNamespace: each.Namespace,
		})
	}
	if err := v.printVersions(shown); err != nil {
		return err
	}
	for _, problem := range found.Problems {
		v.warn("%v", problem)
	}
	v.note("%s", v.comparison(found))
	return nil
}

// find finds all operators that the account may see.
func (v *versionCommand) find(ctx context.Context, c client.Reader) (*operator.Found, error) {
	found, err := operator.List(ctx, c, v.operatorNamespace)
	if err != nil || len(found.Problems) == 0 || v.operatorNamespace != "" {
		return found, err
	}
	namespace, _, err := v.namespace()
	if err != nil {
		return nil, err
	}
	return operator.Find(ctx, c, namespace, "")
}

// printVersions prints the operators as text, or all as JSON or YAML.
func (v *versionCommand) printVersions(shown versions) error {
	if v.output != "text" && v.output != "" {
		return printStructured(v.Streams.Out, shown, v.output)
	}
	for _, each := range shown.Operators {
		v.printLine("%s", each)
	}
	return nil
}

// comparison returns the last line.
func (v *versionCommand) comparison(found *operator.Found) string {
	var different []string
	for _, each := range found.Operators {
		if !each.Upstream && each.Version != "" && !sameVersion(each.Version, v.Version) {
			different = append(different, fmt.Sprintf("the operator in namespace %s is %s", each.Deployment.Namespace, each.Version))
		}
	}
	switch {
	case len(found.Operators) == 0:
		return "No operator was found."
	case len(different) > 0:
		return fmt.Sprintf("warning: %s, and this plugin renders as %s.", strings.Join(different, ", "), v.Version)
	default:
		return "The plugin renders as the operator does."
	}
}

// sameVersion reports whether two versions are equal, with or without the v of a Git tag.
func sameVersion(a, b string) bool { return strings.TrimPrefix(a, "v") == strings.TrimPrefix(b, "v") }

// String returns one line for the version.
func (c clientVersion) String() string {
	text := c.Version
	if c.Commit != "" {
		text += fmt.Sprintf(", commit %s of %s", c.Commit, c.Date)
	}
	if c.Modified {
		text += " with changes"
	}
	return text + ", " + c.GoVersion + " " + c.Platform
}

// String returns one line for the operator.
func (o operatorVersion) String() string {
	version := o.Version
	if version == "" {
		version = "unknown version"
	}
	name := "operator"
	if o.Upstream {
		name = "upstream operator"
	}
	namespaces := "all namespaces"
	if len(o.WatchedNamespaces) > 0 {
		namespaces = strings.Join(o.WatchedNamespaces, ", ")
	}
	text := fmt.Sprintf("%s: %s, Deployment %s/%s, watches %s", name, version, o.Namespace, o.Deployment, namespaces)
	if !o.Available {
		text += ", not available"
	}
	return text
}
