package fakescheduler

import (
	"cmp"
	"maps"
	"slices"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// fleet is what works for the scheduler and outlives its restarts: agents with what
// they have loaded, how many gateways and engines there are, and what is to fail.
type fleet struct {
	agents map[replicaKey]*agent
	// targets is how many agents of a server automatic mode keeps connected.
	targets map[string]int
	// workers is how many of each kind there are.
	workers map[workerKind]int
	// failures is how many operations are still to fail; negative is all of them.
	failures map[failure]int
}

// replicaKey names a replica of a server.
type replicaKey struct {
	server string
	index  int
}

// versionKey names a version of a model.
type versionKey struct {
	model   string
	version uint32
}

// failure names what fails: an operation of a kind of worker on an item.
type failure struct {
	what string
	item string
}

// What an agent can fail at; for the other workers it is their kind.
const (
	failLoad   = "agent load"
	failUnload = "agent unload"
)

// Agent is a model server's agent, one per replica.
type Agent struct {
	// Server and Replica name it; the first replica is 0.
	Server  string
	Replica int
	// Dedicated servers take only models that name them. Default: shared.
	Dedicated bool
	// Capabilities are the requirements that it meets. Nil: any.
	Capabilities []string
	// Memory is in bytes. 0: without bound.
	Memory uint64
	// Loaded is what it reports to have loaded when it connects. For an agent that
	// was connected before, nil is what it had then.
	Loaded []LoadedModel
}

// LoadedModel is a model that an agent has loaded. Agents keep their definitions.
type LoadedModel struct {
	Model   *pb.Model
	Version uint32
}

type agent struct {
	Agent
	// here is whether it runs: it connects whenever there is a scheduler.
	here   bool
	loaded map[versionKey]*pb.Model
	// commands are under way, at most one per version: a newer one replaces it.
	commands map[versionKey]*command
}

// command is the scheduler's to an agent.
type command struct {
	unload bool
	defn   *pb.Model
}

func newFleet(o Options) *fleet {
	return &fleet{
		agents:  map[replicaKey]*agent{},
		targets: map[string]int{},
		workers: map[workerKind]int{
			modelGateways:    o.ModelGateways,
			pipelineGateways: o.PipelineGateways,
			dataflowEngines:  o.DataflowEngines,
		},
		failures: map[failure]int{},
	}
}

// join adds an agent, or brings back the one of that name.
func (f *fleet) join(a Agent) {
	key := replicaKey{a.Server, a.Replica}
	known := f.agents[key]
	if known == nil {
		known = &agent{loaded: map[versionKey]*pb.Model{}, commands: map[versionKey]*command{}}
		f.agents[key] = known
	}
	if a.Loaded != nil {
		clear(known.loaded)
		for _, l := range a.Loaded {
			known.loaded[versionKey{l.Model.GetMeta().GetName(), l.Version}] = l.Model
		}
		a.Loaded = nil
	}
	known.Agent, known.here = a, true
}

// report is what an agent has loaded, in a fixed order.
func (a *agent) report() []LoadedModel {
	keys := slices.SortedFunc(maps.Keys(a.loaded), func(x, y versionKey) int {
		return cmp.Or(cmp.Compare(x.model, y.model), cmp.Compare(x.version, y.version))
	})
	loaded := make([]LoadedModel, 0, len(keys))
	for _, key := range keys {
		loaded = append(loaded, LoadedModel{Model: a.loaded[key], Version: key.version})
	}
	return loaded
}

// sorted are the agents, ordered by server and replica.
func (f *fleet) sorted() []*agent {
	return slices.SortedFunc(maps.Values(f.agents), func(x, y *agent) int {
		return cmp.Or(cmp.Compare(x.Server, y.Server), cmp.Compare(x.Replica, y.Replica))
	})
}

// fails says whether this operation is to fail, and counts it.
func (f *fleet) fails(what, item string) bool {
	key := failure{what, item}
	left := f.failures[key]
	switch {
	case left > 1:
		f.failures[key] = left - 1
	case left == 1:
		delete(f.failures, key)
	}
	return left != 0
}

// finish ends what an agent is doing, as it does while there is no scheduler to tell.
func (a *agent) finish() {
	for key, c := range a.commands {
		a.done(key, c)
	}
	clear(a.commands)
}

// done is what the agent has loaded after a command that succeeded.
func (a *agent) done(key versionKey, c *command) {
	if c.unload {
		delete(a.loaded, key)
	} else {
		a.loaded[key] = c.defn
	}
}

// command has an agent load or unload a version; done is told how it went, unless
// a newer command for it came meanwhile or the agent went away.
func (w *world) command(at replicaKey, key versionKey, c *command, done func(ok bool)) {
	a := w.fleet.agents[at]
	if a == nil || !a.here {
		return
	}
	a.commands[key] = c
	delay, what := w.options.Delays.AgentLoad, failLoad
	if c.unload {
		delay, what = w.options.Delays.AgentUnload, failUnload
	}
	w.loop.after(delay, func() {
		if a.commands[key] != c {
			return
		}
		delete(a.commands, key)
		ok := !w.fleet.fails(what, key.model)
		if ok {
			a.done(key, c)
			w.touch()
		}
		if a.here {
			done(ok)
		}
	})
}

// mostAgents is how many a server gets at the most, whatever it expects.
const mostAgents = 1000

// deploy keeps n agents of a server connected, as the pods of its workload would be.
func (w *world) deploy(server string, n int) {
	n = min(n, mostAgents)
	w.fleet.targets[server] = n
	for index := range n {
		key := replicaKey{server, index}
		if a := w.fleet.agents[key]; a != nil && a.here {
			continue
		}
		w.loop.after(w.options.Delays.AgentConnect, func() {
			if a := w.fleet.agents[key]; index < w.fleet.targets[server] && (a == nil || !a.here) {
				w.fleet.join(Agent{
					Server: server, Replica: index,
					Capabilities: w.options.AgentCapabilities, Memory: w.options.AgentMemory,
					Loaded: []LoadedModel{}, // A new pod has nothing.
				})
				w.connectAgent(key)
			}
		})
	}
	for key, a := range w.fleet.agents {
		if key.server != server || key.index < n || !a.here {
			continue
		}
		w.loop.after(w.options.Delays.AgentConnect, func() {
			if key.index >= w.fleet.targets[server] {
				w.leave(key)
			}
		})
	}
}

// leave takes an agent away, with what it had loaded.
func (w *world) leave(key replicaKey) {
	if a := w.fleet.agents[key]; a != nil {
		a.here = false
		clear(a.commands)
		w.disconnectAgent(key)
		w.touch()
	}
}

// reconnect brings back those who are there when the scheduler starts: agents in
// the order of their names, then gateways and engines.
func (w *world) reconnect() {
	for _, a := range w.fleet.sorted() {
		key := replicaKey{a.Server, a.Replica}
		w.loop.after(w.options.Delays.AgentConnect, func() {
			if a.here && !w.connected(key) {
				w.connectAgent(key)
			}
		})
	}
	for _, kind := range workerKinds {
		w.loop.after(w.options.Delays.Reconnect, func() { w.staff(kind) })
	}
}
