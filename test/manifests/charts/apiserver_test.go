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

// restricted is the name of a namespace with that Pod Security Standard.
const restricted = "restricted"

// The API server accepts all objects of the charts with strict field validation, and
// admits their pods to a namespace with the restricted Pod Security Standard.
func TestAPIServerAccepts(t *testing.T) {
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
			for i, with := range allValues(t, chart) {
				for name, object := range render(t, chart, "seldon-mesh", with) {
					err := server.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object), client.DryRunAll, client.FieldOwner("test"))
					if err != nil {
						t.Errorf("%s, values %d: %s: %v", chart, i, name, err)
					}
				}
			}
		}
	})
	t.Run("programs", func(t *testing.T) { testPrograms(t, cluster, server) })
	t.Run("pods", func(t *testing.T) {
		for name, with := range map[string]values{
			"default values": nil, "restricted": {"restricted": true}, "restricted, on OpenShift": {"restricted": true, "openshift": true},
			"restricted, without security contexts": {
				"restricted": true, "controller": values{"securityContext": nil}, "scheduler": values{"securityContext": nil},
			},
		} {
			for owner, spec := range podSpecs(render(t, setup, "seldon-mesh", with)) {
				// Pods of the data plane are restricted only if the values require it.
				if with == nil && strings.HasPrefix(owner, "Se") {
					continue
				}
				if err := server.Create(t.Context(), pod(t, spec), client.DryRunAll); err != nil {
					t.Errorf("%s: %s: %v", name, owner, err)
				}
			}
		}
	})
}

var (
	// shared is the API server of all tests, started by the first that needs it, and
	// ctx is its context, which outlives each test.
	shared *controlplane.ControlPlane
	ctx    = context.Background()
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

// apiServer returns an API server with the kinds of all objects in the charts.
func apiServer(t *testing.T) *controlplane.ControlPlane {
	t.Helper()
	if shared != nil {
		return shared
	}
	started, err := controlplane.Start(ctx, controlplane.Options{APIServerOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	shared = started
	// With Helm, to prove that its record of the release fits in a Secret.
	install := helm.Helm{Home: t.TempDir(), Kubeconfig: shared.KubeconfigPath()}
	if _, err := install.Run(t.Context(), nil, "install", "crds", helm.Chart(crds), "--namespace", "default"); err != nil {
		t.Fatalf("install the CRDs: %v", err)
	}
	if _, err := envtest.InstallCRDs(shared.Config(), envtest.CRDInstallOptions{CRDs: foreignCRDs()}); err != nil {
		t.Fatal(err)
	}
	return shared
}

// prepare creates the objects that the charts depend on.
func prepare(t *testing.T, server client.Client) {
	t.Helper()
	for name, labels := range map[string]map[string]string{
		"seldon-mesh": nil, "team-a": nil, "team-b": nil, restricted: {"pod-security.kubernetes.io/enforce": "restricted"},
	} {
		if err := server.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}); err != nil {
			t.Fatal(err)
		}
	}
	// Used by the values in testdata.
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

// allValues returns no values, those of the upstream operator, and the values in
// testdata, one for each list.
func allValues(t *testing.T, chart string) []values {
	t.Helper()
	found := []values{nil, legacyValues(t, chart)}
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

// pod returns a pod with a spec, with empty directories instead of volume claims.
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

// foreignCRDs returns CRDs for the kinds of other projects. They accept any content,
// since the real ones are not available here.
func foreignCRDs() []*apiextensionsv1.CustomResourceDefinition {
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
