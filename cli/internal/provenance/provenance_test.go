package provenance

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/cli/internal/fields"
	"github.com/seldon-operator/seldon-operator/cli/internal/manifest"
	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/config"
	"github.com/seldon-operator/seldon-operator/inputs"
	"github.com/seldon-operator/seldon-operator/templates"
)

const runtimeText = `
apiVersion: mlops.seldon.io/v1alpha1
kind: SeldonRuntime
metadata:
  name: seldon
  namespace: team
  labels: {cost: a}
spec:
  seldonConfig: default
  config:
    kafkaConfig: {topicPrefix: team}
  overrides:
  - name: seldon-envoy
    replicas: 2
    podSpec:
      containers:
      - name: envoy
        image: example.com/envoy:1
      nodeSelector: {disk: ssd}
  - {name: seldon-scheduler, serviceType: NodePort}
  servers:
  - {name: mlserver, serverConfig: mlserver, replicas: 3}
  patches:
  - target: {kind: Deployment, name: seldon-envoy}
    patch: |
      - {op: add, path: /spec/template/spec/nodeSelector/zone, value: b}
      - {op: remove, path: /spec/template/spec/securityContext}
`

func compile(t *testing.T) *composition.Templates {
	t.Helper()
	compiled, err := composition.LoadTemplates(templates.Files, templates.AnnotationPrefix)
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

func parseOne[T any](t *testing.T, text string) T {
	t.Helper()
	objects, err := manifest.Parse("in", strings.NewReader(text), "seldon-system")
	if err != nil {
		t.Fatal(err)
	}
	typed, is := objects[0].Typed.(T)
	if !is {
		t.Fatalf("%s is no %T", objects[0], typed)
	}
	return typed
}

func refOf(kind schema.GroupVersionKind, name string) composition.ObjectRef {
	return composition.ObjectRef{GroupVersionKind: kind, Namespace: "team", Name: name}
}

func configMap(name string) composition.ObjectRef {
	return refOf(corev1.SchemeGroupVersion.WithKind("ConfigMap"), name)
}

func TestFields(t *testing.T) {
	compiled := compile(t)
	runtime := templates.Runtime{Runtime: parseOne[*v1alpha1.SeldonRuntime](t, runtimeText), Config: parseOne[*v1alpha1.SeldonConfig](t, config.SeldonConfig)}
	runtime.Config.Namespace = "seldon-system"
	input, _, err := runtime.Input()
	if err != nil {
		t.Fatal(err)
	}
	origins, err := Of(compiled, input, inputs.EngineOptions, ForRuntime(runtime.Runtime, runtime.Config))
	if err != nil {
		t.Fatal(err)
	}
	envoy := fmt.Sprintf("SeldonConfig seldon-system/default spec.components[%d]", slices.IndexFunc(
		runtime.Config.Spec.Components, func(c v1alpha1.ComponentDefn) bool { return c.Name == v1alpha1.ComponentEnvoy }))
	deployment := refOf(appsv1.SchemeGroupVersion.WithKind("Deployment"), "seldon-envoy")
	const pod = "spec.template.spec."
	for _, test := range []struct {
		ref        composition.ObjectRef
		path, want string
	}{
		{deployment, "kind", "template runtime/workloads/deployment"},
		{deployment, "metadata.name", "template runtime/workloads/deployment"},
		{deployment, "spec.replicas", "SeldonRuntime team/seldon spec.overrides[0].replicas"},
		{deployment, "metadata.labels.cost", "SeldonRuntime team/seldon metadata.labels"},
		{deployment, pod + "containers[name=envoy].image", "SeldonRuntime team/seldon spec.overrides[0].podSpec"},
		{deployment, pod + "nodeSelector.disk", "SeldonRuntime team/seldon spec.overrides[0].podSpec"},
		{deployment, pod + "containers[name=envoy].imagePullPolicy", envoy + ".podSpec"},
		{deployment, pod + "nodeSelector.zone", "SeldonRuntime team/seldon spec.patches[0]"},
		{deployment, pod + "securityContext", "SeldonRuntime team/seldon spec.patches[0]"},
		{deployment, pod + "securityContext.runAsUser", "SeldonRuntime team/seldon spec.patches[0]"},
		{deployment, "metadata.labels[mlops.seldon.io/owner-kind]", "engine"},
		{deployment, "metadata.ownerReferences", "engine"},
		{deployment, pod + "containers[name=envoy].tty", envoy + ".podSpec"},
		{refOf(v1alpha1.GroupVersion.WithKind("Server"), "mlserver"), "spec.replicas", "SeldonRuntime team/seldon spec.servers[0].replicas"},
		{refOf(appsv1.SchemeGroupVersion.WithKind("Deployment"), "absent"), "spec", ""},
		{configMap("seldon-kafka"), "data[kafka.json]", "SeldonRuntime team/seldon spec.config.kafkaConfig"},
		{configMap("seldon-scaling"), "data[scaling.yaml]", "SeldonConfig seldon-system/default spec.config.scalingConfig"},
		{refOf(corev1.SchemeGroupVersion.WithKind("Service"), "seldon-mesh"), "spec.type", "template runtime"},
		{refOf(corev1.SchemeGroupVersion.WithKind("Service"), "seldon-scheduler"), "spec.type", "SeldonRuntime team/seldon spec.overrides[1].serviceType"},
	} {
		if got := origins.Field(test.ref, test.path).String(); got != test.want {
			t.Errorf("%s %s: got %q, want %q", test.ref, test.path, got, test.want)
		}
	}
	removed := origins.Removed(deployment)
	if len(removed) != 1 || removed[0].Path != pod+"securityContext" || removed[0].Source.Path != "spec.patches[0]" {
		t.Errorf("removed: %v", removed)
	}

	// The steps give what the engine renders, and each field has a source.
	rendered, err := composition.Render(compiled, input, inputs.EngineOptions)
	if err != nil {
		t.Fatal(err)
	}
	if len(rendered.Objects) != len(origins.objects) {
		t.Errorf("%d objects, rendered are %d", len(origins.objects), len(rendered.Objects))
	}
	for _, object := range rendered.Objects {
		if diff := cmp.Diff(object.Object.Object, origins.objects[object.Ref()].content); diff != "" {
			t.Errorf("%s:\n%s", object.Ref(), diff)
		}
		for _, change := range fields.Diff(object.Ref().GroupVersionKind, nil, object.Object.Object) {
			if origins.Field(object.Ref(), change.Path).Layer == "" {
				t.Errorf("%s: %s has no source", object.Ref(), change.Path)
			}
		}
	}
}

func TestServerAndRefinement(t *testing.T) {
	server := templates.Server{
		Server: parseOne[*v1alpha1.Server](t, `{apiVersion: mlops.seldon.io/v1alpha1, kind: Server, metadata: {name: s, namespace: team}, spec: {serverConfig: mlserver, extraCapabilities: [x]}}`),
		Config: parseOne[*v1alpha1.ServerConfig](t, config.MLServer),
	}
	input, _, err := server.Input()
	if err != nil {
		t.Fatal(err)
	}
	set := refOf(appsv1.SchemeGroupVersion.WithKind("StatefulSet"), "s")
	refine := func(ref composition.ObjectRef, path fields.Path, source Source) Source {
		if ref == set && path.String() == "spec.replicas" {
			source.Path = "refined"
		}
		return source
	}
	origins, err := Of(compile(t), input, inputs.EngineOptions, ForServer(server.Server, server.Config, nil), refine)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"spec.replicas": "Server team/s refined",
		"spec.template.spec.containers[name=agent].env[name=SELDON_SERVER_CAPABILITIES].value": "Server team/s spec.extraCapabilities",
		"spec.volumeClaimTemplates[0].spec.resources.requests.storage":                         "ServerConfig mlserver spec.volumeClaimTemplates",
	} {
		if got := origins.Field(set, path).String(); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
	if origins.Node(set) == nil || origins.Object(set) == nil || origins.Node(refOf(schema.GroupVersionKind{}, "s")) != nil {
		t.Error("objects are not found")
	}
}
