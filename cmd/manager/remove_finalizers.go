package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"slices"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/config"

	"github.com/seldon-operator/seldon-operator/controllers"
)

// stopTimeout is the timeout for the deletion of the operator's pods.
const stopTimeout = 2 * time.Minute

// removeFinalizers stops the operator, if --stop-deployment names its Deployment, and
// removes its finalizers. It may be run again.
func removeFinalizers(arguments []string) error {
	scope := namespaceScope{operator: operatorNamespace()}
	deployment := ""
	err := parse(arguments, func(flags *flag.FlagSet) {
		scope.bind(flags)
		flags.StringVar(&deployment, "stop-deployment", "", "the operator's Deployment in its own namespace: it is scaled to 0 first, since a running operator adds finalizers again; waits up to "+stopTimeout.String()+" for the deletion of its pods")
		config.RegisterFlags(flags)
	})
	if err != nil {
		return err
	}
	namespaces, err := scope.namespaces()
	if err != nil {
		return usageError{err}
	}
	c, err := newClient()
	if err != nil {
		return err
	}
	ctx := ctrl.SetupSignalHandler()
	if deployment != "" {
		if err := stop(ctx, c, client.ObjectKey{Namespace: scope.operator, Name: deployment}); err != nil {
			return err
		}
	}
	// After the operator was stopped, since namespaces may be deleted until then.
	watched, err := controllers.ResolveNamespaces(ctx, c, scope.operator, namespaces)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(watched.Unavailable)) {
		fmt.Printf("skipped namespace %s, which does not exist or has no Role of the operator (%v): if it exists, create the Role and run this again\n", name, watched.Unavailable[name])
	}
	return controllers.RemoveFinalizers(ctx, c, watched.Available, func(kind string, object client.Object) {
		fmt.Printf("removed the finalizer from %s %s/%s\n", kind, object.GetNamespace(), object.GetName())
	})
}

// stop scales the operator's Deployment to 0.
func stop(ctx context.Context, c client.Client, key client.ObjectKey) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	found, err := controllers.StopDeployment(ctx, c, key)
	switch {
	case err != nil:
		return fmt.Errorf("stop the operator: %w", err)
	case found:
		fmt.Printf("stopped Deployment %s\n", key)
	default:
		fmt.Printf("Deployment %s does not exist: nothing to stop\n", key)
	}
	return nil
}
