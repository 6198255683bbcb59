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

// A configuration that does not exist, or is not a runtime's, has not changed.
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
		Eventually(restarted(namespace)).Should(ConsistOf("mlserver"))
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

		By("ignoring one with another owner")
		Expect(admin.Create(lifetime, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "seldon-tracing", Labels: map[string]string{"mlops.seldon.io/owner-kind": "seldonruntime"}},
			Data:       map[string]string{"a": "b"},
		})).To(Succeed())
		restartsNothing("a ConfigMap without an owner")
	})
})

// Labels and annotations are propagated to pods, but a change of these alone restarts none.
var _ = Describe("Metadata of custom resources", func() {
	It("reaches pods with the next rollout, or when an annotation requests it", func() {
		namespace := newNamespace()
		newRuntime(namespace, using(newConfig(func(c *v1alpha1.SeldonConfig) { c.Spec.Components = nil }).Name))
		server := newServer(namespace, "mlserver", "mlserver", func(s *v1alpha1.Server) {
			s.Labels = map[string]string{"team": "a"}
			s.Annotations = map[string]string{"mesh/inject": "true"}
		})
		Eventually(ready(server)).Should(HavePrefix("True"))
		template := func() corev1.PodTemplateSpec { return get(namespace, "mlserver", &appsv1.StatefulSet{}).Spec.Template }
		before := template()
		Expect(before.Labels).To(HaveKeyWithValue("team", "a"))
		Expect(before.Annotations).To(HaveKeyWithValue("mesh/inject", "true"))

		edit(server, func(s *v1alpha1.Server) {
			s.Labels = map[string]string{"team": "b", "k8slens-edit-resource-version": "v1", "velero.io/restore-name": "x"}
			s.Annotations = map[string]string{"cost": "1", "field.cattle.io/description": "x", "pulumi.com/patchForce": "true"}
		})
		Eventually(condition(server, "MetadataPending")).Should(And(HavePrefix("True"),
			ContainSubstring("annotations cost, annotations mesh/inject, labels team of their template")))
		Expect(get(namespace, "mlserver", &appsv1.StatefulSet{}).Labels).To(HaveKeyWithValue("team", "b"))
		Expect(ready(server)()).To(HavePrefix("True"))
		Consistently(template).Should(Equal(before))

		By("reverting one that another field manager changed")
		edit(get(namespace, "mlserver", &appsv1.StatefulSet{}), func(s *appsv1.StatefulSet) { s.Spec.Template.Labels["team"] = "c" })
		Eventually(func() string { return template().Labels["team"] }).ShouldNot(Equal("c"))

		By("rolling out something else")
		edit(server, func(s *v1alpha1.Server) { s.Spec.PodSpec = podSpec(`{terminationGracePeriodSeconds: 78}`) })
		Eventually(condition(server, "MetadataPending")).Should(Equal("none"))
		Eventually(func() map[string]string { return template().Labels }).Should(Equal(map[string]string{
			"app.kubernetes.io/name": "seldon-server", "seldon-server-name": "mlserver", "team": "b"}))
		Expect(template().Annotations).To(Equal(map[string]string{"cost": "1"}))

		By("an annotation")
		edit(server, func(s *v1alpha1.Server) { delete(s.Annotations, "cost") })
		Eventually(condition(server, "MetadataPending")).Should(HavePrefix("True"))
		edit(server, func(s *v1alpha1.Server) { s.Annotations[v1alpha1.ApplyMetadataAnnotation] = "true" })
		Eventually(func() map[string]string { return template().Annotations }).Should(BeEmpty())
		Eventually(condition(server, "MetadataPending")).Should(Equal("none"))
	})
})
