package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/resource"

	"github.com/seldon-operator/seldon-operator/cli/internal/manifest"
	"github.com/seldon-operator/seldon-operator/relay"
)

// loadOptions are the flags of load and unload.
type loadOptions struct {
	schedulerOptions
	files       resource.FilenameOptions
	force, wait bool
	timeout     time.Duration
}

func (o *loadOptions) bindLoad(command *cobra.Command, wait bool, waitUsage string) {
	bindFiles(command.Flags(), &o.files, "Models, Pipelines and Experiments")
	o.bind(command.Flags())
	command.Flags().BoolVar(&o.force, "force", false, "with --scheduler: run although an operator serves the namespace")
	command.Flags().BoolVar(&o.wait, "wait", wait, waitUsage)
	command.Flags().DurationVar(&o.timeout, "timeout", 5*time.Minute, "how long to wait")
}

// loadOrder is the order in which kinds are loaded: Models are referred to by the others.
var loadOrder = []relay.Kind{relay.Model, relay.Pipeline, relay.Experiment}

// read returns the objects in files, in the order in which they are loaded.
func (o *loadOptions) read() ([]manifest.Object, error) {
	namespace, _, err := o.namespace()
	if err != nil {
		return nil, err
	}
	loaded, err := manifest.Load(manifest.Options{FilenameOptions: o.files, In: o.Streams.In, Namespace: namespace})
	errs := []error{err}
	var objects []manifest.Object
	for _, object := range loaded {
		switch {
		case object.Typed == nil || !slices.Contains(loadOrder, relay.Kind(object.GetKind())):
			errs = append(errs, fmt.Errorf("%s: must be a Model, Pipeline or Experiment; use kubectl apply or sync for other kinds", object))
		case object.GetNamespace() != namespace:
			errs = append(errs, fmt.Errorf("%s is in namespace %s: set -n %s", object, object.GetNamespace(), object.GetNamespace()))
		default:
			objects = append(objects, object)
		}
	}
	slices.SortStableFunc(objects, func(a, b manifest.Object) int {
		return cmp.Compare(slices.Index(loadOrder, kindOf(a)), slices.Index(loadOrder, kindOf(b)))
	})
	return objects, usageError(errors.Join(errs...))
}

// kindOf returns the kind of an object in files.
func kindOf(object manifest.Object) relay.Kind { return relay.Kind(object.GetKind()) }

// open returns the source, if no operator serves the namespace that a scheduler's client would
// interfere with.
func (o *loadOptions) open(ctx context.Context) (objectSource, error) {
	if o.address != "" && !o.force {
		namespace, _, err := o.namespace()
		if err == nil {
			err = o.checkOperator(ctx, namespace)
		}
		if err != nil {
			return nil, err
		}
	}
	return o.source()
}

// newLoadCommand returns the command load.
func newLoadCommand(f *factory) *cobra.Command {
	o := &loadOptions{schedulerOptions: schedulerOptions{factory: f}}
	command := &cobra.Command{
		Use:   "load -f FILE...",
		Short: "Load the Models, Pipelines and Experiments in files",
		Long: "Load the Models, Pipelines and Experiments in files: apply them to the API server or, with --scheduler, send them to a scheduler. " +
			"The files are validated before anything is sent.",
		Example: fmt.Sprintf("  %[1]s load -f iris.yaml --wait\n\n  # without Kubernetes\n  %[1]s load -f iris.yaml --scheduler localhost:9004", f.Name),
		RunE:    func(command *cobra.Command, _ []string) error { return o.load(command.Context()) },
	}
	o.bindLoad(command, false, "wait until the objects are ready; exit with 124 at the timeout")
	return command
}

func (o *loadOptions) load(ctx context.Context) error {
	objects, err := o.read()
	if err != nil {
		return err
	}
	source, err := o.open(ctx)
	if err != nil {
		return err
	}
	defer source.close()
	changes := 0
	for _, object := range objects {
		changed, err := source.load(ctx, kindOf(object), object)
		if err != nil {
			return err
		}
		done := "unchanged"
		if changed {
			done = "loaded"
			changes++
		}
		_, _ = fmt.Fprintf(o.Streams.Out, "%s/%s %s\n", strings.ToLower(string(kindOf(object))), object.GetName(), done)
	}
	if o.wait {
		if err := o.waitForReady(ctx, source, objects); err != nil {
			return err
		}
	}
	o.note("%s loaded, %d unchanged.", count(changes, "object was", "objects were"), len(objects)-changes)
	return nil
}

// waitForReady waits until objects are ready.
func (o *loadOptions) waitForReady(ctx context.Context, source objectSource, objects []manifest.Object) error {
	var pending []string
	var lastErr error
	err := poll(ctx, o.timeout, func(ctx context.Context) bool {
		var notReady []string
		for _, object := range objects {
			rows, err := source.rows(ctx, kindOf(object), object.GetName())
			if ctx.Err() != nil {
				return false
			}
			if lastErr = err; err != nil {
				return false
			}
			if len(rows) != 1 || rows[0].Ready != "True" {
				text := fmt.Sprintf("%s %s", kindOf(object), object.GetName())
				if len(rows) == 1 {
					text += " (" + rows[0].Reason + ")"
				}
				notReady = append(notReady, text)
			}
		}
		pending = notReady
		return len(pending) == 0
	})
	switch {
	case !errors.Is(err, context.DeadlineExceeded):
		return err
	case lastErr != nil:
		return &exitError{exitTimeout, fmt.Errorf("timeout after %s: %w", o.timeout, lastErr)}
	default:
		return &exitError{exitTimeout, fmt.Errorf("timeout after %s: not ready: %s", o.timeout, strings.Join(pending, ", "))}
	}
}

// newUnloadCommand returns the command unload.
func newUnloadCommand(f *factory) *cobra.Command {
	o := &loadOptions{schedulerOptions: schedulerOptions{factory: f}}
	command := &cobra.Command{
		Use:   "unload (-f FILE... | TYPE/NAME...)",
		Short: "Unload Models, Pipelines and Experiments",
		Long: "Unload Models, Pipelines and Experiments: delete them from the API server or, with --scheduler, unload them from a scheduler. " +
			"The exit code is 1 if one does not exist.",
		Example: fmt.Sprintf("  %[1]s unload model/iris pipeline/join\n\n  %[1]s unload -f iris.yaml --scheduler localhost:9004", f.Name),
		Args:    cobra.ArbitraryArgs,
		RunE:    func(command *cobra.Command, args []string) error { return o.unload(command.Context(), args) },
	}
	command.ValidArgsFunction = func(command *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
		return f.completeTarget(command, nil, prefix)
	}
	o.bindLoad(command, true, "wait until the objects are unloaded; exit with 124 at the timeout")
	return command
}

func (o *loadOptions) unload(ctx context.Context, args []string) error {
	type named struct {
		kind relay.Kind
		name string
	}
	var objects []named
	for _, arg := range args {
		if !strings.Contains(arg, "/") {
			return usageError(fmt.Errorf("%s: name objects as TYPE/NAME, such as model/iris", arg))
		}
		parsed, err := parseTarget([]string{arg})
		if err != nil {
			return err
		}
		if !slices.Contains(loadOrder, relay.Kind(parsed.Kind)) {
			return usageError(fmt.Errorf("%s: must be a Model, Pipeline or Experiment", arg))
		}
		objects = append(objects, named{relay.Kind(parsed.Kind), parsed.Name})
	}
	if len(o.files.Filenames) > 0 || o.files.Kustomize != "" {
		read, err := o.read()
		if err != nil {
			return err
		}
		for _, object := range read {
			objects = append(objects, named{kindOf(object), object.GetName()})
		}
	}
	if len(objects) == 0 {
		return usageError(errors.New("name objects as TYPE/NAME, or use --filename"))
	}
	slices.SortStableFunc(objects, func(a, b named) int {
		return cmp.Compare(slices.Index(loadOrder, b.kind), slices.Index(loadOrder, a.kind))
	})
	source, err := o.open(ctx)
	if err != nil {
		return err
	}
	defer source.close()
	var missing []string
	var started []named
	for _, each := range objects {
		existed, err := source.unload(ctx, each.kind, each.name)
		if err != nil {
			return err
		}
		if !existed {
			missing = append(missing, fmt.Sprintf("%s %s", each.kind, each.name))
			continue
		}
		started = append(started, each)
		_, _ = fmt.Fprintf(o.Streams.Out, "%s/%s unloaded\n", strings.ToLower(string(each.kind)), each.name)
	}
	if o.wait {
		var remaining []string
		var lastErr error
		err := poll(ctx, o.timeout, func(ctx context.Context) bool {
			remaining = nil
			for _, each := range started {
				exists, err := source.exists(ctx, each.kind, each.name)
				if err != nil && ctx.Err() == nil {
					lastErr = err
				}
				if exists || err != nil {
					remaining = append(remaining, fmt.Sprintf("%s %s", each.kind, each.name))
				}
			}
			return len(remaining) == 0
		})
		if errors.Is(err, context.DeadlineExceeded) {
			err = &exitError{exitTimeout, errors.Join(fmt.Errorf("timeout after %s: still being unloaded: %s", o.timeout, strings.Join(remaining, ", ")), lastErr)}
		}
		if err != nil {
			return err
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("not found: %s", strings.Join(missing, ", "))
	}
	o.note("%s unloaded.", count(len(started), "object was", "objects were"))
	return nil
}
