package v1alpha1_test

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// TestDefaults checks that the API server adds exactly these defaults to an object. A
// default also changes stored objects.
func TestDefaults(t *testing.T) {
	c := apiServer(t)
	for _, test := range []struct{ kind, spec, want string }{
		{v1alpha1.KindModel, `{"storageUri":"gs://a"}`, `{"storageUri":"gs://a"}`},
		{
			v1alpha1.KindPipeline, `{"input":{"externalInputs":["b"]},"output":{},"steps":[{"name":"a"}]}`,
			`{"input":{"externalInputs":["b"],"joinType":"inner","triggersJoinType":"inner"},"output":{"stepsJoin":"inner"},` +
				`"steps":[{"inputsJoinType":"inner","name":"a"}]}`,
		},
		{v1alpha1.KindPipeline, `{"steps":[{"name":"a","inputsJoinType":null}]}`, `{"steps":[{"inputsJoinType":"inner","name":"a"}]}`},
		{v1alpha1.KindExperiment, `{"candidates":[{"name":"a","weight":1}]}`, `{"candidates":[{"name":"a","weight":1}]}`},
		{v1alpha1.KindServer, `{"serverConfig":"a","podSpec":{}}`, `{"podSpec":{},"serverConfig":"a"}`},
		{
			v1alpha1.KindServerConfig, `{"podSpec":{"containers":[{"name":"a","ports":[{"containerPort":1}]}]}}`,
			`{"podSpec":{"containers":[{"name":"a","ports":[{"containerPort":1,"protocol":"TCP"}]}]}}`,
		},
		{v1alpha1.KindSeldonConfig, `{}`, `{}`},
		{v1alpha1.KindSeldonRuntime, `{"seldonConfig":"a"}`, `{"deletionPolicy":"Retain","seldonConfig":"a"}`},
	} {
		object := newObject(test.kind)
		object.SetName("defaults")
		spec := map[string]any{}
		if err := json.Unmarshal([]byte(test.spec), &spec); err != nil {
			t.Fatal(err)
		}
		if err := unstructured.SetNestedMap(object.Object, spec, "spec"); err != nil {
			t.Fatal(err)
		}
		if err := c.Create(t.Context(), object, client.DryRunAll); err != nil {
			t.Fatal(err)
		}
		if got := mustMarshal(t, object.Object["spec"]); got != test.want {
			t.Errorf("%s %s becomes\n%s, want\n%s", test.kind, test.spec, got, test.want)
		}
	}
}
