// Command build builds the binaries of the local control plane that are missing or out
// of date into bin/k8s. It is separate from the command start because it imports little:
// on a fresh clone it prints its progress at once, instead of after the Kubernetes
// libraries are compiled.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"

	"github.com/seldon-operator/seldon-operator/test/framework/binaries"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := binaries.Build(ctx, os.Stderr, term.IsTerminal(int(os.Stderr.Fd())))
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "controlplane:", err)
		os.Exit(1)
	}
}
