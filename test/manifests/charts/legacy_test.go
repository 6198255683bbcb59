package charts_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/seldon-operator/seldon-operator/test/framework/helm"
)

// legacyValues returns all values of a chart of the upstream operator.
func legacyValues(t *testing.T, chart string) values {
	t.Helper()
	charts := map[string]values{}
	if err := yaml.UnmarshalStrict(read(t, filepath.Join("testdata", "legacy.yaml")), &charts); err != nil {
		t.Fatal(err)
	}
	with := values{}
	for key, value := range charts[chart] {
		set(with, key, value)
	}
	return with
}

// notes returns the notes that Helm prints when a chart is installed. Helm 3 needs an
// API server for that.
func notes(t *testing.T, chart string, with values) string {
	t.Helper()
	namespace := "notes"
	if chart == crds {
		namespace = "default" // where their release is
	}
	content, err := yaml.Marshal(with)
	if err != nil {
		t.Fatal(err)
	}
	output, err := helm.Helm{Home: t.TempDir(), Kubeconfig: apiServer(t).KubeconfigPath()}.Run(t.Context(), content,
		"upgrade", chart, helm.Chart(chart), "--install", "--dry-run=client", "--values", "-", "--namespace", namespace)
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(output, "\nNOTES:\n")
	return text
}

// Values that were copied from the upstream charts' defaults render the same as our
// defaults, except for the operator's own pod, Services, and replicas.
func TestLegacyDefaults(t *testing.T) {
	pods := []string{
		"Deployment/seldon-v2-controller-manager spec/template/spec/", "Job/seldon-v2-remove-finalizers spec/template/spec/", "Pod/seldon-v2-check spec/",
	}
	container := map[string]string{pods[0]: "manager", pods[1]: "remove-finalizers", pods[2]: "check"}
	different := map[string]map[string]any{
		setup: {
			pods[0] + "containers/manager/env/GOMEMLIMIT/value":          "57MiB",
			"SeldonConfig/default spec/config/serviceConfig/serviceType": "LoadBalancer",
		},
		dataPlane: {},
		servers:   {},
	}
	for _, pod := range pods {
		different[setup][pod+"containers/"+container[pod]+"/resources/limits/memory"] = "64Mi"
		for _, id := range []string{"fsGroup", "runAsUser", "runAsGroup"} {
			different[setup][pod+"securityContext/"+id] = 1000.0
		}
	}
	for _, component := range []string{"hodometer", "seldon-envoy", "seldon-dataflow-engine", "seldon-modelgateway", "seldon-pipelinegateway"} {
		different[dataPlane]["SeldonRuntime/seldon spec/overrides/"+component+"/replicas"] = 1.0
	}
	for chart, want := range different {
		plain := places(render(t, chart, "seldon-mesh", nil))
		got := map[string]any{}
		for place, value := range places(render(t, chart, "seldon-mesh", legacyValues(t, chart))) {
			// The name of a list item that exists only because of another field.
			if before, has := plain[place]; (!has || before != value) && !strings.HasSuffix(place, "/name") {
				got[place] = value
			}
			delete(plain, place)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: expected (-), different with all values of the upstream operator (+):\n%s", chart, diff)
		}
		if len(plain) > 0 {
			t.Errorf("%s: not rendered with all values of the upstream operator: %v", chart, plain)
		}
	}
}

// places returns the value at each place of objects that is neither a map nor a list.
func places(rendered objects) map[string]any {
	found := map[string]any{}
	var walk func(string, any)
	walk = func(at string, value any) {
		switch inner := value.(type) {
		case map[string]any:
			for key, value := range inner {
				walk(at+"/"+key, value)
			}
		case []any:
			for i, item := range inner {
				step := fmt.Sprint(i)
				if named, isMap := item.(map[string]any); isMap && named["name"] != nil {
					step = fmt.Sprint(named["name"])
				}
				walk(at+"/"+step, item)
			}
		default:
			found[at] = value
		}
	}
	for name, object := range rendered {
		for key, value := range object.Object {
			walk(name+" "+key, value)
		}
	}
	return found
}

// Values with the upstream operator's image render this operator's image, with a
// warning in the notes. All other images are rendered as they are.
func TestUpstreamImageIsReplaced(t *testing.T) {
	const own = "docker.io/seldon-operator/seldon-operator:0.1.0"
	for _, test := range []struct{ image, want, warning string }{
		{`{}`, own, ""},
		{`{registry: docker.io, repository: seldonio/seldonv2-controller, tag: latest}`, own, "repository seldonio/seldonv2-controller"},
		{`{repository: seldonio/seldonv2-controller, tag: 2.10.2}`, own, "repository seldonio/seldonv2-controller"},
		{`{registry: mirror.example, repository: seldonio/seldonv2-controller}`, "mirror.example/seldon-operator/seldon-operator:0.1.0", "repository"},
		{`{tag: 2.9.1}`, own, "controller.image.tag 2.9.1 is the upstream operator's and has no effect"},
		{`{tag: 2.10.0-rc1}`, own, "controller.image.tag"},
		{`{tag: 0.2.0}`, "docker.io/seldon-operator/seldon-operator:0.2.0", ""},
		{`{tag: latest}`, "docker.io/seldon-operator/seldon-operator:latest", ""},
		{`{repository: team/operator, tag: 2.9.1}`, "docker.io/team/operator:2.9.1", ""},
	} {
		image := values{}
		if err := yaml.UnmarshalStrict([]byte(test.image), &image); err != nil {
			t.Fatal(err)
		}
		with := values{"controller": values{"image": image}}
		rendered := render(t, setup, "seldon-mesh", with)
		for _, container := range []string{"controller", "remove-finalizers", "check"} {
			if got, _ := rendered.place(container + " image"); got != test.want {
				t.Errorf("%s: the image of %s is %v, not %s", test.image, container, got, test.want)
			}
		}
		text := notes(t, setup, with)
		if !strings.Contains(text, "It runs image "+test.want+".\n") {
			t.Errorf("%s: the notes do not have the image: %s", test.image, text)
		}
		if has := strings.Contains(text, "has no effect: remove the value."); has != (test.warning != "") || !strings.Contains(text, test.warning) {
			t.Errorf("%s: the notes do not have the warning %q: %s", test.image, test.warning, text)
		}
	}
}

// In the upstream chart, a list of namespaces without clusterwide has no effect but
// permissions in the whole cluster. Here it has no effect, and the notes have a
// warning.
func TestNamespacesWithoutClusterwideHaveNoEffect(t *testing.T) {
	with := values{"dataPlaneMonitors": values{"enabled": true}, "controller": values{}}
	without := render(t, setup, "seldon-mesh", with)
	if text := notes(t, setup, with); strings.Contains(text, "watchNamespaces") {
		t.Errorf("notes without a list: %s", text)
	}
	set(with, "controller.watchNamespaces", []string{"team-a", "team-b"})
	if diff := cmp.Diff(without, render(t, setup, "seldon-mesh", with)); diff != "" {
		t.Errorf("without the list (-), with it (+):\n%s", diff)
	}
	if text := notes(t, setup, with); !strings.Contains(text, "controller.watchNamespaces has no effect, since controller.clusterwide is not true.") {
		t.Errorf("notes with a list: %s", text)
	}
}
