package controllers_test

import (
	"os"
	"path/filepath"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/test/framework/helm"
)

// kstatus computes the status of an object as Flux and Helm do.
func kstatus(object client.Object) func() status.Status {
	return func() status.Status {
		GinkgoHelper()
		gvk, err := admin.GroupVersionKindFor(object)
		Expect(err).NotTo(HaveOccurred())
		stored := &unstructured.Unstructured{}
		stored.SetGroupVersionKind(gvk)
		result, err := status.Compute(get(object.GetNamespace(), object.GetName(), stored))
		Expect(err).NotTo(HaveOccurred())
		return result.Status
	}
}

// warnings returns the Warning Events on an object.
func warnings(object client.Object) func() []string {
	return func() []string {
		list := &eventsv1.EventList{}
		if err := admin.List(lifetime, list, client.InNamespace(object.GetNamespace())); err != nil {
			return []string{err.Error()}
		}
		var found []string
		for _, event := range list.Items {
			if event.Regarding.UID == object.GetUID() && event.Type == corev1.EventTypeWarning {
				found = append(found, event.Reason+" "+event.Note)
			}
		}
		return found
	}
}

var _ = Describe("The status that tools compute", func() {
	var namespace string
	BeforeEach(func() { namespace = newNamespace() })

	It("is failed at once with an invalid patch, until it is corrected", func() {
		runtime := newRuntime(namespace, func(r *v1alpha1.SeldonRuntime) {
			r.Spec.Patches = []v1alpha1.Patch{{Patch: "- {op: remove, path: /spec/nothing}", Target: &v1alpha1.PatchTarget{Kind: "Deployment", Name: "seldon-envoy"}}}
		})
		Eventually(kstatus(runtime)).WithTimeout(5 * time.Second).Should(Equal(status.FailedStatus))
		Expect(condition(runtime, "Stalled")()).To(HavePrefix("True InvalidPatch"))
		Expect(condition(runtime, "Reconciling")()).To(Equal("none"))
		edit(runtime, func(r *v1alpha1.SeldonRuntime) { r.Spec.Patches = nil })
		Eventually(condition(runtime, "Reconciling")).Should(HavePrefix("True Progressing"))
		Expect(condition(runtime, "Stalled")()).To(Equal("none"))
		Eventually(kstatus(runtime)).Should(Equal(status.CurrentStatus))
		Expect(condition(runtime, "Reconciling")()).To(Equal("none"))
	})

	It("ends Helm's wait for a chart with an invalid patch at once, and not that for a valid one", func() {
		folder := GinkgoT().TempDir()
		Expect(os.Mkdir(filepath.Join(folder, "templates"), 0o700)).To(Succeed())
		write := func(name, text string) {
			GinkgoHelper()
			Expect(os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600)).To(Succeed())
		}
		const runtime = "apiVersion: mlops.seldon.io/v1alpha1\nkind: SeldonRuntime\nmetadata: {name: seldon}\nspec:\n  seldonConfig: default\n"
		write("Chart.yaml", "apiVersion: v2\nname: team\nversion: 1.0.0\n")
		upgrade := func() (time.Duration, error) {
			began := time.Now()
			_, err := helm.Helm{Home: GinkgoT().TempDir(), Kubeconfig: cluster.KubeconfigPath()}.Run(lifetime, nil,
				"upgrade", "team", folder, "--install", "--namespace", namespace, "--wait", "--timeout", "60s")
			return time.Since(began), err
		}
		write("templates/runtime.yaml", runtime+"  patches: [{target: {kind: Deployment, name: seldon-envoy}, patch: '[{\"op\": \"remove\", \"path\": \"/spec/nothing\"}]'}]\n")
		took, err := upgrade()
		Expect(err).To(MatchError(ContainSubstring("seldon")))
		Expect(took).To(BeNumerically("<", 20*time.Second))
		reportMetric("helm --wait with a broken patch: milliseconds", int(took.Milliseconds()))
		write("templates/runtime.yaml", runtime)
		_, err = upgrade()
		Expect(err).NotTo(HaveOccurred())
		Expect(ready(get(namespace, "seldon", &v1alpha1.SeldonRuntime{}))()).To(HavePrefix("True"))
	})

	It("is in progress for an object that no controller has observed", ownOperator, func() {
		for _, object := range []client.Object{
			newRuntime(namespace), newServer(namespace, "mlserver", "mlserver"), newModel(namespace, "iris"), newPipeline(namespace, "iris"), newExperiment(namespace, "iris"),
		} {
			Expect(kstatus(object)()).To(Equal(status.InProgressStatus), object.GetName())
		}
	})

	It("is in progress for a Server that is applied before its ServerConfig", func() {
		newSmallRuntime(namespace)
		server := newServer(namespace, "mlserver", "later-"+namespace)
		Eventually(ready(server)).Should(HavePrefix("False ConfigNotFound"))
		Consistently(kstatus(server)).WithTimeout(5 * time.Second).Should(Equal(status.InProgressStatus))
		newServerConfig(func(c *v1alpha1.ServerConfig) { c.GenerateName, c.Name = "", "later-"+namespace })
		Eventually(func() status.Status {
			now := kstatus(server)()
			Expect(now).NotTo(Equal(status.FailedStatus))
			return now
		}).Should(Equal(status.CurrentStatus))
	})

	It("follows the child objects while rendering fails", func() {
		config := newConfig()
		runtime := newRuntime(namespace, using(config.Name))
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		generation := runtime.Generation
		Expect(admin.Delete(lifetime, config)).To(Succeed())
		Eventually(ready(runtime)).Should(HavePrefix("False ConfigNotFound"))
		Expect(condition(runtime, v1alpha1.ConditionEnvoyReady)()).To(HavePrefix("True"))
		edit(get(namespace, "seldon-envoy", &appsv1.Deployment{}), func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.NodeSelector = map[string]string{"no": "such"}
			d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
		})
		Eventually(condition(runtime, v1alpha1.ConditionEnvoyReady)).Should(HavePrefix("False"))
		Expect(admin.Delete(lifetime, get(namespace, "hodometer", &appsv1.Deployment{}))).To(Succeed())
		Eventually(condition(runtime, v1alpha1.ConditionHodometerReady)).Should(HavePrefix("False NotFound"))
		Expect(condition(runtime, v1alpha1.ConditionSchedulerReady)()).To(HavePrefix("True"))
		Expect(runtime.Generation).To(Equal(generation))
	})

	It("changes without a Warning Event in a normal rollout", func() {
		runtime := newRuntime(namespace, withServer)
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		server := get(namespace, "mlserver", &v1alpha1.Server{})
		Eventually(ready(server)).Should(HavePrefix("True"))
		before := podsOf(namespace)
		edit(runtime, func(r *v1alpha1.SeldonRuntime) {
			r.Spec.Overrides = []v1alpha1.OverrideSpec{
				{Name: "seldon-envoy", PodSpec: podSpec(`{terminationGracePeriodSeconds: 7}`)},
				{Name: "seldon-scheduler", PodSpec: podSpec(`{terminationGracePeriodSeconds: 7}`)},
			}
			r.Spec.Servers[0].PodSpec = podSpec(`{terminationGracePeriodSeconds: 7}`)
			r.Spec.Servers[0].Replicas = new(int64(2))
		})
		Eventually(func() map[string]string { return podsOf(namespace) }).ShouldNot(Equal(before))
		Eventually(kstatus(runtime)).WithTimeout(time.Minute).Should(Equal(status.CurrentStatus))
		Eventually(kstatus(server)).Should(Equal(status.CurrentStatus))
		for _, object := range []client.Object{runtime, server} {
			Eventually(eventReasons(object)).Should(ContainElement(HaveSuffix("Ready")))
			Consistently(warnings(object)).Should(BeEmpty())
		}
	})

	It("contains why pods are rejected, also before the first rollout completed", func() {
		edit(get("", namespace, &corev1.Namespace{}), func(n *corev1.Namespace) { n.Labels["pod-security.kubernetes.io/enforce"] = "restricted" })
		runtime := newRuntime(namespace, override("seldon-envoy", func(o *v1alpha1.OverrideSpec) {
			o.PodSpec = podSpec(`{hostNetwork: true}`)
		}))
		Eventually(condition(runtime, v1alpha1.ConditionEnvoyReady)).Should(And(HavePrefix("False ReplicaFailure"), ContainSubstring("violates PodSecurity")))
		Eventually(condition(runtime, "Reconciling")).Should(HavePrefix("True ReplicaFailure"))
		Eventually(warnings(runtime)).Should(ContainElement(And(HavePrefix("SeldonRuntimeNotReady ReplicaFailure"), ContainSubstring("violates PodSecurity"))))
		Consistently(func() int { return len(warnings(runtime)()) }).Should(Equal(1))
	})

	It("contains why pods of a StatefulSet are rejected", func() {
		newSmallRuntime(namespace)
		edit(get("", namespace, &corev1.Namespace{}), func(n *corev1.Namespace) { n.Labels["pod-security.kubernetes.io/enforce"] = "restricted" })
		server := newServer(namespace, "mlserver", "mlserver")
		Eventually(condition(server, v1alpha1.ConditionWorkloadReady)).Should(And(HavePrefix("False ReplicaFailure"), ContainSubstring("violates PodSecurity")))
		Expect(ready(server)()).To(HavePrefix("False ReplicaFailure"))
		Eventually(warnings(server)).Should(ContainElement(And(HavePrefix("ServerNotReady ReplicaFailure"), ContainSubstring("violates PodSecurity"))))
		Consistently(func() int { return len(warnings(server)()) }).Should(Equal(1))
		edit(get("", namespace, &corev1.Namespace{}), func(n *corev1.Namespace) { delete(n.Labels, "pod-security.kubernetes.io/enforce") })
		Eventually(ready(server)).WithTimeout(time.Minute).Should(HavePrefix("True"))
	})
})
