package main

import (
	"flag"
	"fmt"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/config"

	"github.com/seldon-operator/seldon-operator/controllers"
)

// release takes the finalizers off.
func release(arguments []string) error {
	within := scope{operator: operatorNamespace()}
	err := parse(arguments, func(flags *flag.FlagSet) {
		within.bind(flags)
		config.RegisterFlags(flags)
	})
	if err != nil {
		return err
	}
	namespaces, err := within.namespaces()
	if err != nil {
		return usageError{err}
	}
	rest, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find the API server: %w", err)
	}
	ctrl.SetLogger(logr.Discard())
	to, err := client.New(rest, client.Options{Scheme: newScheme()})
	if err != nil {
		return fmt.Errorf("find the API server: %w", err)
	}
	return controllers.Release(ctrl.SetupSignalHandler(), to, namespaces, func(kind string, object client.Object) {
		fmt.Printf("released %s %s/%s\n", kind, object.GetNamespace(), object.GetName())
	})
}
