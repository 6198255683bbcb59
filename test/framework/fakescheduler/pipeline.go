package fakescheduler

import (
	"crypto/rand"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// pipeline is all versions of a pipeline, oldest first, at least one.
//
//	load, unknown or ending ──────────► a record of its own, version 1
//	load, same generation (above 0) ──► nothing, and no event
//	load, other generation ───────────► one version more
//	unload ───────────────────────────► all versions end on both sides, deleted
//	unload, ending or ended ──────────► refused
//	newer version ready ──────────────► older versions end
//	deleted for the TTL ──────────────► forgotten
//
// A version has two duties that know nothing of each other: the dataflow engines'
// and the pipeline gateways' (see duty).
type pipeline struct {
	name     string
	versions []*pipelineVersion
	deleted  bool
}

type pipelineVersion struct {
	// defn is what is told: normalised, and never changed.
	defn    *pb.Pipeline
	engine  duty
	gateway duty
	// modelsReady is whether every step's model is available, its gateway included.
	modelsReady bool
	since       time.Time
}

func (p *pipeline) latest() *pipelineVersion { return p.versions[len(p.versions)-1] }

// side is the duty that workers of a kind have.
func (v *pipelineVersion) side(kind workerKind) *duty {
	if kind == dataflowEngines {
		return &v.engine
	}
	return &v.gateway
}

// message is a pipeline's status with these versions.
func (p *pipeline) message(versions ...*pipelineVersion) *pb.PipelineStatusResponse {
	message := &pb.PipelineStatusResponse{PipelineName: p.name}
	for _, v := range versions {
		message.Versions = append(message.Versions, v.message())
	}
	return message
}

func (v *pipelineVersion) message() *pb.PipelineWithState {
	return &pb.PipelineWithState{
		Pipeline: v.defn,
		State: &pb.PipelineVersionState{
			PipelineVersion:     v.defn.GetVersion(),
			Status:              v.engine.phase.pipelineStatus(),
			Reason:              v.engine.reason,
			LastChangeTimestamp: timestamppb.New(v.since),
			ModelsReady:         v.modelsReady,
			PipelineGwStatus:    v.gateway.phase.pipelineStatus(),
			PipelineGwReason:    v.gateway.reason,
		},
	}
}

// loadPipeline stores a pipeline and has it created.
func (w *world) loadPipeline(asked *pb.Pipeline) error {
	defn, err := normalisePipeline(asked)
	if err != nil {
		return err
	}
	p := w.pipelines[defn.GetName()]
	defn.Version, defn.Uid = 1, strings.ToLower(rand.Text())
	if p != nil && !p.latest().engine.over() && !p.latest().gateway.over() {
		latest := p.latest().defn
		if now := latest.GetKubernetesMeta().GetGeneration(); now > 0 && now == defn.GetKubernetesMeta().GetGeneration() {
			return nil
		}
		defn.Version = latest.GetVersion() + 1
	} else {
		w.forgetPipeline(p)
		p = &pipeline{name: defn.GetName()}
		w.pipelines[p.name] = p
	}
	v := &pipelineVersion{defn: defn, since: time.Now()}
	p.versions = append(p.versions, v)
	w.refer(p, v)
	v.modelsReady = w.modelsReady(v)
	w.pipelineEvent(p, v)
	return nil
}

// unloadPipeline has the latest version taken down.
func (w *world) unloadPipeline(name string) error {
	p := w.pipelines[name]
	if p == nil {
		return refuse("pipeline %s is unknown", name)
	}
	v := p.latest()
	switch {
	case v.engine.phase == phaseTerminated && v.gateway.phase == phaseTerminated:
		return refuse("pipeline %s was not found", name)
	case v.engine.over() || v.gateway.over():
		return refuse("pipeline %s is still terminating", name)
	}
	v.engine.terminate()
	v.gateway.terminate()
	p.deleted = true
	w.pipelineEvent(p, v)
	w.endOlder(p, func(workerKind) bool { return true })
	w.forgetLater(p)
	return nil
}

// forgetLater forgets a deleted pipeline when its time has come.
func (w *world) forgetLater(p *pipeline) {
	w.loop.alarm(w.options.DeletedTTL, func() {
		if w.pipelines[p.name] == p {
			w.forgetPipeline(p)
			delete(w.pipelines, p.name)
			w.touch()
		}
	})
}

// refer and forgetPipeline keep the index of who looks at which model.
func (w *world) refer(p *pipeline, v *pipelineVersion) {
	for _, step := range v.defn.GetSteps() {
		w.referrers.add(p, itemKey{pb.ResourceType_MODEL, step.GetName()})
	}
}

func (w *world) forgetPipeline(p *pipeline) {
	if p == nil {
		return
	}
	for _, v := range p.versions {
		for _, step := range v.defn.GetSteps() {
			w.referrers.remove(p, itemKey{pb.ResourceType_MODEL, step.GetName()})
		}
	}
}

// modelsReady is whether the models of all steps are available.
func (w *world) modelsReady(v *pipelineVersion) bool {
	for _, step := range v.defn.GetSteps() {
		m := w.models[step.GetName()]
		if m == nil || m.deleted || !slices.ContainsFunc(m.versions, func(v *modelVersion) bool {
			return v.available > 0 && v.gateway.phase == phaseReady
		}) {
			return false
		}
	}
	return true
}

// checkModels looks at the models of a pipeline again.
func (w *world) checkModels(p *pipeline) {
	v := p.latest()
	if ready := w.modelsReady(v); !p.deleted && ready != v.modelsReady {
		v.modelsReady = ready
		w.pipelineEvent(p, v)
	}
}

// pipelineEvent stores the change of a version and has it told later, as the
// version is then.
func (w *world) pipelineEvent(p *pipeline, v *pipelineVersion) {
	v.since = time.Now()
	w.touch()
	w.loop.post(func() { w.handlePipeline(p, v) })
}

// handlePipeline tells everyone about a version of a pipeline.
func (w *world) handlePipeline(p *pipeline, v *pipelineVersion) {
	if w.pipelines[p.name] != p {
		return
	}
	w.pipelineEvents.publish(func() *pb.PipelineStatusResponse { return p.message(v) })
	w.drivePipeline(p, v)
	if v == p.latest() {
		w.supersede(p, v)
		w.told(itemKey{pb.ResourceType_PIPELINE, p.name})
	}
}

// drivePipeline asks gateways and engines, on creation the gateway first, on
// deletion the engine, for what a version needs.
func (w *world) drivePipeline(p *pipeline, v *pipelineVersion) {
	order := []workerKind{pipelineGateways, dataflowEngines}
	if v.engine.ending() {
		slices.Reverse(order)
	}
	for _, kind := range order {
		w.changePipeline(p, v, kind, func(d *duty, present bool) (operation, bool) {
			return d.handle(present, kind.none())
		})
	}
}

// changePipeline applies a transition to one side of a version.
func (w *world) changePipeline(
	p *pipeline, v *pipelineVersion, kind workerKind, change func(d *duty, present bool) (operation, bool),
) {
	c, side := w.crews[kind], v.side(kind)
	op, changed := change(side, c.present())
	if changed {
		w.pipelineEvent(p, v)
	}
	if op != operationNone {
		w.askForPipeline(p, v, kind, op)
	}
}

func (w *world) askForPipeline(p *pipeline, v *pipelineVersion, kind workerKind, op operation) {
	tick := w.nextTick()
	v.side(kind).tick = tick
	w.assign(w.crews[kind], task{
		item: p.name,
		send: func(to any) {
			message := p.message(v)
			message.Timestamp = tick
			message.Operation = pb.PipelineStatusResponse_PipelineCreate
			if op == operationDelete {
				message.Operation = pb.PipelineStatusResponse_PipelineDelete
			}
			push(to, message)
		},
	}, func(ok bool) { w.pipelineAnswer(p, v, kind, tick, ok, "refused by the "+string(kind)) })
}

// pipelineAnswer is a gateway's or engine's.
func (w *world) pipelineAnswer(p *pipeline, v *pipelineVersion, kind workerKind, tick uint64, ok bool, why string) {
	if v.side(kind).answer(tick, ok, why) {
		w.pipelineEvent(p, v)
	}
}

// supersede ends the versions before the latest on the sides where that is ready.
func (w *world) supersede(p *pipeline, latest *pipelineVersion) {
	w.endOlder(p, func(kind workerKind) bool { return latest.side(kind).phase == phaseReady })
}

// endOlder ends the versions before the latest on some sides.
func (w *world) endOlder(p *pipeline, on func(kind workerKind) bool) {
	for _, v := range p.versions[:len(p.versions)-1] {
		for _, kind := range []workerKind{dataflowEngines, pipelineGateways} {
			if on(kind) && !v.side(kind).ending() {
				v.side(kind).terminate()
				// No event of its own for that: the next phase has one.
				w.loop.post(func() { w.drivePipeline(p, v) })
			}
		}
	}
}

// rebalancePipelines shares pipelines out anew when workers of a kind come or go.
func (w *world) rebalancePipelines(kind workerKind) {
	w.changePipelines(kind, func(d *duty, present bool) (operation, bool) {
		return d.rebalance(present, kind.none())
	})
}

// retryPipelines tries again what failed.
func (w *world) retryPipelines() {
	for _, kind := range []workerKind{pipelineGateways, dataflowEngines} {
		w.changePipelines(kind, (*duty).retry)
	}
}

func (w *world) changePipelines(kind workerKind, change func(*duty, bool) (operation, bool)) {
	for _, name := range slices.Sorted(maps.Keys(w.pipelines)) {
		p := w.pipelines[name]
		for _, v := range p.versions {
			w.changePipeline(p, v, kind, change)
		}
	}
}
