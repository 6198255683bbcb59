package faultproxy

import (
	"net"
	"time"
)

// chunk is the maximum number of bytes that is read and forwarded at once.
const chunk = 32 << 10

// conn is a connection of a client, with the one to the server that it is forwarded to.
type conn struct {
	proxy  *Proxy
	client net.Conn
	closed chan struct{}

	// The fields below are guarded by the proxy's mutex.

	// server is nil until the proxy is connected to it.
	server net.Conn
	// halfOpen drops everything that the server sends.
	halfOpen bool
}

// run forwards a connection until it ends.
func (c *conn) run() {
	defer c.close()
	if !c.hold(0, &Bytes{}) {
		return
	}
	server, err := c.proxy.dial(c.proxy.ctx)
	if err != nil {
		c.count(func(s *Stats) { s.Accepted, s.Refused = s.Accepted-1, s.Refused+1 })
		return
	}
	if !c.connected(server) {
		return
	}
	c.proxy.running.Go(func() {
		defer c.close()
		c.passReplies(server)
	})
	c.passRequests(server)
}

// connected sets the connection to the server. It returns false if the client's
// connection was closed in the meantime.
func (c *conn) connected(server net.Conn) bool {
	c.proxy.mu.Lock()
	defer c.proxy.mu.Unlock()
	if _, open := c.proxy.conns[c]; !open {
		_ = server.Close()
		return false
	}
	c.server = server
	return true
}

func (c *conn) passRequests(server net.Conn) {
	buffer := make([]byte, chunk)
	bytes := &c.proxy.stats.ToServer
	for {
		n, err := c.client.Read(buffer)
		if !c.hold(n, bytes) || !c.wait(n, bytes) {
			return
		}
		if n > 0 {
			if _, failed := server.Write(buffer[:n]); failed == nil {
				c.count(func(*Stats) { bytes.Passed += int64(n) })
			} else {
				c.count(func(*Stats) { bytes.Dropped += int64(n) })
				// A half-open connection does not end for the client when the server closes it.
				if !c.isHalfOpen() {
					return
				}
			}
		}
		if err != nil {
			return
		}
	}
}

func (c *conn) passReplies(server net.Conn) {
	buffer := make([]byte, chunk)
	bytes := &c.proxy.stats.ToClient
	for {
		n, err := server.Read(buffer)
		if !c.hold(n, bytes) || !c.wait(n, bytes) {
			return
		}
		if c.isHalfOpen() {
			c.count(func(*Stats) { bytes.Dropped += int64(n) })
			if err != nil {
				<-c.closed
				return
			}
			continue
		}
		if n > 0 {
			if _, failed := c.client.Write(buffer[:n]); failed != nil {
				c.count(func(*Stats) { bytes.Dropped += int64(n) })
				return
			}
			c.count(func(*Stats) { bytes.Passed += int64(n) })
		}
		if err != nil {
			return
		}
	}
}

// hold waits while the proxy is frozen. It returns false if the connection was closed.
func (c *conn) hold(n int, bytes *Bytes) bool {
	c.proxy.mu.Lock()
	frozen := c.proxy.frozen
	if frozen != nil {
		bytes.Held += int64(n)
	}
	c.proxy.mu.Unlock()
	if frozen == nil {
		return true
	}
	select {
	case <-frozen:
		return true
	case <-c.closed:
		c.count(func(*Stats) { bytes.Dropped += int64(n) })
		return false
	}
}

// wait delays a chunk while the proxy is slow. It returns false if the connection was
// closed.
func (c *conn) wait(n int, bytes *Bytes) bool {
	c.proxy.mu.Lock()
	delay := c.proxy.delay
	if delay > 0 {
		bytes.Delayed += int64(n)
	}
	c.proxy.mu.Unlock()
	if delay <= 0 {
		return true
	}
	select {
	case <-time.After(delay):
		return true
	case <-c.closed:
		c.count(func(*Stats) { bytes.Dropped += int64(n) })
		return false
	}
}

func (c *conn) isHalfOpen() bool {
	c.proxy.mu.Lock()
	defer c.proxy.mu.Unlock()
	return c.halfOpen
}

func (c *conn) count(change func(*Stats)) {
	c.proxy.mu.Lock()
	defer c.proxy.mu.Unlock()
	change(&c.proxy.stats)
}

func (c *conn) close() {
	c.proxy.mu.Lock()
	defer c.proxy.mu.Unlock()
	c.closeLocked()
}

// closeLocked closes the connection with the proxy's mutex held. It returns false if it
// was closed before.
func (c *conn) closeLocked() bool {
	if _, open := c.proxy.conns[c]; !open {
		return false
	}
	delete(c.proxy.conns, c)
	close(c.closed)
	_ = c.client.Close()
	if c.server != nil {
		_ = c.server.Close()
	}
	return true
}
