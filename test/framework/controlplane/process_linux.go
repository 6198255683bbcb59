package controlplane

import "syscall"

// childAttributes asks the kernel to kill a child when its parent dies, and puts
// it into a process group of its own, so that Ctrl-C in a terminal reaches us
// alone and we decide in which order things end.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
