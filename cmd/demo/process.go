package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// stopGrace is the time from SIGTERM to SIGKILL.
	stopGrace = 10 * time.Second
	// quotedLines is the number of lines of a log in an error.
	quotedLines = 10
)

// program describes a program that would run in a pod in a cluster.
type program struct {
	// name is the name in messages, without an article.
	name string
	path string
	// directory is the working directory. environment is added to that of this process.
	directory   string
	arguments   []string
	environment []string
	// log is the file that its output is appended to.
	log string
}

// process is a running program.
type process struct {
	program
	command *exec.Cmd
	// stopRequested is set before the process is stopped or killed.
	stopRequested atomic.Bool
	// ended is closed once the process has exited. err is set before.
	ended chan struct{}
	err   error
}

// startProcess starts a program.
func startProcess(from program) (*process, error) {
	path, err := filepath.Abs(from.path)
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(from.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	p := &process{program: from, ended: make(chan struct{})}
	p.command = exec.Command(path, from.arguments...)
	p.command.Dir = from.directory
	p.command.Env = append(os.Environ(), from.environment...)
	p.command.Stdout, p.command.Stderr = log, log
	p.command.SysProcAttr = childAttributes()

	started := make(chan error, 1)
	go func() {
		// The kernel sends the parent-death signal when the thread that forked exits
		// (https://go.dev/issue/27505): keep the thread while the program runs.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.command.Start()
		started <- err
		if err == nil {
			p.err = p.command.Wait()
		}
		close(p.ended)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	return p, nil
}

// stop sends SIGTERM, and SIGKILL after stopGrace, and waits for the exit.
func (p *process) stop() {
	p.stopRequested.Store(true)
	// The only possible error is that it has already exited.
	_ = p.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(stopGrace):
		p.kill()
	}
}

// kill sends SIGKILL and waits for the exit.
func (p *process) kill() {
	p.stopRequested.Store(true)
	_ = p.command.Process.Kill()
	<-p.ended
}

// exitError returns the error of a program that exited by itself. It must be called only
// after the exit.
func (p *process) exitError() error {
	if p.err == nil {
		return fmt.Errorf("the %s exited by itself (exit status 0)", p.name)
	}
	return fmt.Errorf("the %s exited by itself: %w", p.name, p.err)
}

// quoteLog returns the path and the last lines of the program's log.
func (p *process) quoteLog() string {
	content, err := os.ReadFile(p.log)
	if err != nil {
		return fmt.Sprintf("The %s's log cannot be read: %v", p.name, err)
	}
	text := strings.TrimSpace(string(content))
	if text == "" {
		return fmt.Sprintf("The %s's log is empty: %s", p.name, p.log)
	}
	lines := strings.Split(text, "\n")
	lines = lines[max(0, len(lines)-quotedLines):]
	return fmt.Sprintf("The last lines of the %s's log, %s:\n\t%s", p.name, p.log, strings.Join(lines, "\n\t"))
}
