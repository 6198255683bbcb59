package fakescheduler

import (
	"context"
	"net"
	"strings"
	"sync"
)

// BlackHole is a listener that accepts connections and never answers, as a
// scheduler behind a broken network does.
type BlackHole struct {
	listener net.Listener
	done     sync.WaitGroup
	mu       sync.Mutex
	conns    []net.Conn
	closed   bool
}

// NewBlackHole opens one at an address as in Options, empty for a free port of
// 127.0.0.1; Close ends it.
func NewBlackHole(ctx context.Context, address string) (*BlackHole, error) {
	orDefault(&address, "127.0.0.1:0")
	network := "tcp"
	if path, isUnix := strings.CutPrefix(address, "unix:"); isUnix {
		network, address = "unix", path
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, network, address)
	if err != nil {
		return nil, err
	}
	b := &BlackHole{listener: l}
	b.done.Go(b.swallow)
	return b, nil
}

func (b *BlackHole) swallow() {
	for {
		c, err := b.listener.Accept()
		if err != nil {
			return
		}
		b.mu.Lock()
		if b.closed {
			_ = c.Close()
		} else {
			b.conns = append(b.conns, c)
		}
		b.mu.Unlock()
	}
}

// Address is host:port, or the path of a socket.
func (b *BlackHole) Address() string { return b.listener.Addr().String() }

// Connections is how many were accepted.
func (b *BlackHole) Connections() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.conns)
}

// Close closes it and its connections.
func (b *BlackHole) Close() {
	_ = b.listener.Close()
	b.mu.Lock()
	b.closed = true
	for _, c := range b.conns {
		_ = c.Close()
	}
	b.mu.Unlock()
	b.done.Wait()
}
