package cli

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/cli/internal/operator"
)

// serving returns the operator that serves a namespace, or one of all for an empty namespace.
// If none is found, its namespace is that of --operator-namespace, or the only one with
// SeldonConfigs.
func (f *factory) serving(ctx context.Context, api client.Reader, namespace string) (*operator.Operator, error) {
	found, err := operator.Find(ctx, api, namespace, f.operatorNamespace)
	if err != nil {
		return nil, err
	}
	if serving := found.Serving(namespace); serving != nil {
		return serving, nil
	}
	if namespace == "" && len(found.Operators) > 0 {
		return found.Operators[0], nil
	}
	assumed := f.operatorNamespace
	if assumed == "" {
		configs := &v1alpha1.SeldonConfigList{}
		if err := api.List(ctx, configs); client.IgnoreNotFound(err) != nil && !apierrors.IsForbidden(err) {
			return nil, err
		}
		namespaces := sets.New[string]()
		for i := range configs.Items {
			namespaces.Insert(configs.Items[i].Namespace)
		}
		if len(namespaces) != 1 {
			return nil, errors.Join(append([]error{fmt.Errorf(
				"found no operator%s: set --operator-namespace to the namespace of its SeldonConfigs", inNamespace(" that serves namespace ", namespace))}, found.Problems...)...)
		}
		assumed = namespaces.UnsortedList()[0]
	}
	f.warn("found no operator%s; assuming one with default settings and the configurations in namespace %s", inNamespace(" that serves namespace ", namespace), assumed)
	return operator.Assumed(assumed), nil
}

// inNamespace returns text and the name of a namespace; empty for all namespaces.
func inNamespace(text, namespace string) string {
	if namespace == "" {
		return ""
	}
	return text + namespace
}
