// Command start runs the local control plane in the foreground until it is interrupted,
// and prints how to access it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/seldon-operator/seldon-operator/test/framework/binaries"
	"github.com/seldon-operator/seldon-operator/test/framework/controlplane"
)

func main() {
	var opts controlplane.Options
	flag.StringVar(&opts.Directory, "dir", "",
		"directory for logs, kubeconfigs and state, which is not removed (default a temporary one, which is removed)")
	flag.IntVar(&opts.Nodes, "nodes", 1, "number of simulated nodes")
	flag.Parse()
	log.SetLogger(logr.Discard())

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, opts)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "controlplane:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, opts controlplane.Options) error {
	kubectl, err := binaries.Path(binaries.Kubectl)
	if err != nil {
		return err
	}
	cp, err := controlplane.Start(ctx, opts)
	if err != nil {
		return err
	}
	fmt.Printf(`The control plane is running. Use it with
  %s --kubeconfig=%s get all --all-namespaces
Its logs are in %s. Ctrl-C stops it.
`, kubectl, cp.KubeconfigPath(), cp.Directory())
	select {
	case <-ctx.Done():
	case <-cp.Broken():
	}
	return cp.Stop()
}
