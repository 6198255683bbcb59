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

// existing are all values of a chart of the upstream operator.
func existing(t *testing.T, chart string) values {
	t.Helper()
	charts := map[string]values{}
	if err := yaml.UnmarshalStrict(read(t, filepath.Join("testdata", "existing.yaml")), &charts); err != nil {
		t.Fatal(err)
	}
	with := values{}
	for key, value := range charts[chart] {
		set(with, key, value)
	}
	return with
}

// notes are what Helm tells whoever installs a chart. Helm 3 wants an API server for
// that.
func notes(t *testing.T, chart string, with values) string {
	t.Helper()
	namespace := "told"
	if chart == crds {
		namespace = "default" // where their release is
	}
	content, err := yaml.Marshal(with)
	if err != nil {
		t.Fatal(err)
	}
	told, err := helm.Helm{Home: t.TempDir(), Kubeconfig: apiServer(t).KubeconfigPath()}.Run(t.Context(), content,
		"upgrade", chart, helm.Chart(chart), "--install", "--dry-run=client", "--values", "-", "--namespace", namespace)
	if err != nil {
		t.Fatal(err)
	}
	_, told, _ = strings.Cut(told, "\nNOTES:\n")
	return told
}

// What somebody's values have from the upstream operator's defaults gives what ours
// give, but for what those say of the operator's own pod, Services, and replicas.
func TestDefaultsOfTheUpstreamOperatorAreUnderstood(t *testing.T) {
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
		for place, value := range places(render(t, chart, "seldon-mesh", existing(t, chart))) {
			// The name of an item that is there because of another field.
			if before, has := plain[place]; (!has || before != value) && !strings.HasSuffix(place, "/name") {
				got[place] = value
			}
			delete(plain, place)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: expected (-), different with all values of the upstream operator (+):\n%s", chart, diff)
		}
		if len(plain) > 0 {
			t.Errorf("%s: with all values of the upstream operator there is no more %v", chart, plain)
		}
	}
}

// places are what objects have at each place that is no map and no list itself.
func places(of objects) map[string]any {
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
	for name, object := range of {
		for key, value := range object.Object {
			walk(name+" "+key, value)
		}
	}
	return found
}

// Values that name the upstream operator's image get this operator's, and their
// user is told. All others get what they name.
func TestTheImageIsThisOperators(t *testing.T) {
	const own = "docker.io/seldon-operator/seldon-operator:0.1.0"
	for _, test := range []struct{ image, want, told string }{
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
		told := notes(t, setup, with)
		if !strings.Contains(told, "It runs image "+test.want+".\n") {
			t.Errorf("%s: the notes do not name the image: %s", test.image, told)
		}
		if has := strings.Contains(told, "has no effect: leave it out."); has != (test.told != "") || !strings.Contains(told, test.told) {
			t.Errorf("%s: the notes should say %q: %s", test.image, test.told, told)
		}
	}
}

// A list without clusterwide did nothing but give rights in the whole cluster. It
// gives none, does nothing, and its user is told.
func TestAListOfNamespacesAloneHasNoEffect(t *testing.T) {
	with := values{"dataPlaneMonitors": values{"enabled": true}, "controller": values{}}
	without := render(t, setup, "seldon-mesh", with)
	if told := notes(t, setup, with); strings.Contains(told, "watchNamespaces") {
		t.Errorf("without a list the notes say %s", told)
	}
	set(with, "controller.watchNamespaces", []string{"team-a", "team-b"})
	if diff := cmp.Diff(without, render(t, setup, "seldon-mesh", with)); diff != "" {
		t.Errorf("without the list (-), with it (+):\n%s", diff)
	}
	if told := notes(t, setup, with); !strings.Contains(told, "controller.watchNamespaces has no effect, since controller.clusterwide is not true.") {
		t.Errorf("with a list the notes say %s", told)
	}
}
