package cli

import (
	"context"
	"errors"
	"fmt"
)

// Exit codes; see the package's documentation.
const (
	exitDone    = 0
	exitFailed  = 1
	exitUsage   = 2
	exitChanges = 3
	exitImpact  = 4
	exitTimeout = 124
)

// exitError is an error with the exit code of the command. Without a cause, the command
// has already printed what there is to say.
type exitError struct {
	code  int
	cause error
}

func (e *exitError) Error() string {
	if e.cause == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.cause.Error()
}

func (e *exitError) Unwrap() error { return e.cause }

// usageError marks an error as one of the arguments or of the input.
func usageError(cause error) error {
	if cause == nil {
		return nil
	}
	return &exitError{exitUsage, cause}
}

// exitCode returns the exit code of a command that returned err.
func exitCode(err error) int {
	if err == nil {
		return exitDone
	}
	if exit, ok := errors.AsType[*exitError](err); ok {
		return exit.code
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return exitTimeout
	}
	return exitFailed
}
