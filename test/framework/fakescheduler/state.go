package fakescheduler

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// state is the memory of one instance. The scheduler's mutex guards it.
type state struct {
	options Options
	loop    *eventLoop
	gate    *readinessGate
	actors  *externalActors
	// workers is whether gateways and dataflow engines are connected.
	workers bool

	servers     map[string]*server
	models      map[string]*model
	pipelines   map[string]*pipeline
	experiments map[string]*experiment

	modelEvents      topic[pb.ModelStatusResponse]
	serverEvents     topic[pb.ServerStatusResponse]
	pipelineEvents   topic[pb.PipelineStatusResponse]
	experimentEvents topic[pb.ExperimentStatusResponse]
	markers          topic[pb.ControlPlaneResponse]

	// markDirty is called when pipelines or experiments change.
	markDirty func()
}

func newState(o Options, l *eventLoop, a *externalActors) *state {
	return &state{
		options: o, loop: l, actors: a, gate: newReadinessGate(a.holdGate),
		servers: map[string]*server{}, models: map[string]*model{},
		pipelines: map[string]*pipeline{}, experiments: map[string]*experiment{},
		markDirty: func() {},
	}
}

// start begins the life of an instance, after restore.
func (s *state) start() {
	s.loop.afterFunc(readyTimeout, s.gate.timeout)
	for _, e := range s.experiments {
		s.activate(e)
	}
	for key, a := range s.actors.agents {
		if a.connected {
			s.connectAgent(key)
		}
	}
	if s.options.Delays.Reconnect == 0 {
		s.connectWorkers()
		return
	}
	s.loop.afterFunc(s.options.Delays.Reconnect, s.connectWorkers)
}

// connectWorkers connects gateways and dataflow engines, and redistributes the work.
func (s *state) connectWorkers() {
	const reason = "Rebalance"
	s.workers = true
	for _, m := range s.models {
		if v := m.latest(); v.gateway.phase != phaseTerminated {
			s.begin(&v.gateway, reason, failure{}, func() { s.modelEvent(m, v) })
		}
	}
	for _, p := range s.pipelines {
		for _, v := range p.versions {
			for _, side := range []*workerTask{&v.engine, &v.gateway} {
				if side.phase != phaseTerminated {
					s.begin(side, reason, v.fails(p, side), func() { s.pipelineEvent(p, v) })
				}
			}
		}
	}
}

// failedPrecondition is the error for everything that the scheduler rejects.
func failedPrecondition(format string, arguments ...any) error {
	return status.Errorf(codes.FailedPrecondition, format, arguments...)
}

// changed handles an event of a model or pipeline for all objects that refer to it.
func (s *state) changed(kind pb.ResourceType, name string) {
	if kind == pb.ResourceType_MODEL {
		for _, p := range s.pipelines {
			if p.latest().hasStep(name) {
				s.checkModels(p)
			}
		}
	}
	for _, e := range s.experiments {
		if e.refersTo(kind, name) {
			s.experimentEvent(e)
		}
	}
}
