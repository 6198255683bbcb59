// Package operator finds the operator that reconciles the objects of a namespace, and the
// settings that change what it renders, from its Deployment.
package operator

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/templates"
)

// The label of the operator's Deployment in config/manager and in the Helm chart.
const (
	labelKey   = "control-plane"
	labelValue = "v2-controller-manager"
)

// defaultNamespaces are the namespaces of config/default and config/namespaced. They are
// read if an account may not list Deployments in all namespaces.
var defaultNamespaces = []string{"seldon-system", "seldon-mesh"}

// Operator is an installed operator.
type Operator struct {
	// Deployment is the namespace and name of its Deployment; zero if only the namespace of
	// the operator is known.
	Deployment client.ObjectKey
	// Namespace contains its SeldonConfigs and ServerConfigs.
	Namespace string
	// Image of its container.
	Image string
	// Version is the tag of the image or, for an image with a digest, the label
	// app.kubernetes.io/version; empty if unknown.
	Version string
	// Upstream is true for the upstream Seldon operator, whose settings have the same names.
	Upstream bool
	// UseDeployments makes Servers expand into Deployments instead of StatefulSets.
	UseDeployments bool
	// MaxReplicasPerServer is the maximum number of replicas of a Server.
	MaxReplicasPerServer int64
	// WatchedNamespaces are the namespaces that it reconciles; empty for all.
	WatchedNamespaces []string
	// Ready is true if at least one of its pods is available.
	Ready bool
}

// Serves reports whether the operator reconciles the objects of a namespace.
func (o *Operator) Serves(namespace string) bool {
	return len(o.WatchedNamespaces) == 0 || slices.Contains(o.WatchedNamespaces, namespace)
}

// Found is the result of [Find] and [List].
type Found struct {
	// Operators in the order of their Deployments' namespace and name.
	Operators []*Operator
	// Problems are the reads that were not allowed and the settings that could not be
	// resolved. Operators may be incomplete because of them.
	Problems []error
}

// Serving returns the operator that reconciles the objects of a namespace, or nil. If there
// are several, it is the one in the namespace itself, then one that lists the namespace.
func (f *Found) Serving(namespace string) *Operator {
	rank := func(o *Operator) int {
		switch {
		case !o.Serves(namespace):
			return 0
		case o.Deployment.Namespace == namespace:
			return 3
		case len(o.WatchedNamespaces) > 0:
			return 2
		default:
			return 1
		}
	}
	var best *Operator
	for _, candidate := range f.Operators {
		if rank(candidate) > 0 && (best == nil || rank(candidate) > rank(best)) {
			best = candidate
		}
	}
	return best
}

// Assumed returns an operator with default settings that reconciles all namespaces: what to
// work with if none is found. namespace contains its configurations.
func Assumed(namespace string) *Operator {
	return &Operator{Namespace: namespace, MaxReplicasPerServer: templates.DefaultMaxReplicas}
}

// Find finds the operator that serves a namespace: it reads the Deployments of that namespace
// and, if none of them serves it, those of all namespaces. operatorNamespace, if not empty, is
// the only namespace that is read. A forbidden read is a problem of the result and not an
// error.
func Find(ctx context.Context, reader client.Reader, namespace, operatorNamespace string) (*Found, error) {
	if operatorNamespace != "" || namespace == "" {
		return List(ctx, reader, operatorNamespace)
	}
	found := &Found{}
	if _, err := found.read(ctx, reader, namespace); err != nil {
		return nil, err
	}
	if found.Serving(namespace) != nil {
		return found, nil
	}
	all := &Found{}
	allowed, err := all.read(ctx, reader, "")
	if err != nil || allowed {
		return all, err
	}
	found.Problems = nil // A forbidden read of the namespace is included in that of all.
	found.merge(all)
	return found, found.readDefaults(ctx, reader)
}

// List finds the operators in a namespace, or in all if it is empty. If listing all namespaces
// is forbidden, it reads the namespaces of the default installations.
func List(ctx context.Context, reader client.Reader, operatorNamespace string) (*Found, error) {
	found := &Found{}
	allowed, err := found.read(ctx, reader, operatorNamespace)
	if err != nil || allowed || operatorNamespace != "" {
		return found, err
	}
	return found, found.readDefaults(ctx, reader)
}

// readDefaults adds the operators of the default installations, after a forbidden read of all
// namespaces. That is reported already, so that further forbidden reads are not.
func (f *Found) readDefaults(ctx context.Context, reader client.Reader) error {
	for _, namespace := range defaultNamespaces {
		each := &Found{}
		allowed, err := each.read(ctx, reader, namespace)
		if err != nil {
			return err
		}
		if allowed {
			f.merge(each)
		}
	}
	return nil
}

// read adds the operators of a namespace, or of all. allowed is false if the read is
// forbidden.
func (f *Found) read(ctx context.Context, reader client.Reader, namespace string) (allowed bool, err error) {
	list := &appsv1.DeploymentList{}
	err = reader.List(ctx, list, client.InNamespace(namespace), client.MatchingLabels{labelKey: labelValue})
	if apierrors.IsForbidden(err) {
		in := "all namespaces"
		if namespace != "" {
			in = "namespace " + namespace
		}
		f.Problems = append(f.Problems, fmt.Errorf("find the operator: list deployments.apps in %s is forbidden; set --operator-namespace to a namespace in which it is allowed", in))
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("find the operator: list deployments.apps: %w", err)
	}
	for i := range list.Items {
		operator, problems := parse(&list.Items[i])
		f.Operators = append(f.Operators, operator)
		f.Problems = append(f.Problems, problems...)
	}
	f.sort()
	return true, nil
}

// merge adds the operators of other that are not included yet, and its problems.
func (f *Found) merge(other *Found) {
	for _, operator := range other.Operators {
		if !slices.ContainsFunc(f.Operators, func(o *Operator) bool { return o.Deployment == operator.Deployment }) {
			f.Operators = append(f.Operators, operator)
		}
	}
	f.Problems = append(f.Problems, other.Problems...)
	f.sort()
}

func (f *Found) sort() {
	slices.SortFunc(f.Operators, func(a, b *Operator) int {
		return cmp.Or(cmp.Compare(a.Deployment.Namespace, b.Deployment.Namespace), cmp.Compare(a.Deployment.Name, b.Deployment.Name))
	})
}
