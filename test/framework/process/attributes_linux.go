package process

import "syscall"

// childAttributes makes the kernel kill a child when its parent exits. A process group
// of its own keeps Ctrl-C in a terminal from the child, so that the parent determines
// the order of the exits.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
