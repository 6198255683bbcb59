package fakescheduler

import (
	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// externalActors is the state that survives restarts of the scheduler: agents with the
// models that they have loaded, and injected failures.
type externalActors struct {
	agents map[replicaKey]*agent
	// failures is how many operations are still to fail; negative is all of them.
	failures map[failure]int
	// holdGate keeps the gate of every instance closed.
	holdGate bool
}

func newExternalActors() *externalActors {
	return &externalActors{agents: map[replicaKey]*agent{}, failures: map[failure]int{}}
}

// replicaKey identifies a replica of a server.
type replicaKey struct {
	server string
	index  int
}

// versionKey identifies a version of a model.
type versionKey struct {
	model   string
	version uint32
}

// failure identifies an operation on an object that fails.
type failure struct {
	operation string
	name      string
}

const (
	failLoad            = "load of a model"
	failUnload          = "unload of a model"
	failPipelineGateway = "pipeline gateway"
)

// Agent is a model server's agent, one for each replica.
type Agent struct {
	Server string
	// Replica is the replica's index, from 0.
	Replica int
}

type agent struct {
	connected bool
	loaded    map[versionKey]*pb.Model
}

// agent returns an agent, which is created if it is unknown.
func (e *externalActors) agent(key replicaKey) *agent {
	if e.agents[key] == nil {
		e.agents[key] = &agent{loaded: map[versionKey]*pb.Model{}}
	}
	return e.agents[key]
}

// nextFailure is whether this operation is to fail, and counts it.
func (s *state) nextFailure(of failure) bool {
	left := s.actors.failures[of]
	if left > 0 {
		s.actors.failures[of] = left - 1
	}
	return left != 0
}

// command makes an agent load or unload a version; done receives whether it did,
// unless the agent disconnects first.
func (s *state) command(at replicaKey, key versionKey, load *pb.Model, done func(ok bool)) {
	a := s.actors.agents[at]
	if a == nil || !a.connected {
		return
	}
	delay, of := s.options.Delays.AgentUnload, failure{failUnload, key.model}
	if load != nil {
		delay, of = s.options.Delays.AgentLoad, failure{failLoad, key.model}
	}
	s.loop.afterFunc(delay, func() {
		if !a.connected {
			return
		}
		ok := !s.nextFailure(of)
		switch {
		case ok && load != nil:
			a.loaded[key] = load
		case ok:
			delete(a.loaded, key)
		}
		done(ok)
	})
}

// mostAgents is the most that a server gets in automatic mode.
const mostAgents = 1000

// scaleAgents connects and disconnects agents, so that a server has n of them. New ones
// have nothing loaded.
func (s *state) scaleAgents(server string, n int) {
	for index := range min(n, mostAgents) {
		key := replicaKey{server, index}
		if a := s.actors.agents[key]; a == nil || !a.connected {
			s.actors.agents[key] = &agent{connected: true, loaded: map[versionKey]*pb.Model{}}
			s.connectAgent(key)
		}
	}
	for key, a := range s.actors.agents {
		if key.server == server && key.index >= n && a.connected {
			a.connected = false
			s.disconnectAgent(key)
		}
	}
}

// connectAgent adds a replica to a server, with the models that the agent has loaded.
func (s *state) connectAgent(key replicaKey) {
	s.disconnectAgent(key)
	s.server(key.server).replicas[key.index] = &serverReplica{}
	for loaded, defn := range s.actors.agents[key].loaded {
		s.reportLoaded(key, loaded, defn)
	}
	s.countReplicas()
	s.retrySchedules(nil)
}

// reportLoaded creates a model that an agent has loaded, or adds a replica to it.
func (s *state) reportLoaded(at replicaKey, key versionKey, defn *pb.Model) {
	m := s.models[key.model]
	if m == nil {
		m = &model{name: key.model}
		s.models[key.model] = m
	}
	v := m.addVersion(key.version, defn)
	if v.server != at.server && v.count(alive) > 0 {
		// It was moved to another server.
		s.command(at, key, nil, func(bool) {})
		return
	}
	v.server = at.server
	s.setReplica(v, at.index, pb.ModelReplicaStatus_Loaded, "")
	m.derive(v)
	s.modelEvent(m, v)
	if m.deleted {
		s.scheduleLater(m.name)
	}
}

// disconnectAgent removes a replica, and a server that has none left. Models that had
// a replica there are scheduled again.
func (s *state) disconnectAgent(key replicaKey) {
	srv := s.servers[key.server]
	if srv == nil || srv.replicas[key.index] == nil {
		return
	}
	affected := map[string]bool{}
	for name, m := range s.models {
		for _, v := range m.versions {
			r := v.replicas[key.index]
			if v.server != key.server || r == nil {
				continue
			}
			delete(v.replicas, key.index)
			if !alive(r.state) {
				continue
			}
			m.derive(v)
			if m.deleted || v != m.latest() {
				s.modelEvent(m, v)
			} else {
				affected[name] = true
			}
		}
	}
	delete(srv.replicas, key.index)
	if len(srv.replicas) == 0 {
		delete(s.servers, srv.name)
	}
	s.countReplicas()
	s.retrySchedules(affected)
}

// countReplicas updates the gate.
func (s *state) countReplicas() {
	sum := 0
	for _, srv := range s.servers {
		sum += len(srv.replicas)
	}
	s.gate.replicas(uint64(sum))
}
