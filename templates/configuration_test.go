package templates

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

func configuration(t *testing.T, text string) v1alpha1.SeldonConfiguration {
	t.Helper()
	config := v1alpha1.SeldonConfiguration{}
	if err := yaml.UnmarshalStrict([]byte(text), &config); err != nil {
		t.Fatal(err)
	}
	return config
}

// The content of ConfigMaps is a contract with the components: two of them reject unknown
// keys, and order and spacing decide whether adoption restarts pods.
func TestConfigurationValues(t *testing.T) {
	tests := map[string]struct {
		config string
		want   map[string]string
	}{
		"nothing": {config: `{}`, want: map[string]string{
			"agent": "rclone: {}\n", "kafka": "{}", "tracing": "{}", "scaling": "{}\n",
			"otelAgentEnabled": "true", "otelEndpoint": "http://", "otelProtocol": "",
		}},
		"everything": {
			config: `
kafkaConfig: {topicPrefix: tp, "bootstrap.servers": "b:9092", consumerGroupIdPrefix: p, debug: all, consumer: {session.timeout.ms: 6000, a: "true"}, topics: {numPartitions: 4}}
tracingConfig: {disable: true, otelExporterEndpoint: "c:4317", otelExporterProtocol: grpc, ratio: "0.5"}
agentConfig: {rclone: {config_secrets: [s], config: ["{}"]}}
scalingConfig: {models: {enabled: true}, servers: {enabled: true, scaleDownPackingEnabled: true, scaleDownPackingPercentage: 7}, pipelines: {maxShardCountMultiplier: 2}}`,
			want: map[string]string{
				"agent":            "rclone:\n  config:\n  - '{}'\n  config_secrets:\n  - s\n",
				"kafka":            `{"bootstrap.servers":"b:9092","consumerGroupIdPrefix":"p","debug":"all","consumer":{"a":"true","session.timeout.ms":6000},"topics":{"numPartitions":4},"topicPrefix":"tp"}`,
				"tracing":          `{"disable":true,"otelExporterEndpoint":"c:4317","otelExporterProtocol":"grpc","ratio":"0.5"}`,
				"scaling":          "models:\n  enabled: true\npipelines:\n  maxShardCountMultiplier: 2\nservers:\n  enabled: true\n  scaleDownPackingEnabled: true\n  scaleDownPackingPercentage: 7\n",
				"otelAgentEnabled": "false", "otelEndpoint": "http://c:4317", "otelProtocol": "grpc",
			},
		},
		"zero values, whose sections stay": {
			config: `
kafkaConfig: {debug: "", consumer: {}}
tracingConfig: {disable: false}
scalingConfig: {models: {enabled: false}, servers: {enabled: false}}`,
			want: map[string]string{
				"agent": "rclone: {}\n", "kafka": "{}", "tracing": "{}", "scaling": "models: {}\nservers: {}\n",
				"otelAgentEnabled": "true", "otelEndpoint": "http://", "otelProtocol": "",
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := configurationValues(configuration(t, test.config))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("want (-), got (+):\n%s", diff)
			}
		})
	}
}

func TestConfigurationLayers(t *testing.T) {
	tests := map[string]struct{ upper, lower, want string }{
		"keys that are not set are inherited": {
			upper: `{}`,
			lower: `{tracingConfig: {disable: true, ratio: "1"}, kafkaConfig: {debug: all}, serviceConfig: {serviceType: ClusterIP, grpcServicePrefix: grpc-}}`,
			want:  `{tracingConfig: {disable: true, ratio: "1"}, kafkaConfig: {debug: all}, serviceConfig: {serviceType: ClusterIP, grpcServicePrefix: grpc-}}`,
		},
		"false, 0 and the empty string take precedence": {
			upper: `{tracingConfig: {disable: false}, kafkaConfig: {debug: ""}, scalingConfig: {servers: {scaleDownPackingPercentage: 0, enabled: false}}}`,
			lower: `{tracingConfig: {disable: true}, kafkaConfig: {debug: all}, scalingConfig: {servers: {scaleDownPackingPercentage: 9, enabled: true}}}`,
			want:  `{tracingConfig: {disable: false}, kafkaConfig: {debug: ""}, scalingConfig: {servers: {scaleDownPackingPercentage: 0, enabled: false}}}`,
		},
		"maps merge by key, topics like consumer": {
			upper: `{kafkaConfig: {consumer: {a: 1}, topics: {numPartitions: 4}}}`,
			lower: `{kafkaConfig: {consumer: {a: 2, b: 3}, topics: {numPartitions: 1, replicationFactor: 3}, producer: {c: 4}}}`,
			want:  `{kafkaConfig: {consumer: {a: 1, b: 3}, topics: {numPartitions: 4, replicationFactor: 3}, producer: {c: 4}}}`,
		},
		"sections merge by field": {
			upper: `{scalingConfig: {servers: {scaleDownPackingEnabled: true}, pipelines: {maxShardCountMultiplier: 2}}}`,
			lower: `{scalingConfig: {servers: {enabled: true}, models: {enabled: true}, pipelines: {maxShardCountMultiplier: 1}}}`,
			want:  `{scalingConfig: {servers: {enabled: true, scaleDownPackingEnabled: true}, models: {enabled: true}, pipelines: {maxShardCountMultiplier: 2}}}`,
		},
		"lists join without duplicates": {
			upper: `{agentConfig: {rclone: {config_secrets: [b, a], config: [x]}}}`,
			lower: `{agentConfig: {rclone: {config_secrets: [a, c], config: [x]}}}`,
			want:  `{agentConfig: {rclone: {config_secrets: [b, a, c], config: [x]}}}`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			upper, lower := configuration(t, test.upper), configuration(t, test.lower)
			before := configuration(t, test.lower)
			if diff := cmp.Diff(configuration(t, test.want), mergeConfiguration(upper, lower)); diff != "" {
				t.Errorf("want (-), got (+):\n%s", diff)
			}
			if diff := cmp.Diff(before, lower); diff != "" {
				t.Errorf("the lower layer was changed:\n%s", diff)
			}
		})
	}
}

func TestLimitReplicas(t *testing.T) {
	pod := func(container, variable, number string) map[string]any {
		return podSpec(map[string]any{"containers": []any{
			map[string]any{"name": "sidecar"},
			map[string]any{"name": container, "env": []any{map[string]any{"name": variable, "value": number}}},
		}})
	}
	tests := map[string]struct {
		component  string
		requested  int64
		workload   map[string]any
		counts     Counts
		multiplier *int64
		want       int64
		rejected   bool
	}{
		"nothing to do":                   {component: "seldon-modelgateway", requested: 5, want: 1},
		"as many as Models":               {component: "seldon-modelgateway", requested: 5, counts: Counts{Models: 3}, want: 3},
		"Pipelines are not Models":        {component: "seldon-modelgateway", requested: 5, counts: Counts{Pipelines: 3}, want: 1},
		"times the multiplier":            {component: "seldon-pipelinegateway", requested: 9, counts: Counts{Pipelines: 3}, multiplier: new(int64(2)), want: 6},
		"a multiplier of 0 counts as 1":   {component: "seldon-dataflow-engine", requested: 9, counts: Counts{Pipelines: 3}, multiplier: new(int64(0)), want: 3},
		"never increased":                 {component: "seldon-modelgateway", requested: 2, counts: Counts{Models: 30}, want: 2},
		"zero is zero":                    {component: "seldon-modelgateway", requested: 0, counts: Counts{Models: 30}, want: 0},
		"the capacity of any container":   {component: "seldon-modelgateway", requested: 9, counts: Counts{Models: 30}, workload: pod("gateway", "MODELGATEWAY_MAX_NUM_CONSUMERS", "4"), want: 4},
		"the default capacity":            {component: "seldon-dataflow-engine", requested: 500, counts: Counts{Pipelines: 300}, want: 100},
		"a capacity that is not a number": {component: "seldon-modelgateway", requested: 9, workload: pod("gateway", "MODELGATEWAY_MAX_NUM_CONSUMERS", "many"), rejected: true},
		"a capacity of zero":              {component: "seldon-modelgateway", requested: 9, workload: pod("gateway", "MODELGATEWAY_MAX_NUM_CONSUMERS", "0"), rejected: true},
		"a component without a limit":     {component: "seldon-envoy", requested: 9, want: 9},
		"an unknown component":            {component: "sidekick", requested: 9, want: 9},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, limit, err := limitReplicas(test.component, test.requested, test.workload, test.counts, test.multiplier)
			if (err != nil) != test.rejected {
				t.Fatalf("error %v", err)
			}
			if got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
			if reported := limit != nil; reported != (got < test.requested && !test.rejected) {
				t.Errorf("reported: %v (%v)", reported, limit)
			}
		})
	}
}

func TestToolingKeysAreNotPropagated(t *testing.T) {
	for key, want := range map[string]bool{
		"meta.helm.sh/release-name": true, "helm.sh/chart": true, "app.kubernetes.io/managed-by": true, "app.kubernetes.io/instance": true,
		"argocd.argoproj.io/tracking-id": true, "kubectl.kubernetes.io/last-applied-configuration": true, "kustomize.toolkit.fluxcd.io/name": true,
		"k8slens-edit-resource-version": true, "velero.io/restore-name": true, "field.cattle.io/description": true, "pulumi.com/patchForce": true,
		"objectset.rio.cattle.io/id": true, "fleet.cattle.io/bundle-id": true, "notcattle.io/x": false, "backstage.io/kubernetes-id": false,
		"app.kubernetes.io/name": false, "team": false, "prometheus.io/scrape": false,
	} {
		if got := IsToolingKey(key); got != want {
			t.Errorf("%s: got %v", key, got)
		}
	}
	got := propagatedMetadata([]map[string]string{{"a": "1", "b": "1", "helm.sh/chart": "x"}, {"b": "2", "mlops.seldon.io/paused": "true", "fixed": "y"}}, "fixed")
	if diff := cmp.Diff(map[string]any{"a": "1", "b": "2"}, got); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}
