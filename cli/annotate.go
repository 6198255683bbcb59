package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/cli/tree"
	"github.com/seldon-operator/seldon-operator/inputs"
)

// annotationCommand is a command that sets or removes an annotation of owners.
type annotationCommand struct {
	ownerSelection
	waitOptions
	// key of the annotation, and its new value; nil removes it.
	key   string
	value func() *string
	// summary begins the last line, such as "Paused" of "Paused 2 objects.", and already is the
	// line for an object that is not changed.
	summary, already string
	// done reports whether the operator has acted, and until says it.
	done  func(*tree.Node) bool
	until string
}

func newReconcileCommand(f *factory) *cobra.Command {
	a := &annotationCommand{
		ownerSelection: ownerSelection{factory: f}, key: v1alpha1.ReconcileRequestedAtAnnotation,
		value:   func() *string { return new(time.Now().UTC().Format(time.RFC3339Nano)) },
		summary: "Requested a reconciliation of", done: (*tree.Node).IsHealthy, until: "the objects are ready",
	}
	command := &cobra.Command{
		Use:   "reconcile " + selectionUse,
		Short: "Request that the operator reconciles SeldonRuntimes or Servers now",
		Long: `Request that the operator reconciles SeldonRuntimes or Servers now, without waiting for the next attempt
after an error. It sets the annotation ` + v1alpha1.ReconcileRequestedAtAnnotation + ` to the current time, which
is not copied to child objects and restarts no pods.

With --wait, the command fails as soon as the operator reports that an object is stalled.`,
		Example: `  kubectl seldon reconcile seldonruntime/seldon -n team-a --wait
  kubectl seldon reconcile server -l team=a -A`,
	}
	return a.command(command)
}

func newPauseCommand(f *factory) *cobra.Command {
	a := &annotationCommand{
		ownerSelection: ownerSelection{factory: f}, key: inputs.EngineOptions.PausedAnnotation(),
		value: func() *string { return new("true") }, summary: "Paused", already: "is paused already",
		done: isPaused, until: "the operator reports the condition " + v1alpha1.ConditionPaused,
	}
	command := &cobra.Command{
		Use:   "pause " + selectionUse,
		Short: "Suspend the operator's writes to the child objects of SeldonRuntimes or Servers",
		Long: `Suspend the operator's writes to the child objects of SeldonRuntimes or Servers, by the annotation
` + inputs.EngineOptions.PausedAnnotation() + `=true. Deletion is not suspended.

Pausing a SeldonRuntime does not pause its Servers, which have child objects of their own: pause them too.`,
		Example: `  kubectl seldon pause seldonruntime/seldon -n team-a
  kubectl seldon pause server -l team=a -n team-a --wait`,
	}
	return a.command(command)
}

func newResumeCommand(f *factory) *cobra.Command {
	a := &annotationCommand{
		ownerSelection: ownerSelection{factory: f}, key: inputs.EngineOptions.PausedAnnotation(),
		value: func() *string { return nil }, summary: "Resumed", already: "is not paused",
		done: func(n *tree.Node) bool { return n.IsHealthy() && !isPaused(n) }, until: "the objects are ready and not paused",
	}
	command := &cobra.Command{
		Use:   "resume " + selectionUse,
		Short: "Resume the operator's writes to the child objects of SeldonRuntimes or Servers",
		Long: `Resume the operator's writes to the child objects of SeldonRuntimes or Servers: remove the annotation
` + inputs.EngineOptions.PausedAnnotation() + `. The operator then applies what has changed in the meantime, which
"plan" shows before.

With --wait, the command fails as soon as the operator reports that an object is stalled.`,
		Example: `  kubectl seldon plan seldon -n team-a && kubectl seldon resume seldonruntime/seldon -n team-a --wait`,
	}
	return a.command(command)
}

// command adds flags and the function to a command.
func (a *annotationCommand) command(command *cobra.Command) *cobra.Command {
	a.ownerSelection.bind(command)
	a.waitOptions.bind(command, a.until)
	command.RunE = func(command *cobra.Command, args []string) error { return a.run(command.Context(), args) }
	return command
}

func (a *annotationCommand) run(ctx context.Context, args []string) error {
	if err := a.validate(); err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	owners, err := a.find(ctx, c, args)
	if err != nil {
		return err
	}
	changed := 0
	for _, o := range owners {
		value := a.value()
		now, set := o.Annotations[a.key]
		if value == nil && !set || value != nil && set && now == *value {
			a.printLine("%s: %s", o, a.already)
			continue
		}
		if err := annotate(ctx, c, o, a.key, value); err != nil {
			return err
		}
		changed++
		if value == nil {
			a.printLine("%s: removed annotation %s", o, a.key)
		} else {
			a.printLine("%s: set annotation %s=%s", o, a.key, *value)
		}
	}
	if a.wait {
		if err := a.await(ctx, c, a.timeout, awaitOwners(owners, a.done, a.until)); err != nil {
			return err
		}
	}
	a.note("%s %s.", a.summary, count(changed, "object", "objects"))
	return nil
}

// awaitOwners returns what to wait for. The owners have one kind.
func awaitOwners(owners []owner, done func(*tree.Node) bool, until string) awaited {
	a := awaited{kinds: []schema.GroupVersionKind{owners[0].GroupVersionKind}, namespace: owners[0].Namespace, uids: sets.Set[types.UID]{}, done: done, until: until}
	for _, o := range owners {
		a.uids.Insert(o.UID)
		if o.Namespace != a.namespace {
			a.namespace = ""
		}
	}
	return a
}

// isPaused reports whether the operator reports the condition Paused.
func isPaused(n *tree.Node) bool { return hasCondition(n, v1alpha1.ConditionPaused) }

// printLine prints a line to the standard output.
func (f *factory) printLine(format string, args ...any) {
	_, _ = fmt.Fprintf(f.Streams.Out, format+"\n", args...)
}
