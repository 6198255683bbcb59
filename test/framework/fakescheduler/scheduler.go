package fakescheduler

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
)

// Scheduler is a fake scheduler with its agents and workers. Its methods may be called
// concurrently. Faults, agents and counts are kept over restarts.
type Scheduler struct {
	options Options
	ctx     context.Context
	faults  *faults
	calls   *calls

	// lifecycle serialises starts and stops. It is locked before mu.
	lifecycle sync.Mutex

	// mu guards the fields below, and the state of the current instance.
	mu      sync.Mutex
	address string
	actors  *externalActors
	// instance is nil while it is down; last is then the state before.
	instance *instance
	last     *state
	// stored is the content of the volume while the scheduler is down.
	stored persistentState
}

// Start starts a scheduler. Stop or Kill stops it, and the end of ctx kills it.
// Errors: the address cannot be listened on, or the state file cannot be read.
func Start(ctx context.Context, options Options) (*Scheduler, error) {
	s := &Scheduler{
		options: options.withDefaults(), ctx: ctx,
		faults: newFaults(), calls: newCalls(), actors: newExternalActors(),
	}
	s.address = s.options.Address
	var err error
	if s.stored, err = s.load(); err != nil {
		return nil, fmt.Errorf("read the state file: %w", err)
	}
	if err := s.Restart(RestartOptions{}); err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, s.Kill)
	return s, nil
}

// RestartOptions configure a restart.
type RestartOptions struct {
	// LoseVolume forgets pipelines and experiments.
	LoseVolume bool
	// LoseAgents makes agents connect without loaded models.
	LoseAgents bool
}

// Restart kills it, unless it is down, and starts it at the same address. Models,
// servers and what gateways did are forgotten. Agents connect again, and report what
// they have loaded. Errors: the address cannot be listened on, or the context of
// Start has ended.
func (s *Scheduler) Restart(options RestartOptions) error {
	s.lifecycle.Lock()
	defer s.lifecycle.Unlock()
	s.down(false)
	if options.LoseVolume {
		s.stored = persistentState{}
	}
	if options.LoseAgents {
		s.mu.Lock()
		for _, a := range s.actors.agents {
			clear(a.loaded)
		}
		s.mu.Unlock()
	}
	if err := s.ctx.Err(); err != nil {
		return err
	}
	listener, err := s.listen()
	if err != nil {
		return fmt.Errorf("listen on %s: %w", s.address, err)
	}
	i, err := newInstance(s, listener, s.stored)
	if err != nil {
		return errors.Join(fmt.Errorf("read the stored state: %w", err), listener.Close())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.instance, s.last = i, i.state
	return nil
}

// listen opens the listener.
func (s *Scheduler) listen() (net.Listener, error) {
	if s.options.Listen != nil {
		return s.options.Listen()
	}
	if path, unix := strings.CutPrefix(s.address, "unix:"); unix {
		// A process that was killed leaves its socket behind.
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		return (&net.ListenConfig{}).Listen(s.ctx, "unix", path)
	}
	listener, err := (&net.ListenConfig{}).Listen(s.ctx, "tcp", s.address)
	if err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.address = listener.Addr().String()
	}
	return listener, err
}

// Stop stops it gracefully: streams end with EOF, and calls are completed. After 5
// seconds it closes the remaining connections. Restart starts it again.
func (s *Scheduler) Stop() {
	s.lifecycle.Lock()
	defer s.lifecycle.Unlock()
	s.down(true)
}

// Kill breaks all connections. Until Restart, connections are refused.
func (s *Scheduler) Kill() {
	s.lifecycle.Lock()
	defer s.lifecycle.Unlock()
	s.down(false)
}

// down ends the instance, if there is one.
func (s *Scheduler) down(graceful bool) {
	i := s.current()
	if i == nil {
		return
	}
	i.stop(graceful)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.instance = nil
	s.stored = i.state.persistent()
	s.save(s.stored)
}

// current returns the instance, or nil while it is down.
func (s *Scheduler) current() *instance {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.instance
}

// errDown is the error of methods that need a scheduler that is not down.
var errDown = errors.New("the fake scheduler is down")

// withState calls a function with the state of the instance. Errors: errDown.
func (s *Scheduler) withState(do func(s *state)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.instance == nil {
		return errDown
	}
	do(s.instance.state)
	return nil
}

// Address returns the address for clients: host:port or unix:PATH.
func (s *Scheduler) Address() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.address
}

// HoldGate keeps a closed gate closed, over restarts too.
func (s *Scheduler) HoldGate() { s.holdGate(true) }

// ReleaseGate ends HoldGate: the gate opens if it would have opened in the meantime.
func (s *Scheduler) ReleaseGate() { s.holdGate(false) }

func (s *Scheduler) holdGate(held bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.actors.holdGate = held
	if s.instance != nil {
		s.instance.state.gate.hold(held)
	}
}

// OpenGate opens the gate of this instance, also if it is held. Errors: it is down.
func (s *Scheduler) OpenGate() error {
	return s.withState(func(s *state) { s.gate.release() })
}

// GateOpen is whether the gate is open; it is not while the scheduler is down.
func (s *Scheduler) GateOpen() bool {
	open := false
	_ = s.withState(func(s *state) { open = s.gate.open })
	return open
}

// ConnectAgent connects an agent, now or when the scheduler starts. One that is
// connected connects again. It has loaded what it had when it disconnected. In
// automatic mode, a ServerNotify may disconnect it.
func (s *Scheduler) ConnectAgent(a Agent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := replicaKey{a.Server, a.Replica}
	s.actors.agent(key).connected = true
	if s.instance != nil {
		s.instance.state.connectAgent(key)
	}
}

// DisconnectAgent disconnects an agent.
func (s *Scheduler) DisconnectAgent(server string, replica int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := replicaKey{server, replica}
	s.actors.agent(key).connected = false
	if s.instance != nil {
		s.instance.state.disconnectAgent(key)
	}
}
