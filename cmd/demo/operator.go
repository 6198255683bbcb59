package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const (
	// stopGrace is how long the operator may take to stop when it is asked to.
	stopGrace = 10 * time.Second
	// quotedLines is how much of its log is quoted when something went wrong.
	quotedLines = 10
)

// operator is the running operator: a process of its own, as in a cluster.
type operator struct {
	command *exec.Cmd
	logPath string
	// ended is closed once the process has ended; err is set before that.
	ended chan struct{}
	err   error
}

// startOperator starts the program, with its output in a file. It watches all
// namespaces and reads its configurations from the given one.
func startOperator(program, logPath, kubeconfig, namespace string) (*operator, error) {
	path, err := filepath.Abs(program)
	if err != nil {
		return nil, err
	}
	log, err := os.Create(logPath)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	o := &operator{logPath: logPath, ended: make(chan struct{})}
	// No ports: nobody asks for metrics or probes here, and two demonstrations
	// may run side by side.
	o.command = exec.Command(path, "--clusterwide", "--metrics-bind-address=0", "--health-probe-bind-address=0")
	o.command.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "POD_NAMESPACE="+namespace)
	o.command.Stdout, o.command.Stderr = log, log
	o.command.SysProcAttr = childAttributes()

	started := make(chan error, 1)
	go func() {
		// The signal at our death is tied to the thread that forked
		// (https://go.dev/issue/27505), so that thread must live as long.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := o.command.Start()
		started <- err
		if err == nil {
			o.err = o.command.Wait()
		}
		close(o.ended)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	return o, nil
}

// stop asks the operator to stop, insists after a while, and returns when it is
// gone.
func (o *operator) stop() {
	// The only error is that it has ended already.
	_ = o.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-o.ended:
	case <-time.After(stopGrace):
		_ = o.command.Process.Kill()
		<-o.ended
	}
}

// exitError says that the operator ended. It must only be called once it has.
func (o *operator) exitError() error {
	if o.err == nil {
		return errors.New("the operator ended by itself (exit status 0)")
	}
	return fmt.Errorf("the operator ended by itself: %w", o.err)
}

// quoteLog is the end of the operator's log, with the name of the file.
func (o *operator) quoteLog() string {
	content, err := os.ReadFile(o.logPath)
	if err != nil {
		return fmt.Sprintf("The operator's log cannot be read: %v", err)
	}
	text := strings.TrimSpace(string(content))
	if text == "" {
		return "The operator's log is empty: " + o.logPath
	}
	lines := strings.Split(text, "\n")
	lines = lines[max(0, len(lines)-quotedLines):]
	return fmt.Sprintf("The last lines of the operator's log, %s:\n\t%s", o.logPath, strings.Join(lines, "\n\t"))
}
