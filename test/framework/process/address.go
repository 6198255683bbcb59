package process

import (
	"fmt"
	"net"
)

// FreeAddress returns host:port with a free TCP port, for a program that cannot choose
// one itself. The host is empty for all addresses, and in brackets for IPv6. The port is
// not reserved: call this immediately before the program starts.
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
