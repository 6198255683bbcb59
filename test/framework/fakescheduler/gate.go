package fakescheduler

// gate is the start-up readiness gate: closed until the servers' replicas that are
// expected have connected, then open for the rest of the run.
//
//	closed ── timeout ───────────────────────────────► open
//	closed ── first signal, and as many distinct
//	          replicas connected as it expects ──────► open
//	closed ── held ── anything but being forced ─────► closed
//
// The first signal counts, later ones are ignored. Fewer or more replicas than
// expected do not open it: the number must be equal.
type gate struct {
	open      bool
	held      bool
	timedOut  bool
	signalled bool
	expected  uint64
	connected uint64
	// opened is closed when the gate opens.
	opened chan struct{}
	// waiting is what to do then, in this order.
	waiting []func()
}

func newGate(held bool) *gate {
	return &gate{held: held, opened: make(chan struct{})}
}

// signal tells how many replicas all servers together expect.
func (g *gate) signal(expected uint64) {
	if !g.signalled && !g.open {
		g.signalled, g.expected = true, expected
		g.check()
	}
}

// replicas tells how many distinct replicas are connected.
func (g *gate) replicas(connected uint64) {
	g.connected = connected
	g.check()
}

// timeout tells that it has waited long enough.
func (g *gate) timeout() {
	g.timedOut = true
	g.check()
}

// hold keeps it closed; it does nothing to an open gate.
func (g *gate) hold() { g.held = true }

// release ends hold, and opens it if it would be open by now.
func (g *gate) release() {
	g.held = false
	g.check()
}

func (g *gate) check() {
	if !g.held && (g.timedOut || g.signalled && g.connected == g.expected) {
		g.force()
	}
}

// force opens it.
func (g *gate) force() {
	if g.open {
		return
	}
	g.open = true
	close(g.opened)
	for _, do := range g.waiting {
		do()
	}
	g.waiting = nil
}

// whenOpen does something now, or when it opens.
func (g *gate) whenOpen(do func()) {
	if g.open {
		do()
		return
	}
	g.waiting = append(g.waiting, do)
}
