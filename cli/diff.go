package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/pmezard/go-difflib/difflib"
	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/seldon-operator/seldon-operator/cli/internal/preview"
)

// externalDiff is the environment variable of kubectl with a program that compares two
// folders, and its arguments.
const externalDiff = "KUBECTL_EXTERNAL_DIFF"

// Exit codes of diff, as of kubectl diff.
const (
	exitDiffers   = 1
	exitDiffError = 2
)

// newDiffCommand returns the command diff.
func newDiffCommand(f *factory) *cobra.Command {
	options := &planOptions{factory: f}
	command := &cobra.Command{
		Use:   "diff [NAME | TYPE/NAME]",
		Short: "Show the plan as a unified diff",
		Long: "Show what the operator would do, as plan does, as a unified diff of the child objects. " +
			"The environment variable " + externalDiff + " names another program that compares two folders.\n\n" +
			"The exit code is 0 if nothing would change, 1 if something would, and 2 for any error.",
		Args: cobra.MaximumNArgs(2),
		RunE: func(command *cobra.Command, args []string) error {
			err := f.diff(command.Context(), options, args)
			if exit, ok := errors.AsType[*exitError](err); err == nil || ok && exit.cause == nil {
				return err
			}
			return &exitError{exitDiffError, err}
		},
	}
	options.bind(command)
	return command
}

// diff prints the difference of all objects that would be written.
func (f *factory) diff(ctx context.Context, options *planOptions, args []string) error {
	report, err := options.planned(ctx, args)
	if err != nil {
		return err
	}
	var changed []changedObject
	var failed []error
	report.All(func(owner *preview.Owner) {
		if owner.Error != "" {
			failed = append(failed, fmt.Errorf("%s/%s cannot be planned: %s", owner.Namespace, owner.Name, owner.Error))
		}
		for _, step := range owner.Steps {
			if step.Writes() {
				changed = append(changed, changedObject{owner.Namespace, step})
			}
		}
	})
	if program := os.Getenv(externalDiff); program != "" && len(changed) > 0 {
		err = f.diffExternally(ctx, program, changed)
	} else {
		err = f.printDiff(changed)
	}
	f.closing(report)
	switch err := errors.Join(append(failed, err)...); {
	case err != nil:
		return err
	case len(changed) > 0:
		return &exitError{code: exitDiffers}
	}
	return nil
}

// changedObject is an object that would be written.
type changedObject struct {
	namespace string
	preview.Step
}

// name returns the name of the object as a path.
func (c changedObject) name() string { return c.namespace + "/" + c.Kind + "/" + c.Name }

// texts returns the object before and after as YAML; empty if it does not exist.
func (c changedObject) texts() (before, after string, err error) {
	text := func(object map[string]any) string {
		if object == nil {
			return ""
		}
		marshalled, marshalErr := yaml.Marshal(object)
		err = errors.Join(err, marshalErr)
		return string(marshalled)
	}
	return text(c.Before), text(c.After), err
}

// printDiff prints unified diffs.
func (f *factory) printDiff(changed []changedObject) error {
	t, err := newTerminal(f.Streams.Out, f.color, os.Getenv)
	if err != nil {
		return err
	}
	for _, object := range changed {
		before, after, err := object.texts()
		if err != nil {
			return err
		}
		unified, err := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{
			A: difflib.SplitLines(before), B: difflib.SplitLines(after),
			FromFile: "live/" + object.name(), ToFile: "planned/" + object.name(), Context: 3,
		})
		if err != nil {
			return err
		}
		for line := range strings.Lines(unified) {
			if err := writeDiffLine(f.Streams.Out, t, strings.TrimSuffix(line, "\n")); err != nil {
				return err
			}
		}
	}
	return nil
}

func writeDiffLine(out io.Writer, t terminal, line string) error {
	switch {
	case strings.HasPrefix(line, "+"):
		line = t.paint(green, line)
	case strings.HasPrefix(line, "-"):
		line = t.paint(red, line)
	case strings.HasPrefix(line, "@@"):
		line = t.paint(gray, line)
	}
	_, err := fmt.Fprintln(out, line)
	return err
}

// argument are the arguments of an external program that kubectl accepts; others are ignored.
var argument = regexp.MustCompile(`^[a-zA-Z0-9-=]+$`)

// diffExternally compares two folders with a file for each object by a program. That it exits
// with 1 is not an error.
func (f *factory) diffExternally(ctx context.Context, command string, changed []changedObject) error {
	folder, err := os.MkdirTemp("", "kubectl-seldon-diff-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder) //nolint:errcheck // temporary files
	folders := [2]string{filepath.Join(folder, "live"), filepath.Join(folder, "planned")}
	for _, each := range folders {
		if err := os.Mkdir(each, 0o700); err != nil {
			return err
		}
	}
	for _, object := range changed {
		before, after, err := object.texts()
		if err != nil {
			return err
		}
		name := strings.ReplaceAll(object.name(), "/", ".") + ".yaml"
		for i, text := range []string{before, after} {
			if err := os.WriteFile(filepath.Join(folders[i], name), []byte(text), 0o600); err != nil {
				return err
			}
		}
	}
	words := strings.Fields(command)
	var arguments []string
	for _, word := range words[1:] {
		if argument.MatchString(word) {
			arguments = append(arguments, word)
		}
	}
	program := exec.CommandContext(ctx, words[0], append(arguments, folders[:]...)...) //nolint:gosec // the user's own environment
	program.Stdout, program.Stderr = f.Streams.Out, f.Streams.ErrOut
	err = program.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == exitDiffers {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s=%s: %w", externalDiff, command, err)
	}
	return nil
}
