package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/resource"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// factory has what commands share: the flags, the streams, and constructors of clients.
type factory struct {
	Config
	flags *genericclioptions.ConfigFlags
	color string
	// operatorNamespace contains the operator and its configurations; empty to find it.
	operatorNamespace string
	scheme            *runtime.Scheme
}

func newFactory(config Config) *factory {
	f := &factory{Config: config, flags: genericclioptions.NewConfigFlags(true).WithDeprecatedPasswordFlag(), scheme: runtime.NewScheme()}
	f.flags.WrapConfigFn = func(c *rest.Config) *rest.Config {
		// API Priority and Fairness limits requests.
		c.QPS = -1
		c.UserAgent = "kubectl-seldon/" + config.Version
		c.WarningHandler = rest.NewWarningWriter(config.Streams.ErrOut, rest.WarningWriterOptions{Deduplicate: true})
		return c
	}
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(f.scheme); err != nil {
			panic(err) // two types of one kind
		}
	}
	return f
}

// bind defines the flags of all commands.
func (f *factory) bind(flags *pflag.FlagSet) {
	f.flags.AddFlags(flags)
	// The flags of kubectl would be most of each help text.
	flags.VisitAll(func(flag *pflag.Flag) {
		flag.Hidden = !slices.Contains([]string{"namespace", "context", "kubeconfig"}, flag.Name)
	})
	flags.StringVar(&f.color, "color", colorAuto, "colour the output: auto, always or never; auto means on a terminal, unless NO_COLOR is set")
	flags.StringVar(&f.operatorNamespace, "operator-namespace", "", "namespace of the operator and its configurations (default: that of the operator that serves the namespace)")
}

// namespace returns the namespace of --namespace or of the context. explicit: it is not
// only the default of the client library.
func (f *factory) namespace() (name string, explicit bool, err error) {
	name, overridden, err := f.flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return "", false, err
	}
	if overridden || name != "default" {
		return name, true, nil
	}
	raw, err := f.flags.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return name, false, nil //nolint:nilerr // without a readable kubeconfig there is no context
	}
	current := raw.Contexts[raw.CurrentContext]
	if named := ptr.Deref(f.flags.Context, ""); named != "" {
		current = raw.Contexts[named]
	}
	return name, current != nil && current.Namespace != "", nil
}

// client returns a client that needs no discovery: the kinds are known.
func (f *factory) client() (client.WithWatch, error) {
	config, err := f.flags.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("%w; set --kubeconfig or --context", err)
	}
	return client.NewWithWatch(config, client.Options{Scheme: f.scheme, Mapper: newMapper(f.scheme)})
}

// newMapper returns a mapper of the kinds of a scheme that the commands use.
func newMapper(scheme *runtime.Scheme) meta.RESTMapper {
	mapper := meta.NewDefaultRESTMapper(nil)
	clusterScoped := map[string]bool{"Namespace": true, "Node": true, "PersistentVolume": true, "StorageClass": true, "ClusterRole": true, "ClusterRoleBinding": true, "CustomResourceDefinition": true}
	for gvk := range scheme.AllKnownTypes() {
		if strings.HasSuffix(gvk.Kind, "List") || strings.HasSuffix(gvk.Kind, "Options") {
			continue
		}
		scope := meta.RESTScope(meta.RESTScopeNamespace)
		if clusterScoped[gvk.Kind] {
			scope = meta.RESTScopeRoot
		}
		mapper.Add(gvk, scope)
	}
	return mapper
}

// resources are the kinds that arguments may name, by lower-case name.
var resources = map[string]schema.GroupVersionKind{}

func init() {
	kinds := map[schema.GroupVersion]map[string][]string{
		v1alpha1.GroupVersion: {
			v1alpha1.KindSeldonRuntime: {"seldonruntimes"}, v1alpha1.KindServer: {"servers", "mls"}, v1alpha1.KindModel: {"models", "mlm"},
			v1alpha1.KindPipeline: {"pipelines", "mlp"}, v1alpha1.KindExperiment: {"experiments", "mlx"},
			"SeldonConfig": {"seldonconfigs"}, "ServerConfig": {"serverconfigs", "mlc"},
		},
		{Version: "v1"}: {
			"Pod": {"pods", "po"}, "Service": {"services", "svc"}, "ConfigMap": {"configmaps", "cm"}, "Secret": {"secrets"},
			"ServiceAccount": {"serviceaccounts", "sa"}, "PersistentVolumeClaim": {"persistentvolumeclaims", "pvc"},
		},
		{Group: "apps", Version: "v1"}:                      {"Deployment": {"deployments", "deploy"}, "StatefulSet": {"statefulsets", "sts"}},
		{Group: "rbac.authorization.k8s.io", Version: "v1"}: {"Role": {"roles"}, "RoleBinding": {"rolebindings"}},
	}
	for version, named := range kinds {
		for kind, names := range named {
			for _, name := range append(names, strings.ToLower(kind)) {
				resources[name] = version.WithKind(kind)
			}
		}
	}
}

// target is an object that arguments name.
type target struct {
	schema.GroupVersionKind
	Name string
}

// parseTarget parses TYPE/NAME, TYPE NAME, or NAME for a SeldonRuntime.
func parseTarget(args []string) (target, error) {
	var kind, name string
	switch len(args) {
	case 1:
		var qualified bool
		if kind, name, qualified = strings.Cut(args[0], "/"); !qualified {
			kind, name = v1alpha1.KindSeldonRuntime, args[0]
		}
	case 2:
		kind, name = args[0], args[1]
	default:
		return target{}, usageError(errors.New("name one object: TYPE/NAME, TYPE NAME, or the NAME of a SeldonRuntime"))
	}
	lower, _, _ := strings.Cut(strings.ToLower(kind), ".")
	gvk, known := resources[lower]
	if !known {
		return target{}, usageError(fmt.Errorf("%q is not a kind that this command knows; use for example seldonruntime, server, model or deployment", kind))
	}
	if name == "" {
		return target{}, usageError(fmt.Errorf("the name of the %s is missing", gvk.Kind))
	}
	return target{gvk, name}, nil
}

// bindFiles defines -f, -R and -k.
func bindFiles(flags *pflag.FlagSet, files *resource.FilenameOptions, what string) {
	flags.StringSliceVarP(&files.Filenames, "filename", "f", nil, "file, folder or URL with "+what+"; - for the standard input")
	flags.BoolVarP(&files.Recursive, "recursive", "R", false, "read folders of --filename recursively")
	flags.StringVarP(&files.Kustomize, "kustomize", "k", "", "Kustomize folder with "+what)
}

// warn prints a warning to the standard error.
func (f *factory) warn(format string, args ...any) { f.note("warning: "+format, args...) }

// note prints a line to the standard error.
func (f *factory) note(format string, args ...any) {
	_, _ = fmt.Fprintf(f.Streams.ErrOut, format+"\n", args...)
}

// printStructured prints a value as indented JSON or as YAML.
func printStructured(out io.Writer, value any, format string) error {
	if format == "yaml" {
		text, err := yaml.Marshal(value)
		if err == nil {
			_, err = out.Write(text)
		}
		return err
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}
