package controllers_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// A configuration that does not exist, or is not a runtime's, is not a changed one.
var _ = Describe("A configuration that pods read at start", func() {
	It("restarts no pod of a Server while it is missing", func() {
		namespace := newNamespace()
		runtime := newRuntime(namespace, using(newConfig(func(c *v1alpha1.SeldonConfig) { c.Spec.Components = nil }).Name))
		server := newServer(namespace, "mlserver", "mlserver", func(s *v1alpha1.Server) {
			s.Spec.PodSpec = podSpec(`{volumes: [{name: kafka, configMap: {name: seldon-kafka}}]}`)
		})
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		Eventually(ready(server)).Should(HavePrefix("True"))
		edit(runtime, func(r *v1alpha1.SeldonRuntime) { r.Spec.Config.TracingConfig.Disable = new(true) })
		Eventually(rolled(namespace)).Should(ConsistOf("mlserver"))
		Eventually(ready(server)).Should(HavePrefix("True"))

		template := get(namespace, "mlserver", &appsv1.StatefulSet{}).Spec.Template
		restartsNothing := func(by string) {
			GinkgoHelper()
			Consistently(func(g Gomega) {
				g.Expect(get(namespace, "mlserver", &appsv1.StatefulSet{}).Spec.Template).To(Equal(template))
			}).Should(Succeed(), by)
		}
		uid := func(name string) func() string {
			return func() string {
				found := &corev1.ConfigMap{}
				_ = admin.Get(lifetime, client.ObjectKey{Namespace: namespace, Name: name}, found)
				return string(found.UID)
			}
		}
		for _, name := range []string{"seldon-tracing", "seldon-kafka"} {
			before := uid(name)()
			Expect(admin.Delete(lifetime, get(namespace, name, &corev1.ConfigMap{}))).To(Succeed())
			Eventually(uid(name)).ShouldNot(Or(BeEmpty(), Equal(before)))
			restartsNothing("deleting " + name)
			edit(get(namespace, name, &corev1.ConfigMap{}), func(c *corev1.ConfigMap) { c.Labels = nil })
			Eventually(func() map[string]string { return get(namespace, name, &corev1.ConfigMap{}).Labels }).ShouldNot(BeEmpty())
			restartsNothing("removing the label of " + name)
		}

		Expect(admin.Delete(lifetime, runtime)).To(Succeed())
		Eventually(exists(namespace, "seldon", &v1alpha1.SeldonRuntime{})).Should(BeFalse())
		Expect(uid("seldon-tracing")()).To(BeEmpty())
		restartsNothing("deleting the runtime")

		By("not counting one that belongs to others")
		Expect(admin.Create(lifetime, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "seldon-tracing", Labels: map[string]string{"mlops.seldon.io/composed-by": "seldonruntime"}},
			Data:       map[string]string{"a": "b"},
		})).To(Succeed())
		restartsNothing("a ConfigMap without an owner")
	})
})
