// Command fakescheduler is a stand-in for the scheduler of one namespace, for
// demonstrations and for trying the operator without Seldon's images. It behaves as
// the package test/framework/fakescheduler says. SIGTERM and SIGINT stop it gracefully; with
// --state, killing and starting it again is like restarting the real one on its
// volume.
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

// run serves until ctx ends, and returns the exit status.
func run(ctx context.Context, arguments []string, log io.Writer) int {
	options, err := parse(arguments, log)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitStopped
	case err != nil:
		return exitUsage
	}
	// The end of ctx asks for a graceful stop, which the scheduler's own would not be.
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

// parse reads the command line.
func parse(arguments []string, log io.Writer) (fakescheduler.Options, error) {
	o := fakescheduler.Options{}
	var agents string
	var certificate files
	var verbose bool
	set := flag.NewFlagSet("fakescheduler", flag.ContinueOnError)
	set.SetOutput(log)
	set.StringVar(&o.Address, "listen", "127.0.0.1:9004", "`address` to serve on: host:port or unix:/path")
	set.StringVar(&certificate.certificate, "tls-cert", "", "`file` with the certificate; serves TLS")
	set.StringVar(&certificate.key, "tls-key", "", "`file` with its key")
	set.StringVar(&certificate.clientCA, "tls-client-ca", "", "`file` with the authority that clients' certificates must be of")
	set.StringVar(&agents, "agents", "automatic", "automatic: agents connect as servers expect; none: servers have no replicas")
	set.DurationVar(&o.ReadyTimeout, "ready-timeout", 5*time.Minute, "opens the gate when the expected replicas do not connect")
	set.IntVar(&o.ModelGateways, "model-gateways", 1, "how many there are")
	set.IntVar(&o.PipelineGateways, "pipeline-gateways", 1, "how many there are")
	set.IntVar(&o.DataflowEngines, "dataflow-engines", 1, "how many there are")
	set.DurationVar(&o.Delays.AgentConnect, "agent-connect-delay", 0, "how long an agent takes to connect")
	set.DurationVar(&o.Delays.AgentLoad, "agent-load-delay", 0, "how long an agent takes to load a model")
	set.DurationVar(&o.Delays.AgentUnload, "agent-unload-delay", 0, "how long an agent takes to unload a model")
	set.DurationVar(&o.Delays.Envoy, "envoy-delay", 0, "how long routes take; the real scheduler collects for 250ms")
	set.DurationVar(&o.Delays.ServerStatus, "server-status-delay", 0, "how long events of a server are collected; 250ms in the real scheduler")
	set.DurationVar(&o.Delays.Reconnect, "reconnect-delay", 0, "how long gateways and engines take to connect after a start")
	set.DurationVar(&o.Delays.Answer, "answer-delay", 0, "how long every unary call takes")
	set.Func("worker-delay", "how long gateways and engines take for an operation (default 0s)", func(value string) error {
		delay, err := time.ParseDuration(value)
		o.Delays.ModelGateway, o.Delays.PipelineGateway, o.Delays.DataflowEngine = delay, delay, delay
		return err
	})
	set.DurationVar(&o.DeletedTTL, "deleted-ttl", 24*time.Hour, "how long deleted pipelines and experiments are listed")
	set.BoolVar(&o.NoServerAutoscaling, "no-server-autoscaling", false, "send no scaling requests")
	set.StringVar(&o.StateFile, "state", "", "`file` that keeps what the scheduler's volume and the agents have")
	set.BoolVar(&verbose, "verbose", false, "log a line for each call")
	err := set.Parse(arguments)
	if err != nil {
		return o, err
	}
	if err = complete(&o, set.Args(), agents, certificate); err != nil {
		_, _ = fmt.Fprintln(log, "fakescheduler:", err)
		return o, err
	}
	lines := &lineLog{to: log}
	o.OnError = lines.failure
	if verbose {
		o.OnCall = lines.call
	}
	return o, nil
}

// complete checks what the flag set does not, and turns flags into options.
func complete(o *fakescheduler.Options, rest []string, agents string, certificate files) error {
	if len(rest) > 0 {
		return fmt.Errorf("unknown argument %q", rest[0])
	}
	switch agents {
	case "automatic":
	case "none":
		o.Agents = fakescheduler.AgentsManual
	default:
		return fmt.Errorf("--agents is %q, and must be automatic or none", agents)
	}
	for _, number := range []*int{&o.ModelGateways, &o.PipelineGateways, &o.DataflowEngines} {
		if *number == 0 {
			*number = fakescheduler.None
		}
	}
	var err error
	o.TLS, err = certificate.config()
	return err
}

// lineLog writes whole lines, from many goroutines.
type lineLog struct {
	mu sync.Mutex
	to io.Writer
}

func (l *lineLog) write(words ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = fmt.Fprintln(l.to, words...)
}

func (l *lineLog) failure(err error) { l.write("fakescheduler:", err) }

func (l *lineLog) call(c fakescheduler.Call) {
	words := []any{c.Method}
	if c.Name != "" {
		words = append(words, fmt.Sprintf("name=%q", c.Name))
	}
	if c.Generation != 0 {
		words = append(words, fmt.Sprintf("generation=%d", c.Generation))
	}
	if c.Opened {
		words = append(words, "opened")
	} else {
		words = append(words, "code="+c.Code.String(), "took="+c.Duration.Round(time.Microsecond).String())
	}
	l.write(words...)
}
