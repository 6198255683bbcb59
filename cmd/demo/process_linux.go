package main

import "syscall"

// childAttributes put a child into a process group of its own, so that Ctrl-C
// reaches us alone and we decide in which order things end, and have the kernel
// kill it when we die.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
