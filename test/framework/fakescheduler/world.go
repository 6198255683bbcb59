package fakescheduler

import (
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// world is the memory of one run of the simulated scheduler. It knows no gRPC but
// the codes of errors and the messages. All of it is guarded by the scheduler's mutex.
type world struct {
	options Options
	loop    *loop
	fleet   *fleet
	gate    *gate
	crews   map[workerKind]*crew

	servers     map[string]*server
	models      map[string]*model
	pipelines   map[string]*pipeline
	experiments map[string]*experiment
	// referrers are the pipelines and experiments that look at an item.
	referrers referrers

	// tick numbers operations of gateways and engines; answers to older ones are stale.
	tick uint64

	modelEvents      topic[pb.ModelStatusResponse]
	serverEvents     topic[pb.ServerStatusResponse]
	pipelineEvents   topic[pb.PipelineStatusResponse]
	experimentEvents topic[pb.ExperimentStatusResponse]

	// changed is told that what outlives a run changed.
	changed func()
}

func newWorld(o Options, l *loop, f *fleet) *world {
	return &world{
		options: o,
		loop:    l,
		fleet:   f,
		gate:    newGate(o.HoldGate),
		crews: map[workerKind]*crew{
			modelGateways:    newCrew(modelGateways, o.Delays.ModelGateway),
			pipelineGateways: newCrew(pipelineGateways, o.Delays.PipelineGateway),
			dataflowEngines:  newCrew(dataflowEngines, o.Delays.DataflowEngine),
		},
		servers:     map[string]*server{},
		models:      map[string]*model{},
		pipelines:   map[string]*pipeline{},
		experiments: map[string]*experiment{},
		referrers:   referrers{},
		changed:     func() {},
		// An answer from before a restart never matches.
		tick: uint64(time.Now().UnixNano()),
	}
}

// start begins a run: what was stored is in already.
func (w *world) start() {
	w.loop.alarm(w.options.ReadyTimeout, w.gate.timeout)
	for _, e := range w.experiments {
		w.activate(e)
	}
	w.reconnect()
	w.retry()
}

// setDelays changes the delays.
func (w *world) setDelays(d Delays) {
	w.options.Delays = d
	w.crews[modelGateways].delay = d.ModelGateway
	w.crews[pipelineGateways].delay = d.PipelineGateway
	w.crews[dataflowEngines].delay = d.DataflowEngine
}

// touch tells that what outlives a run changed.
func (w *world) touch() { w.changed() }

// nextTick numbers an operation.
func (w *world) nextTick() uint64 {
	w.tick++
	return w.tick
}

// refuse is the error for everything that the scheduler does not do.
func refuse(format string, arguments ...any) error {
	return status.Errorf(codes.FailedPrecondition, format, arguments...)
}

// itemKey names what pipelines and experiments refer to.
type itemKey struct {
	kind pb.ResourceType
	name string
}

// referrers are, for each item, those who want its events.
type referrers map[itemKey]map[any]struct{}

func (r referrers) add(who any, item itemKey) {
	if r[item] == nil {
		r[item] = map[any]struct{}{}
	}
	r[item][who] = struct{}{}
}

func (r referrers) remove(who any, item itemKey) {
	delete(r[item], who)
	if len(r[item]) == 0 {
		delete(r, item)
	}
}

// told passes an event of an item on to those who look at it.
func (w *world) told(item itemKey) {
	for who := range w.referrers[item] {
		switch who := who.(type) {
		case *pipeline:
			w.checkModels(who)
		case *experiment:
			w.experimentEvent(who)
		}
	}
}
