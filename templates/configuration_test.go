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

// What the components read is a contract: two of the readers refuse keys that
// they do not know, and order and spacing decide whether adoption rolls pods.
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
		"what is not mentioned is inherited": {
			upper: `{}`,
			lower: `{tracingConfig: {disable: true, ratio: "1"}, kafkaConfig: {debug: all}, serviceConfig: {serviceType: ClusterIP, grpcServicePrefix: grpc-}}`,
			want:  `{tracingConfig: {disable: true, ratio: "1"}, kafkaConfig: {debug: all}, serviceConfig: {serviceType: ClusterIP, grpcServicePrefix: grpc-}}`,
		},
		"false, 0 and the empty string win": {
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
			if diff := cmp.Diff(configuration(t, test.want), over(upper, lower)); diff != "" {
				t.Errorf("want (-), got (+):\n%s", diff)
			}
			if diff := cmp.Diff(before, lower); diff != "" {
				t.Errorf("the lower layer was changed:\n%s", diff)
			}
		})
	}
}

func TestBoundReplicas(t *testing.T) {
	pod := func(container, variable, number string) map[string]any {
		return podSpec(map[string]any{"containers": []any{
			map[string]any{"name": "sidecar"},
			map[string]any{"name": container, "env": []any{map[string]any{"name": variable, "value": number}}},
		}})
	}
	tests := map[string]struct {
		component  string
		asked      int64
		workload   map[string]any
		counts     Counts
		multiplier *int64
		want       int64
		refused    bool
	}{
		"nothing to do":                    {component: "seldon-modelgateway", asked: 5, want: 1},
		"as many as Models":                {component: "seldon-modelgateway", asked: 5, counts: Counts{Models: 3}, want: 3},
		"Pipelines are not Models":         {component: "seldon-modelgateway", asked: 5, counts: Counts{Pipelines: 3}, want: 1},
		"times the multiplier":             {component: "seldon-pipelinegateway", asked: 9, counts: Counts{Pipelines: 3}, multiplier: new(int64(2)), want: 6},
		"a multiplier of 0 counts as 1":    {component: "seldon-dataflow-engine", asked: 9, counts: Counts{Pipelines: 3}, multiplier: new(int64(0)), want: 3},
		"never raised":                     {component: "seldon-modelgateway", asked: 2, counts: Counts{Models: 30}, want: 2},
		"zero is zero":                     {component: "seldon-modelgateway", asked: 0, counts: Counts{Models: 30}, want: 0},
		"the capacity of any container":    {component: "seldon-modelgateway", asked: 9, counts: Counts{Models: 30}, workload: pod("gateway", "MODELGATEWAY_MAX_NUM_CONSUMERS", "4"), want: 4},
		"the default capacity":             {component: "seldon-dataflow-engine", asked: 500, counts: Counts{Pipelines: 300}, want: 100},
		"a capacity that is no number":     {component: "seldon-modelgateway", asked: 9, workload: pod("gateway", "MODELGATEWAY_MAX_NUM_CONSUMERS", "many"), refused: true},
		"a capacity of zero":               {component: "seldon-modelgateway", asked: 9, workload: pod("gateway", "MODELGATEWAY_MAX_NUM_CONSUMERS", "0"), refused: true},
		"a component that has no bound":    {component: "seldon-envoy", asked: 9, want: 9},
		"a component that nobody knows of": {component: "sidekick", asked: 9, want: 9},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, bound, err := boundReplicas(test.component, test.asked, test.workload, test.counts, test.multiplier)
			if (err != nil) != test.refused {
				t.Fatalf("error %v", err)
			}
			if got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
			if told := bound != nil; told != (got < test.asked && !test.refused) {
				t.Errorf("told: %v (%v)", told, bound)
			}
		})
	}
}

func TestToolsKeysStayBehind(t *testing.T) {
	for key, want := range map[string]bool{
		"meta.helm.sh/release-name": true, "helm.sh/chart": true, "app.kubernetes.io/managed-by": true, "app.kubernetes.io/instance": true,
		"argocd.argoproj.io/tracking-id": true, "kubectl.kubernetes.io/last-applied-configuration": true, "kustomize.toolkit.fluxcd.io/name": true,
		"k8slens-edit-resource-version": true, "velero.io/restore-name": true, "field.cattle.io/description": true, "pulumi.com/patchForce": true,
		"objectset.rio.cattle.io/id": true, "fleet.cattle.io/bundle-id": true, "notcattle.io/x": false, "backstage.io/kubernetes-id": false,
		"app.kubernetes.io/name": false, "team": false, "prometheus.io/scrape": false,
	} {
		if got := OwnedByTools(key); got != want {
			t.Errorf("%s: got %v", key, got)
		}
	}
	got := propagated([]map[string]string{{"a": "1", "b": "1", "helm.sh/chart": "x"}, {"b": "2", "mlops.seldon.io/paused": "true", "fixed": "y"}}, "fixed")
	if diff := cmp.Diff(map[string]any{"a": "1", "b": "2"}, got); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}
