package fakescheduler

import (
	"maps"
	"slices"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// Model is the state of a model's latest version.
type Model struct {
	Name       string
	Generation int64
	Version    uint32
	State      pb.ModelStatus_ModelState
	Server     string
	Available  uint32
	Deleted    bool
	// Definition must not be changed.
	Definition *pb.Model
}

// Pipeline is the state of a pipeline's latest version.
type Pipeline struct {
	Name         string
	Generation   int64
	Version      uint32
	State        pb.PipelineVersionState_PipelineStatus
	GatewayState pb.PipelineVersionState_PipelineStatus
	// ModelsReady is whether the models of all steps are available.
	ModelsReady bool
	Deleted     bool
	// Definition is normalised, as it is published. It must not be changed.
	Definition *pb.Pipeline
}

// Experiment is the state of an experiment.
type Experiment struct {
	Name            string
	Generation      int64
	Active          bool
	CandidatesReady bool
	MirrorReady     bool
	Deleted         bool
	// Definition must not be changed.
	Definition *pb.Experiment
}

// Server is the state of a server.
type Server struct {
	Name       string
	Generation int64
	// Expected is the notified number of replicas, and -1 if none was since its last agent
	// disconnected.
	Expected int
	// Available is how many agents are connected.
	Available int
	// LoadedModels is how many replicas of models are loaded on it.
	LoadedModels int
}

// Models returns the models, deleted ones included, by name. While the scheduler is
// down, this and the methods below return the last state.
func (s *Scheduler) Models() []Model {
	return snapshot(s, func(s *state) map[string]*model { return s.models }, func(name string, m *model) Model {
		v := m.latest()
		return Model{
			Name: name, Generation: v.defn.GetMeta().GetKubernetesMeta().GetGeneration(), Version: v.number,
			State: v.state, Server: v.server, Available: v.available, Deleted: m.deleted, Definition: v.defn,
		}
	})
}

// Pipelines returns the pipelines, deleted ones included, by name.
func (s *Scheduler) Pipelines() []Pipeline {
	return snapshot(s, func(s *state) map[string]*pipeline { return s.pipelines }, func(name string, p *pipeline) Pipeline {
		v := p.latest()
		return Pipeline{
			Name: name, Generation: v.defn.GetKubernetesMeta().GetGeneration(), Version: v.defn.GetVersion(),
			State: v.engine.phase.pipelineStatus(), GatewayState: v.gateway.phase.pipelineStatus(),
			ModelsReady: v.modelsReady, Deleted: p.deleted, Definition: v.defn,
		}
	})
}

// Experiments returns the experiments, deleted ones included, by name.
func (s *Scheduler) Experiments() []Experiment {
	return snapshot(s, func(s *state) map[string]*experiment { return s.experiments }, func(name string, e *experiment) Experiment {
		message := s.last.experimentMessage(e)
		return Experiment{
			Name: name, Generation: message.GetKubernetesMeta().GetGeneration(), Active: e.active,
			CandidatesReady: message.GetCandidatesReady(), MirrorReady: message.GetMirrorReady(),
			Deleted: e.deleted, Definition: e.defn,
		}
	})
}

// Servers returns the servers, by name.
func (s *Scheduler) Servers() []Server {
	return snapshot(s, func(s *state) map[string]*server { return s.servers }, func(name string, srv *server) Server {
		return Server{
			Name: name, Generation: srv.meta.GetGeneration(), Expected: int(srv.expected),
			Available: len(srv.replicas), LoadedModels: int(srv.message().GetNumLoadedModelReplicas()),
		}
	})
}

// snapshot returns the values of one kind of object, by name.
func snapshot[V, T any](s *Scheduler, of func(*state) map[string]V, value func(string, V) T) []T {
	s.mu.Lock()
	defer s.mu.Unlock()
	objects := of(s.last)
	found := make([]T, 0, len(objects))
	for _, name := range slices.Sorted(maps.Keys(objects)) {
		found = append(found, value(name, objects[name]))
	}
	return found
}
