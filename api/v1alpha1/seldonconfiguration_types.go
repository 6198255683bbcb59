package v1alpha1

import corev1 "k8s.io/api/core/v1"

// SeldonConfiguration is the configuration of a runtime's components. The same
// type stands in the SeldonConfig, whose values are inherited, and in the
// SeldonRuntime, whose values go first. Scalars are pointers so that false, 0
// and "" of the upper layer go first as well.
type SeldonConfiguration struct {
	// ScalingConfig is for the scheduler's own scaling.
	// +optional
	ScalingConfig ScalingConfig `json:"scalingConfig,omitzero"`

	// TracingConfig is for OpenTelemetry.
	// +optional
	TracingConfig TracingConfig `json:"tracingConfig,omitzero"`

	// KafkaConfig is for every component that talks to Kafka.
	// +optional
	KafkaConfig KafkaConfig `json:"kafkaConfig,omitzero"`

	// AgentConfig is for the agents of the Servers.
	// +optional
	AgentConfig AgentConfiguration `json:"agentConfig,omitzero"`

	// ServiceConfig is for the runtime's Services.
	// +optional
	ServiceConfig ServiceConfig `json:"serviceConfig,omitzero"`
}

// ScalingConfig configures scaling by the scheduler.
type ScalingConfig struct {
	// Models says whether the scheduler scales Models.
	// +optional
	Models *ModelScalingConfig `json:"models,omitempty"`
	// Servers says whether the scheduler scales Servers.
	// +optional
	Servers *ServerScalingConfig `json:"servers,omitempty"`
	// Pipelines bounds the replicas of what runs Pipelines.
	// +optional
	Pipelines *PipelineScalingConfig `json:"pipelines,omitempty"`
}

// ModelScalingConfig configures scaling of Models.
type ModelScalingConfig struct {
	// Enabled lets the scheduler scale Models.
	// +optional
	Enabled *bool `json:"enabled,omitempty"`
}

// ServerScalingConfig configures scaling of Servers.
type ServerScalingConfig struct {
	// Enabled lets the scheduler scale Servers.
	// +optional
	Enabled *bool `json:"enabled,omitempty"`

	// ScaleDownPackingEnabled lets the scheduler move Models together so that a
	// Server can shrink.
	// +optional
	ScaleDownPackingEnabled *bool `json:"scaleDownPackingEnabled,omitempty"`

	// ScaleDownPackingPercentage is how much of the replicas this may concern, in
	// percent.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	ScaleDownPackingPercentage *int64 `json:"scaleDownPackingPercentage,omitempty"`
}

// PipelineScalingConfig configures scaling of what runs Pipelines.
type PipelineScalingConfig struct {
	// MaxShardCountMultiplier is how many replicas one Pipeline or Model may
	// occupy at most. 0 counts as 1.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	MaxShardCountMultiplier *int64 `json:"maxShardCountMultiplier,omitempty"`
}

// TracingConfig configures OpenTelemetry.
type TracingConfig struct {
	// Disable switches tracing off.
	// +optional
	Disable *bool `json:"disable,omitempty"`

	// OtelExporterEndpoint is host and port of the collector.
	// +optional
	OtelExporterEndpoint *string `json:"otelExporterEndpoint,omitempty"`

	// OtelExporterProtocol is the protocol to it, for example grpc.
	// +optional
	OtelExporterProtocol *string `json:"otelExporterProtocol,omitempty"`

	// Ratio of requests that are traced, from 0 to 1.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="size(self) == 0 || (self.matches('^[+]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][-+]?[0-9]+)?$') && double(self) <= 1.0)",message="ratio must be a number from 0 to 1, such as 0.25"
	Ratio *string `json:"ratio,omitempty"`
}

// KafkaConfig configures Kafka clients. The order of its fields is that of the
// JSON which the components read.
type KafkaConfig struct {
	// BootstrapServers are the brokers to begin with: host:port, separated by
	// commas.
	// +optional
	BootstrapServers *string `json:"bootstrap.servers,omitempty"`

	// ConsumerGroupIDPrefix comes before the name of every consumer group.
	// +optional
	ConsumerGroupIDPrefix *string `json:"consumerGroupIdPrefix,omitempty"`

	// Debug is librdkafka's setting of that name: contexts, separated by commas.
	// +optional
	Debug *string `json:"debug,omitempty"`

	// Consumer holds settings of consumers, by the names that librdkafka gives
	// them.
	// +optional
	Consumer map[string]IntOrString `json:"consumer,omitempty"`

	// Producer holds settings of producers, by the names that librdkafka gives
	// them.
	// +optional
	Producer map[string]IntOrString `json:"producer,omitempty"`

	// Streams holds settings of the dataflow engine's streams, by the names that
	// Kafka Streams gives them.
	// +optional
	Streams map[string]IntOrString `json:"streams,omitempty"`

	// Topics holds settings of topics that are created, such as numPartitions and
	// replicationFactor.
	// +optional
	Topics map[string]IntOrString `json:"topics,omitempty"`

	// TopicPrefix comes before the name of every topic.
	// +optional
	TopicPrefix *string `json:"topicPrefix,omitempty"`
}

// AgentConfiguration configures the agents of the Servers.
type AgentConfiguration struct {
	// Rclone says where artifacts may be fetched from.
	// +optional
	Rclone RcloneConfiguration `json:"rclone,omitzero"`
}

// RcloneConfiguration configures where rclone may fetch artifacts from.
type RcloneConfiguration struct {
	// ConfigSecrets are names of Secrets with rclone's configuration.
	// +optional
	// +kubebuilder:validation:MaxItems=1024
	ConfigSecrets []string `json:"config_secrets,omitempty"`

	// Config holds rclone's configuration itself.
	// +optional
	// +kubebuilder:validation:MaxItems=1024
	Config []string `json:"config,omitempty"`
}

// ServiceConfig configures the runtime's Services.
type ServiceConfig struct {
	// GrpcServicePrefix comes before the names of gRPC ports.
	// +optional
	GrpcServicePrefix *string `json:"grpcServicePrefix,omitempty"`

	// ServiceType of the runtime's Services.
	// +optional
	// +kubebuilder:validation:Enum="";ClusterIP;NodePort;LoadBalancer
	ServiceType *corev1.ServiceType `json:"serviceType,omitempty"`
}
