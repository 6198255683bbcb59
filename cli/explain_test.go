package cli

import (
	"context"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const explainObjects = "testdata/explain/objects.yaml"

// explainWith runs explain with objects.
func explainWith(t *testing.T, objects []*unstructured.Unstructured, args ...string) result {
	t.Helper()
	return runWith(t, func(f *factory) (*cobra.Command, func(context.Context, []string) error) {
		e := &explainCommand{factory: f}
		return e.command(), func(ctx context.Context, args []string) error {
			if err := e.parse(args); err != nil {
				return err
			}
			return e.explain(ctx, readerOf(objects))
		}
	}, args...)
}

// timestamps are those of managedFields, which differ in each run.
var timestamps = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)

func TestExplain(t *testing.T) {
	for name, test := range map[string]struct {
		args    []string
		columns string
		ascii   bool
	}{
		"all":       {args: []string{"deployment/seldon-envoy"}},
		"width-80":  {args: []string{"deploy", "seldon-envoy"}, columns: "80"},
		"width-200": {args: []string{"deploy", "seldon-envoy"}, columns: "200"},
		"ascii":     {args: []string{"deploy", "seldon-envoy"}, columns: "80", ascii: true},
		"field":     {args: []string{"deployment/seldon-envoy", "spec.template.spec.containers[name=envoy].image"}},
		"default":   {args: []string{"deployment/seldon-envoy", "spec.progressDeadlineSeconds"}},
		"below":     {args: []string{"deployment/seldon-envoy", "metadata.labels"}, columns: "80"},
		"by-index":  {args: []string{"deployment/seldon-envoy", "spec.template.spec.containers[1].image", "-o", "yaml"}},
		"json":      {args: []string{"deployment/seldon-envoy", "spec.template.spec.containers[name=envoy].image", "-o", "json"}},
	} {
		t.Run(name, func(t *testing.T) {
			isolate(t)
			t.Setenv("COLUMNS", test.columns)
			if test.ascii {
				t.Setenv("LC_ALL", "C")
			}
			got := explainWith(t, objectsOf(t, explainObjects), append([]string{"-n", "team-a"}, test.args...)...)
			if got.code != exitDone {
				t.Fatalf("exit code %d: %s", got.code, got.err)
			}
			text := timestamps.ReplaceAllString(got.out+"--- stderr\n"+got.err, "TIME")
			expectGolden(t, "explain/"+name+".txt", text)
		})
	}
}

// The layers of another version may differ.
func TestExplainWarnsOfAnotherVersion(t *testing.T) {
	isolate(t)
	objects := objectsOf(t, explainObjects)
	for _, object := range objects {
		if object.GetName() == "seldon-v2-controller-manager" {
			containers := []any{map[string]any{"name": "manager", "image": "example.com/operator:0.0.9", "args": []any{"--clusterwide=true", "--namespace=seldon-system"}}}
			if err := unstructured.SetNestedSlice(object.Object, containers, "spec", "template", "spec", "containers"); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := explainWith(t, objects, "-n", "team-a", "deploy/seldon-envoy")
	if want := "warning: the operator is 0.0.9, and the layers are those of the templates of 0.1.0\n"; !strings.HasPrefix(got.err, want) {
		t.Errorf("got %q, want %q", got.err, want)
	}
}

func TestExplainErrors(t *testing.T) {
	isolate(t)
	for name, test := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no type":         {[]string{"seldon"}, exitUsage, `"seldon" names no child object; use TYPE/NAME, such as deployment/seldon-envoy`},
		"two fields":      {[]string{"deploy/seldon-envoy", "a", "b"}, exitUsage, "name one object and at most one field"},
		"output":          {[]string{"deploy/seldon-envoy", "-o", "wide"}, exitUsage, "--output=wide: must be text, json or yaml"},
		"absent":          {[]string{"deploy/absent"}, exitFailed, `deployments.apps "absent" not found`},
		"not a child":     {[]string{"cm/unowned"}, exitUsage, "ConfigMap team-a/unowned is not controlled by a SeldonRuntime or a Server, so that no layer sets its fields"},
		"no such field":   {[]string{"deploy/seldon-envoy", "spec.absent"}, exitUsage, "Deployment team-a/seldon-envoy has no field spec.absent, and no layer sets it"},
		"a removed field": {[]string{"deploy/seldon-envoy", "spec.template.spec.securityContext"}, exitUsage, "has no field spec.template.spec.securityContext: SeldonRuntime team-a/seldon spec.patches[0] removes it"},
		"a wrong path":    {[]string{"deploy/seldon-envoy", "spec.a["}, exitUsage, "spec.a[: a bracket is not closed"},
	} {
		got := explainWith(t, objectsOf(t, explainObjects), append([]string{"-n", "team-a"}, test.args...)...)
		if got.code != test.code || !strings.Contains(got.err, test.want) || got.out != "" {
			t.Errorf("%s: exit code %d, %s\nwant %d, %s", name, got.code, got.err, test.code, test.want)
		}
	}
	got := explainWith(t, nil, "-n", "team-a", "deploy/seldon-envoy")
	if want := "error: found no operator that serves namespace team-a: set --operator-namespace to the namespace of its SeldonConfigs\n"; got.code != exitFailed || got.err != want {
		t.Errorf("got %+v, want %s", got, want)
	}
}
