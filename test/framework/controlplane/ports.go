package controlplane

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// reservedPort is a TCP port of 127.0.0.1 that is reserved until release.
//
// The socket is bound and never listens. Both it and the program that uses the port set
// SO_REUSEPORT, so that the program can bind it and gets every connection, while the
// kernel assigns the port to no other program.
type reservedPort struct {
	fd     int
	number int
}

// reservePort reserves a free port.
func reservePort() (port *reservedPort, err error) {
	// The lock keeps a child that is started at the same time from inheriting the socket.
	syscall.ForkLock.RLock()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, fmt.Errorf("reserve a port: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("reserve a port: %w", err), unix.Close(fd))
		}
	}()
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return nil, err
	}
	address, err := unix.Getsockname(fd)
	if err != nil {
		return nil, err
	}
	return &reservedPort{fd: fd, number: address.(*unix.SockaddrInet4).Port}, nil
}

// hostPort returns the address to listen on and to connect to.
func (p *reservedPort) hostPort() string {
	return fmt.Sprintf("127.0.0.1:%d", p.number)
}

// release releases the port.
func (p *reservedPort) release() error {
	return unix.Close(p.fd)
}
