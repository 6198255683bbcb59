package v1alpha1

// ConditionReady summarizes the other conditions. Every kind with conditions has it.
const ConditionReady string = "Ready"

// Conditions of a Model.
const (
	// ConditionModelReady is True while the scheduler reports the Model as available.
	ConditionModelReady string = "ModelReady"
)

// Conditions of a Pipeline.
const (
	// ConditionPipelineReady is True while the dataflow engine runs the Pipeline.
	ConditionPipelineReady string = "PipelineReady"
	// ConditionPipelineGwReady is True while the pipeline gateway serves the Pipeline.
	ConditionPipelineGwReady string = "PipelineGwReady"
	// ConditionModelsReady is True while the Models of all steps are available.
	ConditionModelsReady string = "ModelsReady"
)

// Conditions of an Experiment.
const (
	// ConditionExperimentReady is True while the scheduler runs the Experiment.
	ConditionExperimentReady string = "ExperimentReady"
	// ConditionCandidatesReady is True while the Models or Pipelines of all candidates are ready.
	ConditionCandidatesReady string = "CandidatesReady"
	// ConditionMirrorReady is True while the mirror is ready, and without a mirror.
	ConditionMirrorReady string = "MirrorReady"
)

// Conditions of a Server.
const (
	// ConditionWorkloadReady is True while the StatefulSet or Deployment is ready.
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

// Warning conditions of the kinds with child objects (SeldonRuntime, Server). They exist
// only while they are True.
const (
	// ConditionPaused is True while PausedAnnotation suspends writes.
	ConditionPaused string = "Paused"
	// ConditionImmutableFieldChanged is True while the desired value of an immutable field
	// of a child differs from the live value.
	ConditionImmutableFieldChanged string = "ImmutableFieldChanged"
	// ConditionRestartRequired is True while an adopted workload is not changed because
	// its pods would restart. AllowRestartAnnotation allows the restart, and so does a
	// change of the object's spec other than its replicas.
	ConditionRestartRequired string = "RestartRequired"
)

// ComponentCondition returns the type of the condition for a runtime's component. ok is
// false if the component has no condition of its own.
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
