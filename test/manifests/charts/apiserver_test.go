package charts_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/test/framework/controlplane"
	"github.com/seldon-operator/seldon-operator/test/framework/helm"
)

// restricted is a namespace with that Pod Security Standard.
const restricted = "restricted"

// The API server takes all that the charts render, field by field, and admits what
// becomes a pod to a namespace that wants pods to be restricted.
func TestTheAPIServerTakesIt(t *testing.T) {
	cluster := apiServer(t)
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	admin, err := client.New(cluster.Config(), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	server := client.WithFieldValidation(admin, metav1.FieldValidationStrict)
	prepare(t, server)

	t.Run("objects", func(t *testing.T) {
		for _, chart := range []string{certs, setup, dataPlane, servers} {
			for i, with := range everything(t, chart) {
				for name, object := range render(t, chart, "seldon-mesh", with) {
					err := server.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object), client.DryRunAll, client.FieldOwner("test"))
					if err != nil {
						t.Errorf("%s, values %d: %s: %v", chart, i, name, err)
					}
				}
			}
		}
	})
	t.Run("programs", func(t *testing.T) { tryPrograms(t, cluster, server) })
	t.Run("pods", func(t *testing.T) {
		for name, with := range map[string]values{
			"as they are": nil, "restricted": {"restricted": true}, "restricted, on OpenShift": {"restricted": true, "openshift": true},
			"restricted, without contexts": {
				"restricted": true, "controller": values{"securityContext": nil}, "scheduler": values{"securityContext": nil},
			},
		} {
			for of, spec := range podSpecs(render(t, setup, "seldon-mesh", with)) {
				// Those of the data plane are restricted on demand.
				if with == nil && strings.HasPrefix(of, "Se") {
					continue
				}
				if err := server.Create(t.Context(), pod(t, spec), client.DryRunAll); err != nil {
					t.Errorf("%s: %s: %v", name, of, err)
				}
			}
		}
	})
}

var (
	// shared is the API server of all tests that ask for it, and lifetime is its
	// context: no test's own.
	shared   *controlplane.ControlPlane
	lifetime = context.Background()
)

func TestMain(m *testing.M) {
	code := m.Run()
	if shared != nil {
		if err := shared.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// apiServer is one with the kinds of all objects in the charts.
func apiServer(t *testing.T) *controlplane.ControlPlane {
	t.Helper()
	if shared != nil {
		return shared
	}
	started, err := controlplane.Start(lifetime, controlplane.Options{APIServerOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	shared = started
	// With the program, so that its record of the release is known to fit a Secret.
	install := helm.Helm{Home: t.TempDir(), Kubeconfig: shared.KubeconfigPath()}
	if _, err := install.Run(t.Context(), nil, "install", "crds", helm.Chart(crds), "--namespace", "default"); err != nil {
		t.Fatalf("install the CRDs: %v", err)
	}
	if _, err := envtest.InstallCRDs(shared.Config(), envtest.CRDInstallOptions{CRDs: strangers()}); err != nil {
		t.Fatal(err)
	}
	return shared
}

// prepare makes what has to be there before the charts.
func prepare(t *testing.T, server client.Client) {
	t.Helper()
	for name, labels := range map[string]map[string]string{
		"seldon-mesh": nil, "team-a": nil, "team-b": nil, restricted: {"pod-security.kubernetes.io/enforce": "restricted"},
	} {
		if err := server.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}); err != nil {
			t.Fatal(err)
		}
	}
	// Of the values in testdata.
	if err := server.Create(t.Context(), &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "urgent"}, Value: 1}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"default", "seldon-v2-controller-manager", "seldon-scheduler", "seldon-server", "hodometer"} {
		for _, namespace := range []string{"seldon-mesh", restricted} {
			if err := server.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// everything are the values in testdata, list by list, those of the upstream
// operator, and none.
func everything(t *testing.T, chart string) []values {
	t.Helper()
	found := []values{nil, existing(t, chart)}
	var lists []effects
	if err := yaml.UnmarshalStrict(read(t, filepath.Join("testdata", chart+".yaml")), &lists); err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		with := values{}
		for _, row := range list.Rows {
			set(with, row.Key, row.Set)
		}
		found = append(found, with)
	}
	return found
}

// pod has a spec; its claims are empty directories.
func pod(t *testing.T, spec map[string]any) *corev1.Pod {
	t.Helper()
	spec = maps.Clone(spec)
	found := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: restricted, GenerateName: "pod-"}}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(spec, &found.Spec); err != nil {
		t.Fatal(err)
	}
	has := map[string]bool{}
	for _, volume := range found.Spec.Volumes {
		has[volume.Name] = true
	}
	for _, container := range found.Spec.Containers {
		for _, mount := range container.VolumeMounts {
			if !has[mount.Name] {
				has[mount.Name] = true
				found.Spec.Volumes = append(found.Spec.Volumes, corev1.Volume{Name: mount.Name})
			}
		}
	}
	return found
}

// strangers are the kinds of other projects, with any content: their definitions are
// not at hand.
func strangers() []*apiextensionsv1.CustomResourceDefinition {
	var found []*apiextensionsv1.CustomResourceDefinition
	for _, kind := range [][2]string{
		{"cert-manager.io", "Issuer"}, {"cert-manager.io", "Certificate"},
		{"monitoring.coreos.com", "ServiceMonitor"}, {"monitoring.coreos.com", "PodMonitor"},
		{"monitoring.coreos.com", "PrometheusRule"},
	} {
		group, kind := kind[0], kind[1]
		plural := strings.ToLower(kind) + "s"
		found = append(found, &apiextensionsv1.CustomResourceDefinition{
			ObjectMeta: metav1.ObjectMeta{Name: plural + "." + group},
			Spec: apiextensionsv1.CustomResourceDefinitionSpec{
				Group: group, Scope: apiextensionsv1.NamespaceScoped,
				Names: apiextensionsv1.CustomResourceDefinitionNames{Kind: kind, Plural: plural},
				Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
					Name: "v1", Served: true, Storage: true,
					Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
						Type: "object", XPreserveUnknownFields: new(true),
					}},
				}},
			},
		})
	}
	return found
}
