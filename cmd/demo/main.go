package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

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

// options are the flags.
type options struct {
	nonInteractive  bool
	timeout         time.Duration
	runtimeFile     string
	managerBinary   string
	schedulerBinary string
}

func main() {
	flags, err := parse(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(exitReady)
	case err != nil:
		os.Exit(exitUsage)
	}
	// Logs of the libraries would be printed into the drawing.
	log.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())

	// SIGHUP is sent when a terminal is closed. Further signals are ignored, since shells
	// and make send some of them twice, and stopping is quick and bounded.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	status := run(ctx, flags, newRenderer(os.Stdout), os.Stderr)
	stop()
	os.Exit(status)
}

// parse parses the command line.
func parse(arguments []string, usage io.Writer) (options, error) {
	flags := options{}
	set := flag.NewFlagSet("demo", flag.ContinueOnError)
	set.SetOutput(usage)
	set.BoolVar(&flags.nonInteractive, "non-interactive", false, "exit after the last step, with status 1 if a step takes too long")
	set.DurationVar(&flags.timeout, "timeout", 3*time.Minute, "timeout of each step with --non-interactive")
	set.StringVar(&flags.runtimeFile, "runtime-file", "config/samples/mlops_v1alpha1_seldonruntime.yaml", "`file` with the SeldonRuntime to show")
	set.StringVar(&flags.managerBinary, "manager-binary", "bin/manager", "the operator's program")
	set.StringVar(&flags.schedulerBinary, "scheduler-binary", "bin/fakescheduler", "the simulated scheduler's program")
	if err := set.Parse(arguments); err != nil {
		return options{}, err
	}
	if set.NArg() > 0 {
		err := fmt.Errorf("unknown argument %q", set.Arg(0))
		_, _ = fmt.Fprintln(usage, "demo:", err)
		return options{}, err
	}
	return flags, nil
}

// run runs the demonstration and returns the exit status. When it returns, everything
// that it started is stopped.
func run(ctx context.Context, flags options, renderer renderer, stderr io.Writer) int {
	d, err := newDemo(flags, renderer)
	if err == nil {
		err = d.show(ctx)
		err = d.end(ctx, err)
	}
	switch {
	case err == nil:
		return exitReady
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	}
	_, _ = fmt.Fprintln(stderr, "demo:", err)
	return exitFailed
}
