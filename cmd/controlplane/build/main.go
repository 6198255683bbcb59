// Command build builds the programs of the local control plane into bin/k8s,
// those that are missing or out of date. It imports next to nothing on purpose:
// on a fresh clone it shall tell its progress at once, and not after the
// libraries of the control plane's other command are compiled.
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
