package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/cli/tree"
)

// waitOptions are the flags of commands that wait.
type waitOptions struct {
	wait    bool
	timeout time.Duration
}

func (w *waitOptions) bind(command *cobra.Command, until string) {
	flags := command.Flags()
	flags.BoolVar(&w.wait, "wait", false, "wait until "+until+", and print the changes of status")
	flags.DurationVar(&w.timeout, "timeout", 5*time.Minute, "with --wait, how long to wait; then the exit code is 124")
}

// validate checks the flags.
func (w *waitOptions) validate() error {
	if w.timeout <= 0 {
		return usageError(fmt.Errorf("--timeout=%s: must be greater than 0", w.timeout))
	}
	return nil
}

// awaited are the objects that a command waits for.
type awaited struct {
	// kinds of the objects, and the namespace that contains all, or empty.
	kinds     []schema.GroupVersionKind
	namespace string
	uids      sets.Set[types.UID]
	// done reports whether there is nothing more to wait for.
	done func(*tree.Node) bool
	// until completes "timed out waiting until …".
	until string
}

// errDone ends a watch.
var errDone = errors.New("done")

// await prints the changes of objects until all are done. It fails if the controller of one
// reports that it cannot become ready without a change, or if one is deleted.
func (f *factory) await(ctx context.Context, c client.WithWatch, timeout time.Duration, a awaited) error {
	if len(a.uids) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	objects, err := tree.Read(ctx, c, tree.Scope{Namespace: a.namespace, Only: a.kinds})
	if err != nil {
		return f.timeoutError(ctx, timeout, a, nil, err)
	}
	for _, problem := range objects.Problems() {
		return errors.New(problem.String())
	}
	var before []*tree.Node
	step := func() error {
		after := a.matching(objects.Tree())
		for _, change := range tree.Changes(withoutChildren(before), withoutChildren(after)) {
			f.printLine("%s  %s %s/%s  %s  %s", time.Now().Format(time.TimeOnly), change.Kind, change.Namespace, change.Name, change.Ready, change.Status)
		}
		before = after
		if len(after) < len(a.uids) {
			return errors.New("an object was deleted")
		}
		done := 0
		for _, n := range after {
			switch {
			case a.done(n):
				done++
			case n.Failed:
				return fmt.Errorf("%s %s/%s: %s", n.Kind, n.Namespace, n.Name, n.Status)
			}
		}
		if done == len(after) {
			return errDone
		}
		for _, problem := range objects.Problems() {
			return errors.New(problem.String())
		}
		return nil
	}
	if err = step(); err == nil {
		err = objects.Watch(ctx, c, 0, step)
	}
	if errors.Is(err, errDone) {
		return nil
	}
	return f.timeoutError(ctx, timeout, a, before, err)
}

// matching returns the awaited nodes with their conditions.
func (a awaited) matching(nodes []*tree.Node) []*tree.Node {
	var selected []*tree.Node
	for _, n := range nodes {
		if a.uids.Has(n.UID) {
			selected = append(selected, n)
		}
	}
	return selected
}

// timeoutError returns err or, if the timeout has passed, an error with the exit code for it.
func (f *factory) timeoutError(ctx context.Context, timeout time.Duration, a awaited, last []*tree.Node, err error) error {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		if err == nil {
			err = context.Cause(ctx)
		}
		return err
	}
	var pending []string
	for _, n := range last {
		if !a.done(n) {
			pending = append(pending, fmt.Sprintf("%s %s/%s: %s", n.Kind, n.Namespace, n.Name, n.Status))
		}
	}
	text := fmt.Sprintf("timed out after %s waiting until %s", timeout, a.until)
	if len(pending) > 0 {
		text += ": " + strings.Join(pending, "; ")
	}
	return &exitError{exitTimeout, errors.New(text)}
}

// withoutChildren returns copies of nodes without their conditions.
func withoutChildren(nodes []*tree.Node) []*tree.Node {
	var copies []*tree.Node
	for _, n := range nodes {
		copied := *n
		copied.Children = nil
		copies = append(copies, &copied)
	}
	return copies
}
