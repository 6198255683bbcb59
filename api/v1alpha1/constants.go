package v1alpha1

// Finalizers. They are those of the upstream operator, so that each operator can
// complete a deletion that started under the other one.
const (
	ModelFinalizer         = "seldon.model.finalizer"
	PipelineFinalizer      = "seldon.pipeline.finalizer"
	ExperimentFinalizer    = "seldon.experiment.finalizer"
	SeldonRuntimeFinalizer = "seldon.runtime.finalizer"
)

// ServerFinalizer is set on a Server only while its StatefulSet is being recreated, so
// that its pods are owned by a StatefulSet again before the Server is deleted.
const ServerFinalizer = "mlops.seldon.io/statefulset-recreation"

// Annotations that users set. Keys with the prefix mlops.seldon.io/ are not propagated to
// children.
const (
	// PausedAnnotation, if "true" on a SeldonRuntime or Server, suspends every write to
	// its children except deletion.
	PausedAnnotation = "mlops.seldon.io/paused"
	// AllowRestartAnnotation, if "true" on a SeldonRuntime or Server, allows changes of
	// adopted workloads that restart their pods.
	AllowRestartAnnotation = "mlops.seldon.io/allow-restart"
	// ApplyMetadataAnnotation, if "true" on a SeldonRuntime or Server, applies changed labels
	// and annotations of custom resources to pods immediately, which restarts them.
	ApplyMetadataAnnotation = "mlops.seldon.io/apply-metadata"
	// ReconcileRequestedAtAnnotation on a SeldonRuntime or Server requests a reconciliation
	// whenever its value, such as the current time, changes.
	ReconcileRequestedAtAnnotation = "mlops.seldon.io/reconcile-requested-at"
)

// LastAppliedAnnotation holds what the upstream operator applied last, for its three-way
// diff. It is removed at adoption and never written.
const LastAppliedAnnotation = "seldon.io/last-applied"

// Labels of children.
const (
	// AppNameLabel is ServerAppName on a Server's workload and pods, and the name of the
	// component on the objects of a runtime's component, whose selector it is.
	AppNameLabel = "app.kubernetes.io/name"
	// ServerNameLabel is the Server's name, and the only key in the selector of its
	// workload.
	ServerNameLabel = "seldon-server-name"
	// ServerReplicaLabel is the Server's name, on each per-replica Service.
	ServerReplicaLabel = "seldon-server-replica"
	// ServerReplicaNameLabel is "<server>-<ordinal>", on each per-replica Service.
	ServerReplicaNameLabel = "seldon-server-replica-name"
)

// ServerAppName is the value of AppNameLabel on a Server's workload and pods.
const ServerAppName = "seldon-server"

// Names of the components that have their own condition. A SeldonConfig may list other
// components too.
const (
	ComponentScheduler       = "seldon-scheduler"
	ComponentEnvoy           = "seldon-envoy"
	ComponentDataflowEngine  = "seldon-dataflow-engine"
	ComponentHodometer       = "hodometer"
	ComponentModelGateway    = "seldon-modelgateway"
	ComponentPipelineGateway = "seldon-pipelinegateway"
)

// Names of a runtime's Services.
const (
	SchedulerService = "seldon-scheduler"
	MeshService      = "seldon-mesh"
)

// MaxWorkloadNameLength is the maximum length of the name of a Server or component, in
// characters: the pods of a StatefulSet have the label controller-revision-hash with the
// name, a hyphen and up to 10 characters, and a label value has at most 63. The name of a
// replica's pod or Service is shorter: it appends a hyphen and up to 4 digits.
const MaxWorkloadNameLength = 52

// ServerCapabilitiesEnv is the name of the environment variable that holds a Server's
// spec.capabilities and spec.extraCapabilities.
const ServerCapabilitiesEnv = "SELDON_SERVER_CAPABILITIES"
