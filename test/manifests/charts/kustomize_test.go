package charts_test

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// kustomize builds folders of config.
func kustomize(t *testing.T, folders ...string) objects {
	t.Helper()
	found := objects{}
	for _, folder := range folders {
		resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join("../../../config", folder))
		if err != nil {
			t.Fatalf("build config/%s: %v", folder, err)
		}
		for _, resource := range resources.Resources() {
			text, err := resource.AsYAML()
			if err != nil {
				t.Fatal(err)
			}
			content := map[string]any{}
			if err := yaml.Unmarshal(text, &content); err != nil {
				t.Fatal(err)
			}
			object := &unstructured.Unstructured{Object: content}
			found[object.GetKind()+"/"+object.GetName()] = object
		}
	}
	return found
}

// The charts render the same objects as the Kustomize folders.
func TestChartsEqualKustomize(t *testing.T) {
	for _, test := range []struct {
		name      string
		chart     string
		with      string
		namespace string
		folders   []string
	}{
		{"the CRDs", crds, `keep: false`, "default", []string{"crd"}},
		{"one namespace", setup, ``, "seldon-mesh", []string{"namespaced"}},
		{"all namespaces", setup, `controller: {clusterwide: true}`, "seldon-system", []string{"default"}},
		{"monitoring", setup, `
controller: {clusterwide: true, metrics: {serviceMonitor: {enabled: true}, prometheusRule: {enabled: true}, grafanaDashboard: {enabled: true}}}
dataPlaneMonitors: {enabled: true}`, "seldon-system", []string{"../test/manifests/charts/testdata/monitoring"}},
		{"certificates", certs, ``, "team", []string{"../test/manifests/kustomize/testdata/certificates"}},
		{"Servers as Deployments", setup, `useDeploymentsForServers: true`, "seldon-mesh", []string{"namespaced", "serverconfigs/deployments"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			with := values{}
			if err := yaml.Unmarshal([]byte(test.with), &with); err != nil {
				t.Fatal(err)
			}
			chart, folder := render(t, test.chart, test.namespace, with), kustomize(t, test.folders...)
			removeDocumentedDifferences(t, chart, folder, test.namespace)
			if diff := cmp.Diff(slices.Sorted(maps.Keys(folder)), slices.Sorted(maps.Keys(chart))); diff != "" {
				t.Errorf("objects of config (-), of the chart (+):\n%s", diff)
			}
			for name, object := range chart {
				if folder[name] == nil {
					continue
				}
				for _, side := range []*unstructured.Unstructured{object, folder[name]} {
					normalize(side, test.namespace)
				}
				if diff := cmp.Diff(folder[name].Object, object.Object); diff != "" {
					t.Errorf("%s of config (-), of the chart (+):\n%s", name, diff)
				}
			}
		})
	}
}

// removeDocumentedDifferences removes the differences that docs/how-to/install-helm.md lists.
func removeDocumentedDifferences(t *testing.T, chart, folder objects, namespace string) {
	t.Helper()
	// Helm creates the namespace.
	delete(folder, "Namespace/"+namespace)
	// Hooks are not objects of the installation.
	for name, object := range chart {
		if object.GetAnnotations()["helm.sh/hook"] != "" {
			delete(chart, name)
		}
	}
	// There may be several releases, each with ClusterRoleBindings of its own.
	for _, binding := range []string{"ClusterRoleBinding/seldon-v2-manager-rolebinding", "ClusterRoleBinding/seldon-v2-metrics-auth-rolebinding"} {
		if object := chart[binding+"-"+namespace]; object != nil {
			delete(chart, binding+"-"+namespace)
			object.SetName(strings.TrimSuffix(object.GetName(), "-"+namespace))
			chart[binding] = object
		}
	}
	// In config, the workload type of Servers is a variable and not an overlay.
	if config := chart["ServerConfig/mlserver"]; config != nil {
		if deployments, _ := at(config, "spec/volumeClaimTemplates"); deployments == nil {
			variable, _ := at(folder["Deployment/seldon-v2-controller-manager"], "spec/template/spec/containers/manager/env/USE_DEPLOYMENTS_FOR_SERVERS")
			variable.(map[string]any)["value"] = "true"
		}
	}
	for _, object := range chart {
		labels := object.GetLabels()
		maps.DeleteFunc(labels, func(key, _ string) bool {
			return strings.HasPrefix(key, "app.kubernetes.io/") || strings.HasPrefix(key, "helm.sh/")
		})
		if len(labels) == 0 {
			labels = nil
		}
		object.SetLabels(labels)
	}
}

// normalize sorts the variables and ports of the operator's container, whose order is
// irrelevant. That of the components' variables must be equal: a different order
// restarts their pods.
func normalize(object *unstructured.Unstructured, namespace string) {
	if object.GetKind() != "CustomResourceDefinition" && !strings.HasPrefix(object.GetKind(), "ClusterRole") {
		object.SetNamespace(namespace)
	}
	if object.GetKind() != "Deployment" {
		return
	}
	for _, list := range []string{"env", "ports"} {
		items, _ := at(object, "spec/template/spec/containers/manager/"+list)
		if list, isList := items.([]any); isList {
			slices.SortFunc(list, func(a, b any) int {
				return strings.Compare(a.(map[string]any)["name"].(string), b.(map[string]any)["name"].(string))
			})
		}
	}
}
