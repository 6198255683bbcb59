package relay_test

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/relay"
)

// The bytes are what the upstream operator sends for the same custom resources.
func TestMessagesGolden(t *testing.T) {
	for _, test := range []struct {
		name, object string
		message      func(t *testing.T, object string) (proto.Message, error)
		want         string
	}{
		{"model", `{metadata: {name: foo, namespace: default, generation: 1}, spec: {storageUri: "gs://test"}}`, model,
			"0a120a03666f6f220b0a0764656661756c741001120b0a0967733a2f2f746573741a08080118ffffffff0f"},
		{"model without namespace", `{metadata: {name: foo}, spec: {storageUri: "gs://test"}}`, model,
			"0a070a03666f6f2200120b0a0967733a2f2f746573741a08080118ffffffff0f"},
		{"full model", `
metadata: {name: foo, namespace: default, generation: 7}
spec:
  storageUri: gs://test
  modelType: sklearn
  artifactVersion: 0
  secretName: secret
  schemaUri: gs://schema
  requirements: [a, b]
  memory: 1M
  replicas: 2
  minReplicas: 1
  maxReplicas: 3
  server: srv
  logger: {percent: 10}
  explainer: {type: anchor_tabular, modelRef: income}
  parameters: [{name: k, value: v}]
  dataflow: {cleanTopicsOnDelete: true}
  preloaded: true
  dedicated: true
`, model, "0a120a03666f6f220b0a0764656661756c74100712510a0967733a2f2f7465737410001a080a067365637265742201612201622207736b6c6561726e28c0843d320373727642060a016b1201763a180a0e616e63686f725f746162756c61721206696e636f6d651a0808021001180320012a020801"},
		{"model with an empty dataflow", `{metadata: {name: foo, namespace: ns, generation: 1}, spec: {storageUri: u, dataflow: {}}}`, model,
			"0a0d0a03666f6f22060a026e73100112030a01751a08080118ffffffff0f2a00"},
		{"model without replicas", `{metadata: {name: foo, namespace: ns, generation: 1}, spec: {storageUri: u, replicas: 0}}`, model,
			"0a0d0a03666f6f22060a026e73100112030a01751a0618ffffffff0f"},
		{"model with a language model", `{metadata: {name: foo, namespace: ns, generation: 1}, spec: {storageUri: u, llm: {modelRef: m, pipelineRef: p}}}`, model,
			"0a0d0a03666f6f22060a026e731001120b0a017552060a016d1201701a08080118ffffffff0f"},
		{"model of empty texts", `{metadata: {name: foo, namespace: ns, generation: 1}, spec: {storageUri: "", secretName: "", modelType: "", server: "", memory: 0, llm: {}}}`, model,
			"0a0d0a03666f6f22060a026e731001120c1a020a0022002800320052001a08080118ffffffff0f"},
		{"pipeline", `
metadata: {name: foo, namespace: default, generation: 1}
spec:
  steps:
    - {name: a}
    - {name: b, inputs: [a]}
    - {name: c, inputs: [b], joinWindowMs: 20, inputsJoinType: inner, batch: {size: 100, windowMs: 1000, rolling: true}}
  output: {steps: [c], joinWindowMs: 2, stepsJoin: any}
`, pipeline, "0a03666f6f22030a016122060a0162120161220f0a016312016218144205086410e8072a070a016310021802320b0a0764656661756c741001"},
		{"full pipeline", `
metadata: {name: foo, namespace: default, generation: 3}
spec:
  input: {externalInputs: [other.outputs], externalTriggers: [trig.outputs], joinWindowMs: 0, joinType: outer, triggersJoinType: any, tensorMap: {a: b, t1: t2}}
  steps:
    - {name: a, inputs: [foo.inputs], triggers: [z.outputs], triggersJoinType: outer, inputsJoinType: any, joinWindowMs: 0, tensorMap: {k: v}, batch: {}}
  output: {steps: [a.outputs], tensorMap: {p: q}, stepsJoin: outer}
  dataflow: {cleanTopicsOnDelete: true}
  allowCycles: true
  maxStepRevisits: 4
`, pipeline, "0a03666f6f222a0a0161120a666f6f2e696e70757473180022060a016b120176280232097a2e6f757470757473380142002a150a09612e6f757470757473180122060a0170120171320b0a0764656661756c7410033a350a0d6f746865722e6f757470757473120c747269672e6f75747075747318002001280232060a016112016232080a027431120274324202080148015004"},
		{"empty pipeline", `{metadata: {name: foo, namespace: ns, generation: 1}, spec: {steps: [], input: {}, output: {}, dataflow: {}}}`, pipeline,
			"0a03666f6f2a0032060a026e7310013a004200"},
		{"experiment of models", `
metadata: {name: foo, namespace: default, generation: 1}
spec:
  default: model1
  candidates: [{name: model1, weight: 20}, {name: model2, weight: 30}]
  mirror: {name: model4, percent: 40}
`, experiment, "0a03666f6f12066d6f64656c311a0a0a066d6f64656c3110141a0a0a066d6f64656c32101e220a0a066d6f64656c341028320b0a0764656661756c741001"},
		{"experiment of pipelines", `
metadata: {name: foo, namespace: default, generation: 1}
spec:
  default: p1
  candidates: [{name: p1, weight: 20}, {name: p2, weight: 30}]
  resourceType: pipeline
`, experiment, "0a03666f6f120270311a060a02703110141a060a027032101e320b0a0764656661756c7410013801"},
		{"server", `{metadata: {name: mlserver, namespace: ns, generation: 2}}`, firstSync,
			"0a1a0a086d6c736572766572100122060a026e73100230ffffffff0f1001"},
		{"server that is being deleted", `{metadata: {name: mlserver, namespace: ns, generation: 2, deletionTimestamp: "2026-01-01T00:00:00Z"}}`, notify,
			"0a120a086d6c73657276657222060a026e731002"},
	} {
		t.Run(test.name, func(t *testing.T) {
			message, err := test.message(t, test.object)
			if err != nil {
				t.Fatal(err)
			}
			encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
			if err != nil {
				t.Fatal(err)
			}
			if got := hex.EncodeToString(encoded); got != test.want {
				t.Errorf("encoded:\n %s, want\n %s", got, test.want)
			}
		})
	}
}

func TestMessageErrors(t *testing.T) {
	for _, test := range []struct {
		object  string
		message func(t *testing.T, object string) (proto.Message, error)
		want    string
	}{
		{`{spec: {explainer: {}, llm: {}}}`, model, "spec.llm: explainer and llm are mutually exclusive; remove one of them"},
		{`{spec: {replicas: 1, minReplicas: 4}}`, model, "spec: invalid scaling: replicas 1 is below minReplicas 4: raise replicas or lower minReplicas"},
		{`{spec: {memory: -1M}}`, model, `spec.memory: memory "-1M" is negative`},
		{`{spec: {artifactVersion: -1}}`, model, "spec.artifactVersion: -1 is not between 0 and 4294967295"},
		{`{spec: {maxStepRevisits: 4294967296, steps: [{name: a, batch: {size: -2}}]}}`, pipeline,
			"spec.maxStepRevisits: 4294967296 is not between 0 and 4294967295\nspec.steps[0].batch.size: -2 is not between 0 and 4294967295"},
		{`{spec: {candidates: [{name: a, weight: -1}]}}`, experiment, "spec.candidates[0].weight: -1 is not between 0 and 4294967295"},
		{`{spec: {replicas: 5, maxReplicas: 4}}`, notify, "spec: invalid scaling: replicas 5 exceeds maxReplicas 4: lower replicas or raise maxReplicas"},
	} {
		_, err := test.message(t, test.object)
		if err == nil || err.Error() != test.want {
			t.Errorf("%s: error %v, want %s", test.object, err, test.want)
		}
		if strings.Contains(test.want, "scaling") && !errors.Is(err, v1alpha1.ErrScaling) {
			t.Errorf("%s: %v wraps no ErrScaling", test.object, err)
		}
	}
}

// The replicas of the workload are sent, not those of the Server's current spec.
func TestServerMessageHasReplicasOfWorkload(t *testing.T) {
	server := &v1alpha1.Server{ObjectMeta: metav1.ObjectMeta{Name: "s"}}
	server.Spec.Replicas = new(int64(5))
	server.Spec.MinReplicas, server.Spec.MaxReplicas = new(int64(3)), new(int64(6))
	for deployed, want := range map[int64][3]uint32{2: {2, 2, 6}, 4: {4, 3, 6}, 7: {7, 3, 7}} {
		message, err := relay.ServerMessage(server, &deployed)
		if got := [3]uint32{message.GetExpectedReplicas(), message.GetMinReplicas(), message.GetMaxReplicas()}; err != nil || got != want {
			t.Errorf("%d deployed: %v, error %v; want %v", deployed, got, err, want)
		}
	}
}

func decode[T any](t *testing.T, text string) *T {
	t.Helper()
	object := new(T)
	if err := yaml.Unmarshal([]byte(text), object); err != nil {
		t.Fatal(err)
	}
	return object
}

func model(t *testing.T, object string) (proto.Message, error) {
	return relay.ModelMessage(decode[v1alpha1.Model](t, object))
}

func pipeline(t *testing.T, object string) (proto.Message, error) {
	return relay.PipelineMessage(decode[v1alpha1.Pipeline](t, object))
}

func experiment(t *testing.T, object string) (proto.Message, error) {
	return relay.ExperimentMessage(decode[v1alpha1.Experiment](t, object))
}

func notify(t *testing.T, object string) (proto.Message, error) {
	message, err := relay.ServerMessage(decode[v1alpha1.Server](t, object), nil)
	return &pb.ServerNotifyRequest{Servers: []*pb.ServerNotify{message}}, err
}

func firstSync(t *testing.T, object string) (proto.Message, error) {
	request, err := notify(t, object)
	request.(*pb.ServerNotifyRequest).IsFirstSync = true
	return request, err
}
