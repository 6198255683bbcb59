package cli

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// completionTimeout is the maximum time that the completion of a name waits for the API server.
const completionTimeout = 2 * time.Second

// completeValues completes a flag with fixed values.
func completeValues(command *cobra.Command, flag string, values ...string) {
	complete(command, flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

func complete(command *cobra.Command, flag string, function cobra.CompletionFunc) {
	if err := command.RegisterFlagCompletionFunc(flag, function); err != nil {
		panic(err) // the command has no such flag
	}
}

// completeTarget completes TYPE/NAME, TYPE NAME, and the NAME of a SeldonRuntime.
func (f *factory) completeTarget(command *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	return f.completeObject(command, args, toComplete, kindNames())
}

// completeOwner completes the same for SeldonRuntimes and Servers.
func (f *factory) completeOwner(command *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	return f.completeObject(command, args, toComplete, []string{"seldonruntime", "server"})
}

// completeObject completes the name of an object of one of the kinds.
func (f *factory) completeObject(command *cobra.Command, args []string, toComplete string, kinds []string) ([]string, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		typed, prefix, qualified := strings.Cut(toComplete, "/")
		if qualified {
			var completions []string
			for _, name := range f.completeNames(command.Context(), typed, prefix) {
				completions = append(completions, typed+"/"+name)
			}
			return completions, cobra.ShellCompDirectiveNoFileComp
		}
		completions := f.completeNames(command.Context(), v1alpha1.KindSeldonRuntime, toComplete)
		for _, kind := range kinds {
			if strings.HasPrefix(kind, toComplete) {
				completions = append(completions, kind+"/")
			}
		}
		return completions, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	case 1:
		return f.completeNames(command.Context(), args[0], toComplete), cobra.ShellCompDirectiveNoFileComp
	default:
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

// kindNames returns the names of the kinds that arguments may have, in lower case.
func kindNames() []string {
	var names []string
	for _, gvk := range resources {
		if name := strings.ToLower(gvk.Kind); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// completeNames returns the names of the objects of a kind that begin with prefix, in the
// namespace of the flags.
func (f *factory) completeNames(ctx context.Context, kind, prefix string) []string {
	gvk, known := resources[strings.ToLower(kind)]
	namespace, _, err := f.namespace()
	if !known || err != nil {
		return nil
	}
	return f.namesOf(ctx, gvk, namespace, prefix)
}

// namesOf returns the names of the objects of a kind that begin with prefix. It returns none if
// the cluster does not respond in time.
func (f *factory) namesOf(ctx context.Context, gvk schema.GroupVersionKind, namespace, prefix string) []string {
	c, err := f.client()
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
	if err := c.List(ctx, list, client.InNamespace(namespace)); err != nil {
		return nil
	}
	var names []string
	for i := range list.Items {
		if name := list.Items[i].Name; strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// completeFlags completes the flags of all commands that name objects.
func (f *factory) completeFlags(root *cobra.Command) {
	completeValues(root, "color", colorAuto, colorAlways, colorNever)
	namespaces := func(command *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
		return f.namesOf(command.Context(), corev1.SchemeGroupVersion.WithKind("Namespace"), "", prefix), cobra.ShellCompDirectiveNoFileComp
	}
	for _, flag := range []string{"namespace", "operator-namespace"} {
		complete(root, flag, namespaces)
	}
	for flag, names := range map[string]func(clientcmdapi.Config) []string{
		"context": func(c clientcmdapi.Config) []string { return slices.Sorted(maps.Keys(c.Contexts)) },
		"cluster": func(c clientcmdapi.Config) []string { return slices.Sorted(maps.Keys(c.Clusters)) },
		"user":    func(c clientcmdapi.Config) []string { return slices.Sorted(maps.Keys(c.AuthInfos)) },
	} {
		complete(root, flag, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			config, err := f.flags.ToRawKubeConfigLoader().RawConfig()
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return names(config), cobra.ShellCompDirectiveNoFileComp
		})
	}
}
