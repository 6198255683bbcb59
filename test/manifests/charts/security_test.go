package charts_test

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// podSpecs returns the pod specs in rendered objects, by owner: those of workloads, and
// those in SeldonConfigs and ServerConfigs.
func podSpecs(from objects) map[string]map[string]any {
	found := map[string]map[string]any{}
	add := func(name string, object *unstructured.Unstructured, path string) {
		if spec, has := at(object, path); has {
			found[name], _ = spec.(map[string]any)
		}
	}
	for name, object := range from {
		switch object.GetKind() {
		case "Pod":
			add(name, object, "spec")
		case "Deployment", "Job":
			add(name, object, "spec/template/spec")
		case "ServerConfig":
			add(name, object, "spec/podSpec")
		case "SeldonConfig":
			components, _ := at(object, "spec/components")
			for _, component := range components.([]any) {
				component := component.(map[string]any)
				found[name+"/"+component["name"].(string)], _ = component["podSpec"].(map[string]any)
			}
		}
	}
	return found
}

// On OpenShift no pod sets user and group IDs: the platform assigns them, and rejects
// others.
func TestOpenShiftAssignsIDs(t *testing.T) {
	for _, test := range []struct {
		name  string
		with  values
		flags []string
		ids   bool
	}{
		{"by default", nil, nil, true},
		{"switched on", values{"openshift": true}, nil, false},
		{"detected", nil, []string{"--api-versions=security.openshift.io/v1"}, false},
		{"switched off", values{"openshift": false}, []string{"--api-versions=security.openshift.io/v1"}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			ids := 0
			for name, spec := range podSpecs(render(t, setup, "seldon-mesh", test.with, test.flags...)) {
				text := fmt.Sprint(spec)
				for _, id := range []string{"runAsUser", "runAsGroup", "fsGroup"} {
					if strings.Contains(text, id) {
						ids++
						if operators := !strings.HasPrefix(name, "Se"); operators {
							t.Errorf("%s has %s: the operator's own pods have none anywhere", name, id)
						}
					}
				}
				if !strings.Contains(text, "runAsNonRoot:true") {
					t.Errorf("%s may run as root", name)
				}
			}
			if (ids > 0) != test.ids {
				t.Errorf("%d IDs are fixed", ids)
			}
		})
	}
}
