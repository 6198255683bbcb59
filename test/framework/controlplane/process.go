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

// logTailLines is how much of a program's log an error quotes: enough for the
// message that explains an exit, which programs tend to print a few lines
// before their last one.
const logTailLines = 15

// process is one running program of the control plane.
type process struct {
	name string
	// logPath is the file that receives both output streams.
	logPath string
	cmd     *exec.Cmd
	// ended is closed once the program has ended; err is set before that.
	ended chan struct{}
	err   error
}

// startProcess starts the program called name from the directory bin, with its
// output in a file of the directory logs. The program is killed by the kernel
// when this process ends, where the kernel offers that.
func startProcess(bin, logs, name string, env []string, args ...string) (*process, error) {
	path := filepath.Join(bin, name)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("start %s: no such program in %s: build it with `make controlplane`, "+
			"or point KUBEBUILDER_ASSETS at a directory that has it", name, bin)
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
	// A file, not a pipe: the program writes to it without our help, and Wait
	// does not hang on a descendant that keeps a pipe open.
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.SysProcAttr = childAttributes()

	started := make(chan error, 1)
	go func() {
		// The kernel ties the parent-death signal to the thread that forked, not
		// to the process (https://go.dev/issue/27505): the thread stays with
		// this goroutine for as long as the program lives.
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

// kill ends the program and returns when it is gone. State is thrown away with
// the control plane, so there is nothing to end gracefully.
func (p *process) kill() {
	// The only error is that the program has ended already.
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// hasEnded tells whether the program has ended.
func (p *process) hasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// exitError describes a program that ended although nobody asked it to, with
// the end of its log. It must only be called once the program has ended.
func (p *process) exitError() error {
	reason := "exit status 0"
	if p.err != nil {
		reason = p.err.Error()
	}
	return fmt.Errorf("%s ended by itself (%s); %s", p.name, reason, p.quoteLog())
}

// quoteLog returns the last lines of the program's log, indented, and says
// where the whole of it is.
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
