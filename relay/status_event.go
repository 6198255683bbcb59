package relay

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// phase of an object in the scheduler.
type phase int

const (
	// phaseActive: it has the object.
	phaseActive phase = iota
	// phaseInactive: it has the object, or had it: of an experiment that does not run, it
	// does not report whether it was stopped or never started.
	phaseInactive
	// phaseTerminating: it is unloading the object.
	phaseTerminating
	// phaseTerminated: it has unloaded the object.
	phaseTerminated
)

// statusEvent is what one message of the scheduler reports about one object.
type statusEvent struct {
	name, namespace string
	// hasOrigin: the message identifies the custom resource that the object was loaded
	// for. Objects without an origin were loaded by other clients than operators.
	hasOrigin bool
	phase     phase
	state     State
	// replicas is the desired number of a Model's replicas.
	replicas int64
	// definition of what the scheduler has; zero if the message has none, or is from a
	// stream: only listings are compared, and computing a digest is the most expensive part.
	definition digest
}

// setOrigin sets the custom resource that the object was loaded for. If its name is not
// valid for a custom resource, another client loaded the object.
func (e *statusEvent) setOrigin(meta *pb.KubernetesMeta) {
	e.hasOrigin = meta != nil && meta.Namespace != "" && meta.Generation > 0 && len(validation.IsDNS1123Subdomain(e.name)) == 0
	e.namespace, e.state.Generation = meta.GetNamespace(), meta.GetGeneration()
}

// belongsTo reports whether an operator loaded the object for a namespace.
func (e *statusEvent) belongsTo(namespace string) bool {
	return e.hasOrigin && e.namespace == namespace
}

// isEnding reports whether the object is being unloaded or was unloaded.
func (e *statusEvent) isEnding() bool {
	return e.phase == phaseTerminating || e.phase == phaseTerminated
}

// parseModelStatus parses a message about a Model. Messages contain the newest version.
func parseModelStatus(message *pb.ModelStatusResponse) statusEvent {
	event := statusEvent{name: message.GetModelName()}
	if len(message.GetVersions()) == 0 {
		return event
	}
	version := message.GetVersions()[0]
	event.setOrigin(version.GetKubernetesMeta())
	event.replicas = replicaCount(version.GetModelDefn().GetDeploymentSpec().GetReplicas())
	status := version.GetState()
	state, gateway := status.GetState(), status.GetModelGwState()
	event.phase = modelPhase(message.GetDeleted(), state, gateway)
	event.state.Stable = !isModelProgressing(state) && !isModelProgressing(gateway)
	ready := Condition{
		Type:    v1alpha1.ConditionModelReady,
		True:    state == pb.ModelStatus_ModelAvailable,
		Reason:  reason(state, pb.ModelStatus_ModelState_name),
		Message: cleanText(status.GetReason()),
	}
	if event.phase == phaseActive && isScaledDown(version) {
		event.state.Stable = true
		ready.True, ready.Reason = false, pb.ModelStatus_ModelScaledDown.String()
		ready.Message = "spec.replicas is 0; set it above 0 for the Model to be served"
	}
	event.state.Conditions = []Condition{ready}
	event.state.Model = &ModelState{
		Replicas:          replicaCount(status.GetAvailableReplicas() + status.GetUnavailableReplicas()),
		AvailableReplicas: replicaCount(status.GetAvailableReplicas()),
		Gateway:           reason(gateway, pb.ModelStatus_ModelState_name),
	}
	if server := version.GetServerName(); len(validation.IsValidLabelValue(server)) == 0 {
		event.state.Model.Server = server
	}
	if detail := cleanText(status.GetModelGwReason()); detail != "" {
		event.state.Model.Gateway += "(" + detail + ")"
	}
	return event
}

// replicaCount returns a number of replicas that a status may contain, 0 to
// [math.MaxInt32]. The scheduler computes unsigned differences: a number above that is a
// negative one, and its sum with another number is correct after the overflow.
func replicaCount(count uint32) int64 { return max(0, int64(int32(count))) }

// isScaledDown reports whether a version of a Model has no replica, as specified. The
// scheduler has several states for that, and sends no event for some:
// ModelScaledDown, ModelStateUnknown until it has processed the Model, ModelCreate, or
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
	// Without a replica, only the gateway has something to unload.
	withoutReplica := []pb.ModelStatus_ModelState{
		pb.ModelStatus_ModelTerminated, pb.ModelStatus_ModelTerminateFailed, pb.ModelStatus_ModelFailed,
		pb.ModelStatus_ModelStateUnknown, pb.ModelStatus_ScheduleFailed,
	}
	switch {
	case gateway == pb.ModelStatus_ModelTerminated && slices.Contains(withoutReplica, state):
		return phaseTerminated
	case deleted || slices.Contains(ending, gateway) || slices.Contains(ending, state):
		return phaseTerminating
	default:
		return phaseActive
	}
}

// isModelProgressing reports whether the scheduler or the gateway is working on a Model in
// a state.
func isModelProgressing(state pb.ModelStatus_ModelState) bool {
	switch state {
	case pb.ModelStatus_ModelStateUnknown, pb.ModelStatus_ModelProgressing, pb.ModelStatus_ModelCreate,
		pb.ModelStatus_ModelTerminate, pb.ModelStatus_ModelTerminating:
		return true
	default:
		return false
	}
}

// parsePipelineStatus parses a message about a Pipeline, which has exactly one version.
func parsePipelineStatus(message *pb.PipelineStatusResponse) statusEvent {
	event := statusEvent{name: message.GetPipelineName()}
	if len(message.GetVersions()) != 1 {
		return event
	}
	version := message.GetVersions()[0]
	event.setOrigin(version.GetPipeline().GetKubernetesMeta())
	state := version.GetState()
	dataflow, gateway := state.GetStatus(), state.GetPipelineGwStatus()
	event.phase = pipelinePhase(dataflow, gateway)
	ready := func(status pb.PipelineVersionState_PipelineStatus) bool {
		return status == pb.PipelineVersionState_PipelineReady
	}
	failed := func(status pb.PipelineVersionState_PipelineStatus) bool {
		return status == pb.PipelineVersionState_PipelineFailed
	}
	event.state.Stable = failed(dataflow) || failed(gateway) || ready(dataflow) && ready(gateway) && state.GetModelsReady()
	models := Condition{Type: v1alpha1.ConditionModelsReady, True: true, Reason: "ModelsReady"}
	if !state.GetModelsReady() {
		models = Condition{
			Type: v1alpha1.ConditionModelsReady, Reason: "ModelsNotReady",
			Message: "not all Models of the steps are available: check the Models that spec.steps names",
		}
	}
	event.state.Conditions = []Condition{
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
	return event
}

func pipelinePhase(dataflow, gateway pb.PipelineVersionState_PipelineStatus) phase {
	if dataflow == pb.PipelineVersionState_PipelineTerminated && gateway == pb.PipelineVersionState_PipelineTerminated {
		return phaseTerminated
	}
	ending := []pb.PipelineVersionState_PipelineStatus{
		pb.PipelineVersionState_PipelineTerminate, pb.PipelineVersionState_PipelineTerminating,
		pb.PipelineVersionState_PipelineTerminated, pb.PipelineVersionState_PipelineFailedTerminating,
	}
	if slices.Contains(ending, dataflow) || slices.Contains(ending, gateway) {
		return phaseTerminating
	}
	return phaseActive
}

// parseExperimentStatus parses a message about an Experiment.
func parseExperimentStatus(message *pb.ExperimentStatusResponse) statusEvent {
	event := statusEvent{name: message.GetExperimentName(), phase: phaseInactive}
	event.setOrigin(message.GetKubernetesMeta())
	if message.GetActive() {
		event.phase = phaseActive
	}
	event.state.Stable = message.GetActive() && message.GetCandidatesReady() && message.GetMirrorReady()
	condition := func(conditionType string, ready bool, reasonTrue, reasonFalse, messageFalse string) Condition {
		if ready {
			return Condition{Type: conditionType, True: true, Reason: reasonTrue}
		}
		return Condition{Type: conditionType, Reason: reasonFalse, Message: messageFalse}
	}
	event.state.Conditions = []Condition{
		condition(v1alpha1.ConditionCandidatesReady, message.GetCandidatesReady(), "CandidatesReady", "CandidatesNotReady", "not all candidates are ready: check the Models or Pipelines that spec.candidates names"),
		condition(v1alpha1.ConditionExperimentReady, message.GetActive(), "ExperimentActive", "ExperimentInactive", ""),
		condition(v1alpha1.ConditionMirrorReady, message.GetMirrorReady(), "MirrorReady", "MirrorNotReady", "the mirror is not ready: check the Model or Pipeline that spec.mirror names"),
	}
	event.state.Conditions[1].Message = cleanText(message.GetStatusDescription())
	return event
}

// reason returns the name of an enumeration value. An unknown value is a number with a
// prefix, since a reason must start with a letter.
func reason[E ~int32](value E, names map[int32]string) string {
	if name, known := names[int32(value)]; known {
		return name
	}
	return fmt.Sprintf("State%d", uint32(value))
}
