package plan

import (
	"encoding/json"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/seldon-operator/seldon-operator/composition/object"
)

func TestImpactOf(t *testing.T) {
	const deployment, statefulSet, service = "Deployment", "StatefulSet", "Service"
	image := func(name, rest string) string {
		return `{"template":{"spec":{"containers":[{"name":"a","image":"` + name + `"}]}}` + rest + `}`
	}
	tests := map[string]struct {
		kind         string
		action       Action
		live, result string // specs; an empty live does not exist
		expected     Impact
	}{
		"skip":                              {deployment, Skip, image("1", ""), image("1", ""), ImpactNoOp},
		"block":                             {deployment, Block, image("1", ""), image("2", ""), ImpactNoOp},
		"retain":                            {deployment, Retain, image("1", ""), "", ImpactNoOp},
		"delete":                            {service, Delete, "{}", "", ImpactDelete},
		"recreate":                          {statefulSet, Recreate, "{}", "{}", ImpactRecreate},
		"create":                            {deployment, Apply, "", image("1", ""), ImpactLive},
		"only ownership":                    {service, Apply, `{"a":1}`, `{"a":1}`, ImpactNoOp},
		"a field":                           {service, Apply, `{"a":1}`, `{"a":2}`, ImpactLive},
		"an equal quantity in another form": {service, Apply, `{"a":1}`, `{"a":1.0}`, ImpactLive},
		"replicas":                          {deployment, Apply, image("1", `,"replicas":2`), image("1", `,"replicas":3`), ImpactLive},
		"replicas to 0":                     {deployment, Apply, image("1", `,"replicas":2`), image("1", `,"replicas":0`), ImpactOutage},
		"a pod template without replicas":   {deployment, Apply, image("1", `,"replicas":0`), image("2", `,"replicas":0`), ImpactLive},
		"one replica with surge":            {deployment, Apply, image("1", ""), image("2", ""), ImpactRestart},
		"one replica without surge":         {deployment, Apply, image("1", ""), image("2", `,"strategy":{"rollingUpdate":{"maxSurge":0,"maxUnavailable":1}}`), ImpactOutage},
		"all unavailable":                   {deployment, Apply, image("1", `,"replicas":4`), image("2", `,"replicas":4,"strategy":{"rollingUpdate":{"maxUnavailable":"100%"}}`), ImpactOutage},
		"strategy Recreate":                 {deployment, Apply, image("1", `,"replicas":4`), image("2", `,"replicas":4,"strategy":{"type":"Recreate"}`), ImpactOutage},
		"a paused Deployment":               {deployment, Apply, image("1", ""), image("2", `,"paused":true`), ImpactLive},
		"one pod of a StatefulSet":          {statefulSet, Apply, image("1", ""), image("2", ""), ImpactOutage},
		"two pods of a StatefulSet":         {statefulSet, Apply, image("1", `,"replicas":2`), image("2", `,"replicas":2`), ImpactRestart},
		"two pods at once":                  {statefulSet, Apply, image("1", `,"replicas":2`), image("2", `,"replicas":2,"updateStrategy":{"rollingUpdate":{"maxUnavailable":2}}`), ImpactOutage},
		"OnDelete":                          {statefulSet, Apply, image("1", ""), image("2", `,"updateStrategy":{"type":"OnDelete"}`), ImpactLive},
		"a partition":                       {statefulSet, Apply, image("1", `,"replicas":2`), image("2", `,"replicas":2,"updateStrategy":{"rollingUpdate":{"partition":2}}`), ImpactLive},
		"scaled down to one and restarted":  {statefulSet, Apply, image("1", `,"replicas":2`), image("2", `,"replicas":1`), ImpactOutage},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			parse := func(spec string) *unstructured.Unstructured {
				if spec == "" {
					return nil
				}
				parsed := &unstructured.Unstructured{}
				text := `{"apiVersion":"apps/v1","kind":"` + test.kind + `","metadata":{"name":"x"},"spec":` + spec + `}`
				if err := parsed.UnmarshalJSON([]byte(text)); err != nil {
					t.Fatal(err)
				}
				return parsed
			}
			step := Step{Action: test.action, Live: parse(test.live), Result: parse(test.result)}
			step.Ref.Group, step.Ref.Version, step.Ref.Kind = "apps", "v1", test.kind
			if got := ImpactOf(step); got != test.expected {
				t.Errorf("%s instead of %s", got, test.expected)
			}
		})
	}
	labelled := func(value string) *unstructured.Unstructured {
		o := &unstructured.Unstructured{Object: map[string]any{"kind": service}}
		object.SetField(o.Object, value, "metadata", "labels", "a")
		return o
	}
	if got := ImpactOf(Step{Action: Apply, Live: labelled("1"), Result: labelled("2")}); got != ImpactMetadata {
		t.Errorf("a label: %s", got)
	}
}

func TestPodImpactOf(t *testing.T) {
	set := func(image string) *unstructured.Unstructured {
		o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "apps/v1", "kind": "StatefulSet"}}
		object.SetField(o.Object, image, "spec", "template", "image")
		return o
	}
	for name, test := range map[string]struct {
		step     Step
		expected Impact
	}{
		"recreated with its pods":    {Step{Action: Recreate, Live: set("1"), Result: set("1")}, ImpactLive},
		"recreated with another pod": {Step{Action: Recreate, Live: set("1"), Result: set("2")}, ImpactOutage},
		"deleted":                    {Step{Action: Delete, Live: set("1")}, ImpactDelete},
		"created":                    {Step{Action: Apply, Result: set("1")}, ImpactNoOp},
		"blocked":                    {Step{Action: Block, Live: set("1"), Result: set("1")}, ImpactNoOp},
	} {
		test.step.Ref.Group, test.step.Ref.Kind = "apps", "StatefulSet"
		if got := PodImpactOf(test.step); got != test.expected {
			t.Errorf("%s: %s instead of %s", name, got, test.expected)
		}
	}
}

func TestImpactText(t *testing.T) {
	for _, impact := range Impacts() {
		text, err := json.Marshal(map[string]Impact{"impact": impact})
		if err != nil {
			t.Fatal(err)
		}
		var parsed map[string]Impact
		if err := json.Unmarshal(text, &parsed); err != nil || parsed["impact"] != impact {
			t.Errorf("%s: %v, %v", text, parsed, err)
		}
	}
	if err := new(Impact).UnmarshalText([]byte("Big")); err == nil {
		t.Error("an unknown impact is accepted")
	}
}
