package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/cli/tree"
)

// schedulerReachable is the label of the node for a SeldonRuntime's connection to its
// scheduler, which does not count towards its Ready.
const schedulerReachable = "Condition/" + v1alpha1.ConditionSchedulerReachable

// maxStatus is the maximum number of characters of a status in the line of a change.
const maxStatus = 100

// observe returns the tree of the objects in the namespace.
func observe(ctx context.Context, reader client.Reader) ([]*tree.Node, error) {
	objects, err := tree.Read(ctx, reader, tree.Scope{Namespace: namespace})
	if err != nil {
		return nil, err
	}
	for _, problem := range objects.Problems() {
		return nil, errors.New(problem.String())
	}
	return objects.Tree(), nil
}

// draw returns a tree as a table.
func draw(nodes []*tree.Node) string {
	var text strings.Builder
	_ = tree.Print(&text, nodes, tree.Style{Now: time.Now()}) // a Builder returns no error
	return text.String()
}

// describe returns lines about changes. Changes of the same kind to the same status are one
// line.
func describe(changes []tree.Change) []string {
	var lines []string
	names := map[string]int{}
	for _, change := range changes {
		status := []rune(change.Status)
		if len(status) > maxStatus {
			status = append(status[:maxStatus-1], '…')
		}
		state := fmt.Sprintf("%s %s", change.Ready, string(status))
		if at, known := names[change.Kind+state]; known {
			before, after, _ := strings.Cut(lines[at], "  ")
			lines[at] = before + ", " + change.Name + "  " + after
			continue
		}
		names[change.Kind+state] = len(lines)
		lines = append(lines, change.Label()+"  "+state)
	}
	return lines
}

// allReady returns an error that names the first object of the tree that is not ready.
func allReady(objects []*tree.Node) error {
	reachable := false
	for _, n := range tree.All(objects) {
		if !n.IsHealthy() {
			return fmt.Errorf("%s is not ready: %s", n.Label(), n.Status)
		}
		reachable = reachable || n.Label() == schedulerReachable
	}
	if !reachable {
		return fmt.Errorf("%s does not exist", schedulerReachable)
	}
	return nil
}

// notReady returns a function that returns an error while a node of the tree is ready.
func notReady(label string) func([]*tree.Node) error {
	return func(objects []*tree.Node) error {
		for _, n := range tree.All(objects) {
			if n.Label() == label && n.IsHealthy() {
				return fmt.Errorf("%s is still ready", label)
			}
		}
		return nil
	}
}
