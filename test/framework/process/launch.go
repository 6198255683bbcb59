package process

import (
	"os/exec"
	"runtime"
)

// Launch starts a command. The channel is closed once the command has exited, and its
// ProcessState is set before. The command is in a process group of its own, so that Ctrl-C
// in a terminal does not reach it. On Linux, the kernel kills it when this process exits.
func Launch(command *exec.Cmd) (<-chan struct{}, error) {
	command.SysProcAttr = childAttributes()
	started, ended := make(chan error, 1), make(chan struct{})
	go func() {
		// The kernel sends the parent-death signal when the thread that forked exits, and
		// not the process (https://go.dev/issue/27505): keep the thread while the command
		// runs.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := command.Start()
		started <- err
		if err == nil {
			_ = command.Wait() // ProcessState has the exit status.
		}
		close(ended)
	}()
	return ended, <-started
}
