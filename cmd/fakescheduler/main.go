// Command fakescheduler is a fake of the scheduler of one namespace, to demonstrate or
// try out the operator without Seldon's images. See the package
// test/framework/fakescheduler. SIGTERM and SIGINT stop it gracefully. With --state it
// restores its pipelines and experiments after a restart, as the real one does from its
// volume; its agents start without loaded models.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
)

// Exit statuses.
const (
	exitStopped = 0
	exitFailed  = 1
	exitUsage   = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], os.Stderr)
	stop()
	os.Exit(status)
}

// run serves until ctx is cancelled, and returns the exit status.
func run(ctx context.Context, arguments []string, log io.Writer) int {
	options, err := parse(arguments, log)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitStopped
	case err != nil:
		return exitUsage
	}
	// Without cancellation, since that would not be a graceful stop.
	sim, err := fakescheduler.Start(context.WithoutCancel(ctx), options)
	if err != nil {
		_, _ = fmt.Fprintln(log, "fakescheduler:", err)
		return exitFailed
	}
	_, _ = fmt.Fprintln(log, "fakescheduler: listening on", sim.Address())
	<-ctx.Done()
	sim.Stop()
	return exitStopped
}

// parse parses the command line.
func parse(arguments []string, log io.Writer) (fakescheduler.Options, error) {
	o := fakescheduler.Options{}
	verbose := false
	set := flag.NewFlagSet("fakescheduler", flag.ContinueOnError)
	set.SetOutput(log)
	set.StringVar(&o.Address, "listen", "127.0.0.1:9004", "`address` to serve on: host:port or unix:PATH")
	set.DurationVar(&o.Delays.AgentLoad, "agent-load-delay", 0, "how long an agent takes to load a model")
	set.DurationVar(&o.Delays.AgentUnload, "agent-unload-delay", 0, "how long an agent takes to unload a model")
	set.DurationVar(&o.Delays.Gateways, "worker-delay", 0, "how long gateways and dataflow engines take for an operation")
	set.StringVar(&o.StateFile, "state", "", "`file` for the state that the real scheduler has on its volume")
	set.BoolVar(&verbose, "verbose", false, "log a line for each call")
	if err := set.Parse(arguments); err != nil {
		return o, err
	}
	if set.NArg() > 0 {
		err := fmt.Errorf("unknown argument %q", set.Arg(0))
		_, _ = fmt.Fprintln(log, "fakescheduler:", err)
		return o, err
	}
	if verbose {
		o.OnCall = (&lineLog{to: log}).call
	}
	return o, nil
}

// lineLog writes lines. It is safe for concurrent use.
type lineLog struct {
	mu sync.Mutex
	to io.Writer
}

// call writes a line for a call.
func (l *lineLog) call(c fakescheduler.Call) {
	fields := []any{c.Method}
	if c.Name != "" {
		fields = append(fields, fmt.Sprintf("name=%q", c.Name))
	}
	if c.Generation != 0 {
		fields = append(fields, fmt.Sprintf("generation=%d", c.Generation))
	}
	if c.Opened {
		fields = append(fields, "opened")
	} else {
		fields = append(fields, "code="+c.Code.String(), "took="+c.Duration.Round(time.Microsecond).String())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = fmt.Fprintln(l.to, fields...)
}
