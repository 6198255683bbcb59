package controlplane

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// logTailLines is the number of log lines in an error: programs often print the reason
// of their exit a few lines before the last one.
const logTailLines = 15

// process is a program of the control plane.
type process struct {
	name string
	// logPath is the file that receives both output streams.
	logPath string
	cmd     *exec.Cmd
	// ended is closed once the program has exited. err is set before.
	ended chan struct{}
	err   error
}

// startProcess starts a program in the directory bin, with its output in a file in the
// directory logs. On Linux, the kernel kills the program when this process exits.
func startProcess(bin, logs, name string, env []string, args ...string) (*process, error) {
	path := filepath.Join(bin, name)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("start %s: it does not exist in %s: build it with `make controlplane`, "+
			"or set KUBEBUILDER_ASSETS to a directory that has it", name, bin)
	}
	p := &process{
		name:    name,
		logPath: filepath.Join(logs, name+".log"),
		cmd:     exec.Command(path, args...),
		ended:   make(chan struct{}),
	}
	log, err := os.Create(p.logPath)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer func() { _ = log.Close() }()
	// A file and not a pipe, so that no goroutine has to copy, and Wait does not block on
	// a descendant that keeps a pipe open.
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.SysProcAttr = childAttributes()

	started := make(chan error, 1)
	go func() {
		// The kernel sends the parent-death signal when the thread that forked exits, and
		// not the process (https://go.dev/issue/27505): keep the thread while the program
		// runs.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
		}
		close(p.ended)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// kill kills the program and waits for it. A graceful exit is not needed, since the
// state is temporary.
func (p *process) kill() {
	// The only possible error is that the program has already exited.
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// hasEnded returns whether the program has exited.
func (p *process) hasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// exitError returns the error of a program that exited by itself, with the end of its
// log. It must be called only if hasEnded.
func (p *process) exitError() error {
	reason := "exit status 0"
	if p.err != nil {
		reason = p.err.Error()
	}
	return fmt.Errorf("%s exited by itself (%s); %s", p.name, reason, p.quoteLog())
}

// quoteLog returns the path and the last lines of the program's log.
func (p *process) quoteLog() string {
	content, err := os.ReadFile(p.logPath)
	if err != nil {
		return fmt.Sprintf("its log cannot be read: %v", err)
	}
	if len(content) == 0 {
		return "its log is empty: " + p.logPath
	}
	lines := strings.Split(string(bytes.TrimSpace(content)), "\n")
	if len(lines) > logTailLines {
		lines = lines[len(lines)-logTailLines:]
	}
	return fmt.Sprintf("the last lines of %s:\n\t%s", p.logPath, strings.Join(lines, "\n\t"))
}
