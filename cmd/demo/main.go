// Command demo demonstrates the operator on a local control plane with simulated nodes and
// a simulated scheduler. It performs steps (demo.go), most of them kubectl commands that it
// prints. It then prints the changes that it observes until the step has had its effect, and
// the tree of the objects with their readiness (tree.go).
//
// It must run in the root of the repository. `make demo` builds the programs that it starts.
//
// Exit status: 0 if all steps succeeded, 1 if a step failed or timed out, with the reason, 2
// if the command line is invalid, 130 if it was interrupted before the last step succeeded.
// It stops everything that it started and removes its files. With status 1 it keeps the logs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// Exit statuses. exitInterrupted is the one that shells report for SIGINT.
const (
	exitReady       = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

func main() {
	d := &demo{}
	flag.BoolVar(&d.nonInteractive, "non-interactive", false, "exit after the last step instead of running until Ctrl-C")
	flag.StringVar(&d.managerBinary, "manager-binary", "bin/manager", "the operator's program")
	flag.StringVar(&d.schedulerBinary, "scheduler-binary", "bin/fakescheduler", "the simulated scheduler's program")
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(exitUsage)
	}
	log.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())

	// SIGHUP is sent when a terminal is closed. Further signals are ignored, since shells
	// and make send some of them twice, and stopping is quick.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := d.run(ctx)
	stop()
	switch {
	case err == nil:
		os.Exit(exitReady)
	case errors.Is(err, errInterrupted):
		os.Exit(exitInterrupted)
	}
	fmt.Fprintln(os.Stderr, "demo:", err)
	os.Exit(exitFailed)
}
