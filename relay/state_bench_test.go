package relay

import (
	"testing"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// BenchmarkEvents parses a status event from a stream, and from a listing.
// Metrics: time and allocations per event.
func BenchmarkEvents(b *testing.B) {
	model := message[pb.ModelStatusResponse](b, `modelName: "iris" versions {version: 1 serverName: "mlserver" kubernetesMeta {namespace: "team" generation: 1}
		state {state: ModelAvailable reason: "loaded" availableReplicas: 2 modelGwState: ModelAvailable modelGwReason: "1/1 ready"}
		modelDefn {meta {name: "iris" kubernetesMeta {namespace: "team" generation: 1}} modelSpec {uri: "gs://models/iris" requirements: "sklearn"} deploymentSpec {replicas: 2 maxReplicas: 4294967295}}}`)
	pipeline := message[pb.PipelineStatusResponse](b, `pipelineName: "chain" versions {pipeline {name: "chain" uid: "u" version: 1 kubernetesMeta {namespace: "team" generation: 1}
		steps {name: "a"} steps {name: "b" inputs: "a.outputs"} steps {name: "c" inputs: "b.outputs"} output {steps: "c.outputs"}}
		state {status: PipelineReady pipelineGwStatus: PipelineReady modelsReady: true reason: "1/1 ready"}}`)
	for _, each := range []struct {
		name string
		read func() statusEvent
	}{
		{"model/streamed", func() statusEvent { return parseModelStatus(model) }},
		{"model/listed", func() statusEvent { return withDefinition(parseModelStatus, modelDefinition)(model) }},
		{"pipeline/streamed", func() statusEvent { return parsePipelineStatus(pipeline) }},
		{"pipeline/listed", func() statusEvent { return withDefinition(parsePipelineStatus, pipelineDefinition)(pipeline) }},
	} {
		b.Run(each.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if w := each.read(); w.name == "" {
					b.Fatal("the event has no name")
				}
			}
		})
	}
}
