// Package faultproxy is a proxy for stream connections that simulates network failures
// on request, and counts their effects.
//
// It forwards each connection of a client to one of its own to the server, in chunks of
// at most 32 KiB. Faults can be combined: bytes that a frozen proxy holds can be delayed
// or dropped once it is open again.
package faultproxy

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// Stats are the counts of a Proxy since it was created.
type Stats struct {
	// Accepted counts the clients' connections that were not refused.
	Accepted int
	// Open is the number of connections that clients have now.
	Open int
	// Refused counts the connections that were closed as soon as they were accepted:
	// by Cut, by Refuse, or because the server could not be reached.
	Refused int
	// Ended counts the open connections that Cut closed.
	Ended int
	// ToServer and ToClient count bytes per direction.
	ToServer, ToClient Bytes
}

// Bytes counts the bytes of one direction. A byte that is held, then delayed, then
// passed is counted in all three.
type Bytes struct {
	Passed, Delayed, Held, Dropped int64
}

// Proxy forwards connections. It starts open. Its methods are safe for concurrent use,
// also after Close.
type Proxy struct {
	listener net.Listener
	dial     func(context.Context) (net.Conn, error)
	ctx      context.Context
	cancel   context.CancelFunc
	running  sync.WaitGroup

	mu     sync.Mutex
	cut    bool
	refuse int
	delay  time.Duration
	// frozen is nil, or closed when the proxy is opened or cut.
	frozen chan struct{}
	conns  map[*conn]struct{}
	stats  Stats
}

// Listen returns a proxy between two addresses, which are host:port or unix:PATH.
// Port 0 is a free port, see Address. Close ends it.
func Listen(ctx context.Context, address, target string) (*Proxy, error) {
	network, path := split(address)
	listener, err := (&net.ListenConfig{}).Listen(ctx, network, path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	network, path = split(target)
	return New(ctx, listener, func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, path)
	}), nil
}

func split(address string) (network, path string) {
	if path, unix := strings.CutPrefix(address, "unix:"); unix {
		return "unix", strings.TrimPrefix(path, "//")
	}
	return "tcp", address
}

// New returns a proxy for the connections that a listener accepts; dial connects to the
// server. The proxy stops, and closes the listener, on Close or when ctx is cancelled.
func New(ctx context.Context, listener net.Listener, dial func(context.Context) (net.Conn, error)) *Proxy {
	p := &Proxy{listener: listener, dial: dial, conns: map[*conn]struct{}{}}
	p.ctx, p.cancel = context.WithCancel(ctx)
	context.AfterFunc(p.ctx, func() {
		_ = listener.Close()
		p.Cut()
	})
	p.running.Go(p.serve)
	return p
}

// Address returns the address for clients, host:port or unix:PATH.
func (p *Proxy) Address() string {
	address := p.listener.Addr()
	if address.Network() == "unix" {
		return "unix:" + address.String()
	}
	return address.String()
}

// Close closes the listener and all connections, and waits until the proxy has
// ended.
func (p *Proxy) Close() {
	p.cancel()
	p.running.Wait()
}

// Open ends Cut, Freeze and Slow. Connections that lose the server's data keep
// losing it.
func (p *Proxy) Open() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() == nil {
		p.cut, p.delay = false, 0
		p.thaw()
	}
}

// Cut closes all connections, and refuses new ones until Open.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
	p.thaw()
	for c := range p.conns {
		if c.closeLocked() {
			p.stats.Ended++
		}
	}
}

// Slow delays every chunk until Open. Zero ends it as well.
func (p *Proxy) Slow(delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = delay
}

// Freeze passes nothing in either direction until Open: connections stay, new ones
// are accepted without connecting to the server, and the end of a connection is
// held as its data is.
func (p *Proxy) Freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frozen == nil && !p.cut {
		p.frozen = make(chan struct{})
	}
}

// thaw ends Freeze. The mutex is held.
func (p *Proxy) thaw() {
	if p.frozen != nil {
		close(p.frozen)
		p.frozen = nil
	}
}

// DropReplies drops everything that the server sends on the currently open connections,
// including the end of the stream: they stay half-open until the client closes them, and
// Open does not repair them. Later connections are not affected. It returns the number of
// affected connections.
func (p *Proxy) DropReplies() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	affected := 0
	for c := range p.conns {
		if c.server != nil {
			c.halfOpen = true
			affected++
		}
	}
	return affected
}

// Refuse closes the next connections as soon as they are accepted. A later call
// replaces the number.
func (p *Proxy) Refuse(connections int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = connections
}

// Stats returns the counts up to now.
func (p *Proxy) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	stats := p.stats
	stats.Open = len(p.conns)
	return stats
}

func (p *Proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		if c := p.admit(client); c != nil {
			p.running.Go(c.run)
		}
	}
}

// admit returns nil if it refused the connection.
func (p *Proxy) admit(client net.Conn) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	refused := p.cut
	if !refused && p.refuse > 0 {
		p.refuse--
		refused = true
	}
	if refused {
		p.stats.Refused++
		_ = client.Close()
		return nil
	}
	p.stats.Accepted++
	c := &conn{proxy: p, client: client, closed: make(chan struct{})}
	p.conns[c] = struct{}{}
	return c
}
