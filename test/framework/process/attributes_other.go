//go:build !linux

package process

import "syscall"

// childAttributes keeps Ctrl-C in a terminal from a child by a process group of its own,
// so that the parent determines the order of the exits.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
