package process

import (
	"fmt"
	"net"
)

// FreeAddress is host:port with a TCP port that nobody listens on, for a program that
// has to be told one. The host is as in an address to listen on: empty for all, in
// brackets if it is of IPv6. Nothing keeps others from taking the port before the
// program does: ask as late as can be.
func FreeAddress(host string) (string, error) {
	listener, err := net.Listen("tcp", host+":0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return "", err
	}
	return host + ":" + port, listener.Close()
}
