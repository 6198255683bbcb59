package relay

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/util/validation"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// State is the scheduler's word about one object, in the terms of its status.
type State struct {
	// Generation of the object that the word speaks of.
	Generation int64
	// Conditions, less Ready, which is True when all of them are.
	Conditions []Condition
	// Stable means that the scheduler works no more on it: it serves, or failed.
	Stable bool
	// Model has what only Models have.
	Model *ModelState
}

// Condition is one of an object's conditions.
type Condition struct {
	Type    string
	True    bool
	Reason  string // in CamelCase
	Message string // free text of [maxText] bytes at most on one line, may be empty
}

// maxText is the number of bytes that are kept of a text of the scheduler, which may send
// as much as a gRPC message takes.
const maxText = 1024

// cleanText returns a text of the scheduler as a status may have it: on one line, without
// control characters, and not longer than [maxText].
func cleanText(text string) string {
	const more = " …"
	text = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text))
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText-len(more)], "") + more
	}
	return text
}

// ReadState returns what a ModelStatusResponse, PipelineStatusResponse or
// ExperimentStatusResponse reports about its object, within the bounds of a status
// whatever the message contains; nil if it reports nothing, and for any other message.
func ReadState(message proto.Message) *State {
	var read word
	switch message := message.(type) {
	case *pb.ModelStatusResponse:
		read = modelWord(message)
	case *pb.PipelineStatusResponse:
		read = pipelineWord(message)
	case *pb.ExperimentStatusResponse:
		read = experimentWord(message)
	}
	if len(read.state.Conditions) == 0 {
		return nil
	}
	return &read.state
}

// ModelState is what a Model's status has beside conditions.
type ModelState struct {
	// Replicas that the scheduler counts, available or not, and those that serve, each
	// from 0 to [math.MaxInt32].
	Replicas, AvailableReplicas int64
	// Server that it runs on, empty if none; a valid value of a label.
	Server string
	// Gateway is its state in the model gateway, with the reason in parentheses.
	Gateway string
}

func (s *State) equal(other *State) bool {
	if s == nil || other == nil {
		return s == other
	}
	sameModel := s.Model == other.Model || s.Model != nil && other.Model != nil && *s.Model == *other.Model
	return sameModel && s.Generation == other.Generation && s.Stable == other.Stable &&
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

// address sets which object the message is about. A name that no object can have is of
// what was loaded without Kubernetes.
func (w *word) address(meta *pb.KubernetesMeta) {
	w.addressed = meta != nil && meta.Namespace != "" && meta.Generation > 0 && len(validation.IsDNS1123Subdomain(w.name)) == 0
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
	w.state.Stable = !modelIsBusy(state) && !modelIsBusy(gateway)
	ready := Condition{
		Type:    v1alpha1.ConditionModelReady,
		True:    state == pb.ModelStatus_ModelAvailable,
		Reason:  reason(state, pb.ModelStatus_ModelState_name),
		Message: cleanText(status.GetReason()),
	}
	if w.phase == live && isScaledDown(version) {
		w.state.Stable = true
		ready.True, ready.Reason = false, pb.ModelStatus_ModelScaledDown.String()
		ready.Message = "spec.replicas is 0; set it above 0 for the Model to be served"
	}
	w.state.Conditions = []Condition{ready}
	w.state.Model = &ModelState{
		Replicas:          replicaCount(status.GetAvailableReplicas() + status.GetUnavailableReplicas()),
		AvailableReplicas: replicaCount(status.GetAvailableReplicas()),
		Gateway:           reason(gateway, pb.ModelStatus_ModelState_name),
	}
	if server := version.GetServerName(); len(validation.IsValidLabelValue(server)) == 0 {
		w.state.Model.Server = server
	}
	if why := cleanText(status.GetModelGwReason()); why != "" {
		w.state.Model.Gateway += "(" + why + ")"
	}
	return w
}

// replicaCount returns a number of replicas that a status may have, 0 to
// [math.MaxInt32]. The scheduler computes differences without a sign: one above that
// is a negative number, and the sum of it and another is right after it wraps.
func replicaCount(count uint32) int64 { return max(0, int64(int32(count))) }

// isScaledDown returns whether a version of a Model is to have no replica, and has none.
// The scheduler has several states for that, and sends no event for some:
// ModelScaledDown, ModelStateUnknown until it has looked at the Model, ModelCreate, or
// ScheduleFailed from when there was no Server.
func isScaledDown(version *pb.ModelVersionStatus) bool {
	deployment, status := version.GetModelDefn().GetDeploymentSpec(), version.GetState()
	return status.GetState() == pb.ModelStatus_ModelScaledDown ||
		deployment != nil && deployment.GetReplicas() == 0 && deployment.GetMinReplicas() == 0 && status.GetAvailableReplicas() == 0
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
	w.state.Stable = failed(dataflow) || failed(gateway) || ready(dataflow) && ready(gateway) && state.GetModelsReady()
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
			Message: cleanText(state.GetPipelineGwReason()),
		},
		{
			Type: v1alpha1.ConditionPipelineReady, True: ready(dataflow),
			Reason:  reason(dataflow, pb.PipelineVersionState_PipelineStatus_name),
			Message: cleanText(state.GetReason()),
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
	w.state.Stable = message.GetActive() && message.GetCandidatesReady() && message.GetMirrorReady()
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
	w.state.Conditions[1].Message = cleanText(message.GetStatusDescription())
	return w
}

// IsProgressing tells the reasons of conditions that the scheduler leaves by itself.
func IsProgressing(reason string) bool {
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
