package v1alpha1

// ConditionReady sums up the other conditions. Every kind with conditions has
// it.
const ConditionReady string = "Ready"

// Conditions of a Model.
const (
	// ConditionModelReady is True while the scheduler reports the Model
	// available.
	ConditionModelReady string = "ModelReady"
)

// Conditions of a Pipeline.
const (
	// ConditionPipelineReady speaks of the dataflow engine's part.
	ConditionPipelineReady string = "PipelineReady"
	// ConditionPipelineGwReady speaks of the pipeline gateway's part.
	ConditionPipelineGwReady string = "PipelineGwReady"
	// ConditionModelsReady speaks of the Models that the steps name.
	ConditionModelsReady string = "ModelsReady"
)

// Conditions of an Experiment.
const (
	// ConditionExperimentReady is True while the scheduler has it running.
	ConditionExperimentReady string = "ExperimentReady"
	// ConditionCandidatesReady speaks of the candidates' Models or Pipelines.
	ConditionCandidatesReady string = "CandidatesReady"
	// ConditionMirrorReady is True as well when there is no mirror.
	ConditionMirrorReady string = "MirrorReady"
)

// Conditions of a Server.
const (
	// ConditionWorkloadReady speaks of the StatefulSet or Deployment.
	ConditionWorkloadReady string = "StatefulSetOrDeploymentReady"
)

// Conditions of a SeldonRuntime: one for each component known by name, and two that
// describe the operator's connection to the scheduler and do not count towards Ready.
const (
	ConditionSchedulerReady       string = "SchedulerReady"
	ConditionDataflowEngineReady  string = "DataflowEngineReady"
	ConditionModelGatewayReady    string = "ModelGatewayReady"
	ConditionPipelineGatewayReady string = "PipelineGatewayReady"
	ConditionEnvoyReady           string = "EnvoyReady"
	ConditionHodometerReady       string = "HodometerReady"
	ConditionSchedulerReachable   string = "SchedulerReachable"
	ConditionSchedulerSynced      string = "SchedulerSynced"
)

// ComponentConditions are the types of the conditions of a SeldonRuntime's components;
// see [ComponentCondition].
var ComponentConditions = []string{
	ConditionSchedulerReady, ConditionDataflowEngineReady, ConditionModelGatewayReady,
	ConditionPipelineGatewayReady, ConditionEnvoyReady, ConditionHodometerReady,
}

// Conditions of everything that expands into children (SeldonRuntime, Server).
// They are absent unless there is something to tell.
const (
	// ConditionPaused is True while PausedAnnotation holds back writes.
	ConditionPaused string = "Paused"
	// ConditionImmutableFieldChanged is True while a child cannot be brought to what is
	// wanted, such as an immutable field.
	ConditionImmutableFieldChanged string = "ImmutableFieldChanged"
	// ConditionRestartRequired is True while an adopted workload is not changed
	// because its pods would restart. AllowRestartAnnotation allows that, and so does
	// a change of the object's spec other than of its replicas.
	ConditionRestartRequired string = "RestartRequired"
)

// ComponentCondition returns the type of the condition that speaks of a
// runtime's component, and whether the component has one of its own.
func ComponentCondition(component string) (conditionType string, ok bool) {
	switch component {
	case ComponentScheduler:
		return ConditionSchedulerReady, true
	case ComponentDataflowEngine:
		return ConditionDataflowEngineReady, true
	case ComponentModelGateway:
		return ConditionModelGatewayReady, true
	case ComponentPipelineGateway:
		return ConditionPipelineGatewayReady, true
	case ComponentEnvoy:
		return ConditionEnvoyReady, true
	case ComponentHodometer:
		return ConditionHodometerReady, true
	default:
		return "", false
	}
}
