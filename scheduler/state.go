package scheduler

import (
	"fmt"
	"slices"
	"strings"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// State is the scheduler's word about one object, in the terms of its status.
type State struct {
	// Generation of the object that the word speaks of.
	Generation int64
	// Conditions, less Ready, which is True when all of them are.
	Conditions []Condition
	// Settled means that the scheduler works no more on it: it serves, or failed.
	Settled bool
	// Model has what only Models have.
	Model *ModelState
}

// Condition is one of an object's conditions.
type Condition struct {
	Type    string
	True    bool
	Reason  string // in CamelCase
	Message string // free text, may be empty
}

// ModelState is what a Model's status has beside conditions.
type ModelState struct {
	// Replicas that the scheduler counts, available or not, and those that serve.
	Replicas, AvailableReplicas int64
	// Server that it runs on, empty if none.
	Server string
	// Gateway is its state in the model gateway, with the reason in parentheses.
	Gateway string
}

func (s *State) equal(other *State) bool {
	if s == nil || other == nil {
		return s == other
	}
	sameModel := s.Model == other.Model || s.Model != nil && other.Model != nil && *s.Model == *other.Model
	return sameModel && s.Generation == other.Generation && s.Settled == other.Settled &&
		slices.Equal(s.Conditions, other.Conditions)
}

// phase of an object in the scheduler.
type phase int

const (
	// live: it has the object.
	live phase = iota
	// idle: it has the object, or had it: of an experiment that does not run it does
	// not tell whether it was stopped or never started.
	idle
	// terminating: it is taking the object down.
	terminating
	// gone: it has taken the object down.
	gone
)

// word is what one message of the scheduler says about one object.
type word struct {
	name, namespace string
	// addressed: the message says which object it is about. Others are from other
	// clients than operators, or from before the operator told of it.
	addressed bool
	phase     phase
	state     State
	// definition of what the scheduler has; zero if the message has none, or came on a
	// stream: only listings are compared, and a digest costs more than all the rest.
	definition digest
}

func (w *word) address(meta *pb.KubernetesMeta) {
	w.addressed = meta != nil && meta.Namespace != "" && meta.Generation > 0
	w.namespace, w.state.Generation = meta.GetNamespace(), meta.GetGeneration()
}

// modelWord reads a message about a model; messages tell of the newest version.
func modelWord(message *pb.ModelStatusResponse) word {
	w := word{name: message.GetModelName()}
	if len(message.GetVersions()) == 0 {
		return w
	}
	version := message.GetVersions()[0]
	w.address(version.GetKubernetesMeta())
	status := version.GetState()
	state, gateway := status.GetState(), status.GetModelGwState()
	w.phase = modelPhase(message.GetDeleted(), state, gateway)
	w.state.Settled = !modelIsBusy(state) && !modelIsBusy(gateway)
	w.state.Conditions = []Condition{{
		Type:    v1alpha1.ConditionModelReady,
		True:    state == pb.ModelStatus_ModelAvailable,
		Reason:  reason(state, pb.ModelStatus_ModelState_name),
		Message: strings.TrimSpace(status.GetReason()),
	}}
	w.state.Model = &ModelState{
		Replicas:          int64(status.GetAvailableReplicas()) + int64(status.GetUnavailableReplicas()),
		AvailableReplicas: int64(status.GetAvailableReplicas()),
		Server:            version.GetServerName(),
		Gateway:           reason(gateway, pb.ModelStatus_ModelState_name),
	}
	if why := strings.TrimSpace(status.GetModelGwReason()); why != "" {
		w.state.Model.Gateway += "(" + why + ")"
	}
	return w
}

func modelPhase(deleted bool, state, gateway pb.ModelStatus_ModelState) phase {
	ending := []pb.ModelStatus_ModelState{
		pb.ModelStatus_ModelTerminate, pb.ModelStatus_ModelTerminating, pb.ModelStatus_ModelTerminateFailed, pb.ModelStatus_ModelTerminated,
	}
	// Without a replica there is nothing to take down but the gateway's part.
	without := []pb.ModelStatus_ModelState{
		pb.ModelStatus_ModelTerminated, pb.ModelStatus_ModelTerminateFailed, pb.ModelStatus_ModelFailed,
		pb.ModelStatus_ModelStateUnknown, pb.ModelStatus_ScheduleFailed,
	}
	switch {
	case gateway == pb.ModelStatus_ModelTerminated && slices.Contains(without, state):
		return gone
	case deleted || slices.Contains(ending, gateway) || slices.Contains(ending, state):
		return terminating
	default:
		return live
	}
}

// modelIsBusy tells the states that the scheduler or the gateway leaves by itself.
func modelIsBusy(state pb.ModelStatus_ModelState) bool {
	switch state {
	case pb.ModelStatus_ModelStateUnknown, pb.ModelStatus_ModelProgressing, pb.ModelStatus_ModelCreate,
		pb.ModelStatus_ModelTerminate, pb.ModelStatus_ModelTerminating:
		return true
	default:
		return false
	}
}

// pipelineWord reads a message about a pipeline, which has exactly one version.
func pipelineWord(message *pb.PipelineStatusResponse) word {
	w := word{name: message.GetPipelineName()}
	if len(message.GetVersions()) != 1 {
		return w
	}
	version := message.GetVersions()[0]
	w.address(version.GetPipeline().GetKubernetesMeta())
	state := version.GetState()
	dataflow, gateway := state.GetStatus(), state.GetPipelineGwStatus()
	w.phase = pipelinePhase(dataflow, gateway)
	ready := func(status pb.PipelineVersionState_PipelineStatus) bool {
		return status == pb.PipelineVersionState_PipelineReady
	}
	failed := func(status pb.PipelineVersionState_PipelineStatus) bool {
		return status == pb.PipelineVersionState_PipelineFailed
	}
	w.state.Settled = failed(dataflow) || failed(gateway) || ready(dataflow) && ready(gateway) && state.GetModelsReady()
	models := Condition{Type: v1alpha1.ConditionModelsReady, True: true, Reason: "ModelsReady"}
	if !state.GetModelsReady() {
		models = Condition{
			Type: v1alpha1.ConditionModelsReady, Reason: "ModelsNotReady",
			Message: "not all Models that the steps name are available",
		}
	}
	w.state.Conditions = []Condition{
		models,
		{
			Type: v1alpha1.ConditionPipelineGwReady, True: ready(gateway),
			Reason:  reason(gateway, pb.PipelineVersionState_PipelineStatus_name),
			Message: strings.TrimSpace(state.GetPipelineGwReason()),
		},
		{
			Type: v1alpha1.ConditionPipelineReady, True: ready(dataflow),
			Reason:  reason(dataflow, pb.PipelineVersionState_PipelineStatus_name),
			Message: strings.TrimSpace(state.GetReason()),
		},
	}
	return w
}

func pipelinePhase(dataflow, gateway pb.PipelineVersionState_PipelineStatus) phase {
	if dataflow == pb.PipelineVersionState_PipelineTerminated && gateway == pb.PipelineVersionState_PipelineTerminated {
		return gone
	}
	ending := []pb.PipelineVersionState_PipelineStatus{
		pb.PipelineVersionState_PipelineTerminate, pb.PipelineVersionState_PipelineTerminating,
		pb.PipelineVersionState_PipelineTerminated, pb.PipelineVersionState_PipelineFailedTerminating,
	}
	if slices.Contains(ending, dataflow) || slices.Contains(ending, gateway) {
		return terminating
	}
	return live
}

// experimentWord reads a message about an experiment.
func experimentWord(message *pb.ExperimentStatusResponse) word {
	w := word{name: message.GetExperimentName(), phase: idle}
	w.address(message.GetKubernetesMeta())
	if message.GetActive() {
		w.phase = live
	}
	w.state.Settled = message.GetActive() && message.GetCandidatesReady() && message.GetMirrorReady()
	part := func(kind string, ready bool, yes, no, lack string) Condition {
		if ready {
			return Condition{Type: kind, True: true, Reason: yes}
		}
		return Condition{Type: kind, Reason: no, Message: lack}
	}
	w.state.Conditions = []Condition{
		part(v1alpha1.ConditionCandidatesReady, message.GetCandidatesReady(), "CandidatesReady", "CandidatesNotReady", "not all candidates are ready"),
		part(v1alpha1.ConditionExperimentReady, message.GetActive(), "ExperimentActive", "ExperimentInactive", ""),
		part(v1alpha1.ConditionMirrorReady, message.GetMirrorReady(), "MirrorReady", "MirrorNotReady", "the mirror is not ready"),
	}
	w.state.Conditions[1].Message = strings.TrimSpace(message.GetStatusDescription())
	return w
}

// IsProgress tells the reasons of conditions that the scheduler leaves by itself.
func IsProgress(reason string) bool {
	if state, is := pb.ModelStatus_ModelState_value[reason]; is {
		return modelIsBusy(pb.ModelStatus_ModelState(state))
	}
	switch reason {
	case "PipelineStatusUnknown", "PipelineCreate", "PipelineCreating", "PipelineRebalancing", "ModelsNotReady":
		return true
	default:
		return false
	}
}

// reason is the name of a member of an enumeration. A number that this contract
// does not know stands behind a word, since a reason starts with a letter.
func reason[E ~int32](value E, names map[int32]string) string {
	if name, known := names[int32(value)]; known {
		return name
	}
	return fmt.Sprintf("State%d", uint32(value))
}
