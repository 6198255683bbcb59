package main

import (
	"context"
	"flag"
	"fmt"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/config"

	"github.com/seldon-operator/seldon-operator/controllers"
)

// check checks whether the operator in this namespace is available and has a leader.
func check(arguments []string) error {
	deployment, timeout := "", time.Duration(0)
	err := parse(arguments, func(flags *flag.FlagSet) {
		flags.StringVar(&deployment, "deployment", "seldon-v2-controller-manager", "the operator's Deployment in its own namespace")
		flags.DurationVar(&timeout, "timeout", time.Minute, "how long to wait for it")
		config.RegisterFlags(flags)
	})
	if err != nil {
		return err
	}
	c, err := newClient()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctrl.SetupSignalHandler(), timeout)
	defer cancel()
	namespace := operatorNamespace()
	leader, err := controllers.Check(ctx, c,
		client.ObjectKey{Namespace: namespace, Name: deployment}, client.ObjectKey{Namespace: namespace, Name: leaseName})
	if err != nil {
		return err
	}
	fmt.Printf("the operator in namespace %s works: %s leads\n", namespace, leader)
	return nil
}
