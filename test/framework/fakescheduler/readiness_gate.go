package fakescheduler

import "time"

// readyTimeout is how long after a start the gate opens in any case.
const readyTimeout = 5 * time.Minute

// readinessGate is closed until the servers' replicas that are expected have
// connected, then open for the rest of the instance's life.
//
//	closed ── timeout ─────────────────────────────────► open
//	closed ── first signal, and as many replicas
//	          connected as it expects ─────────────────► open
//	closed ── held ── timeout, signal, replicas ───────► closed
//
// Later signals are ignored. The number of replicas must be equal to the expected
// one: more of them do not open the gate either, unless none is expected.
type readinessGate struct {
	open      bool
	held      bool
	timedOut  bool
	signalled bool
	expected  uint64
	connected uint64
	// opened is closed when the gate opens.
	opened chan struct{}
	// waiting runs then, in this order.
	waiting []func()
}

func newReadinessGate(held bool) *readinessGate {
	return &readinessGate{held: held, opened: make(chan struct{})}
}

// signal sets how many replicas all servers expect together.
func (g *readinessGate) signal(expected uint64) {
	if !g.signalled {
		g.signalled, g.expected = true, expected
		g.check()
	}
}

// replicas sets how many replicas are connected.
func (g *readinessGate) replicas(connected uint64) {
	g.connected = connected
	g.check()
}

func (g *readinessGate) timeout() {
	g.timedOut = true
	g.check()
}

// hold keeps a closed gate closed, or ends that.
func (g *readinessGate) hold(held bool) {
	g.held = held
	g.check()
}

func (g *readinessGate) check() {
	if !g.held && (g.timedOut || g.signalled && (g.expected == 0 || g.connected == g.expected)) {
		g.release()
	}
}

// release opens it.
func (g *readinessGate) release() {
	if g.open {
		return
	}
	g.open = true
	close(g.opened)
	for _, task := range g.waiting {
		task()
	}
	g.waiting = nil
}

// whenOpen runs a task now, or when the gate opens.
func (g *readinessGate) whenOpen(task func()) {
	if g.open {
		task()
		return
	}
	g.waiting = append(g.waiting, task)
}
