package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seldon-operator/seldon-operator/cli/internal/foldersync"
)

// syncOptions are the flags of sync.
type syncOptions struct {
	schedulerOptions
	files     []string
	recursive bool
	watch     bool
	prune     bool
	force     bool
	timeout   time.Duration
	output    string
}

// newSyncCommand returns the command sync.
func newSyncCommand(f *factory) *cobra.Command {
	o := &syncOptions{schedulerOptions: schedulerOptions{factory: f}}
	command := &cobra.Command{
		Use:   "sync -f FOLDER --scheduler HOST:PORT",
		Short: "Keep a scheduler in sync with the files in a folder, without an operator",
		Long: "Keep a scheduler in sync with the Models, Pipelines, Experiments, Servers and SeldonRuntimes in files. " +
			"It needs neither an operator nor Kubernetes.\n\n" +
			"The files are validated as by the API server. The scheduler is notified of Servers, also of those in spec.servers of SeldonRuntimes, " +
			"and what it does not have as specified is loaded. Without --prune, nothing is unloaded. " +
			"With it, what the scheduler has for the namespace and no file has is unloaded, unless a file is unreadable or invalid, or there are no objects.\n\n" +
			"Without --watch, the command exits when the scheduler has processed all objects: with 1 if one of them failed.",
		Example: fmt.Sprintf("  # load what is in a folder, and wait until it is ready\n"+
			"  %[1]s sync -f models --scheduler localhost:9004\n\n"+
			"  # follow the folder, and load everything again when the scheduler restarts\n"+
			"  %[1]s sync -f models --scheduler localhost:9004 --watch --prune", f.Name),
		RunE: func(command *cobra.Command, _ []string) error { return o.run(command.Context()) },
	}
	flags := command.Flags()
	flags.StringSliceVarP(&o.files, "filename", "f", nil, "folder or file with Models, Pipelines, Experiments, Servers and SeldonRuntimes; - for the standard input")
	flags.BoolVarP(&o.recursive, "recursive", "R", false, "read folders below those of --filename")
	o.bind(flags)
	flags.BoolVarP(&o.watch, "watch", "w", false, "follow changes of the files, and restarts of the scheduler")
	flags.BoolVar(&o.prune, "prune", false, "unload what the scheduler has for the namespace, and no file")
	flags.BoolVar(&o.force, "force", false, "run although an operator serves the namespace")
	flags.DurationVar(&o.timeout, "timeout", 5*time.Minute, "exit with 124 if the scheduler has not processed all objects by then; ignored with --watch")
	flags.StringVarP(&o.output, "output", "o", "text", "text, or json for one JSON object on each line")
	completeValues(command, "output", "text", "json")
	return command
}

func (o *syncOptions) run(ctx context.Context) error {
	switch {
	case len(o.files) == 0:
		return usageError(errors.New("no files are given; use --filename"))
	case o.address == "":
		return usageError(errors.New("no scheduler is given; use --scheduler=HOST:PORT"))
	case o.output != "text" && o.output != "json":
		return usageError(fmt.Errorf("--output=%s: must be text or json", o.output))
	}
	namespace, _, err := o.namespace()
	if err != nil {
		return err
	}
	address, tls, err := o.resolve(namespace)
	if err != nil {
		return err
	}
	options := foldersync.Options{
		Files:   foldersync.Files{Paths: o.files, Recursive: o.recursive, In: o.Streams.In, Namespace: namespace},
		Address: address, TLS: tls, Watch: o.watch, Prune: o.prune, Report: o.print,
	}
	if tls != nil && (tls.Secret.Name != "" || tls.ServerSecret.Name != "") {
		if options.Secrets, err = o.client(); err != nil {
			return err
		}
	}
	if !o.force {
		if err := o.checkOperator(ctx, namespace); err != nil {
			return err
		}
	}
	if !o.watch && o.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.timeout)
		defer cancel()
	}
	summary, err := foldersync.Run(ctx, options)
	if errors.Is(err, foldersync.ErrInvalid) {
		return usageError(err)
	}
	if err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return err
	}
	o.note("%s", syncSentence(summary, address))
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return &exitError{code: exitTimeout}
	case err != nil || !o.watch && len(summary.Failed) > 0:
		return &exitError{code: exitFailed}
	}
	return nil
}

// print prints an event.
func (o *syncOptions) print(event foldersync.Event) {
	if o.output == "json" {
		text, err := json.Marshal(event)
		if err == nil {
			_, _ = fmt.Fprintf(o.Streams.Out, "%s\n", text)
		}
		return
	}
	subject := event.Kind
	if event.Name != "" {
		subject += "/" + event.Name
	}
	line := fmt.Sprintf("%-28s %-7s %s", subject, event.Ready, event.Reason)
	if event.Message != "" {
		line += ": " + event.Message
	}
	_, _ = fmt.Fprintln(o.Streams.Out, line)
}

// syncSentence summarizes the end of a sync.
func syncSentence(s foldersync.Summary, address string) string {
	parts := []string{fmt.Sprintf("%d of %s ready on %s", s.Ready, count(s.Objects, "object is", "objects are"), address)}
	for _, each := range []struct {
		keys []foldersync.Key
		what string
	}{{s.Failed, "failed"}, {s.Pending, "not ready"}, {s.Kept, "not in the files and kept"}} {
		if len(each.keys) > 0 {
			names := make([]string, len(each.keys))
			for i, key := range each.keys {
				names[i] = key.String()
			}
			parts = append(parts, each.what+": "+strings.Join(names, ", "))
		}
	}
	if s.Unloaded > 0 {
		parts = append(parts, count(s.Unloaded, "object was", "objects were")+" unloaded")
	}
	if s.Problem != "" {
		parts = append(parts, s.Problem)
	}
	return strings.Join(parts, "; ") + "."
}
