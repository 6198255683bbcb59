package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/seldon-operator/seldon-operator/inputs"
)

// renderRuntime is the runtime of these specs, whose configurations are not those that the
// specs of plan change.
const renderRuntime = `
apiVersion: mlops.seldon.io/v1alpha1
kind: SeldonRuntime
metadata:
  name: seldon
  labels: {cost: shared}
spec:
  seldonConfig: render
  config:
    kafkaConfig: {topicPrefix: team}
  overrides:
    - name: seldon-envoy
      replicas: 2
      podSpec:
        nodeSelector: {kubernetes.io/os: linux}
        containers: [{name: envoy, env: [{name: A, value: b}], ports: [{containerPort: 9100}]}]
    - {name: hodometer, disable: true}
  servers:
    - {name: mlserver, serverConfig: render, replicas: 2, extraCapabilities: [gpu]}
  patches:
    - target: {kind: Service, name: seldon-mesh}
      patch: |
        - {op: add, path: /metadata/annotations, value: {example.com/scheme: internal}}
`

var _ = Describe("render and explain", Ordered, func() {
	var (
		f      *fixture
		files  []string
		parsed = func(text string) map[string]*unstructured.Unstructured {
			GinkgoHelper()
			objects := map[string]*unstructured.Unstructured{}
			for document := range strings.SplitSeq("\n"+text, "\n---\n") {
				object := &unstructured.Unstructured{}
				Expect(yaml.Unmarshal([]byte(document), &object.Object)).To(Succeed())
				if len(object.Object) > 0 {
					objects[f.namespace+" "+object.GetKind()+"/"+object.GetName()] = object
				}
			}
			return objects
		}
	)

	BeforeAll(func() {
		f = &fixture{namespace: newNamespace(), applied: map[string]*unstructured.Unstructured{}, folder: GinkgoT().TempDir()}
		environment.StartScheduler(f.namespace)
		add := func(name string, object *unstructured.Unstructured) {
			text, err := yaml.Marshal(object.Object)
			Expect(err).NotTo(HaveOccurred())
			file := filepath.Join(f.folder, name)
			Expect(os.WriteFile(file, text, 0o600)).To(Succeed())
			files = append(files, "-f", file)
			f.apply(object)
		}
		for name, file := range map[string]string{"config.yaml": "config/seldonconfigs/default.yaml", "server.yaml": "config/serverconfigs/mlserver.yaml"} {
			text, err := os.ReadFile(root(file))
			Expect(err).NotTo(HaveOccurred())
			config := f.read(string(text), operatorNamespace)
			config.SetName("render")
			add(name, config)
		}
		add("runtime.yaml", f.read(renderRuntime, f.namespace))
		f.settle()
	})

	// live returns the child objects, without Servers, that the operator has created.
	live := func() map[string]*unstructured.Unstructured {
		found := f.children()
		for key, object := range found {
			if object.GetLabels()[inputs.EngineOptions.OwnerLabel()] == "" || object.GetKind() == "Server" {
				delete(found, key)
			}
		}
		return found
	}

	It("renders exactly what the operator applies", func() {
		rendered, applied := parsed(mustSeldon(append([]string{"render"}, files...)...)), live()
		Expect(keys(rendered)).To(Equal(keys(applied)))
		for key, object := range rendered {
			Expect(object.GetOwnerReferences()).To(BeEmpty(), key)
			object.SetOwnerReferences(applied[key].GetOwnerReferences())
			// An apply of anything else would change the object, if only its managedFields.
			err := environment.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner(inputs.FieldManager), client.ForceOwnership, client.DryRunAll)
			Expect(err).NotTo(HaveOccurred(), key)
			Expect(withoutTimes(object)).To(Equal(withoutTimes(applied[key])), key)
		}
	})

	It("renders the same with the configurations of the cluster", func() {
		runtime := []string{"render", "-f", filepath.Join(f.folder, "runtime.yaml"), "--from-cluster"}
		Expect(mustSeldon(runtime...)).To(Equal(mustSeldon(append([]string{"render"}, files...)...)))
	})

	It("renders objects that kubectl apply accepts", func() {
		namespace := newNamespace()
		for _, args := range [][]string{
			{"-f", root("config/samples/mlops_v1alpha1_seldonruntime.yaml"), "-f", root("config/samples/mlops_v1alpha1_server.yaml")},
			{"-f", root("config/samples/mlops_v1alpha1_seldonruntime_overrides.yaml"), "--explain"},
		} {
			file := filepath.Join(f.folder, "rendered.yaml")
			Expect(os.WriteFile(file, []byte(mustSeldon(append([]string{"render", "-n", namespace}, args...)...)), 0o600)).To(Succeed())
			environment.Kubectl("apply", "--dry-run=server", "--server-side", "-f", file)
		}
	})

	It("explains which layer sets a field, and who else owns it", func() {
		deployment := get(&appsv1.Deployment{}, f.namespace, "seldon-envoy")
		patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":{"example.com/note":"x"}},"spec":{"minReadySeconds":1}}`))
		Expect(environment.Client.Patch(ctx, deployment, patch, client.FieldOwner("someone"))).To(Succeed())
		type field struct {
			Path, Layer, LayerPath string
			Value, Rendered        any
			Overridden             []struct{ Layer string }
			Managers               []struct{ Name, Operation string }
			LastWrite              string
		}
		explained := func(object string) map[string]field {
			GinkgoHelper()
			report := struct {
				Fields []field
				Owner  string
			}{}
			Expect(json.Unmarshal([]byte(mustSeldon("explain", "-n", f.namespace, object, "-o", "json")), &report)).To(Succeed())
			fields := map[string]field{}
			for _, each := range report.Fields {
				fields[each.Path] = each
				Expect(each.Rendered).To(BeNil(), "%s: %+v", object, each)
			}
			return fields
		}
		envoy := explained("deployment/seldon-envoy")
		runtime := "SeldonRuntime " + f.namespace + "/seldon"
		config := "SeldonConfig " + operatorNamespace + "/render"
		for path, want := range map[string]string{
			"spec.replicas": runtime + " spec.overrides",
			"spec.template.spec.containers[name=envoy].env[name=A].value": runtime + " spec.overrides",
			"spec.template.spec.containers[name=envoy].image":             config + " spec.components",
			"spec.template.metadata.labels.cost":                          runtime + " metadata.labels",
			"spec.selector.matchLabels[app.kubernetes.io/name]":           "template runtime/workloads/deployment ",
			"metadata.labels[mlops.seldon.io/owner-kind]":                 "engine ",
			"spec.minReadySeconds":                                        " ",
		} {
			Expect(envoy[path].Layer+" "+envoy[path].LayerPath).To(HavePrefix(want), path)
		}
		Expect(envoy["spec.minReadySeconds"].Managers).To(HaveLen(1))
		Expect(envoy["spec.minReadySeconds"].Managers[0].Name).To(Equal("someone"))
		Expect(envoy["spec.replicas"].Managers[0].Name).To(Equal(inputs.FieldManager))
		Expect(envoy["spec.replicas"].LastWrite).NotTo(BeEmpty())

		server := explained("statefulset/mlserver")
		Expect(server["spec.replicas"].Layer + " " + server["spec.replicas"].LayerPath).To(Equal(runtime + " spec.servers[0].replicas"))
		capabilities := server["spec.template.spec.containers[name=agent].env[name=SELDON_SERVER_CAPABILITIES].value"]
		Expect(capabilities.Layer + " " + capabilities.LayerPath).To(Equal(runtime + " spec.servers[0].extraCapabilities"))
		Expect(capabilities.Overridden).To(HaveLen(1))
		Expect(explained("server/mlserver")["spec.replicas"].Layer).To(Equal(runtime))
		Expect(explained("configmap/seldon-kafka")["data[kafka.json]"].LayerPath).To(Equal("spec.config.kafkaConfig"))
		Expect(explained("service/seldon-mesh")["metadata.annotations[example.com/scheme]"].LayerPath).To(Equal("spec.patches[0]"))
		for kind, name := range map[string]string{"role": "seldon-scheduler-role", "rolebinding": "seldon-scheduler-rolebinding", "serviceaccount": "seldon-server", "service": "mlserver-0"} {
			explained(kind + "/" + name)
		}

		one := mustSeldon("explain", "-n", f.namespace, "deploy", "seldon-envoy", "spec.replicas")
		Expect(one).To(ContainSubstring("SET BY      " + runtime + " spec.overrides[0].replicas"))
		Expect(mustSeldon("explain", "-n", f.namespace, "deploy/seldon-envoy")).To(ContainSubstring(config))
		for _, args := range [][]string{{"deploy/seldon-envoy", "spec.absent"}, {"seldonruntime/seldon"}, {"seldon"}, {"deploy/seldon-envoy", "spec.a["}} {
			failed := seldon(append([]string{"explain", "-n", f.namespace}, args...)...)
			Expect(failed.code).To(Equal(2), "%v: %s", args, failed.stderr)
		}
		Expect(seldon("explain", "-n", f.namespace, "deploy/absent").code).To(Equal(1))
		pods := &corev1.PodList{}
		Expect(environment.Client.List(ctx, pods, client.InNamespace(f.namespace))).To(Succeed())
		failed := seldon("explain", "-n", f.namespace, "pod/"+pods.Items[0].Name)
		Expect(failed.stderr).To(ContainSubstring("not by a SeldonRuntime or a Server; name that object"))
	})
})

// keys returns the sorted keys of objects.
func keys(objects map[string]*unstructured.Unstructured) []string {
	var names []string
	for name := range objects {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// withoutTimes returns the content of an object without the times of managedFields.
func withoutTimes(object *unstructured.Unstructured) map[string]any {
	content := object.DeepCopy()
	entries := content.GetManagedFields()
	for i := range entries {
		entries[i].Time = nil
	}
	content.SetManagedFields(entries)
	unstructured.RemoveNestedField(content.Object, "status")
	unstructured.RemoveNestedField(content.Object, "metadata", "resourceVersion")
	return content.Object
}
