package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/test/framework/binaries"
	"github.com/seldon-operator/seldon-operator/test/framework/controlplane"
)

// Namespaces of the demonstration.
const (
	operatorNamespace = "seldon-system"
	userNamespace     = "team-a"
)

// errInterrupted is how a demonstration ends that was interrupted before it had
// shown everything.
var errInterrupted = errors.New("interrupted")

// demo is one demonstration.
type demo struct {
	flags  settings
	screen screen
	// directory is a temporary one, for all that the demonstration writes.
	directory string
	// kubectl is the path of the program that people are told to use.
	kubectl string
	// sample is what the file with the runtime holds, and runtime its name.
	sample  []*unstructured.Unstructured
	runtime string
	// relayed are the samples of what a scheduler serves, and models is the path of
	// the file with the Models.
	relayed []*unstructured.Unstructured
	models  string

	// What the stages fill in, in their order.
	cluster   *controlplane.ControlPlane
	client    client.Client
	operator  *process
	scheduler *process
	// missed is the Model that was updated while there was no scheduler.
	missed *unstructured.Unstructured
	// watch is set while a stage runs and read by the one that draws.
	watch atomic.Pointer[watch]
	// broken ends the stages with the reason as soon as one of the programs that
	// they rest on has ended.
	broken context.CancelCauseFunc
}

// newDemo finds what cannot work before anything is started.
func newDemo(flags settings, screen screen) (*demo, error) {
	if _, err := os.Stat(flags.managerBinary); err != nil {
		return nil, fmt.Errorf("find the operator: %w; build it with `make build`", err)
	}
	if _, err := os.Stat(flags.schedulerBinary); err != nil {
		return nil, fmt.Errorf("find the simulated scheduler: %w; `make demo` builds it", err)
	}
	sample, err := readManifests(flags.runtimeFile)
	if err != nil {
		return nil, err
	}
	runtime, err := theRuntime(sample)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flags.runtimeFile, err)
	}
	relayed, err := readManifests(relayedSamples...)
	if err != nil {
		return nil, err
	}
	models, err := filepath.Abs(relayedSamples[0])
	if err != nil {
		return nil, err
	}
	kubectl, err := binaries.Path(binaries.Kubectl)
	if err != nil {
		return nil, err
	}
	directory, err := os.MkdirTemp("", "seldon-demo-")
	if err == nil {
		// It is also named to programs that run in it.
		directory, err = filepath.Abs(directory)
	}
	if err != nil {
		return nil, err
	}
	return &demo{
		flags: flags, screen: screen, directory: directory, kubectl: kubectl,
		sample: sample, runtime: runtime.GetName(), relayed: relayed, models: models,
	}, nil
}

// show runs the stages and then, unless that is all, waits for Ctrl-C. It returns
// errInterrupted if it was interrupted before that.
func (d *demo) show(interrupted context.Context) error {
	ctx, broken := context.WithCancelCause(interrupted)
	defer broken(nil)
	d.broken = broken
	for _, s := range stages {
		if err := d.perform(ctx, s); err != nil {
			d.keepPicture()
			if interrupted.Err() != nil {
				return errInterrupted
			}
			return err
		}
	}
	if d.flags.nonInteractive {
		d.keepPicture()
		return nil
	}
	if !d.screen.redraws() {
		d.keepPicture()
	}
	d.screen.say(d.howToLookAround())
	err := d.perform(ctx, stage{"Run until Ctrl-C", func(*demo, context.Context) (string, error) {
		<-ctx.Done()
		if cause := context.Cause(ctx); interrupted.Err() == nil {
			return "", cause
		}
		return "", nil
	}})
	if d.screen.redraws() || err != nil {
		d.keepPicture()
	}
	return err
}

// end stops everything. failure is how the demonstration ended; the logs are
// kept only if that, or stopping, is worth a look at them.
func (d *demo) end(ctx context.Context, failure error) error {
	interrupted := errors.Is(failure, errInterrupted)
	if failure != nil && !interrupted {
		for _, running := range d.processes() {
			failure = fmt.Errorf("%w\n%s", failure, running.quoteLog())
		}
	}
	watch := d.watch.Swap(nil) // nothing is drawn from it any more
	err := d.perform(context.WithoutCancel(ctx), stage{"Stop everything", func(*demo, context.Context) (string, error) {
		return "", d.stop(watch)
	}})
	if err == nil && (failure == nil || interrupted) {
		return errors.Join(failure, os.RemoveAll(d.directory))
	}
	if !interrupted {
		err = errors.Join(failure, err)
	}
	return fmt.Errorf("%w\nThe logs are kept in %s", err, d.directory)
}

// processes that were started beside the control plane, in the order in which they
// are to stop.
func (d *demo) processes() []*process {
	return slices.DeleteFunc([]*process{d.operator, d.scheduler}, func(p *process) bool { return p == nil })
}

// launch starts a program. When that ends without being told to, so do the stages,
// with the reason.
func (d *demo) launch(from program) (*process, error) {
	running, err := startProcess(from)
	if err != nil {
		return nil, err
	}
	go func() {
		<-running.ended
		if !running.told.Load() {
			d.broken(running.exitError())
		}
	}()
	return running, nil
}

// stop ends what was started, the operator while it still has an API server.
func (d *demo) stop(watch *watch) error {
	if watch != nil {
		watch.stop()
	}
	for _, running := range d.processes() {
		running.stop()
	}
	if d.cluster != nil {
		return d.cluster.Stop()
	}
	return nil
}

// drawInterval is how often the picture is brought up to date. It costs no
// requests: the objects are in a cache.
const drawInterval = 200 * time.Millisecond

// perform runs one stage and shows meanwhile that and how it goes on.
func (d *demo) perform(ctx context.Context, s stage) error {
	type result struct {
		note string
		err  error
	}
	done := make(chan result, 1)
	go func() {
		note, err := s.run(d, ctx)
		done <- result{note, err}
	}()
	ticks := time.NewTicker(drawInterval)
	defer ticks.Stop()
	for start := time.Now(); ; {
		d.screen.progress(s.name, time.Since(start), d.picture())
		select {
		case r := <-done:
			if cause := context.Cause(ctx); r.err != nil && cause != nil {
				// The cause tells more than that a request was cancelled.
				r.err = cause
			}
			d.screen.progress(s.name, time.Since(start), d.picture())
			d.screen.finished(s.name, time.Since(start), r.note, r.err == nil)
			return r.err
		case <-ticks.C:
		}
	}
}

// picture is the tree as it is now, or nil before there is one.
func (d *demo) picture() *node {
	watch := d.watch.Load()
	if watch == nil {
		return nil
	}
	return watch.tree()
}

// keepPicture leaves the picture on the screen.
func (d *demo) keepPicture() {
	if tree := d.picture(); tree != nil {
		d.screen.keep(tree)
	}
}

// operatorLog and schedulerLog are the files with the programs' logs.
func (d *demo) operatorLog() string  { return filepath.Join(d.directory, "operator.log") }
func (d *demo) schedulerLog() string { return filepath.Join(d.directory, "scheduler.log") }
