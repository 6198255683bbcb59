package v1alpha1

import corev1 "k8s.io/api/core/v1"

// SeldonConfiguration is the configuration of a runtime's components. A SeldonConfig has
// inherited values, and the values of a SeldonRuntime take precedence. Scalars are pointers
// so that false, 0 and "" of a SeldonRuntime take precedence too.
type SeldonConfiguration struct {
	// ScalingConfig configures scaling by the scheduler.
	// +optional
	ScalingConfig ScalingConfig `json:"scalingConfig,omitzero"`

	// TracingConfig configures OpenTelemetry.
	// +optional
	TracingConfig TracingConfig `json:"tracingConfig,omitzero"`

	// KafkaConfig configures every component that uses Kafka.
	// +optional
	KafkaConfig KafkaConfig `json:"kafkaConfig,omitzero"`

	// AgentConfig configures the agents of the Servers.
	// +optional
	AgentConfig AgentConfiguration `json:"agentConfig,omitzero"`

	// ServiceConfig configures the runtime's Services.
	// +optional
	ServiceConfig ServiceConfig `json:"serviceConfig,omitzero"`
}

// ScalingConfig configures scaling by the scheduler.
type ScalingConfig struct {
	// Models configures scaling of Models.
	// +optional
	Models *ModelScalingConfig `json:"models,omitempty"`
	// Servers configures scaling of Servers.
	// +optional
	Servers *ServerScalingConfig `json:"servers,omitempty"`
	// Pipelines limits the replicas of the components that run Pipelines.
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

	// ScaleDownPackingEnabled lets the scheduler move Models together so that a Server can
	// be scaled down.
	// +optional
	ScaleDownPackingEnabled *bool `json:"scaleDownPackingEnabled,omitempty"`

	// ScaleDownPackingPercentage is the percentage of replicas that this may affect.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	ScaleDownPackingPercentage *int64 `json:"scaleDownPackingPercentage,omitempty"`
}

// PipelineScalingConfig configures scaling of the components that run Pipelines.
type PipelineScalingConfig struct {
	// MaxShardCountMultiplier is the maximum number of replicas that process one Pipeline
	// or Model. 0 is treated as 1.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	MaxShardCountMultiplier *int64 `json:"maxShardCountMultiplier,omitempty"`
}

// TracingConfig configures OpenTelemetry.
type TracingConfig struct {
	// Disable disables tracing.
	// +optional
	Disable *bool `json:"disable,omitempty"`

	// OtelExporterEndpoint is the collector, as host:port.
	// +optional
	OtelExporterEndpoint *string `json:"otelExporterEndpoint,omitempty"`

	// OtelExporterProtocol is the protocol of the collector, for example grpc.
	// +optional
	OtelExporterProtocol *string `json:"otelExporterProtocol,omitempty"`

	// Ratio of requests that are traced, from 0 to 1.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="size(self) == 0 || (self.matches('^[+]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][-+]?[0-9]+)?$') && double(self) <= 1.0)",message="ratio must be a number from 0 to 1, such as 0.25"
	Ratio *string `json:"ratio,omitempty"`
}

// KafkaConfig configures Kafka clients. Its fields have the order of the JSON that the
// components read.
type KafkaConfig struct {
	// BootstrapServers are the initial brokers, as host:port, separated by commas.
	// +optional
	BootstrapServers *string `json:"bootstrap.servers,omitempty"`

	// ConsumerGroupIDPrefix is the prefix of the names of consumer groups.
	// +optional
	ConsumerGroupIDPrefix *string `json:"consumerGroupIdPrefix,omitempty"`

	// Debug is the setting of librdkafka with that name: contexts, separated by commas.
	// +optional
	Debug *string `json:"debug,omitempty"`

	// Consumer has settings of consumers, with the names of librdkafka.
	// +optional
	Consumer map[string]IntOrString `json:"consumer,omitempty"`

	// Producer has settings of producers, with the names of librdkafka.
	// +optional
	Producer map[string]IntOrString `json:"producer,omitempty"`

	// Streams has settings of the dataflow engine's streams, with the names of Kafka
	// Streams.
	// +optional
	Streams map[string]IntOrString `json:"streams,omitempty"`

	// Topics has settings of new topics, such as numPartitions and replicationFactor.
	// +optional
	Topics map[string]IntOrString `json:"topics,omitempty"`

	// TopicPrefix is the prefix of the names of topics.
	// +optional
	TopicPrefix *string `json:"topicPrefix,omitempty"`
}

// AgentConfiguration configures the agents of the Servers.
type AgentConfiguration struct {
	// Rclone configures the remotes that artifacts are downloaded from.
	// +optional
	Rclone RcloneConfiguration `json:"rclone,omitzero"`
}

// RcloneConfiguration configures the remotes that rclone downloads artifacts from.
type RcloneConfiguration struct {
	// ConfigSecrets are the names of Secrets with rclone configurations.
	// +optional
	// +kubebuilder:validation:MaxItems=1024
	ConfigSecrets []string `json:"config_secrets,omitempty"`

	// Config has rclone configurations.
	// +optional
	// +kubebuilder:validation:MaxItems=1024
	Config []string `json:"config,omitempty"`
}

// ServiceConfig configures the runtime's Services.
type ServiceConfig struct {
	// GrpcServicePrefix is the prefix of the names of gRPC ports.
	// +optional
	GrpcServicePrefix *string `json:"grpcServicePrefix,omitempty"`

	// ServiceType of the runtime's Services.
	// +optional
	// +kubebuilder:validation:Enum="";ClusterIP;NodePort;LoadBalancer
	ServiceType *corev1.ServiceType `json:"serviceType,omitempty"`
}
