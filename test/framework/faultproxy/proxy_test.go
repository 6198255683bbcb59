package faultproxy

import (
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/test/bufconn"
)

// network is a proxy to an echo server.
type network struct {
	*Proxy
	t      *testing.T
	client *bufconn.Listener
	server *bufconn.Listener
}

// inNetwork runs a test in a bubble, in which time passes only while everything
// waits.
func inNetwork(t *testing.T, test func(t *testing.T, n *network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := &network{t: t, client: bufconn.Listen(1 << 16), server: bufconn.Listen(1 << 16)}
		n.Proxy = New(t.Context(), n.client, n.server.DialContext)
		go echo(n.server)
		defer func() {
			n.Close()
			_ = n.server.Close()
		}()
		test(t, n)
	})
}

func echo(listener net.Listener) {
	for {
		c, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}()
	}
}

// peer is a client's connection that records what it received.
type peer struct {
	net.Conn
	mu       sync.Mutex
	received string
	ended    bool
}

func (n *network) dial() *peer {
	n.t.Helper()
	c, err := n.client.DialContext(n.t.Context())
	if err != nil {
		n.t.Fatal(err)
	}
	p := &peer{Conn: c}
	n.t.Cleanup(func() { _ = c.Close() })
	go func() {
		buffer := make([]byte, 100)
		for {
			read, err := c.Read(buffer)
			p.mu.Lock()
			p.received += string(buffer[:read])
			p.ended = err != nil
			p.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	synctest.Wait()
	return p
}

// send sends, and waits until nothing happens any more without time passing.
func (n *network) send(p *peer, text string) {
	n.t.Helper()
	if _, err := p.Write([]byte(text)); err != nil {
		n.t.Fatal(err)
	}
	synctest.Wait()
}

func (n *network) expect(what string, p *peer, received string, ended bool) {
	n.t.Helper()
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.received != received || p.ended != ended {
		n.t.Errorf("%s: received %q, ended %t; want %q, %t", what, p.received, p.ended, received, ended)
	}
}

func (n *network) expectStats(want Stats) {
	n.t.Helper()
	synctest.Wait()
	if got := n.Stats(); got != want {
		n.t.Errorf("stats\n%+v, want\n%+v", got, want)
	}
}

func TestOpen(t *testing.T) {
	inNetwork(t, func(_ *testing.T, n *network) {
		p := n.dial()
		n.send(p, "abc")
		n.expect("an open proxy", p, "abc", false)
		n.expectStats(Stats{Accepted: 1, Open: 1, ToServer: Bytes{Passed: 3}, ToClient: Bytes{Passed: 3}})
		_ = p.Close()
		n.expectStats(Stats{Accepted: 1, ToServer: Bytes{Passed: 3}, ToClient: Bytes{Passed: 3}})
	})
}

func TestNoServer(t *testing.T) {
	inNetwork(t, func(_ *testing.T, n *network) {
		_ = n.server.Close()
		p := n.dial()
		n.expect("no server", p, "", true)
		n.expectStats(Stats{Refused: 1})
	})
}

func TestCut(t *testing.T) {
	inNetwork(t, func(_ *testing.T, n *network) {
		p := n.dial()
		n.Cut()
		n.expect("a cut connection", p, "", true)
		n.expect("a new one", n.dial(), "", true)
		n.expectStats(Stats{Accepted: 1, Refused: 1, Ended: 1})
		n.Open()
		p = n.dial()
		n.send(p, "a")
		n.expect("an open proxy", p, "a", false)
	})
}

func TestSlow(t *testing.T) {
	inNetwork(t, func(_ *testing.T, n *network) {
		p := n.dial()
		n.Slow(time.Second)
		n.send(p, "ab")
		time.Sleep(2*time.Second - time.Nanosecond)
		n.expect("before two delays", p, "", false)
		time.Sleep(time.Nanosecond)
		n.expect("after two delays", p, "ab", false)
		n.expectStats(Stats{
			Accepted: 1, Open: 1,
			ToServer: Bytes{Delayed: 2, Passed: 2}, ToClient: Bytes{Delayed: 2, Passed: 2},
		})
		n.send(p, "c")
		n.Open()
		n.send(p, "d")
		time.Sleep(time.Second)
		n.expect("an open proxy", p, "abcd", false)
		n.Slow(time.Hour)
		n.send(p, "e")
		n.Cut()
		n.expectStats(Stats{
			Accepted: 1, Ended: 1,
			ToServer: Bytes{Delayed: 4, Passed: 4, Dropped: 1}, ToClient: Bytes{Delayed: 2, Passed: 4},
		})
	})
}

func TestFreeze(t *testing.T) {
	inNetwork(t, func(_ *testing.T, n *network) {
		p := n.dial()
		closing := n.dial()
		n.Freeze()
		n.send(p, "abc")
		_ = closing.Close()
		during := n.dial()
		n.send(during, "d")
		time.Sleep(time.Hour)
		n.expect("a frozen connection", p, "", false)
		n.expect("one that was accepted while frozen", during, "", false)
		n.expectStats(Stats{Accepted: 3, Open: 3, ToServer: Bytes{Held: 3}})
		n.Open()
		n.expect("a thawed connection", p, "abc", false)
		n.expect("one that was accepted while frozen", during, "d", false)
		n.expectStats(Stats{Accepted: 3, Open: 2, ToServer: Bytes{Held: 3, Passed: 4}, ToClient: Bytes{Passed: 4}})
		n.Freeze()
		n.send(p, "e")
		n.Cut()
		n.expect("one that is cut while frozen", p, "abc", true)
		n.expectStats(Stats{
			Accepted: 3, Ended: 2,
			ToServer: Bytes{Held: 4, Passed: 4, Dropped: 1}, ToClient: Bytes{Passed: 4},
		})
		n.Freeze()
		n.expect("Cut takes precedence", n.dial(), "", true)
	})
}

func TestDropReplies(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		p := n.dial()
		if affected := n.DropReplies(); affected != 1 {
			t.Errorf("%d connections are affected", affected)
		}
		later := n.dial()
		n.Open()
		n.send(p, "abc")
		n.send(later, "d")
		n.expect("a half-open connection", p, "", false)
		n.expect("a later one", later, "d", false)
		n.expectStats(Stats{
			Accepted: 2, Open: 2,
			ToServer: Bytes{Passed: 4}, ToClient: Bytes{Passed: 1, Dropped: 3},
		})
		_ = p.Close()
		n.expectStats(Stats{
			Accepted: 2, Open: 1,
			ToServer: Bytes{Passed: 4}, ToClient: Bytes{Passed: 1, Dropped: 3},
		})
	})
}

// A half-open connection does not end for the client when the server has ended.
func TestDropRepliesHidesTheServersEnd(t *testing.T) {
	inNetwork(t, func(_ *testing.T, n *network) {
		ended := bufconn.Listen(1 << 16)
		n.dialTo(ended)
		p := n.dial()
		server, err := ended.Accept()
		if err != nil {
			n.t.Fatal(err)
		}
		synctest.Wait()
		n.DropReplies()
		_ = server.Close()
		n.send(p, "abc")
		n.expect("a half-open connection without a server", p, "", false)
		n.expectStats(Stats{Accepted: 1, Open: 1, ToServer: Bytes{Dropped: 3}})
	})
}

func (n *network) dialTo(listener *bufconn.Listener) { n.Proxy.dial = listener.DialContext }

func TestRefuse(t *testing.T) {
	inNetwork(t, func(_ *testing.T, n *network) {
		before := n.dial()
		n.Refuse(2)
		n.expect("the first", n.dial(), "", true)
		n.expect("the second", n.dial(), "", true)
		n.expect("the third", n.dial(), "", false)
		n.expect("an open connection", before, "", false)
		n.expectStats(Stats{Accepted: 2, Open: 2, Refused: 2})
	})
}

func TestClose(t *testing.T) {
	inNetwork(t, func(_ *testing.T, n *network) {
		p, frozen := n.dial(), n.dial()
		n.Freeze()
		n.send(frozen, "a")
		n.Close()
		n.Open()
		n.Freeze()
		n.expect("a connection", p, "", true)
		n.expect("a frozen one", frozen, "", true)
	})
}

// Addresses of TCP and of Unix sockets, and a client that sends more than a chunk.
func TestListen(t *testing.T) {
	for _, target := range []string{"127.0.0.1:0", "unix:" + filepath.Join(t.TempDir(), "s")} {
		network, path := split(target)
		server, err := (&net.ListenConfig{}).Listen(t.Context(), network, path)
		if err != nil {
			t.Fatal(err)
		}
		go echo(server)
		defer func() { _ = server.Close() }()
		for _, address := range []string{"127.0.0.1:0", "unix:" + filepath.Join(t.TempDir(), "p")} {
			if network == "tcp" {
				target = server.Addr().String()
			}
			p, err := Listen(t.Context(), address, target)
			if err != nil {
				t.Fatal(err)
			}
			network, path := split(p.Address())
			c, err := (&net.Dialer{}).DialContext(t.Context(), network, path)
			if err != nil {
				t.Fatal(err)
			}
			sent := make([]byte, 3*chunk)
			go func() { _, _ = c.Write(sent) }()
			if _, err := io.ReadFull(c, make([]byte, len(sent))); err != nil {
				t.Errorf("%s to %s: %v", address, target, err)
			}
			p.Close()
			if _, err := c.Read(make([]byte, 1)); err == nil {
				t.Errorf("%s to %s: a connection outlives Close", address, target)
			}
		}
	}
	if _, err := Listen(t.Context(), "256.0.0.1:0", ""); err == nil {
		t.Error("an address that is none can be listened on")
	}
}
