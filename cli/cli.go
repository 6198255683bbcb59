package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// Config of the commands.
type Config struct {
	// Name of the program in usage texts, such as "kubectl seldon".
	Name string
	// Version of the program, which is also that of its templates.
	Version string
	// Commit and Date, in RFC 3339, of the source, and whether files differed from the commit;
	// empty if unknown.
	Commit, Date string
	Modified     bool
	Streams      genericiooptions.IOStreams
}

// New returns the root command.
func New(config Config) *cobra.Command {
	f := newFactory(config)
	root := &cobra.Command{
		Use:   "kubectl-seldon",
		Short: "Render, preview and inspect Seldon Core 2 on Kubernetes",
		Long: "Render, preview and inspect Seldon Core 2 on Kubernetes.\n\n" +
			"The commands use the code of the operator: what they show is what the operator does.\n\n" +
			"The other flags of kubectl that select a cluster and a user are accepted too; see kubectl options.",
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: config.Name},
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(command *cobra.Command, _ []string) error { return command.Help() },
	}
	root.SetIn(config.Streams.In)
	root.SetOut(config.Streams.Out)
	root.SetErr(config.Streams.ErrOut)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError(err) })
	f.bind(root.PersistentFlags())
	root.AddCommand(
		newDiffCommand(f),
		newExplainCommand(f),
		newLoadCommand(f),
		newPauseCommand(f),
		newPlanCommand(f),
		newReconcileCommand(f),
		newRenderCommand(f),
		newRestartCommand(f),
		newResumeCommand(f),
		newSyncCommand(f),
		newTreeCommand(f),
		newUnloadCommand(f),
		newVersionCommand(f),
	)
	root.AddCommand(newKindCommands(f)...)
	f.completeFlags(root)
	for _, command := range root.Commands() {
		command.Args = asUsage(command.Args)
	}
	return root
}

// asUsage makes errors of positional arguments usage errors.
func asUsage(check cobra.PositionalArgs) cobra.PositionalArgs {
	if check == nil {
		check = cobra.NoArgs
	}
	return func(command *cobra.Command, args []string) error { return usageError(check(command, args)) }
}

// Run executes the command that args name, prints its error, and returns the exit code.
func Run(ctx context.Context, config Config, args []string) int {
	root := New(config)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if exit, ok := errors.AsType[*exitError](err); err != nil && (!ok || exit.cause != nil) {
		printError(config.Streams.ErrOut, err)
	}
	return exitCode(err)
}

// printError prints an error.
func printError(to io.Writer, err error) { _, _ = fmt.Fprintf(to, "error: %v\n", err) }
