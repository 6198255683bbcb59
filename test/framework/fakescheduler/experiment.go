package fakescheduler

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// experiment is a traffic split.
//
//	start ─────────────────────────────► inactive, replaces the one of that name
//	routes can be built (after Envoy) ─► active
//	routes can no longer be built ─────► inactive, with the reason as description
//	stop, also of a stopped one ───────► deleted and inactive
//
// Generations are not compared. Every start, stop, change of active and event of a
// model or pipeline that it refers to is published, even if nothing changed. Deleted
// experiments are listed as long as the volume is there; the real scheduler does so
// for 24 hours.
type experiment struct {
	// defn is never changed.
	defn        *pb.Experiment
	active      bool
	deleted     bool
	description string
}

// items are the targets of the traffic, the mirror last.
func (e *experiment) items() []string {
	var names []string
	for _, candidate := range e.defn.GetCandidates() {
		names = append(names, candidate.GetName())
	}
	if e.defn.GetMirror() != nil {
		names = append(names, e.defn.GetMirror().GetName())
	}
	return names
}

// refersTo is whether an experiment splits traffic to a model or pipeline.
func (e *experiment) refersTo(kind pb.ResourceType, name string) bool {
	return !e.deleted && e.defn.GetResourceType() == kind && slices.Contains(e.items(), name)
}

// startExperiment starts an experiment, also one that is started already.
func (s *state) startExperiment(defn *pb.Experiment) error {
	if err := s.checkExperiment(defn); err != nil {
		return err
	}
	e := &experiment{defn: proto.CloneOf(defn)}
	s.experiments[defn.GetName()] = e
	s.experimentEvent(e)
	return nil
}

// checkExperiment validates an experiment.
func (s *state) checkExperiment(defn *pb.Experiment) error {
	name := defn.GetName()
	e := &experiment{defn: defn}
	seen := map[string]bool{}
	for _, item := range e.items() {
		if seen[item] {
			return failedPrecondition("experiment %s has %s twice", name, item)
		}
		seen[item] = true
	}
	if len(seen) == 0 {
		return failedPrecondition("experiment %s has neither a candidate nor a mirror", name)
	}
	if defn.Default == nil {
		return nil
	}
	isDefault := func(c *pb.ExperimentCandidate) bool { return c.GetName() == defn.GetDefault() }
	if !slices.ContainsFunc(defn.GetCandidates(), isDefault) {
		return failedPrecondition("experiment %s has the default %s, which is not a candidate", name, defn.GetDefault())
	}
	for _, other := range s.experiments {
		if !other.deleted && other.defn.GetName() != name && other.defn.Default != nil &&
			other.defn.GetDefault() == defn.GetDefault() && other.defn.GetResourceType() == defn.GetResourceType() {
			return failedPrecondition("experiment %s has the default %s, which is that of experiment %s",
				name, defn.GetDefault(), other.defn.GetName())
		}
	}
	return nil
}

// stopExperiment stops an experiment, and publishes it every time.
func (s *state) stopExperiment(name string) error {
	e := s.experiments[name]
	if e == nil {
		return failedPrecondition("experiment %s is unknown", name)
	}
	e.active, e.deleted = false, true
	s.experimentEvent(e)
	return nil
}

// experimentEvent publishes an experiment later, and builds its routes.
func (s *state) experimentEvent(e *experiment) {
	s.markDirty()
	s.loop.post(func() {
		s.publishExperiment(e)
		s.activate(e)
	})
}

func (s *state) publishExperiment(e *experiment) {
	if s.experiments[e.defn.GetName()] == e {
		s.experimentEvents.publish(func() *pb.ExperimentStatusResponse { return s.experimentMessage(e) })
	}
}

// activate tries to build the routes after Envoy's delay; only a change is published.
func (s *state) activate(e *experiment) {
	s.loop.afterFunc(s.options.Delays.Envoy, func() { s.buildRoutes(e) })
}

func (s *state) buildRoutes(e *experiment) {
	if e.deleted || s.experiments[e.defn.GetName()] != e {
		return
	}
	why := s.unroutable(e)
	changed := e.active != (why == "")
	e.active, e.description = why == "", why
	if e.active {
		e.description = "experiment active"
	}
	if changed {
		s.publishExperiment(e)
	}
}

// unroutable is why no routes can be built, or empty. Of pipelines only the default
// must exist; of models each must have a replica that is loaded.
func (s *state) unroutable(e *experiment) string {
	if e.defn.GetResourceType() == pb.ResourceType_PIPELINE {
		if e.defn.Default != nil && (s.pipelines[e.defn.GetDefault()] == nil || s.pipelines[e.defn.GetDefault()].deleted) {
			return fmt.Sprintf("default pipeline %s is missing", e.defn.GetDefault())
		}
		return ""
	}
	for _, name := range e.items() {
		m := s.models[name]
		if m == nil || m.deleted {
			return fmt.Sprintf("model %s is missing", name)
		}
		served := func(v *modelVersion) bool { return v.count(serving) > 0 }
		if !slices.ContainsFunc(m.versions, served) {
			return fmt.Sprintf("model %s has no live replica", name)
		}
	}
	return ""
}

// ready is whether an item's latest version is available.
func (s *state) ready(kind pb.ResourceType, name string) bool {
	if kind == pb.ResourceType_PIPELINE {
		p := s.pipelines[name]
		return p != nil && p.latest().engine.phase == phaseReady && p.latest().gateway.phase == phaseReady
	}
	m := s.models[name]
	return m != nil && m.latest().state == pb.ModelStatus_ModelAvailable
}

// experimentMessage is an experiment's status.
func (s *state) experimentMessage(e *experiment) *pb.ExperimentStatusResponse {
	message := &pb.ExperimentStatusResponse{
		ExperimentName:    e.defn.GetName(),
		Active:            e.active,
		CandidatesReady:   true,
		MirrorReady:       true,
		StatusDescription: e.description,
		KubernetesMeta:    e.defn.GetKubernetesMeta(),
	}
	for _, candidate := range e.defn.GetCandidates() {
		message.CandidatesReady = message.CandidatesReady && s.ready(e.defn.GetResourceType(), candidate.GetName())
	}
	if mirror := e.defn.GetMirror(); mirror != nil {
		message.MirrorReady = s.ready(e.defn.GetResourceType(), mirror.GetName())
	}
	return message
}
