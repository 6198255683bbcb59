// Package process builds and runs the programs of this repository as their users
// do, for tests and benchmarks that kill them.
package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
)

// Build builds the program cmd/NAME of the repository into a directory, as `make
// build` does, which shares the build cache. It returns the program's path.
func Build(ctx context.Context, directory, name string) (string, error) {
	_, here, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(here), "..", "..", "..")
	program := filepath.Join(directory, name)
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", "grpcnotrace", "-ldflags", "-s -w", "-o", program, "./cmd/"+name)
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", name, err, output)
	}
	return program, nil
}

// Process is a program that can be killed and started again. It ends with the
// context that it was made with. Its methods are for one goroutine at a time.
type Process struct {
	ctx         context.Context
	program     string
	arguments   []string
	environment []string
	log         *os.File
	command     *exec.Cmd
}

// New makes a process that is not started yet. What it prints is appended to the
// file log.
func New(ctx context.Context, log, program string, environment []string, arguments ...string) (*Process, error) {
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &Process{ctx: ctx, program: program, arguments: arguments, environment: environment, log: file}, nil
}

// Start starts it; one that runs goes on.
func (p *Process) Start() error {
	if p.command != nil {
		return nil
	}
	command := exec.CommandContext(p.ctx, p.program, p.arguments...)
	command.Env = append(os.Environ(), p.environment...)
	command.Stdout, command.Stderr = p.log, p.log
	if err := command.Start(); err != nil {
		return err
	}
	p.command = command
	return nil
}

// Pid is the number of the process, and 0 while there is none.
func (p *Process) Pid() int {
	if p.command == nil {
		return 0
	}
	return p.command.Process.Pid
}

// Signal sends it a signal that it survives, such as SIGSTOP. Errors: it does not run.
func (p *Process) Signal(signal os.Signal) error {
	if p.command == nil {
		return os.ErrProcessDone
	}
	return p.command.Process.Signal(signal)
}

// Kill kills it, and waits until it is gone.
func (p *Process) Kill() *os.ProcessState { return p.end(os.Kill) }

// Stop asks it to end, and waits until it has.
func (p *Process) Stop() *os.ProcessState { return p.end(syscall.SIGTERM) }

func (p *Process) end(signal os.Signal) *os.ProcessState {
	if p.command == nil {
		return nil
	}
	command := p.command
	p.command = nil
	// One that has ended by itself cannot be signalled, and its status tells why.
	_ = command.Process.Signal(signal)
	_ = command.Wait()
	return command.ProcessState
}
