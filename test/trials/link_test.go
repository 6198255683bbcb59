package trials_test

import (
	"net"
	"sync"
	"time"
)

// link is the network between the operator and a scheduler: a proxy that can be
// cut, delay what passes, and lose one direction of a connection.
type link struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	state linkState
	conns map[net.Conn]bool
}

type linkState int

const (
	linkOpen linkState = iota
	// linkCut ends connections, and takes none.
	linkCut
	// linkSlow delays what passes.
	linkSlow
	// linkOneWay loses what the scheduler sends, as does a half-open connection.
	linkOneWay
)

const slowness = 150 * time.Millisecond

func newLink(target string) (*link, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &link{listener: listener, target: target, conns: map[net.Conn]bool{}}
	go l.serve()
	return l, nil
}

func (l *link) address() string { return l.listener.Addr().String() }

func (l *link) close() {
	_ = l.listener.Close()
	l.set(linkCut)
}

// set changes the state of the network. A connection that lost a direction has lost
// it for good.
func (l *link) set(state linkState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state = state
	if state != linkCut {
		return
	}
	for conn := range l.conns {
		_ = conn.Close()
	}
	clear(l.conns)
}

func (l *link) now() linkState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

func (l *link) serve() {
	for {
		near, err := l.listener.Accept()
		if err != nil {
			return
		}
		if l.now() == linkCut {
			_ = near.Close()
			continue
		}
		far, err := net.Dial("unix", l.target)
		if err != nil {
			_ = near.Close()
			continue
		}
		l.mu.Lock()
		l.conns[near], l.conns[far] = true, true
		l.mu.Unlock()
		go l.pass(near, far, false)
		go l.pass(far, near, true)
	}
}

// pass copies one direction of a connection, fromScheduler or to it.
func (l *link) pass(from, to net.Conn, fromScheduler bool) {
	defer func() {
		_, _ = from.Close(), to.Close()
		l.mu.Lock()
		delete(l.conns, from)
		delete(l.conns, to)
		l.mu.Unlock()
	}()
	buffer := make([]byte, 32<<10)
	lost := false
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		switch l.now() {
		case linkSlow:
			time.Sleep(slowness)
		case linkOneWay:
			lost = lost || fromScheduler
		case linkOpen, linkCut:
		}
		if lost {
			continue
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}
