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

// errInterrupted is the error of a demonstration that was interrupted before all steps
// were done.
var errInterrupted = errors.New("interrupted")

// demo is a demonstration.
type demo struct {
	flags    options
	renderer renderer
	// directory is a temporary directory for all files of the demonstration.
	directory string
	// kubectl is the path of kubectl for the usage hints.
	kubectl string
	// sample are the objects in the file with the runtime, and runtime is its name.
	sample  []*unstructured.Unstructured
	runtime string
	// resources are the samples of Models, a Pipeline and an Experiment, and models is the
	// path of the file with the Models.
	resources []*unstructured.Unstructured
	models    string

	// The fields below are set by the steps, in their order.
	cluster   *controlplane.ControlPlane
	client    client.Client
	operator  *process
	scheduler *process
	// offlineUpdate is the Model that was updated while the scheduler did not run.
	offlineUpdate *unstructured.Unstructured
	// watch is set by a step while another goroutine draws.
	watch atomic.Pointer[watch]
	// cancelCause cancels the steps with the reason when a program exits by itself.
	cancelCause context.CancelCauseFunc
}

// newDemo returns a demonstration. It checks the files and programs that it needs.
func newDemo(flags options, renderer renderer) (*demo, error) {
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
	runtime, err := findRuntime(sample)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flags.runtimeFile, err)
	}
	resources, err := readManifests(resourceSamples...)
	if err != nil {
		return nil, err
	}
	models, err := filepath.Abs(resourceSamples[0])
	if err != nil {
		return nil, err
	}
	kubectl, err := binaries.Path(binaries.Kubectl)
	if err != nil {
		return nil, err
	}
	directory, err := os.MkdirTemp("", "seldon-demo-")
	if err == nil {
		// Absolute, since programs with another working directory get it.
		directory, err = filepath.Abs(directory)
	}
	if err != nil {
		return nil, err
	}
	return &demo{
		flags: flags, renderer: renderer, directory: directory, kubectl: kubectl,
		sample: sample, runtime: runtime.GetName(), resources: resources, models: models,
	}, nil
}

// show runs the steps and then, unless --non-interactive, waits for Ctrl-C. It returns
// errInterrupted if it was interrupted before that.
func (d *demo) show(interrupted context.Context) error {
	ctx, cancelCause := context.WithCancelCause(interrupted)
	defer cancelCause(nil)
	d.cancelCause = cancelCause
	for _, s := range steps {
		if err := d.perform(ctx, s); err != nil {
			d.printFinal()
			if interrupted.Err() != nil {
				return errInterrupted
			}
			return err
		}
	}
	if d.flags.nonInteractive {
		d.printFinal()
		return nil
	}
	if !d.renderer.redraws() {
		d.printFinal()
	}
	d.renderer.print(d.usageHints())
	err := d.perform(ctx, step{"Run until Ctrl-C", func(*demo, context.Context) (string, error) {
		<-ctx.Done()
		if cause := context.Cause(ctx); interrupted.Err() == nil {
			return "", cause
		}
		return "", nil
	}})
	if d.renderer.redraws() || err != nil {
		d.printFinal()
	}
	return err
}

// end stops everything. failure is the error of the demonstration, or nil. The logs are
// kept if that or stopping failed.
func (d *demo) end(ctx context.Context, failure error) error {
	interrupted := errors.Is(failure, errInterrupted)
	if failure != nil && !interrupted {
		for _, running := range d.processes() {
			failure = fmt.Errorf("%w\n%s", failure, running.quoteLog())
		}
	}
	watch := d.watch.Swap(nil) // it is not drawn any more
	err := d.perform(context.WithoutCancel(ctx), step{"Stop everything", func(*demo, context.Context) (string, error) {
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

// processes returns the programs that were started in addition to the control plane, in
// the order in which they are stopped.
func (d *demo) processes() []*process {
	return slices.DeleteFunc([]*process{d.operator, d.scheduler}, func(p *process) bool { return p == nil })
}

// launch starts a program. If it exits by itself, the steps are cancelled with the
// reason.
func (d *demo) launch(from program) (*process, error) {
	running, err := startProcess(from)
	if err != nil {
		return nil, err
	}
	go func() {
		<-running.ended
		if !running.stopRequested.Load() {
			d.cancelCause(running.exitError())
		}
	}()
	return running, nil
}

// stop stops everything, the operator before its API server.
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

// drawInterval is how often the snapshot is drawn. That sends no requests, since the
// objects are in a cache.
const drawInterval = 200 * time.Millisecond

// perform runs one step and shows its progress.
func (d *demo) perform(ctx context.Context, s step) error {
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
		d.renderer.progress(s.name, time.Since(start), d.snapshot())
		select {
		case r := <-done:
			if cause := context.Cause(ctx); r.err != nil && cause != nil {
				// The cause explains more than the cancellation of a request.
				r.err = cause
			}
			d.renderer.progress(s.name, time.Since(start), d.snapshot())
			d.renderer.finished(s.name, time.Since(start), r.note, r.err == nil)
			return r.err
		case <-ticks.C:
		}
	}
}

// snapshot returns the current tree, or nil before the watch has started.
func (d *demo) snapshot() *node {
	watch := d.watch.Load()
	if watch == nil {
		return nil
	}
	return watch.tree()
}

// printFinal prints the whole tree.
func (d *demo) printFinal() {
	if tree := d.snapshot(); tree != nil {
		d.renderer.printFinal(tree)
	}
}

// operatorLog and schedulerLog return the files with the logs of the programs.
func (d *demo) operatorLog() string  { return filepath.Join(d.directory, "operator.log") }
func (d *demo) schedulerLog() string { return filepath.Join(d.directory, "scheduler.log") }
