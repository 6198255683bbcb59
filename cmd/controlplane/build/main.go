// Command build builds the binaries of the local control plane that are missing or out
// of date into bin/k8s, and then, if there are arguments, programs of this repository into
// bin:
//
//	go run ./cmd/controlplane/build [-oldest] [-- FLAGS OF GO BUILD... ./PACKAGE...]
//
// With -oldest, the binaries are those of the oldest version of Kubernetes that the operator
// supports, without kubectl, and the directory is bin/k8s-1.30.
//
// It is separate from the command start because it imports little: on a fresh clone it
// prints its progress at once, instead of after the Kubernetes libraries are compiled.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"

	"github.com/seldon-operator/seldon-operator/test/framework/binaries"
)

func main() {
	oldest := flag.Bool("oldest", false, "build the oldest version of Kubernetes that the operator supports")
	flag.Parse()
	names := []string{
		binaries.Etcd, binaries.APIServer, binaries.ControllerManager, binaries.Scheduler, binaries.Kwok,
	}
	if !*oldest {
		names = append(names, binaries.Kubectl)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := binaries.Build(ctx, binaries.Options{
		Names: names, Oldest: *oldest, Programs: flag.Args(),
		Out: os.Stderr, Terminal: term.IsTerminal(int(os.Stderr.Fd())),
	})
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}
