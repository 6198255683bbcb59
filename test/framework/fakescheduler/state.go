package fakescheduler

import (
	"cmp"
	"slices"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// Model is the state of a model's latest version.
type Model struct {
	Name       string
	Namespace  string
	Generation int64
	Version    uint32
	// Versions is how many versions are known.
	Versions      int
	State         pb.ModelStatus_ModelState
	Reason        string
	GatewayState  pb.ModelStatus_ModelState
	GatewayReason string
	Server        string
	Available     uint32
	Unavailable   uint32
	Deleted       bool
	// Live is how many replicas of all versions hold a place on a server.
	Live int
	// Definition must not be changed.
	Definition *pb.Model
}

// Pipeline is the state of a pipeline's latest version.
type Pipeline struct {
	Name          string
	Namespace     string
	Generation    int64
	Version       uint32
	Versions      int
	State         pb.PipelineVersionState_PipelineStatus
	Reason        string
	GatewayState  pb.PipelineVersionState_PipelineStatus
	GatewayReason string
	ModelsReady   bool
	Deleted       bool
	// Definition is as it is told, normalised. It must not be changed.
	Definition *pb.Pipeline
}

// Experiment is the state of an experiment.
type Experiment struct {
	Name            string
	Namespace       string
	Generation      int64
	Active          bool
	CandidatesReady bool
	MirrorReady     bool
	Description     string
	Deleted         bool
	// Definition must not be changed.
	Definition *pb.Experiment
}

// Server is the state of a server.
type Server struct {
	Name       string
	Namespace  string
	Generation int64
	// Expected is what was notified, −1 if nothing was since its last replica left.
	Expected         int
	Minimum, Maximum uint32
	// Replicas are the indices of those that are connected.
	Replicas []int
	// LoadedModels is how many replicas of models are loaded on it.
	LoadedModels int
}

// Models are the models, deleted ones included, ordered by name. While it is down,
// these are those of the last run, as in the methods below.
func (s *Scheduler) Models() []Model {
	return states(s, func(w *world) map[string]*model { return w.models },
		func(_ *world, m *model) Model {
			v := m.latest()
			meta := v.defn.GetMeta().GetKubernetesMeta()
			live := 0
			for _, each := range m.versions {
				live += each.count(alive)
			}
			return Model{
				Name: m.name, Namespace: meta.GetNamespace(), Generation: meta.GetGeneration(),
				Version: v.number, Versions: len(m.versions),
				State: v.state, Reason: v.reason,
				GatewayState: v.gateway.phase.modelState(), GatewayReason: v.gateway.reason,
				Server: v.server, Available: v.available, Unavailable: v.unavailable,
				Deleted: m.deleted, Live: live, Definition: v.defn,
			}
		}, func(m Model) string { return m.Name })
}

// Pipelines are the pipelines, deleted ones included, ordered by name.
func (s *Scheduler) Pipelines() []Pipeline {
	return states(s, func(w *world) map[string]*pipeline { return w.pipelines },
		func(_ *world, p *pipeline) Pipeline {
			v := p.latest()
			meta := v.defn.GetKubernetesMeta()
			return Pipeline{
				Name: p.name, Namespace: meta.GetNamespace(), Generation: meta.GetGeneration(),
				Version: v.defn.GetVersion(), Versions: len(p.versions),
				State: v.engine.phase.pipelineStatus(), Reason: v.engine.reason,
				GatewayState: v.gateway.phase.pipelineStatus(), GatewayReason: v.gateway.reason,
				ModelsReady: v.modelsReady, Deleted: p.deleted, Definition: v.defn,
			}
		}, func(p Pipeline) string { return p.Name })
}

// Experiments are the experiments, deleted ones included, ordered by name.
func (s *Scheduler) Experiments() []Experiment {
	return states(s, func(w *world) map[string]*experiment { return w.experiments },
		func(w *world, e *experiment) Experiment {
			message := w.experimentMessage(e)
			return Experiment{
				Name: message.GetExperimentName(), Namespace: message.GetKubernetesMeta().GetNamespace(),
				Generation: message.GetKubernetesMeta().GetGeneration(),
				Active:     e.active, CandidatesReady: message.GetCandidatesReady(), MirrorReady: message.GetMirrorReady(),
				Description: e.description, Deleted: e.deleted, Definition: e.defn,
			}
		}, func(e Experiment) string { return e.Name })
}

// Servers are the servers, ordered by name.
func (s *Scheduler) Servers() []Server {
	return states(s, func(w *world) map[string]*server { return w.servers },
		func(_ *world, one *server) Server {
			state := Server{
				Name: one.name, Namespace: one.meta.GetNamespace(), Generation: one.meta.GetGeneration(),
				Expected: int(one.expected), Minimum: one.minimum, Maximum: one.maximum,
				LoadedModels: int(one.loaded()),
			}
			for index := range one.replicas {
				state.Replicas = append(state.Replicas, index)
			}
			slices.Sort(state.Replicas)
			return state
		}, func(s Server) string { return s.Name })
}

// states are the values of one kind of item.
func states[V, T any](
	s *Scheduler, of func(*world) map[string]V, state func(*world, V) T, name func(T) string,
) []T {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := make([]T, 0, len(of(s.last)))
	for _, item := range of(s.last) {
		found = append(found, state(s.last, item))
	}
	slices.SortFunc(found, func(a, b T) int { return cmp.Compare(name(a), name(b)) })
	return found
}
