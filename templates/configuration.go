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

// over lays one configuration over another, key by key: what the upper layer
// says goes, false, 0 and "" included; what it does not mention is inherited.
func over(upper, lower v1alpha1.SeldonConfiguration) v1alpha1.SeldonConfiguration {
	return v1alpha1.SeldonConfiguration{
		ScalingConfig: v1alpha1.ScalingConfig{
			Models:    scalingModels(upper.ScalingConfig.Models, lower.ScalingConfig.Models),
			Servers:   scalingServers(upper.ScalingConfig.Servers, lower.ScalingConfig.Servers),
			Pipelines: scalingPipelines(upper.ScalingConfig.Pipelines, lower.ScalingConfig.Pipelines),
		},
		TracingConfig: v1alpha1.TracingConfig{
			Disable:              first(upper.TracingConfig.Disable, lower.TracingConfig.Disable),
			OtelExporterEndpoint: first(upper.TracingConfig.OtelExporterEndpoint, lower.TracingConfig.OtelExporterEndpoint),
			OtelExporterProtocol: first(upper.TracingConfig.OtelExporterProtocol, lower.TracingConfig.OtelExporterProtocol),
			Ratio:                first(upper.TracingConfig.Ratio, lower.TracingConfig.Ratio),
		},
		KafkaConfig: v1alpha1.KafkaConfig{
			BootstrapServers:      first(upper.KafkaConfig.BootstrapServers, lower.KafkaConfig.BootstrapServers),
			ConsumerGroupIDPrefix: first(upper.KafkaConfig.ConsumerGroupIDPrefix, lower.KafkaConfig.ConsumerGroupIDPrefix),
			Debug:                 first(upper.KafkaConfig.Debug, lower.KafkaConfig.Debug),
			Consumer:              union(upper.KafkaConfig.Consumer, lower.KafkaConfig.Consumer),
			Producer:              union(upper.KafkaConfig.Producer, lower.KafkaConfig.Producer),
			Streams:               union(upper.KafkaConfig.Streams, lower.KafkaConfig.Streams),
			Topics:                union(upper.KafkaConfig.Topics, lower.KafkaConfig.Topics),
			TopicPrefix:           first(upper.KafkaConfig.TopicPrefix, lower.KafkaConfig.TopicPrefix),
		},
		AgentConfig: v1alpha1.AgentConfiguration{Rclone: v1alpha1.RcloneConfiguration{
			ConfigSecrets: distinct(upper.AgentConfig.Rclone.ConfigSecrets, lower.AgentConfig.Rclone.ConfigSecrets),
			Config:        distinct(upper.AgentConfig.Rclone.Config, lower.AgentConfig.Rclone.Config),
		}},
		ServiceConfig: v1alpha1.ServiceConfig{
			GrpcServicePrefix: first(upper.ServiceConfig.GrpcServicePrefix, lower.ServiceConfig.GrpcServicePrefix),
			ServiceType:       first(upper.ServiceConfig.ServiceType, lower.ServiceConfig.ServiceType),
		},
	}
}

func scalingModels(upper, lower *v1alpha1.ModelScalingConfig) *v1alpha1.ModelScalingConfig {
	if upper == nil || lower == nil {
		return first(upper, lower)
	}
	return &v1alpha1.ModelScalingConfig{Enabled: first(upper.Enabled, lower.Enabled)}
}

func scalingServers(upper, lower *v1alpha1.ServerScalingConfig) *v1alpha1.ServerScalingConfig {
	if upper == nil || lower == nil {
		return first(upper, lower)
	}
	return &v1alpha1.ServerScalingConfig{
		Enabled:                    first(upper.Enabled, lower.Enabled),
		ScaleDownPackingEnabled:    first(upper.ScaleDownPackingEnabled, lower.ScaleDownPackingEnabled),
		ScaleDownPackingPercentage: first(upper.ScaleDownPackingPercentage, lower.ScaleDownPackingPercentage),
	}
}

func scalingPipelines(upper, lower *v1alpha1.PipelineScalingConfig) *v1alpha1.PipelineScalingConfig {
	if upper == nil || lower == nil {
		return first(upper, lower)
	}
	return &v1alpha1.PipelineScalingConfig{
		MaxShardCountMultiplier: first(upper.MaxShardCountMultiplier, lower.MaxShardCountMultiplier),
	}
}

// first is the first of the pointers that is set.
func first[T any](pointers ...*T) *T {
	for _, pointer := range pointers {
		if pointer != nil {
			return pointer
		}
	}
	return nil
}

func union[V any](upper, lower map[string]V) map[string]V {
	merged := maps.Clone(lower)
	if merged == nil {
		return maps.Clone(upper)
	}
	maps.Copy(merged, upper)
	return merged
}

// distinct joins lists, each item once, at its first place.
func distinct(lists ...[]string) []string {
	var joined []string
	for _, item := range slices.Concat(lists...) {
		if !slices.Contains(joined, item) {
			joined = append(joined, item)
		}
	}
	return joined
}

// configurationValues are the contents of the four ConfigMaps, as the values of
// the runtime template's parameters. Their readers take a zero value and a
// missing one for the same, and two of them refuse keys that they do not know,
// so nothing is written that the API does not define.
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
		"otelAgentEnabled": strconv.FormatBool(!value(config.TracingConfig.Disable)),
		"otelEndpoint":     "http://" + value(config.TracingConfig.OtelExporterEndpoint),
		"otelProtocol":     value(config.TracingConfig.OtelExporterProtocol),
		"scaling":          string(scaling),
	}, nil
}

// value of a pointer; the zero value for nil.
func value[T any](pointer *T) T {
	if pointer == nil {
		return *new(T)
	}
	return *pointer
}

// nonZero drops a pointer to a zero value.
func nonZero[T comparable](pointer *T) *T {
	if value(pointer) == *new(T) {
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

// scalingDocument keeps sections that are there, also when nothing is left in
// them: to the scheduler a missing section means its default, an empty one zero.
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
