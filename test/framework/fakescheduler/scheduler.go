package fakescheduler

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Scheduler is a simulated scheduler with what works for it. Its methods may be
// called from any goroutine. Those on state and workers also work while it is down,
// and then take effect when it starts again.
type Scheduler struct {
	options  Options
	ctx      context.Context
	traffic  *traffic
	faults   *faults
	counters *counters

	// life makes starts and stops take turns. It is taken before mu.
	life sync.Mutex
	// unwatch ends the watch on ctx.
	unwatch func() bool

	// mu guards everything below, and the state of the current run.
	mu      sync.Mutex
	address string
	fleet   *fleet
	// run is nil while it is down; last is then what it was.
	run  *run
	last *world
	// stored is what the volume holds while it is down.
	stored volume
	// saving is whether the state file is about to be written.
	saving bool
}

// Start starts a scheduler, which is stopped by Stop or Kill, or killed when ctx
// ends. Errors: the address cannot be listened on, or the state file not be read.
func Start(ctx context.Context, options Options) (*Scheduler, error) {
	s := &Scheduler{
		options:  options.withDefaults(),
		ctx:      ctx,
		traffic:  &traffic{},
		faults:   newFaults(),
		counters: newCounters(),
	}
	s.address = s.options.Address
	s.fleet = newFleet(s.options)
	if err := s.readState(); err != nil {
		return nil, fmt.Errorf("read state file: %w", err)
	}
	s.life.Lock()
	defer s.life.Unlock()
	if err := s.up(); err != nil {
		return nil, err
	}
	return s, nil
}

// up starts a run.
func (s *Scheduler) up() error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	on, err := s.listen()
	if err != nil {
		return fmt.Errorf("listen on %s: %w", s.address, err)
	}
	if s.options.Listen == nil && on.Addr().Network() != "unix" {
		s.address = on.Addr().String()
	}
	r := newRun(s, on, s.stored)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.run, s.last = r, r.world
	s.unwatch = context.AfterFunc(s.ctx, s.Kill)
	return nil
}

func (s *Scheduler) listen() (*listener, error) {
	if s.options.Listen == nil {
		return listen(s.ctx, s.address, s.traffic)
	}
	on, err := s.options.Listen()
	return &listener{Listener: on, traffic: s.traffic}, err
}

// down ends the run, if there is one.
func (s *Scheduler) down(graceful bool) {
	r := s.current()
	if r == nil {
		return
	}
	s.unwatch()
	r.stop(graceful)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.run = nil
	s.stored = r.world.volume()
	for _, a := range s.fleet.agents {
		a.finish()
	}
	s.saving = false
	s.writeState()
}

// current is the run, or nil while it is down.
func (s *Scheduler) current() *run {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.run
}

// Address is where it listens, as clients dial it: host:port or unix:/path.
func (s *Scheduler) Address() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.address
}

// Stop stops it gracefully: streams end with EOF, calls under way are answered.
// After 5 seconds it kills. Restart starts it again.
func (s *Scheduler) Stop() {
	s.life.Lock()
	defer s.life.Unlock()
	s.down(true)
}

// Kill breaks all connections. The volume and the agents stay. Until Restart the
// address refuses connections.
func (s *Scheduler) Kill() {
	s.life.Lock()
	defer s.life.Unlock()
	s.down(false)
}

// RestartOptions say how it restarts.
type RestartOptions struct {
	// Graceful stops it rather than killing it.
	Graceful bool
	// LoseVolume forgets pipelines and experiments.
	LoseVolume bool
	// LoseAgents forgets what agents have loaded: they come back empty.
	LoseAgents bool
	// Down is how long it stays down.
	Down time.Duration
}

// Restart stops it, unless it is down, and starts it at the same address. Models,
// servers and what gateways did are forgotten; agents that were there reconnect and
// report what they have loaded. Errors: the address cannot be listened on any more,
// or the context of Start has ended.
func (s *Scheduler) Restart(options RestartOptions) error {
	s.life.Lock()
	defer s.life.Unlock()
	s.down(options.Graceful)
	if options.LoseVolume {
		s.stored = volume{}
	}
	if options.LoseAgents {
		for _, agent := range s.fleet.agents {
			clear(agent.loaded)
		}
	}
	timer := time.NewTimer(options.Down)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.ctx.Done():
	}
	return s.up()
}

// errDown is returned by what only a running scheduler can do.
var errDown = errors.New("the simulated scheduler is down")

// withWorld does something with the state of the run; down is errDown.
func (s *Scheduler) withWorld(do func(w *world)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run == nil {
		return errDown
	}
	do(s.run.world)
	return nil
}

// HoldGate keeps the gate closed from now on, over restarts too; an open gate stays
// open.
func (s *Scheduler) HoldGate() { s.holdGate(true) }

// ReleaseGate ends HoldGate: the gate opens if it would have opened meanwhile.
func (s *Scheduler) ReleaseGate() { s.holdGate(false) }

func (s *Scheduler) holdGate(held bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.options.HoldGate = held
	switch {
	case s.run == nil:
	case held:
		s.run.world.gate.hold()
	default:
		s.run.world.gate.release()
	}
}

// OpenGate opens the gate of this run. Errors: it is down.
func (s *Scheduler) OpenGate() error {
	return s.withWorld(func(w *world) { w.gate.force() })
}

// GateOpen is whether the gate is open; while it is down, it is not.
func (s *Scheduler) GateOpen() bool {
	open := false
	_ = s.withWorld(func(w *world) { open = w.gate.open })
	return open
}

// Settle waits until nothing is left to do in the background: everything that was
// asked for has been done and told, delays included. What waits for the gate, for
// retries or for a TTL does not count, nor do clients that have yet to read.
// Errors: that of ctx.
func (s *Scheduler) Settle(ctx context.Context) error {
	r := s.current()
	if r == nil {
		return nil
	}
	var idle <-chan struct{}
	r.locked(func() { idle = r.loop.whenIdle() })
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the simulated scheduler to settle: %w", ctx.Err())
	}
}

// ConnectAgent makes an agent connect, now or when it is up. One that is connected
// connects again. In automatic mode, ServerNotify may take it away.
func (s *Scheduler) ConnectAgent(a Agent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fleet.join(a)
	if s.run != nil {
		s.run.world.connectAgent(replicaKey{a.Server, a.Replica})
	}
}

// DisconnectAgent takes an agent away. What it has loaded is there again when
// ConnectAgent brings it back, unless that says otherwise.
func (s *Scheduler) DisconnectAgent(server string, replica int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := replicaKey{server, replica}
	if s.run != nil {
		s.run.world.leave(key)
	} else if a := s.fleet.agents[key]; a != nil {
		a.here = false
	}
}

// SetModelGateways makes so many model gateways be connected.
func (s *Scheduler) SetModelGateways(n int) { s.setWorkers(modelGateways, n) }

// SetPipelineGateways makes so many pipeline gateways be connected.
func (s *Scheduler) SetPipelineGateways(n int) { s.setWorkers(pipelineGateways, n) }

// SetDataflowEngines makes so many dataflow engines be connected.
func (s *Scheduler) SetDataflowEngines(n int) { s.setWorkers(dataflowEngines, n) }

func (s *Scheduler) setWorkers(kind workerKind, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fleet.workers[kind] = n
	if s.run != nil {
		s.run.world.staff(kind)
	}
}

// RebalancePipelines makes the dataflow engines move their pipelines among
// themselves: those that are ready are rebalancing, then ready again. Errors: it is
// down.
func (s *Scheduler) RebalancePipelines() error {
	return s.withWorld(func(w *world) { w.changePipelines(dataflowEngines, (*duty).shuffle) })
}

// delays are those of now.
func (s *Scheduler) delays() Delays {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.options.Delays
}

// SetDelays changes the delays, from the next thing on that is delayed.
func (s *Scheduler) SetDelays(d Delays) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.options.Delays = d
	if s.run != nil {
		s.run.world.setDelays(d)
	}
}
