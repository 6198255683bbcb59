package fakescheduler

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// listener counts connections, and lets them be refused and frozen.
type listener struct {
	net.Listener
	traffic *traffic
}

// traffic is what happens to connections; it outlives listeners.
type traffic struct {
	mu       sync.Mutex
	accepted int
	open     int
	refuse   int
	// frozen is nil, or closed by a thaw.
	frozen chan struct{}
}

// listen opens the address, and waits a little if it is still taken.
func listen(ctx context.Context, address string, t *traffic) (*listener, error) {
	network := "tcp"
	if path, unix := strings.CutPrefix(address, "unix:"); unix {
		network, address = "unix", strings.TrimPrefix(path, "//")
		// What a killed process left behind.
		if err := os.Remove(address); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("remove old socket: %w", err)
		}
	}
	for attempt := 0; ; attempt++ {
		l, err := (&net.ListenConfig{}).Listen(ctx, network, address)
		if err == nil {
			return &listener{Listener: l, traffic: t}, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) || attempt == 50 {
			return nil, err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Accept closes connections that are to be refused.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.traffic.admit() {
			return &conn{Conn: c, traffic: l.traffic, closed: make(chan struct{})}, nil
		}
		_ = c.Close()
	}
}

// admit counts a connection; false refuses it.
func (t *traffic) admit() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.accepted++
	if t.refuse > 0 {
		t.refuse--
		return false
	}
	t.open++
	return true
}

// freeze stops all connections from passing anything on, both ways; thaw ends that.
func (t *traffic) freeze() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.frozen == nil {
		t.frozen = make(chan struct{})
	}
}

func (t *traffic) thaw() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.frozen != nil {
		close(t.frozen)
		t.frozen = nil
	}
}

// conn is a connection that can be frozen.
type conn struct {
	net.Conn
	traffic *traffic
	once    sync.Once
	closed  chan struct{}
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.wait()
	return n, err
}

func (c *conn) Write(b []byte) (int, error) {
	c.wait()
	return c.Conn.Write(b)
}

func (c *conn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.traffic.mu.Lock()
		c.traffic.open--
		c.traffic.mu.Unlock()
	})
	return c.Conn.Close()
}

// wait waits while frozen, but not on a closed connection.
func (c *conn) wait() {
	c.traffic.mu.Lock()
	frozen := c.traffic.frozen
	c.traffic.mu.Unlock()
	if frozen == nil {
		return
	}
	select {
	case <-frozen:
	case <-c.closed:
	}
}
