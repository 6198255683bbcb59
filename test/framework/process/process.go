// Package process builds and runs the programs of this repository, for tests and
// benchmarks.
package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/seldon-operator/seldon-operator/test/framework/binaries"
)

// ProgramsVariable is the environment variable with the directory of programs that are
// built already. "make test" builds them once and sets it.
const ProgramsVariable = "SELDON_TEST_PROGRAMS"

// Program returns the path of the program cmd/NAME of the repository: in the directory of
// ProgramsVariable if that is set, otherwise it is built into the given directory, with
// the flags of "make build".
func Program(ctx context.Context, directory, name string) (string, error) {
	if programs := os.Getenv(ProgramsVariable); programs != "" {
		program := filepath.Join(programs, name)
		if _, err := os.Stat(program); err != nil {
			return "", fmt.Errorf("find the program %s in %s: %w: unset the variable to build the program", name, ProgramsVariable, err)
		}
		return program, nil
	}
	root, err := binaries.Repository()
	if err != nil {
		return "", err
	}
	program := filepath.Join(directory, name)
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", "grpcnotrace", "-ldflags", "-s -w", "-o", program, "./cmd/"+name)
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", name, err, output)
	}
	return program, nil
}

// Process is a program that can be killed and started again. It is killed when the
// context of New is cancelled, and started as Launch does. Its methods are not safe for
// concurrent use.
type Process struct {
	ctx         context.Context
	program     string
	arguments   []string
	environment []string
	log         *os.File
	command     *exec.Cmd
	// ended is closed once the command has exited.
	ended <-chan struct{}
}

// New returns a process that is not started yet. Its output is appended to the file log.
func New(ctx context.Context, log, program string, environment []string, arguments ...string) (*Process, error) {
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &Process{ctx: ctx, program: program, arguments: arguments, environment: environment, log: file}, nil
}

// Start starts the process, unless it runs.
func (p *Process) Start() error {
	if p.command != nil {
		return nil
	}
	command := exec.CommandContext(p.ctx, p.program, p.arguments...)
	command.Env = append(os.Environ(), p.environment...)
	command.Stdout, command.Stderr = p.log, p.log
	ended, err := Launch(command)
	if err != nil {
		return err
	}
	p.command, p.ended = command, ended
	return nil
}

// Pid returns the process ID, or 0 if the process does not run.
func (p *Process) Pid() int {
	if p.command == nil {
		return 0
	}
	return p.command.Process.Pid
}

// Signal sends a signal that does not end the process, such as SIGSTOP. It returns
// os.ErrProcessDone if the process does not run.
func (p *Process) Signal(signal os.Signal) error {
	if p.command == nil {
		return os.ErrProcessDone
	}
	return p.command.Process.Signal(signal)
}

// Kill kills the process and waits for it. It returns nil if the process did not run.
func (p *Process) Kill() *os.ProcessState { return p.end(os.Kill) }

// Stop sends SIGTERM and waits for the process to exit. It returns nil if the process did
// not run.
func (p *Process) Stop() *os.ProcessState { return p.end(syscall.SIGTERM) }

func (p *Process) end(signal os.Signal) *os.ProcessState {
	if p.command == nil {
		return nil
	}
	command := p.command
	p.command = nil
	// The error is that of a process that has already exited. Its state has the reason.
	_ = command.Process.Signal(signal)
	<-p.ended
	return command.ProcessState
}
