package templates

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"sigs.k8s.io/yaml"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// mergeConfiguration merges one configuration over another, key by key: values of the
// upper layer take precedence, false, 0 and "" included; keys that it does not have are
// inherited.
func mergeConfiguration(upper, lower v1alpha1.SeldonConfiguration) v1alpha1.SeldonConfiguration {
	return v1alpha1.SeldonConfiguration{
		ScalingConfig: v1alpha1.ScalingConfig{
			Models:    scalingModels(upper.ScalingConfig.Models, lower.ScalingConfig.Models),
			Servers:   scalingServers(upper.ScalingConfig.Servers, lower.ScalingConfig.Servers),
			Pipelines: scalingPipelines(upper.ScalingConfig.Pipelines, lower.ScalingConfig.Pipelines),
		},
		TracingConfig: v1alpha1.TracingConfig{
			Disable:              firstNonNil(upper.TracingConfig.Disable, lower.TracingConfig.Disable),
			OtelExporterEndpoint: firstNonNil(upper.TracingConfig.OtelExporterEndpoint, lower.TracingConfig.OtelExporterEndpoint),
			OtelExporterProtocol: firstNonNil(upper.TracingConfig.OtelExporterProtocol, lower.TracingConfig.OtelExporterProtocol),
			Ratio:                firstNonNil(upper.TracingConfig.Ratio, lower.TracingConfig.Ratio),
		},
		KafkaConfig: v1alpha1.KafkaConfig{
			BootstrapServers:      firstNonNil(upper.KafkaConfig.BootstrapServers, lower.KafkaConfig.BootstrapServers),
			ConsumerGroupIDPrefix: firstNonNil(upper.KafkaConfig.ConsumerGroupIDPrefix, lower.KafkaConfig.ConsumerGroupIDPrefix),
			Debug:                 firstNonNil(upper.KafkaConfig.Debug, lower.KafkaConfig.Debug),
			Consumer:              mergeMaps(upper.KafkaConfig.Consumer, lower.KafkaConfig.Consumer),
			Producer:              mergeMaps(upper.KafkaConfig.Producer, lower.KafkaConfig.Producer),
			Streams:               mergeMaps(upper.KafkaConfig.Streams, lower.KafkaConfig.Streams),
			Topics:                mergeMaps(upper.KafkaConfig.Topics, lower.KafkaConfig.Topics),
			TopicPrefix:           firstNonNil(upper.KafkaConfig.TopicPrefix, lower.KafkaConfig.TopicPrefix),
		},
		AgentConfig: v1alpha1.AgentConfiguration{Rclone: v1alpha1.RcloneConfiguration{
			ConfigSecrets: appendUnique(upper.AgentConfig.Rclone.ConfigSecrets, lower.AgentConfig.Rclone.ConfigSecrets),
			Config:        appendUnique(upper.AgentConfig.Rclone.Config, lower.AgentConfig.Rclone.Config),
		}},
		ServiceConfig: v1alpha1.ServiceConfig{
			GrpcServicePrefix: firstNonNil(upper.ServiceConfig.GrpcServicePrefix, lower.ServiceConfig.GrpcServicePrefix),
			ServiceType:       firstNonNil(upper.ServiceConfig.ServiceType, lower.ServiceConfig.ServiceType),
		},
	}
}

func scalingModels(upper, lower *v1alpha1.ModelScalingConfig) *v1alpha1.ModelScalingConfig {
	if upper == nil || lower == nil {
		return firstNonNil(upper, lower)
	}
	return &v1alpha1.ModelScalingConfig{Enabled: firstNonNil(upper.Enabled, lower.Enabled)}
}

func scalingServers(upper, lower *v1alpha1.ServerScalingConfig) *v1alpha1.ServerScalingConfig {
	if upper == nil || lower == nil {
		return firstNonNil(upper, lower)
	}
	return &v1alpha1.ServerScalingConfig{
		Enabled:                    firstNonNil(upper.Enabled, lower.Enabled),
		ScaleDownPackingEnabled:    firstNonNil(upper.ScaleDownPackingEnabled, lower.ScaleDownPackingEnabled),
		ScaleDownPackingPercentage: firstNonNil(upper.ScaleDownPackingPercentage, lower.ScaleDownPackingPercentage),
	}
}

func scalingPipelines(upper, lower *v1alpha1.PipelineScalingConfig) *v1alpha1.PipelineScalingConfig {
	if upper == nil || lower == nil {
		return firstNonNil(upper, lower)
	}
	return &v1alpha1.PipelineScalingConfig{
		MaxShardCountMultiplier: firstNonNil(upper.MaxShardCountMultiplier, lower.MaxShardCountMultiplier),
	}
}

// firstNonNil returns the first pointer that is not nil; nil if there is none.
func firstNonNil[T any](pointers ...*T) *T {
	for _, pointer := range pointers {
		if pointer != nil {
			return pointer
		}
	}
	return nil
}

func mergeMaps[V any](upper, lower map[string]V) map[string]V {
	merged := maps.Clone(lower)
	if merged == nil {
		return maps.Clone(upper)
	}
	maps.Copy(merged, upper)
	return merged
}

// appendUnique concatenates lists without duplicates.
func appendUnique(lists ...[]string) []string {
	var joined []string
	for _, item := range slices.Concat(lists...) {
		if !slices.Contains(joined, item) {
			joined = append(joined, item)
		}
	}
	return joined
}

// configurationValues returns the contents of the four ConfigMaps, as values of the
// runtime template's parameters. Their readers do not distinguish a zero value from a
// missing one, and two of them reject unknown keys, so only keys that the API defines
// are written.
func configurationValues(config v1alpha1.SeldonConfiguration) (map[string]string, error) {
	kafka, err := json.Marshal(withoutZeroStrings(config.KafkaConfig))
	if err != nil {
		return nil, fmt.Errorf("encode kafkaConfig: %w", err)
	}
	tracing, err := json.Marshal(withoutZeros(config.TracingConfig))
	if err != nil {
		return nil, fmt.Errorf("encode tracingConfig: %w", err)
	}
	// An empty rclone section is written: the agent's reader expects one.
	agent, err := yaml.Marshal(struct {
		Rclone v1alpha1.RcloneConfiguration `json:"rclone"`
	}{config.AgentConfig.Rclone})
	if err != nil {
		return nil, fmt.Errorf("encode agentConfig: %w", err)
	}
	scaling, err := yaml.Marshal(scalingDocument(config.ScalingConfig))
	if err != nil {
		return nil, fmt.Errorf("encode scalingConfig: %w", err)
	}
	return map[string]string{
		"agent":            string(agent),
		"kafka":            string(kafka),
		"tracing":          string(tracing),
		"otelAgentEnabled": strconv.FormatBool(!deref(config.TracingConfig.Disable)),
		"otelEndpoint":     "http://" + deref(config.TracingConfig.OtelExporterEndpoint),
		"otelProtocol":     deref(config.TracingConfig.OtelExporterProtocol),
		"scaling":          string(scaling),
	}, nil
}

// deref returns the value of a pointer; the zero value for nil.
func deref[T any](pointer *T) T {
	if pointer == nil {
		return *new(T)
	}
	return *pointer
}

// nonZero returns pointer, or nil if it points to a zero value.
func nonZero[T comparable](pointer *T) *T {
	if deref(pointer) == *new(T) {
		return nil
	}
	return pointer
}

func withoutZeroStrings(kafka v1alpha1.KafkaConfig) v1alpha1.KafkaConfig {
	kafka.BootstrapServers = nonZero(kafka.BootstrapServers)
	kafka.ConsumerGroupIDPrefix = nonZero(kafka.ConsumerGroupIDPrefix)
	kafka.Debug = nonZero(kafka.Debug)
	kafka.TopicPrefix = nonZero(kafka.TopicPrefix)
	return kafka
}

func withoutZeros(tracing v1alpha1.TracingConfig) v1alpha1.TracingConfig {
	tracing.Disable = nonZero(tracing.Disable)
	tracing.OtelExporterEndpoint = nonZero(tracing.OtelExporterEndpoint)
	tracing.OtelExporterProtocol = nonZero(tracing.OtelExporterProtocol)
	tracing.Ratio = nonZero(tracing.Ratio)
	return tracing
}

// scalingDocument keeps sections that are set, also if nothing is left in them: the
// scheduler uses its default for a missing section, and zero for an empty one.
func scalingDocument(scaling v1alpha1.ScalingConfig) v1alpha1.ScalingConfig {
	document := v1alpha1.ScalingConfig{}
	if models := scaling.Models; models != nil {
		document.Models = &v1alpha1.ModelScalingConfig{Enabled: nonZero(models.Enabled)}
	}
	if servers := scaling.Servers; servers != nil {
		document.Servers = &v1alpha1.ServerScalingConfig{
			Enabled:                    nonZero(servers.Enabled),
			ScaleDownPackingEnabled:    nonZero(servers.ScaleDownPackingEnabled),
			ScaleDownPackingPercentage: nonZero(servers.ScaleDownPackingPercentage),
		}
	}
	if pipelines := scaling.Pipelines; pipelines != nil {
		document.Pipelines = &v1alpha1.PipelineScalingConfig{
			MaxShardCountMultiplier: nonZero(pipelines.MaxShardCountMultiplier),
		}
	}
	return document
}
