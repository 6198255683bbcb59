package controllers_test

import (
	"maps"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/controllers"
)

// metricValue returns a metric of this process: the value of a gauge or counter, or the
// number of observations of a histogram; 0 if there is no such series.
func metricValue(name string, labels map[string]string) func() float64 {
	return func() float64 {
		GinkgoHelper()
		families, err := metrics.Registry.Gather()
		Expect(err).NotTo(HaveOccurred())
		for _, family := range families {
			if family.GetName() != name {
				continue
			}
			for _, metric := range family.GetMetric() {
				found := map[string]string{}
				for _, label := range metric.GetLabel() {
					found[label.GetName()] = label.GetValue()
				}
				if maps.Equal(found, labels) {
					return metric.GetGauge().GetValue() + metric.GetCounter().GetValue() + float64(metric.GetHistogram().GetSampleCount())
				}
			}
		}
		return 0
	}
}

var _ = Describe("Metrics", func() {
	It("count objects, warning conditions, and operations on child objects", ownOperator, func() {
		namespace := newNamespace()
		startOperator(controllers.Options{}, namespace)
		objects := func(kind, ready string) func() float64 {
			return metricValue("seldon_operator_resources", map[string]string{"kind": kind, "namespace": namespace, "ready": ready})
		}
		changes := func(kind, reason string) func() float64 {
			return metricValue("seldon_operator_child_operations_total", map[string]string{"kind": kind, "namespace": namespace, "reason": reason})
		}
		paused := metricValue("seldon_operator_warning_conditions", map[string]string{"kind": "SeldonRuntime", "namespace": namespace, "type": "Paused"})
		took := metricValue("seldon_operator_time_to_ready_seconds", map[string]string{"kind": "SeldonRuntime"})
		before := took()

		model := newModel(namespace, "iris")
		Eventually(objects("Model", "False")).Should(BeEquivalentTo(1), "it has no runtime")
		Expect(objects("Model", "True")()).To(BeZero())
		runtime := newRuntime(namespace)
		Eventually(objects("SeldonRuntime", "True")).Should(BeEquivalentTo(1))
		Eventually(took).Should(BeNumerically(">", before))

		edit(get(namespace, "seldon-agent", &corev1.ConfigMap{}), func(c *corev1.ConfigMap) { c.Data["agent.yaml"] = "x" })
		Eventually(changes("ConfigMap", "DriftCorrected")).Should(BeEquivalentTo(1))
		edit(runtime, override("hodometer", func(o *v1alpha1.OverrideSpec) { o.Disable = true }))
		Eventually(changes("Deployment", "Pruned")).Should(BeEquivalentTo(1))
		edit(runtime, func(r *v1alpha1.SeldonRuntime) { r.Annotations = map[string]string{v1alpha1.PausedAnnotation: "true"} })
		Eventually(paused).Should(BeEquivalentTo(1))

		By("stopping the operator: another replica may count then")
		operator.stop()
		Expect(objects("SeldonRuntime", "True")()).To(BeZero())
		startOperator(controllers.Options{}, namespace)
		Eventually(objects("SeldonRuntime", "True")).Should(BeEquivalentTo(1))

		By("deleting all objects")
		edit(runtime, func(r *v1alpha1.SeldonRuntime) { r.Annotations = nil })
		Eventually(paused).Should(BeZero())
		waitForQuiescence(namespace)
		edit(get(namespace, "seldon-agent", &corev1.ConfigMap{}), func(c *corev1.ConfigMap) { c.Data["agent.yaml"] = "x" })
		Eventually(changes("ConfigMap", "DriftCorrected")).Should(BeEquivalentTo(1))
		Expect(admin.Delete(lifetime, model)).To(Succeed())
		Expect(admin.Delete(lifetime, runtime)).To(Succeed())
		Eventually(objects("SeldonRuntime", "True")).Should(BeZero())
		Eventually(changes("ConfigMap", "DriftCorrected")).Should(BeZero())
	})

	It("end with the last object that has child objects, also if that is a Server", func() {
		namespace := newNamespace()
		changes := metricValue("seldon_operator_child_operations_total", map[string]string{"kind": "StatefulSet", "namespace": namespace, "reason": "DriftCorrected"})
		servers := []*v1alpha1.Server{newServer(namespace, "one", "mlserver"), newServer(namespace, "two", "mlserver")}
		for _, server := range servers {
			Eventually(exists(namespace, server.Name, &appsv1.StatefulSet{})).Should(BeTrue())
		}
		waitForQuiescence(namespace)
		edit(get(namespace, "one", &appsv1.StatefulSet{}), func(s *appsv1.StatefulSet) { s.Spec.Template.Spec.Containers[0].Image = "x" })
		Eventually(changes).Should(BeEquivalentTo(1))
		Expect(admin.Delete(lifetime, servers[1])).To(Succeed())
		Eventually(metricValue("seldon_operator_resources", map[string]string{"kind": "Server", "namespace": namespace, "ready": "False"})).Should(BeNumerically("<", 2))
		Consistently(changes).Should(BeEquivalentTo(1), "there is another")
		Expect(admin.Delete(lifetime, servers[0])).To(Succeed())
		Eventually(changes).Should(BeZero())
	})
})
