package controllers_test

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// Problems that users of similar operators have reported, tested on the whole operator.

// jsonPatch edits a child object as `kubectl edit` does.
func jsonPatch(object client.Object, patch string) {
	GinkgoHelper()
	Expect(admin.Patch(lifetime, object, client.RawPatch(types.JSONPatchType, []byte(patch)), client.FieldOwner("kubectl-edit"))).To(Succeed())
}

// containerOf returns the first container of a Deployment.
func containerOf(namespace, deployment string) func() corev1.Container {
	return func() corev1.Container {
		found := &appsv1.Deployment{}
		if err := admin.Get(lifetime, client.ObjectKey{Namespace: namespace, Name: deployment}, found); err != nil {
			return corev1.Container{}
		}
		return found.Spec.Template.Spec.Containers[0]
	}
}

var _ = Describe("An edit that is invalid beside the desired state", func() {
	var (
		namespace string
		runtime   *v1alpha1.SeldonRuntime
	)

	BeforeEach(func() {
		namespace = newNamespace()
		runtime = newRuntime(namespace, override("seldon-envoy", func(o *v1alpha1.OverrideSpec) {
			o.PodSpec = podSpec("containers: [{name: envoy, env: [{name: A, value: a}], livenessProbe: {httpGet: {path: /, port: 9003}}}]\nvolumes: [{name: scratch, emptyDir: {}}]")
		}))
		Eventually(ready(runtime)).Should(HavePrefix("True"))
	})

	index := func(container corev1.Container, variable string) string {
		for i, env := range container.Env {
			if env.Name == variable {
				return string(rune('0' + i))
			}
		}
		return "-"
	}

	It("of an environment variable is reverted, and an Event names field and manager", func() {
		envoy := get(namespace, "seldon-envoy", &appsv1.Deployment{})
		at := index(envoy.Spec.Template.Spec.Containers[0], "A")
		jsonPatch(envoy, `[{"op":"replace","path":"/spec/template/spec/containers/0/env/`+at+`","value":{"name":"A","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}}}]`)
		Eventually(func() []corev1.EnvVar { return containerOf(namespace, "seldon-envoy")().Env }).Should(ContainElement(corev1.EnvVar{Name: "A", Value: "a"}))
		Eventually(events(runtime, "ConflictingFieldsRemoved")).Should(ContainElement(And(
			ContainSubstring("Deployment seldon-envoy"), ContainSubstring(`env[name="A"].valueFrom.fieldRef`), ContainSubstring("set by kubectl-edit"))))
		Eventually(ready(runtime)).Should(HavePrefix("True"))
	})

	It("of a probe and a volume is reverted in one rollout", func() {
		envoy := get(namespace, "seldon-envoy", &appsv1.Deployment{})
		jsonPatch(envoy, `[{"op":"replace","path":"/spec/template/spec/containers/0/livenessProbe","value":{"tcpSocket":{"port":9003}}},
			{"op":"replace","path":"/spec/template/spec/volumes","value":[{"name":"scratch","hostPath":{"path":"/x"}}]}]`)
		Eventually(func(g Gomega) {
			found := get(namespace, "seldon-envoy", &appsv1.Deployment{})
			g.Expect(found.Spec.Template.Spec.Volumes).To(ContainElement(HaveField("VolumeSource", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}})))
			g.Expect(found.Spec.Template.Spec.Containers[0].LivenessProbe.TCPSocket).To(BeNil())
			g.Expect(found.Generation).To(Equal(envoy.Generation + 1))
		}).Should(Succeed())
	})

	It("of a Service's port is reverted, and blocks no other change of the runtime", func() {
		mesh := get(namespace, "seldon-mesh", &corev1.Service{})
		jsonPatch(mesh, `[{"op":"replace","path":"/spec/ports/0/port","value":8080}]`)
		edit(runtime, func(r *v1alpha1.SeldonRuntime) {
			r.Spec.Overrides[0].PodSpec = podSpec("terminationGracePeriodSeconds: 7")
		})
		Eventually(func() int64 {
			return *get(namespace, "seldon-envoy", &appsv1.Deployment{}).Spec.Template.Spec.TerminationGracePeriodSeconds
		}).Should(Equal(int64(7)))
		Eventually(func() []corev1.ServicePort { return get(namespace, "seldon-mesh", &corev1.Service{}).Spec.Ports }).Should(
			And(ContainElement(HaveField("Port", int32(80))), Not(ContainElement(HaveField("Port", int32(8080))))))
		Eventually(ready(runtime)).Should(HavePrefix("True"))
	})

	It("or a default of the API server is overridden by a patch of the runtime", func() {
		edit(runtime, func(r *v1alpha1.SeldonRuntime) {
			r.Spec.Patches = []v1alpha1.Patch{{Target: &v1alpha1.PatchTarget{Kind: "Deployment", Name: "seldon-envoy"}, Patch: "spec: {strategy: {type: Recreate}}"}}
		})
		Eventually(func() appsv1.DeploymentStrategy {
			return get(namespace, "seldon-envoy", &appsv1.Deployment{}).Spec.Strategy
		}).Should(
			Equal(appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}))
		Eventually(events(runtime, "ConflictingFieldsRemoved")).Should(ContainElement(ContainSubstring("defaulted by the API server")))
	})

	It("of `immutable` is reported in one sentence when a configuration changes", func() {
		tracing := get(namespace, "seldon-tracing", &corev1.ConfigMap{})
		jsonPatch(tracing, `[{"op":"add","path":"/immutable","value":true}]`)
		edit(runtime, func(r *v1alpha1.SeldonRuntime) { r.Spec.Config.TracingConfig.Ratio = new("0.25") })
		Eventually(condition(runtime, v1alpha1.ConditionImmutableFieldChanged)).Should(Equal("True ImmutableFieldChanged ConfigMap " + namespace + "/seldon-tracing: data is immutable and keeps its live value; " +
			"restore the live value in the configuration, or delete the ConfigMap; it is then recreated with the desired value"))
		Consistently(func() int64 { return get(namespace, "seldon-envoy", &appsv1.Deployment{}).Generation }, 2*time.Second).Should(Equal(int64(1)),
			"a configuration that did not change restarts no pod")
		Expect(admin.Delete(lifetime, tracing)).To(Succeed())
		Eventually(ready(runtime)).Should(HavePrefix("True"))
	})

	It("by `kubectl scale`, again and again, is reported with that manager", func() {
		edit(runtime, func(r *v1alpha1.SeldonRuntime) { r.Spec.Overrides[0].Replicas = new(int64(1)) })
		Eventually(func() string {
			envoy := get(namespace, "seldon-envoy", &appsv1.Deployment{})
			if *envoy.Spec.Replicas == 1 {
				Expect(admin.SubResource("scale").Patch(lifetime, envoy, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"replicas":2}}`)), client.FieldOwner("kubectl"))).To(Succeed())
			}
			return condition(runtime, "FieldManagerConflict")()
		}).Should(And(HavePrefix("True"), ContainSubstring(`spec.replicas is changed repeatedly by "kubectl" through the subresource scale`)))
	})
})

// events returns the messages of the Events on an object with a reason.
func events(object client.Object, reason string) func() []string {
	return func() []string {
		var messages []string
		for _, event := range eventsOf(object) {
			if event.Reason == reason {
				messages = append(messages, event.Note)
			}
		}
		return messages
	}
}
