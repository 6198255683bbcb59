package fakescheduler

import (
	"crypto/rand"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// pipeline is all versions of a pipeline, oldest first, at least one.
//
//	load, unknown or terminating ─────► a new record, version 1
//	load, same generation (above 0) ──► no change, and no event
//	load, other generation ───────────► another version
//	unload ───────────────────────────► all versions terminate on both sides, deleted
//	unload, terminating or terminated ► rejected
//	newer version ready ──────────────► older versions terminate
//
// A version has two tasks that are independent of each other: the dataflow engines'
// and the pipeline gateways'. Deleted pipelines are listed as long as the volume is
// there; the real scheduler does so for 24 hours.
type pipeline struct {
	name     string
	versions []*pipelineVersion
	deleted  bool
}

type pipelineVersion struct {
	// defn is the published definition: normalised, and never changed.
	defn    *pb.Pipeline
	engine  workerTask
	gateway workerTask
	// modelsReady is whether every step's model is available, its gateway included.
	modelsReady bool
	since       time.Time
}

func (p *pipeline) latest() *pipelineVersion { return p.versions[len(p.versions)-1] }

func (v *pipelineVersion) hasStep(name string) bool {
	return slices.ContainsFunc(v.defn.GetSteps(), func(step *pb.PipelineStep) bool { return step.GetName() == name })
}

// fails are the failures of one of the tasks.
func (v *pipelineVersion) fails(p *pipeline, side *workerTask) failure {
	if side == &v.gateway {
		return failure{failPipelineGateway, p.name}
	}
	return failure{}
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

// loadPipeline stores a pipeline; it is created later.
func (s *state) loadPipeline(requested *pb.Pipeline) error {
	defn, err := normalisePipeline(requested)
	if err != nil {
		return err
	}
	p := s.pipelines[defn.GetName()]
	defn.Version, defn.Uid = 1, strings.ToLower(rand.Text())
	if p != nil && !p.latest().engine.over() && !p.latest().gateway.over() {
		latest := p.latest().defn
		if now := latest.GetKubernetesMeta().GetGeneration(); now > 0 && now == defn.GetKubernetesMeta().GetGeneration() {
			return nil
		}
		defn.Version = latest.GetVersion() + 1
	} else {
		p = &pipeline{name: defn.GetName()}
		s.pipelines[p.name] = p
	}
	v := &pipelineVersion{defn: defn, since: time.Now()}
	p.versions = append(p.versions, v)
	v.modelsReady = s.modelsReady(v)
	s.pipelineEvent(p, v)
	return nil
}

// unloadPipeline terminates a pipeline.
func (s *state) unloadPipeline(name string) error {
	p := s.pipelines[name]
	if p == nil {
		return failedPrecondition("pipeline %s is unknown", name)
	}
	v := p.latest()
	switch {
	case v.engine.phase == phaseTerminated && v.gateway.phase == phaseTerminated:
		return failedPrecondition("pipeline %s was not found", name)
	case v.engine.over() || v.gateway.over():
		return failedPrecondition("pipeline %s is still terminating", name)
	}
	v.engine.terminate()
	v.gateway.terminate()
	p.deleted = true
	s.pipelineEvent(p, v)
	for _, older := range p.versions[:len(p.versions)-1] {
		s.terminateOlder(p, older, true)
	}
	return nil
}

// modelsReady is whether the models of all steps are available.
func (s *state) modelsReady(v *pipelineVersion) bool {
	for _, step := range v.defn.GetSteps() {
		m := s.models[step.GetName()]
		if m == nil || m.deleted || !slices.ContainsFunc(m.versions, func(v *modelVersion) bool {
			return v.available > 0 && v.gateway.phase == phaseReady
		}) {
			return false
		}
	}
	return true
}

// checkModels updates modelsReady.
func (s *state) checkModels(p *pipeline) {
	v := p.latest()
	if ready := s.modelsReady(v); !p.deleted && ready != v.modelsReady {
		v.modelsReady = ready
		s.pipelineEvent(p, v)
	}
}

// pipelineEvent stores the change of a version and handles its event later, with the
// status that it has then.
func (s *state) pipelineEvent(p *pipeline, v *pipelineVersion) {
	v.since = time.Now()
	s.markDirty()
	s.loop.post(func() { s.handlePipeline(p, v) })
}

// handlePipeline publishes the status of a version, and starts the operations that follow:
// a gateway is the first to create, and the last to terminate.
func (s *state) handlePipeline(p *pipeline, v *pipelineVersion) {
	if s.pipelines[p.name] != p {
		return
	}
	s.pipelineEvents.publish(func() *pb.PipelineStatusResponse { return p.message(v) })
	sides := []*workerTask{&v.gateway, &v.engine}
	if v.engine.ending() {
		slices.Reverse(sides)
	}
	for _, side := range sides {
		if s.advance(side, v.fails(p, side), func() { s.pipelineEvent(p, v) }) {
			// The other one follows when this change is handled.
			break
		}
	}
	if v != p.latest() {
		return
	}
	for _, older := range p.versions[:len(p.versions)-1] {
		s.terminateOlder(p, older, v.engine.phase == phaseReady && v.gateway.phase == phaseReady)
	}
	s.changed(pb.ResourceType_PIPELINE, p.name)
}

// terminateOlder terminates a version before the latest, if it is time to.
func (s *state) terminateOlder(p *pipeline, v *pipelineVersion, due bool) {
	if due && !v.engine.ending() {
		v.engine.terminate()
		v.gateway.terminate()
		s.pipelineEvent(p, v)
	}
}
