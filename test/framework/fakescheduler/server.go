package fakescheduler

import (
	"maps"
	"slices"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// server is a model server with its replicas.
//
//	first notified ────────────────► known, with what was notified
//	first agent, not notified ─────► known, expecting unknownReplicas and without metadata
//	notified again ────────────────► expectation and metadata replaced
//	last replica gone ─────────────► forgotten, expectation and metadata included
type server struct {
	name      string
	dedicated bool
	// expected is what was notified, or unknownReplicas.
	expected         int64
	minimum, maximum uint32
	meta             *pb.KubernetesMeta
	replicas         map[int]*serverReplica
	// pending is whether a status is about to be sent.
	pending bool
}

// unknownReplicas is expected of a server that was never notified.
const unknownReplicas = -1

type serverReplica struct {
	capabilities []string
	memory       uint64
	// models by version, with the memory that each takes; loaded are how many of them
	// are there already.
	models map[versionKey]*placement
	used   uint64
	loaded int32
}

// placement is a version on a replica.
type placement struct {
	memory uint64
	loaded bool
}

// room is whether a version of this size fits, unless it is there already.
func (r *serverReplica) room(key versionKey, memory uint64) bool {
	return r.memory == 0 || r.models[key] != nil || r.used+memory <= r.memory
}

func (r *serverReplica) take(key versionKey, memory uint64) {
	r.drop(key)
	r.models[key] = &placement{memory: memory}
	r.used += memory
}

func (r *serverReplica) has(key versionKey) {
	if p := r.models[key]; p != nil && !p.loaded {
		p.loaded = true
		r.loaded++
	}
}

func (r *serverReplica) drop(key versionKey) {
	p := r.models[key]
	if p == nil {
		return
	}
	delete(r.models, key)
	r.used -= p.memory
	if p.loaded {
		r.loaded--
	}
}

// takes is whether a model may go to the server at all.
func (s *server) takes(spec *pb.ModelSpec) bool {
	if s.expected == 0 || len(s.replicas) == 0 {
		return false
	}
	if spec.Server != nil && spec.GetServer() != s.name || spec.Server == nil && s.dedicated {
		return false
	}
	for _, r := range s.replicas {
		if r.capabilities == nil {
			return true
		}
		missing := func(requirement string) bool { return !slices.Contains(r.capabilities, requirement) }
		if !slices.ContainsFunc(spec.GetRequirements(), missing) {
			return true
		}
	}
	return false
}

// models is how many model replicas are placed on it.
func (s *server) models() int {
	n := 0
	for _, r := range s.replicas {
		n += len(r.models)
	}
	return n
}

func (s *server) loaded() int32 {
	n := int32(0)
	for _, r := range s.replicas {
		n += r.loaded
	}
	return n
}

// message is the server's status.
func (s *server) message() *pb.ServerStatusResponse {
	message := &pb.ServerStatusResponse{
		Type:                   pb.ServerStatusResponse_StatusUpdate,
		ServerName:             s.name,
		ExpectedReplicas:       int32(s.expected),
		AvailableReplicas:      int32(len(s.replicas)),
		NumLoadedModelReplicas: s.loaded(),
		KubernetesMeta:         s.meta,
	}
	for _, index := range slices.Sorted(maps.Keys(s.replicas)) {
		r := s.replicas[index]
		message.Resources = append(message.Resources, &pb.ServerReplicaResources{
			ReplicaIdx:           uint32(index),
			TotalMemoryBytes:     r.memory,
			AvailableMemoryBytes: r.memory - min(r.used, r.memory),
			NumLoadedModels:      r.loaded,
		})
	}
	return message
}

// notify tells what is expected of servers. It publishes nothing.
func (w *world) notify(request *pb.ServerNotifyRequest) {
	sum := uint64(0)
	for _, n := range request.GetServers() {
		s := w.server(n.GetName())
		s.expected, s.meta = int64(n.GetExpectedReplicas()), n.GetKubernetesMeta()
		s.minimum, s.maximum = n.GetMinReplicas(), n.GetMaxReplicas()
		sum += uint64(n.GetExpectedReplicas())
		if s.expected == 0 {
			for name := range s.names() {
				w.scheduleLater(name)
			}
		}
		if w.options.Agents == AgentsAutomatic {
			w.deploy(s.name, int(s.expected))
		}
	}
	if request.GetIsFirstSync() {
		w.gate.signal(sum)
	}
}

// server is the one of that name, known from now on.
func (w *world) server(name string) *server {
	s := w.servers[name]
	if s == nil {
		s = &server{name: name, expected: unknownReplicas, replicas: map[int]*serverReplica{}}
		w.servers[name] = s
	}
	return s
}

// names are the models placed on the server.
func (s *server) names() map[string]bool {
	names := map[string]bool{}
	for _, r := range s.replicas {
		for key := range r.models {
			names[key.model] = true
		}
	}
	return names
}

// connected is whether a replica is.
func (w *world) connected(key replicaKey) bool {
	s := w.servers[key.server]
	return s != nil && s.replicas[key.index] != nil
}

// countReplicas tells the gate.
func (w *world) countReplicas() {
	sum := 0
	for _, s := range w.servers {
		sum += len(s.replicas)
	}
	w.gate.replicas(uint64(sum))
}

// connectAgent adds a replica, and what it reports to have loaded.
func (w *world) connectAgent(key replicaKey) {
	a := w.fleet.agents[key]
	a.finish()
	w.disconnectAgent(key)
	s := w.server(key.server)
	s.dedicated = a.Dedicated
	s.replicas[key.index] = &serverReplica{
		capabilities: a.Capabilities, memory: a.Memory, models: map[versionKey]*placement{},
	}
	for _, l := range a.report() {
		w.reported(key, l)
	}
	w.touch()
	w.countReplicas()
	w.retrySchedules(nil)
}

// reported is a model that an agent has already: it is made anew, or gets a replica.
func (w *world) reported(at replicaKey, l LoadedModel) {
	name := l.Model.GetMeta().GetName()
	m := w.models[name]
	if m == nil {
		m = &model{name: name}
		w.models[name] = m
	}
	v := m.version(l.Version)
	if v == nil {
		v = newModelVersion(l.Version, l.Model)
		m.versions = append(m.versions, v)
		slices.SortFunc(m.versions, func(a, b *modelVersion) int { return int(a.number) - int(b.number) })
	}
	if v.server != at.server && v.live() {
		// It is elsewhere by now.
		w.command(at, versionKey{name, v.number}, &command{unload: true}, func(bool) {})
		return
	}
	v.server = at.server
	w.servers[at.server].replicas[at.index].take(versionKey{name, v.number}, v.defn.GetModelSpec().GetMemoryBytes())
	w.loaded(m, v, at.index, true)
	if m.deleted {
		w.scheduleLater(name)
	}
}

// disconnectAgent takes a replica away, and forgets a server without any.
func (w *world) disconnectAgent(key replicaKey) {
	s := w.servers[key.server]
	if s == nil || s.replicas[key.index] == nil {
		return
	}
	delete(s.replicas, key.index)
	if len(s.replicas) == 0 {
		delete(w.servers, s.name)
	}
	lost := map[string]bool{}
	for name, m := range w.models {
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
				w.modelEvent(m, v)
			} else {
				lost[name] = true
			}
		}
	}
	w.countReplicas()
	w.retrySchedules(lost)
}

// serverChanged has a status of a server sent soon; those of a while are one.
func (w *world) serverChanged(name string) {
	s := w.servers[name]
	if s == nil || s.pending {
		return
	}
	s.pending = true
	w.loop.after(w.options.Delays.ServerStatus, func() {
		s.pending = false
		if w.servers[name] == s {
			w.serverEvents.publish(s.message)
		}
	})
}

// scaleUp asks for replicas when models on a server want more than are expected.
func (w *world) scaleUp(name string) {
	s := w.servers[name]
	if s == nil || w.options.NoServerAutoscaling || s.maximum < 1 || s.expected < 0 {
		return
	}
	most := 0
	for name := range s.names() {
		if m := w.models[name]; !m.deleted {
			most = max(most, m.latest().desired())
		}
	}
	if int64(most) > s.expected {
		w.requestScaling(s, int32(min(uint32(most), s.maximum)))
	}
}

// scaleDown asks for fewer when replicas are empty. It reckons in unsigned numbers,
// as the real scheduler does, and so can ask for absurdly many.
func (w *world) scaleDown(name string) {
	s := w.servers[name]
	if s == nil || w.options.NoServerAutoscaling || s.expected <= 1 {
		return
	}
	empty := uint32(0)
	for _, r := range s.replicas {
		if len(r.models) == 0 {
			empty++
		}
	}
	if empty > 0 {
		w.requestScaling(s, int32(max(s.minimum, 1, uint32(s.expected)-empty)))
	}
}

// requestScaling sends a request at once; it is not remembered.
func (w *world) requestScaling(s *server, replicas int32) {
	w.serverEvents.send(&pb.ServerStatusResponse{
		Type:             pb.ServerStatusResponse_ScalingRequest,
		ServerName:       s.name,
		ExpectedReplicas: replicas,
		KubernetesMeta:   s.meta,
	})
}
