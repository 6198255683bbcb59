package fakescheduler

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// experiment is a traffic split.
//
//	start ────────────────────────────► inactive, replacing the one of that name
//	routes can be built (after Envoy) ─► active
//	routes can no longer be built ─────► inactive, with the reason as description
//	stop, also of a stopped one ───────► deleted and inactive
//	deleted for the TTL ───────────────► forgotten
//
// Generations are not compared. Every start, stop, change of active and event of
// an item it splits traffic between is told, even if nothing changed.
type experiment struct {
	// defn is never changed.
	defn        *pb.Experiment
	active      bool
	deleted     bool
	description string
}

// items are what the traffic is split between, the mirror last.
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

// startExperiment starts an experiment anew.
func (w *world) startExperiment(defn *pb.Experiment) error {
	if err := w.checkExperiment(defn); err != nil {
		return err
	}
	w.forgetExperiment(defn.GetName())
	e := &experiment{defn: proto.CloneOf(defn)}
	w.addExperiment(e)
	w.experimentEvent(e)
	return nil
}

// checkExperiment is what the scheduler refuses.
func (w *world) checkExperiment(defn *pb.Experiment) error {
	name := defn.GetName()
	e := &experiment{defn: defn}
	seen := map[string]bool{}
	for _, item := range e.items() {
		if seen[item] {
			return refuse("experiment %s has %s twice", name, item)
		}
		seen[item] = true
	}
	if len(seen) == 0 {
		return refuse("experiment %s has neither a candidate nor a mirror", name)
	}
	if defn.Default == nil {
		return nil
	}
	isDefault := func(c *pb.ExperimentCandidate) bool { return c.GetName() == defn.GetDefault() }
	if !slices.ContainsFunc(defn.GetCandidates(), isDefault) {
		return refuse("experiment %s has the default %s, which is not a candidate", name, defn.GetDefault())
	}
	for _, other := range w.experiments {
		if !other.deleted && other.defn.GetName() != name && other.defn.Default != nil &&
			other.defn.GetDefault() == defn.GetDefault() && other.defn.GetResourceType() == defn.GetResourceType() {
			return refuse("experiment %s has the default %s, which is that of experiment %s",
				name, defn.GetDefault(), other.defn.GetName())
		}
	}
	return nil
}

// stopExperiment stops an experiment, and tells of it every time.
func (w *world) stopExperiment(name string) error {
	e := w.experiments[name]
	if e == nil {
		return refuse("experiment %s is unknown", name)
	}
	e.active, e.deleted = false, true
	w.dropReferences(e)
	w.experimentEvent(e)
	w.loop.alarm(w.options.DeletedTTL, func() { w.expireExperiment(e) })
	return nil
}

// expireExperiment forgets a deleted experiment.
func (w *world) expireExperiment(e *experiment) {
	if w.experiments[e.defn.GetName()] == e {
		w.forgetExperiment(e.defn.GetName())
		w.touch()
	}
}

func (w *world) addExperiment(e *experiment) {
	w.experiments[e.defn.GetName()] = e
	if e.deleted {
		return
	}
	for _, item := range e.items() {
		w.referrers.add(e, itemKey{e.defn.GetResourceType(), item})
	}
}

func (w *world) forgetExperiment(name string) {
	e := w.experiments[name]
	if e == nil {
		return
	}
	delete(w.experiments, name)
	w.dropReferences(e)
}

// dropReferences keeps events of the items from being told as the experiment's.
func (w *world) dropReferences(e *experiment) {
	for _, item := range e.items() {
		w.referrers.remove(e, itemKey{e.defn.GetResourceType(), item})
	}
}

// experimentEvent has an experiment told and its routes built.
func (w *world) experimentEvent(e *experiment) {
	w.touch()
	w.loop.post(func() {
		w.tellExperiment(e)
		w.activate(e)
	})
}

func (w *world) tellExperiment(e *experiment) {
	if w.experiments[e.defn.GetName()] == e {
		w.experimentEvents.publish(func() *pb.ExperimentStatusResponse { return w.experimentMessage(e) })
	}
}

// activate tries to build the routes, which takes its time; only a change is told.
func (w *world) activate(e *experiment) {
	if delay := w.options.Delays.Envoy; delay > 0 {
		w.loop.after(delay, func() { w.buildRoutes(e) })
		return
	}
	w.buildRoutes(e)
}

func (w *world) buildRoutes(e *experiment) {
	if e.deleted || w.experiments[e.defn.GetName()] != e {
		return
	}
	why := w.unroutable(e)
	changed := e.active != (why == "")
	e.active, e.description = why == "", why
	if e.active {
		e.description = "experiment active"
	}
	if changed {
		w.tellExperiment(e)
	}
}

// unroutable is why no routes can be built, or empty. Of pipelines only the default
// must exist; of models each must have a replica that is loaded.
func (w *world) unroutable(e *experiment) string {
	if e.defn.GetResourceType() == pb.ResourceType_PIPELINE {
		if e.defn.Default != nil && (w.pipelines[e.defn.GetDefault()] == nil || w.pipelines[e.defn.GetDefault()].deleted) {
			return fmt.Sprintf("default pipeline %s is missing", e.defn.GetDefault())
		}
		return ""
	}
	for _, name := range e.items() {
		m := w.models[name]
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
func (w *world) ready(kind pb.ResourceType, name string) bool {
	if kind == pb.ResourceType_PIPELINE {
		p := w.pipelines[name]
		return p != nil && p.latest().engine.phase == phaseReady && p.latest().gateway.phase == phaseReady
	}
	m := w.models[name]
	return m != nil && m.latest().state == pb.ModelStatus_ModelAvailable
}

// experimentMessage is an experiment's status.
func (w *world) experimentMessage(e *experiment) *pb.ExperimentStatusResponse {
	message := &pb.ExperimentStatusResponse{
		ExperimentName:    e.defn.GetName(),
		Active:            e.active,
		CandidatesReady:   true,
		MirrorReady:       true,
		StatusDescription: e.description,
		KubernetesMeta:    e.defn.GetKubernetesMeta(),
	}
	for _, candidate := range e.defn.GetCandidates() {
		message.CandidatesReady = message.CandidatesReady && w.ready(e.defn.GetResourceType(), candidate.GetName())
	}
	if mirror := e.defn.GetMirror(); mirror != nil {
		message.MirrorReady = w.ready(e.defn.GetResourceType(), mirror.GetName())
	}
	return message
}
