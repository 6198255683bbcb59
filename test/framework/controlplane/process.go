package controlplane

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/seldon-operator/seldon-operator/test/framework/process"
)

// logTailLines is the number of log lines in an error: programs often print the reason
// of their exit a few lines before the last one.
const logTailLines = 15

// program is a program of the control plane.
type program struct {
	name string
	// logPath is the file that receives both output streams.
	logPath string
	cmd     *exec.Cmd
	// ended is closed once the program has exited.
	ended <-chan struct{}
}

// startProgram starts a program in the directory bin, with its output in a file in the
// directory logs.
func startProgram(bin, logs, name string, env []string, args ...string) (*program, error) {
	path := filepath.Join(bin, name)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("start %s: it does not exist in %s: build it with `make controlplane`, "+
			"or set KUBEBUILDER_ASSETS to a directory that has it", name, bin)
	}
	p := &program{
		name:    name,
		logPath: filepath.Join(logs, name+".log"),
		cmd:     exec.Command(path, args...),
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
	if p.ended, err = process.Launch(p.cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// kill kills the program and waits for it. A graceful exit is not needed, since the
// state is temporary.
func (p *program) kill() {
	// The only possible error is that the program has already exited.
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// hasEnded returns whether the program has exited.
func (p *program) hasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// exitError returns the error of a program that exited by itself, with the end of its
// log. It must be called only if hasEnded.
func (p *program) exitError() error {
	return fmt.Errorf("%s exited by itself (%s); %s", p.name, p.cmd.ProcessState, p.quoteLog())
}

// quoteLog returns the path and the last lines of the program's log.
func (p *program) quoteLog() string {
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
