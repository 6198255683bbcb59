package fakescheduler

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// Scheduling finds a place for the latest version of a model. A replica's life:
//
//	LoadRequested ► Loading (sent to the agent) ► Loaded ► (Envoy) Available
//	                                            └► LoadFailed
//	dropped from the plan ► UnloadEnvoyRequested ► (Envoy) UnloadRequested
//	deleted or superseded ► UnloadRequested ► Unloading ► Unloaded | UnloadFailed

// scheduleLater schedules a model in the background, and not before the gate is open.
func (w *world) scheduleLater(name string) {
	w.gate.whenOpen(func() { w.loop.post(func() { w.schedule(name) }) })
}

// schedule finds a place for a model, or takes it down if it is deleted.
func (w *world) schedule(name string) {
	m := w.models[name]
	if m == nil {
		return
	}
	latest := m.latest()
	if m.deleted {
		for _, v := range m.versions {
			w.unload(m, v)
			if v != latest {
				w.modelEvent(m, v)
			}
		}
		w.modelEvent(m, latest)
		return
	}
	servers := w.matching(latest)
	if len(servers) == 0 {
		w.scheduleFailed(m, latest, "no matching server")
		return
	}
	desired, least, was := latest.desired(), latest.atLeast(), latest.server
	for _, s := range servers {
		if fitting := s.fitting(m.name, latest); len(fitting) >= desired {
			w.place(m, latest, s, fitting[:desired])
			return
		}
	}
	for _, s := range servers {
		if fitting := s.fitting(m.name, latest); least > 0 && len(fitting) >= least {
			w.place(m, latest, s, fitting[:min(len(fitting), desired)])
			w.scaleUp(was)
			return
		}
	}
	w.scheduleFailed(m, latest, fmt.Sprintf("no server has %d suitable replicas", desired))
	w.scaleUp(latest.server)
}

// scheduleFailed tells of every attempt.
func (w *world) scheduleFailed(m *model, v *modelVersion, why string) {
	assigned := v.count(staying)
	v.state, v.reason, v.since = pb.ModelStatus_ScheduleFailed, why, time.Now()
	v.available = uint32(assigned)
	v.unavailable = uint32(max(0, v.desired()-assigned))
	if !v.live() {
		v.server = ""
	}
	w.modelEvent(m, v)
}

// matching are the servers that a version may go to, best first: the one it is on,
// then those with the least on them.
func (w *world) matching(v *modelVersion) []*server {
	var found []*server
	for _, s := range w.servers {
		if s.takes(v.defn.GetModelSpec()) {
			found = append(found, s)
		}
	}
	slices.SortFunc(found, func(a, b *server) int {
		if (a.name == v.server) != (b.name == v.server) {
			if a.name == v.server {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.models(), b.models()), cmp.Compare(a.name, b.name))
	})
	return found
}

// fitting are the replicas that have room for a version: those that have it, then
// those with the least on them.
func (s *server) fitting(name string, v *modelVersion) []int {
	key := versionKey{name, v.number}
	holds := func(index int) bool {
		r := v.replicas[index]
		return v.server == s.name && r != nil && staying(r.state)
	}
	var found []int
	for index, r := range s.replicas {
		if holds(index) || r.room(key, v.defn.GetModelSpec().GetMemoryBytes()) {
			found = append(found, index)
		}
	}
	slices.SortFunc(found, func(a, b int) int {
		if holds(a) != holds(b) {
			if holds(a) {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(len(s.replicas[a].models), len(s.replicas[b].models)), cmp.Compare(a, b))
	})
	return found
}

// place puts a version on replicas of a server and takes it off others. It is told
// only if something changed, or was not as wanted before.
func (w *world) place(m *model, v *modelVersion, s *server, chosen []int) {
	if v.server != s.name && v.live() {
		// A model that moves is a new version of itself.
		v = newModelVersion(v.number+1, v.defn)
		m.versions = append(m.versions, v)
	}
	before := v.state
	changed := v.server != s.name
	if changed {
		clear(v.replicas)
		v.server = s.name
	}
	for index, r := range v.replicas {
		switch {
		case slices.Contains(chosen, index):
		case staying(r.state):
			changed = true
			v.set(index, pb.ModelReplicaStatus_UnloadEnvoyRequested, "")
		case !alive(r.state) && r.state != pb.ModelReplicaStatus_Unloaded:
			delete(v.replicas, index)
		}
	}
	for _, index := range chosen {
		if r := v.replicas[index]; r == nil || !staying(r.state) {
			changed = true
			s.replicas[index].take(versionKey{m.name, v.number}, v.defn.GetModelSpec().GetMemoryBytes())
			v.set(index, pb.ModelReplicaStatus_LoadRequested, "")
		}
	}
	m.derive(v)
	short := v.state == pb.ModelStatus_ModelAvailable && int(v.available) < v.desired()
	if changed || short || v.state != before ||
		before == pb.ModelStatus_ScheduleFailed || before == pb.ModelStatus_ModelProgressing {
		w.modelEvent(m, v)
	}
}

// advance goes on with the replicas of a version of which an event is handled.
func (w *world) advance(m *model, v *modelVersion) {
	for _, index := range slices.Sorted(maps.Keys(v.replicas)) {
		switch r := v.replicas[index]; r.state {
		case pb.ModelReplicaStatus_LoadRequested:
			w.change(m, v, index, pb.ModelReplicaStatus_Loading)
			w.command(replicaKey{v.server, index}, versionKey{m.name, v.number}, &command{defn: v.defn},
				func(ok bool) { w.loaded(m, v, index, ok) })
		case pb.ModelReplicaStatus_UnloadRequested:
			w.change(m, v, index, pb.ModelReplicaStatus_Unloading)
			w.command(replicaKey{v.server, index}, versionKey{m.name, v.number}, &command{unload: true, defn: v.defn},
				func(ok bool) { w.unloaded(m, v, index, ok) })
		case pb.ModelReplicaStatus_Loaded:
			w.route(m, v, index, pb.ModelReplicaStatus_Available)
		case pb.ModelReplicaStatus_UnloadEnvoyRequested:
			w.route(m, v, index, pb.ModelReplicaStatus_UnloadRequested)
		default:
			// The others end by an agent's answer, or not at all.
		}
	}
}

// change is a replica's next state, and tells of it.
func (w *world) change(m *model, v *modelVersion, index int, to pb.ModelReplicaStatus_ModelReplicaState) {
	v.set(index, to, "")
	m.derive(v)
	w.modelEvent(m, v)
}

// route is Envoy's part, which takes its time: the replica changes then, unless it
// did before.
func (w *world) route(m *model, v *modelVersion, index int, to pb.ModelReplicaStatus_ModelReplicaState) {
	r := v.replicas[index]
	if r.routing {
		return
	}
	r.routing = true
	w.loop.after(w.options.Delays.Envoy, func() {
		if v.replicas[index] == r {
			w.change(m, v, index, to)
		}
	})
}

// loaded is an agent's answer.
func (w *world) loaded(m *model, v *modelVersion, index int, ok bool) {
	s := w.servers[v.server]
	if !ok {
		v.set(index, pb.ModelReplicaStatus_LoadFailed, "the agent could not load it")
		s.replicas[index].drop(versionKey{m.name, v.number})
		m.derive(v)
		w.modelEvent(m, v)
		w.scaleDown(s.name)
		return
	}
	s.replicas[index].has(versionKey{m.name, v.number})
	w.change(m, v, index, pb.ModelReplicaStatus_Loaded)
}

// unload takes the replicas of a version off their server, those of a deleted model
// also if that failed before.
func (w *world) unload(m *model, v *modelVersion) {
	for _, index := range slices.Sorted(maps.Keys(v.replicas)) {
		state := v.replicas[index].state
		if staying(state) || state == pb.ModelReplicaStatus_UnloadEnvoyRequested ||
			m.deleted && state == pb.ModelReplicaStatus_UnloadFailed {
			v.set(index, pb.ModelReplicaStatus_UnloadRequested, "")
		}
	}
	m.derive(v)
}

// unloaded is an agent's answer.
func (w *world) unloaded(m *model, v *modelVersion, index int, ok bool) {
	if !ok {
		v.set(index, pb.ModelReplicaStatus_UnloadFailed, "the agent could not unload it")
		m.derive(v)
		w.modelEvent(m, v)
		return
	}
	w.servers[v.server].replicas[index].drop(versionKey{m.name, v.number})
	w.change(m, v, index, pb.ModelReplicaStatus_Unloaded)
	w.scaleDown(v.server)
}

// retire takes down the versions before the latest, once that is available.
func (w *world) retire(m *model) {
	for _, v := range m.versions[:len(m.versions)-1] {
		if v.count(staying) > 0 {
			w.unload(m, v)
			w.modelEvent(m, v)
		}
	}
}

// wanting is whether a model is to be scheduled again when a replica comes or goes.
func (m *model) wanting() bool {
	v := m.latest()
	switch v.state {
	case pb.ModelStatus_ModelFailed, pb.ModelStatus_ScheduleFailed:
		return !m.deleted
	case pb.ModelStatus_ModelAvailable, pb.ModelStatus_ModelProgressing:
		return !m.deleted && int(v.available) < v.desired()
	default:
		return false
	}
}

// retrySchedules schedules again what is wanting, and what is named.
func (w *world) retrySchedules(named map[string]bool) {
	for name, m := range w.models {
		if named[name] || m.wanting() {
			w.scheduleLater(name)
		}
	}
}
