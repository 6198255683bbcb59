package v1alpha1

// Finalizers. They are those of the upstream operator, so that either operator
// can finish a deletion that the other one began.
const (
	ModelFinalizer         = "seldon.model.finalizer"
	PipelineFinalizer      = "seldon.pipeline.finalizer"
	ExperimentFinalizer    = "seldon.experiment.finalizer"
	SeldonRuntimeFinalizer = "seldon.runtime.finalizer"
)

// ServerFinalizer is on a Server only while its StatefulSet is being recreated, so
// that its pods get their controller back before the Server is deleted.
const ServerFinalizer = "mlops.seldon.io/statefulset-recreation"

// Annotations that users set. Keys below mlops.seldon.io/ never propagate to
// children.
const (
	// PausedAnnotation, when "true" on a SeldonRuntime or Server, stops every
	// write to its children except for deletion.
	PausedAnnotation = "mlops.seldon.io/paused"
	// AllowRestartAnnotation on a SeldonRuntime or Server lets the operator
	// change adopted workloads although their pods restart.
	AllowRestartAnnotation = "mlops.seldon.io/allow-restart"
	// ApplyMetadataAnnotation, when "true" on a SeldonRuntime or Server, sends labels and
	// annotations of custom resources to pods at once, which restarts them.
	ApplyMetadataAnnotation = "mlops.seldon.io/apply-metadata"
)

// LastAppliedAnnotation is the upstream operator's memory for its three-way
// diff. It is removed at adoption and never written.
const LastAppliedAnnotation = "seldon.io/last-applied"

// Labels of children.
const (
	// AppNameLabel holds ServerAppName on a Server's workload and pods, and the
	// component's name on what belongs to a runtime's component. It is the
	// selector of the latter.
	AppNameLabel = "app.kubernetes.io/name"
	// ServerNameLabel holds the Server's name; the only key that a Server's
	// workload selects by.
	ServerNameLabel = "seldon-server-name"
	// ServerReplicaLabel holds the Server's name on each per-replica Service.
	ServerReplicaLabel = "seldon-server-replica"
	// ServerReplicaNameLabel holds "<server>-<ordinal>" on each per-replica
	// Service.
	ServerReplicaNameLabel = "seldon-server-replica-name"
)

// ServerAppName is the value of AppNameLabel on a Server's workload and pods.
const ServerAppName = "seldon-server"

// Component names: the components of a SeldonConfig that have a condition of
// their own. A SeldonConfig may list components of other names too.
const (
	ComponentScheduler       = "seldon-scheduler"
	ComponentEnvoy           = "seldon-envoy"
	ComponentDataflowEngine  = "seldon-dataflow-engine"
	ComponentHodometer       = "hodometer"
	ComponentModelGateway    = "seldon-modelgateway"
	ComponentPipelineGateway = "seldon-pipelinegateway"
)

// Service names of a runtime.
const (
	SchedulerService = "seldon-scheduler"
	MeshService      = "seldon-mesh"
)

// MaxWorkloadNameLength is how many characters the name of a Server or component
// has at most: the pods of a StatefulSet have the label controller-revision-hash
// with the name, a hyphen and up to 10 characters, and a label's value has at most
// 63. The name of a replica's pod and Service is shorter: up to 4 digits and a
// hyphen follow.
const MaxWorkloadNameLength = 52

// ServerCapabilitiesEnv is the environment variable that spec.capabilities and
// spec.extraCapabilities of a Server are written to.
const ServerCapabilitiesEnv = "SELDON_SERVER_CAPABILITIES"
