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

// Exit statuses. The last is what shells give for a program that SIGINT ended.
const (
	exitReady       = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// settings are the flags.
type settings struct {
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
	// What the libraries log would end up in the middle of the picture.
	log.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())

	// A hang-up is a terminal that is closed. Signals stay caught after the first:
	// shells and make send some of them twice, and stopping is quick and bounded.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	status := run(ctx, flags, newScreen(os.Stdout), os.Stderr)
	stop()
	os.Exit(status)
}

// parse reads the command line.
func parse(arguments []string, usage io.Writer) (settings, error) {
	flags := settings{}
	set := flag.NewFlagSet("demo", flag.ContinueOnError)
	set.SetOutput(usage)
	set.BoolVar(&flags.nonInteractive, "non-interactive", false, "end as soon as everything was shown, with exit status 1 if something takes too long")
	set.DurationVar(&flags.timeout, "timeout", 3*time.Minute, "how long --non-interactive waits at each stage")
	set.StringVar(&flags.runtimeFile, "runtime-file", "config/samples/mlops_v1alpha1_seldonruntime.yaml", "`file` with the SeldonRuntime to show")
	set.StringVar(&flags.managerBinary, "manager-binary", "bin/manager", "the operator's program")
	set.StringVar(&flags.schedulerBinary, "scheduler-binary", "bin/fakescheduler", "the simulated scheduler's program")
	if err := set.Parse(arguments); err != nil {
		return settings{}, err
	}
	if set.NArg() > 0 {
		err := fmt.Errorf("unknown argument %q", set.Arg(0))
		_, _ = fmt.Fprintln(usage, "demo:", err)
		return settings{}, err
	}
	return flags, nil
}

// run shows the demonstration and returns the exit status. When it returns,
// nothing that it started runs any more.
func run(ctx context.Context, flags settings, screen screen, complaints io.Writer) int {
	d, err := newDemo(flags, screen)
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
	_, _ = fmt.Fprintln(complaints, "demo:", err)
	return exitFailed
}
