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

// stopTimeout is how long the operator's pods have to be gone.
const stopTimeout = 2 * time.Minute

// removeFinalizers stops the operator, if --stop-deployment names its Deployment, and
// removes its finalizers. It may be run again.
func removeFinalizers(arguments []string) error {
	within := scope{operator: operatorNamespace()}
	deployment := ""
	err := parse(arguments, func(flags *flag.FlagSet) {
		within.bind(flags)
		flags.StringVar(&deployment, "stop-deployment", "", "the operator's Deployment in its own namespace, to scale to 0 first, and whose pods to wait for, up to "+stopTimeout.String()+": an operator that runs puts finalizers back")
		config.RegisterFlags(flags)
	})
	if err != nil {
		return err
	}
	namespaces, err := within.namespaces()
	if err != nil {
		return usageError{err}
	}
	to, err := connect()
	if err != nil {
		return err
	}
	ctx := ctrl.SetupSignalHandler()
	if deployment != "" {
		if err := stop(ctx, to, client.ObjectKey{Namespace: within.operator, Name: deployment}); err != nil {
			return err
		}
	}
	// Asked after the operator was stopped: what is gone now does not come into the way.
	watched, err := controllers.ResolveNamespaces(ctx, to, within.operator, namespaces)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(watched.Unavailable)) {
		fmt.Printf("skipped namespace %s, which does not exist or has no Role of the operator (%v): if it exists, create the Role and run this again\n", name, watched.Unavailable[name])
	}
	return controllers.RemoveFinalizers(ctx, to, watched.Available, func(kind string, object client.Object) {
		fmt.Printf("removed the finalizer from %s %s/%s\n", kind, object.GetNamespace(), object.GetName())
	})
}

func stop(ctx context.Context, to client.Client, key client.ObjectKey) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	found, err := controllers.StopDeployment(ctx, to, key)
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
