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
	// stopGrace is how long a program may take to stop when it is asked to.
	stopGrace = 10 * time.Second
	// quotedLines is how much of its log is quoted when something went wrong.
	quotedLines = 10
)

// program says how something is run that in a cluster would run in a pod.
type program struct {
	// name is what messages call it, without an article.
	name string
	path string
	// directory is where it runs, and arguments and environment what it is told;
	// the environment is added to ours.
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
	// told is set before it is told to end.
	told atomic.Bool
	// ended is closed once the process has ended; err is set before that.
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
		// The signal at our death is tied to the thread that forked
		// (https://go.dev/issue/27505), so that thread must live as long.
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

// stop asks the program to stop, insists after a while, and returns when it is
// gone.
func (p *process) stop() {
	p.told.Store(true)
	// The only error is that it has ended already.
	_ = p.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(stopGrace):
		p.kill()
	}
}

// kill ends the program at once, and returns when it is gone.
func (p *process) kill() {
	p.told.Store(true)
	_ = p.command.Process.Kill()
	<-p.ended
}

// exitError says that the program ended. It must only be called once it has.
func (p *process) exitError() error {
	if p.err == nil {
		return fmt.Errorf("the %s ended by itself (exit status 0)", p.name)
	}
	return fmt.Errorf("the %s ended by itself: %w", p.name, p.err)
}

// quoteLog is the end of the program's log, with the name of the file.
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
