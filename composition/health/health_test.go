package health

import (
	"strings"
	"testing"

	"github.com/seldon-operator/seldon-operator/composition/internal/jsontest"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestOf(t *testing.T) {
	deployment := func(replicas, status string) string {
		return `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"generation":2},"spec":{"replicas":` + replicas + `},"status":` + status + `}`
	}
	set := func(spec, status string) string {
		return `{"apiVersion":"apps/v1","kind":"StatefulSet","metadata":{"generation":2},"spec":` + spec + `,"status":` + status + `}`
	}
	const available = `"conditions":[{"type":"Available","status":"True"},{"type":"Progressing","status":"True","reason":"NewReplicaSetAvailable"}]`
	tests := map[string]struct {
		object  string
		health  Status
		message string // a substring; "" for an empty message
	}{
		"a ready Deployment":                       {deployment("2", `{"observedGeneration":2,"replicas":2,"updatedReplicas":2,"readyReplicas":2,"availableReplicas":2,`+available+`}`), Current, ""},
		"a Deployment with 0 desired replicas":     {deployment("0", `{"observedGeneration":2,`+available+`}`), Current, ""},
		"0 of 0 replicas where 2 are desired":      {deployment("2", `{"observedGeneration":2,`+available+`}`), InProgress, "0 of 2 replicas are ready"},
		"no replicas where the default is desired": {deployment("null", `{"observedGeneration":2,`+available+`}`), InProgress, "0 of 1 replicas are ready"},
		"a Deployment never observed":              {deployment("2", `{}`), InProgress, "0 of 2 replicas are ready"},
		"an older generation observed":             {deployment("2", `{"observedGeneration":1,"replicas":2,"updatedReplicas":2,"readyReplicas":2,"availableReplicas":2,`+available+`}`), InProgress, "not observed it yet"},
		"the old pods are ready":                   {deployment("2", `{"observedGeneration":2,"replicas":3,"updatedReplicas":1,"readyReplicas":2,"availableReplicas":2,`+available+`}`), InProgress, "Updated: 1/2"},
		"past the progress deadline": {deployment("2", `{"observedGeneration":2,"replicas":2,"updatedReplicas":2,"readyReplicas":1,"availableReplicas":1,
			"conditions":[{"type":"Progressing","status":"False","reason":"ProgressDeadlineExceeded"}]}`), Failed, "deadline"},

		"a ready StatefulSet":     {set(`{"replicas":2}`, `{"observedGeneration":2,"replicas":2,"readyReplicas":2,"currentReplicas":2,"updatedReplicas":2,"currentRevision":"a","updateRevision":"a"}`), Current, ""},
		"a StatefulSet at 0":      {set(`{"replicas":0}`, `{"observedGeneration":2,"currentRevision":"a","updateRevision":"a"}`), Current, ""},
		"one pod of two":          {set(`{"replicas":2}`, `{"observedGeneration":2,"replicas":2,"readyReplicas":1,"currentReplicas":2,"updatedReplicas":2,"currentRevision":"a","updateRevision":"a"}`), InProgress, "1 of 2 replicas are ready"},
		"an update in progress":   {set(`{"replicas":2}`, `{"observedGeneration":2,"replicas":2,"readyReplicas":2,"currentReplicas":1,"updatedReplicas":1,"currentRevision":"a","updateRevision":"b"}`), InProgress, ""},
		"a partition reached":     {set(`{"replicas":3,"updateStrategy":{"type":"RollingUpdate","rollingUpdate":{"partition":2}}}`, `{"observedGeneration":2,"replicas":3,"readyReplicas":3,"currentReplicas":2,"updatedReplicas":1,"currentRevision":"a","updateRevision":"b"}`), Current, ""},
		"a partition not reached": {set(`{"replicas":3,"updateStrategy":{"type":"RollingUpdate","rollingUpdate":{"partition":1}}}`, `{"observedGeneration":2,"replicas":3,"readyReplicas":3,"currentReplicas":2,"updatedReplicas":1,"currentRevision":"a","updateRevision":"b"}`), InProgress, ""},
		"a DaemonSet in progress": {`{"apiVersion":"apps/v1","kind":"DaemonSet","metadata":{"generation":1},"status":{"observedGeneration":1,"desiredNumberScheduled":3,"currentNumberScheduled":3,"updatedNumberScheduled":3,"numberAvailable":1,"numberReady":1}}`, InProgress, "1/3"},

		"an object without status":                                     {`{"apiVersion":"v1","kind":"ConfigMap","data":{}}`, Current, ""},
		"an object that is being deleted":                              {`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"deletionTimestamp":"2026-01-01T00:00:00Z"}}`, InProgress, "is being deleted"},
		"a ready custom resource":                                      {`{"apiVersion":"example.com/v1","kind":"Shop","metadata":{"generation":3},"status":{"observedGeneration":3,"conditions":[{"type":"Ready","status":"True"}]}}`, Current, ""},
		"a custom resource that is not ready":                          {`{"apiVersion":"example.com/v1","kind":"Shop","metadata":{"generation":3},"status":{"observedGeneration":3,"conditions":[{"type":"Ready","status":"False","message":"soon"}]}}`, InProgress, "soon"},
		"a custom resource with an older generation observed":          {`{"apiVersion":"example.com/v1","kind":"Shop","metadata":{"generation":3},"status":{"observedGeneration":2,"conditions":[{"type":"Ready","status":"True"}]}}`, InProgress, "not observed it yet"},
		"a custom resource never observed":                             {`{"apiVersion":"example.com/v1","kind":"Shop","metadata":{"generation":1}}`, InProgress, "not observed it yet"},
		"a custom resource without a reporting controller":             {`{"apiVersion":"monitoring.coreos.com/v1","kind":"PrometheusRule","metadata":{"generation":1},"spec":{}}`, Current, ""},
		"a kind of the same name in another group":                     {`{"apiVersion":"example.org/v1","kind":"Shop","metadata":{"generation":1}}`, Current, ""},
		"a custom resource with a status of another form":              {`{"apiVersion":"networking.istio.io/v1","kind":"VirtualService","metadata":{"generation":2},"status":{"validationMessages":[]}}`, Current, ""},
		"a kind that is not listed, with an older generation observed": {`{"apiVersion":"networking.istio.io/v1","kind":"VirtualService","metadata":{"generation":2},"status":{"observedGeneration":1}}`, InProgress, "not observed it yet"},
		"a built-in kind with an older condition":                      {`{"apiVersion":"v1","kind":"Service","metadata":{"generation":2},"spec":{"type":"ClusterIP"},"status":{"conditions":[{"type":"x","status":"True","observedGeneration":1}]}}`, Current, ""},
		"a custom resource without conditions":                         {`{"apiVersion":"example.com/v1","kind":"Shop","metadata":{"generation":1},"status":{"observedGeneration":1}}`, Current, ""},
		"a condition without observedGeneration":                       {`{"apiVersion":"example.com/v1","kind":"Shop","metadata":{"generation":3},"status":{"conditions":[{"type":"Ready","status":"True"}]}}`, Current, ""},
		"a condition of the latest generation":                         {`{"apiVersion":"example.com/v1","kind":"Shop","metadata":{"generation":3},"status":{"conditions":[{"type":"Ready","status":"True","observedGeneration":3}]}}`, Current, ""},
		"a condition of an older generation":                           {`{"apiVersion":"example.com/v1","kind":"Shop","metadata":{"generation":3},"status":{"conditions":[{"type":"Ready","status":"True","observedGeneration":2}]}}`, InProgress, "not observed it yet"},
		"a status without observedGeneration and conditions":           {`{"apiVersion":"example.com/v1","kind":"Shop","metadata":{"generation":1},"status":{"replicas":0}}`, InProgress, "not observed it yet"},
		"a Deployment without observedGeneration":                      {deployment("2", `{"replicas":2,"updatedReplicas":2,"readyReplicas":2,"availableReplicas":2,`+available+`}`), InProgress, "not observed it yet"},
		"a stalled custom resource":                                    {`{"apiVersion":"example.com/v1","kind":"Shop","metadata":{"generation":1},"status":{"observedGeneration":1,"conditions":[{"type":"Stalled","status":"True","message":"no way"}]}}`, Failed, "no way"},
		"conditions that are not a list":                               {`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"generation":1},"status":{"observedGeneration":1,"conditions":"what"}}`, InProgress, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			health, message := Of(&unstructured.Unstructured{Object: jsontest.Decode(t, test.object).(map[string]any)}, schema.GroupKind{Group: "example.com", Kind: "Shop"})
			if health != test.health || !strings.Contains(message, test.message) || (health == Current) != (message == "") {
				t.Errorf("got %s, %q, want %s, %q", health, message, test.health, test.message)
			}
		})
	}
	if health, message := Of(nil); health != NotFound || message == "" {
		t.Errorf("a missing object is %s, %q", health, message)
	}
}
