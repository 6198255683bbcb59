package fakescheduler

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// Scheduling places the latest version of a model on replicas of a server:
//
//	LoadRequested ► Loading (sent to the agent) ► Loaded ► (Envoy) Available
//	                                            └► LoadFailed
//	no longer chosen ────► UnloadEnvoyRequested ► (Envoy) UnloadRequested
//	deleted, superseded ─► UnloadRequested ► Unloading ► Unloaded | UnloadFailed

// scheduleLater schedules a model in the background, once the gate is open.
func (s *state) scheduleLater(name string) {
	s.gate.whenOpen(func() { s.loop.post(func() { s.schedule(name) }) })
}

func (s *state) schedule(name string) {
	m := s.models[name]
	if m == nil {
		return
	}
	latest := m.latest()
	if m.deleted {
		for _, v := range m.versions {
			s.unload(m, v)
			s.modelEvent(m, v)
		}
		return
	}
	servers := s.matching(latest)
	if len(servers) == 0 {
		s.scheduleFailed(m, latest, "no matching server")
		return
	}
	was := latest.server
	for _, enough := range []int{latest.desired(), latest.atLeast()} {
		for _, srv := range servers {
			if len(srv.replicas) < enough || enough < latest.desired() && enough == 0 {
				continue
			}
			s.place(m, latest, srv)
			if enough < latest.desired() {
				s.scaleUp(was)
			}
			return
		}
	}
	s.scheduleFailed(m, latest, fmt.Sprintf("no server has %d replicas", latest.desired()))
	s.scaleUp(latest.server)
}

// scheduleFailed reports every attempt. As in the real scheduler, the difference is
// unsigned: with more replicas than desired it wraps.
func (s *state) scheduleFailed(m *model, v *modelVersion, why string) {
	assigned := uint32(v.count(staying))
	v.state, v.reason, v.since = pb.ModelStatus_ScheduleFailed, why, time.Now()
	v.available, v.unavailable = assigned, uint32(v.desired())-assigned
	if v.count(alive) == 0 {
		v.server = ""
	}
	s.modelEvent(m, v)
}

// matching returns the servers that a version may be placed on: first the one that it
// is on, then those with the fewest models.
func (s *state) matching(v *modelVersion) []*server {
	var found []*server
	for _, srv := range s.servers {
		if srv.accepts(v.defn.GetModelSpec()) {
			found = append(found, srv)
		}
	}
	slices.SortFunc(found, func(a, b *server) int {
		return cmp.Or(first(a.name == v.server, b.name == v.server), cmp.Compare(a.placed(), b.placed()), cmp.Compare(a.name, b.name))
	})
	return found
}

// first orders elements with a property before those without.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	default:
		return 1
	}
}

// place places a version on as many replicas of a server as it desires, first on
// those that have it, and removes it from others. It publishes an event if something
// changed, or was not as desired before.
func (s *state) place(m *model, v *modelVersion, srv *server) {
	if v.server != srv.name && v.count(alive) > 0 {
		// A model that moves gets a new version.
		v = m.addVersion(v.number+1, v.defn)
	}
	if v.desired() == 0 && v.count(alive) == 0 && v.state != pb.ModelStatus_ScheduleFailed {
		v.state = pb.ModelStatus_ModelCreate
		return
	}
	before, changed := v.state, v.server != srv.name
	if changed {
		clear(v.replicas)
		v.server = srv.name
	}
	has := func(index int) bool { return v.replicas[index] != nil && staying(v.replicas[index].state) }
	chosen := slices.SortedFunc(maps.Keys(srv.replicas), func(a, b int) int {
		return cmp.Or(first(has(a), has(b)), cmp.Compare(a, b))
	})
	chosen = chosen[:min(len(chosen), v.desired())]
	for index, r := range v.replicas {
		switch {
		case slices.Contains(chosen, index):
		case staying(r.state):
			changed = true
			s.setReplica(v, index, pb.ModelReplicaStatus_UnloadEnvoyRequested, "")
		case !alive(r.state) && r.state != pb.ModelReplicaStatus_Unloaded:
			delete(v.replicas, index)
		}
	}
	for _, index := range chosen {
		if !has(index) {
			changed = true
			s.setReplica(v, index, pb.ModelReplicaStatus_LoadRequested, "")
		}
	}
	m.derive(v)
	incomplete := before == pb.ModelStatus_ScheduleFailed || before == pb.ModelStatus_ModelProgressing ||
		before == pb.ModelStatus_ModelAvailable && int(v.available) < v.desired()
	if changed || incomplete {
		s.modelEvent(m, v)
	}
}

// setReplica changes the state of a version on a replica of its server.
func (s *state) setReplica(v *modelVersion, index int, state pb.ModelReplicaStatus_ModelReplicaState, reason string) {
	var before pb.ModelReplicaStatus_ModelReplicaState
	if r := v.replicas[index]; r != nil {
		before = r.state
	}
	v.replicas[index] = &modelReplica{state: state, reason: reason, since: time.Now()}
	srv := s.servers[v.server]
	if srv == nil || srv.replicas[index] == nil {
		return
	}
	at := srv.replicas[index]
	at.placed += count(alive(state)) - count(alive(before))
	at.loaded += count(loaded(state)) - count(loaded(before))
}

func count(is bool) int32 {
	if is {
		return 1
	}
	return 0
}

// advanceReplicas begins the next step of every replica of a version.
func (s *state) advanceReplicas(m *model, v *modelVersion) {
	for _, index := range slices.Sorted(maps.Keys(v.replicas)) {
		at, key := replicaKey{v.server, index}, versionKey{m.name, v.number}
		switch v.replicas[index].state {
		case pb.ModelReplicaStatus_LoadRequested:
			s.changeReplica(m, v, index, pb.ModelReplicaStatus_Loading)
			s.command(at, key, v.defn, s.reply(m, v, index, pb.ModelReplicaStatus_Loaded, pb.ModelReplicaStatus_LoadFailed))
		case pb.ModelReplicaStatus_UnloadRequested:
			s.changeReplica(m, v, index, pb.ModelReplicaStatus_Unloading)
			s.command(at, key, nil, s.reply(m, v, index, pb.ModelReplicaStatus_Unloaded, pb.ModelReplicaStatus_UnloadFailed))
		case pb.ModelReplicaStatus_Loaded:
			s.route(m, v, index, pb.ModelReplicaStatus_Available)
		case pb.ModelReplicaStatus_UnloadEnvoyRequested:
			s.route(m, v, index, pb.ModelReplicaStatus_UnloadRequested)
		default:
			// The others end with an agent's reply, or not at all.
		}
	}
}

func (s *state) changeReplica(m *model, v *modelVersion, index int, to pb.ModelReplicaStatus_ModelReplicaState) {
	s.setReplica(v, index, to, "")
	m.derive(v)
	s.modelEvent(m, v)
}

// reply returns the function for an agent's reply about a replica in its current state.
func (s *state) reply(m *model, v *modelVersion, index int, success, failed pb.ModelReplicaStatus_ModelReplicaState) func(bool) {
	r := v.replicas[index]
	return func(ok bool) {
		if v.replicas[index] != r {
			return
		}
		if ok {
			s.changeReplica(m, v, index, success)
		} else {
			s.setReplica(v, index, failed, "the agent failed: "+failed.String())
			m.derive(v)
			s.modelEvent(m, v)
		}
		// The replica may be empty now.
		if success == pb.ModelReplicaStatus_Unloaded && ok || failed == pb.ModelReplicaStatus_LoadFailed && !ok {
			s.scaleDown(v.server)
		}
	}
}

// route is Envoy's part: a replica changes after its delay, unless it did before.
func (s *state) route(m *model, v *modelVersion, index int, to pb.ModelReplicaStatus_ModelReplicaState) {
	r := v.replicas[index]
	if r.routing {
		return
	}
	r.routing = true
	s.loop.afterFunc(s.options.Delays.Envoy, func() {
		if v.replicas[index] == r {
			s.changeReplica(m, v, index, to)
		}
	})
}

// unload removes the replicas of a version from their server, those of a deleted
// model also if that failed before.
func (s *state) unload(m *model, v *modelVersion) {
	for index, r := range v.replicas {
		if staying(r.state) || r.state == pb.ModelReplicaStatus_UnloadEnvoyRequested ||
			m.deleted && r.state == pb.ModelReplicaStatus_UnloadFailed {
			s.setReplica(v, index, pb.ModelReplicaStatus_UnloadRequested, "")
		}
	}
	m.derive(v)
}

// unloadOlder unloads the versions before the latest one.
func (s *state) unloadOlder(m *model) {
	for _, v := range m.versions[:len(m.versions)-1] {
		if v.count(staying) > 0 {
			s.unload(m, v)
			s.modelEvent(m, v)
		}
	}
}

// retrySchedules schedules again the named models, and those that lack replicas.
func (s *state) retrySchedules(named map[string]bool) {
	for name, m := range s.models {
		if named[name] || m.lacksReplicas() {
			s.scheduleLater(name)
		}
	}
}
