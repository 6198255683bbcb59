package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// fieldManager owns the annotations that commands set.
const fieldManager = "kubectl-seldon"

// ownerSelection selects SeldonRuntimes and Servers: one by its name, or those with labels.
type ownerSelection struct {
	*factory
	allNamespaces bool
	selector      string
}

// selectionUse is the usage of the arguments that an ownerSelection parses.
const selectionUse = "TYPE/NAME | [TYPE] -l SELECTOR | [TYPE] -A"

func (s *ownerSelection) bind(command *cobra.Command) {
	flags := command.Flags()
	flags.BoolVarP(&s.allNamespaces, "all-namespaces", "A", false, "select the objects of all namespaces")
	flags.StringVarP(&s.selector, "selector", "l", "", "label selector, such as team=a")
	command.Args = cobra.MaximumNArgs(2)
	command.ValidArgsFunction = s.completeOwner
}

// owner is an object with child objects, of which only metadata is known.
type owner struct {
	schema.GroupVersionKind
	*metav1.PartialObjectMetadata
}

// String returns the form for output: "SeldonRuntime team-a/seldon".
func (o owner) String() string { return fmt.Sprintf("%s %s/%s", o.Kind, o.Namespace, o.Name) }

// find returns the selected objects in the order of their namespaces and names. There is at
// least one.
func (s *ownerSelection) find(ctx context.Context, c client.Client, args []string) ([]owner, error) {
	kind, name, err := s.parse(args)
	if err != nil {
		return nil, err
	}
	namespace := ""
	if !s.allNamespaces {
		if namespace, _, err = s.namespace(); err != nil {
			return nil, err
		}
	}
	if name != "" {
		object := &metav1.PartialObjectMetadata{}
		object.SetGroupVersionKind(kind)
		if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, object); err != nil {
			return nil, fmt.Errorf("get %s %s/%s: %w", kind.Kind, namespace, name, err)
		}
		return []owner{{kind, object}}, nil
	}
	selector, err := labels.Parse(s.selector)
	if err != nil {
		return nil, usageError(fmt.Errorf("--selector=%s: %w", s.selector, err))
	}
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
	if err := c.List(ctx, list, client.InNamespace(namespace), client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return nil, fmt.Errorf("list %ss: %w", kind.Kind, err)
	}
	var found []owner
	for i := range list.Items {
		found = append(found, owner{kind, &list.Items[i]})
	}
	slices.SortFunc(found, func(a, b owner) int { return strings.Compare(a.String(), b.String()) })
	if len(found) == 0 {
		return nil, fmt.Errorf("no %s is selected", kind.Kind)
	}
	return found, nil
}

// parse returns the kind, and the name unless objects are selected by flags.
func (s *ownerSelection) parse(args []string) (kind schema.GroupVersionKind, name string, err error) {
	selected := s.allNamespaces || s.selector != ""
	switch {
	case selected && len(args) == 0:
		return v1alpha1.GroupVersion.WithKind(v1alpha1.KindSeldonRuntime), "", nil
	case selected && (len(args) > 1 || strings.Contains(args[0], "/")):
		return kind, "", usageError(errors.New("a name cannot be combined with --selector or --all-namespaces"))
	case selected:
		kind = resources[strings.ToLower(args[0])]
	case len(args) == 0:
		return kind, "", usageError(errors.New("name an object as TYPE/NAME, or select objects with --selector or --all-namespaces"))
	default:
		named, err := parseTarget(args)
		if err != nil {
			return kind, "", err
		}
		kind, name = named.GroupVersionKind, named.Name
	}
	if kind.Group != v1alpha1.GroupVersion.Group || kind.Kind != v1alpha1.KindSeldonRuntime && kind.Kind != v1alpha1.KindServer {
		return kind, "", usageError(fmt.Errorf("%s has no child objects: use a SeldonRuntime or a Server", args[0]))
	}
	return kind, name, nil
}

// annotate sets or, with a nil value, removes an annotation.
func annotate(ctx context.Context, c client.Client, o owner, key string, value *string) error {
	patch := client.MergeFrom(o.DeepCopy())
	annotations := maps.Clone(o.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	if value == nil {
		delete(annotations, key)
	} else {
		annotations[key] = *value
	}
	o.Annotations = annotations
	if err := c.Patch(ctx, o.PartialObjectMetadata, patch, client.FieldOwner(fieldManager)); err != nil {
		return fmt.Errorf("annotate %s: %w", o, err)
	}
	return nil
}
