package controllers_test

import (
	"encoding/json"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// A Server whose StatefulSet is being recreated is not deleted until that is completed.
var _ = Describe("A Server whose volume claims are expanded", func() {
	It("keeps its finalizer until its StatefulSet is recreated, and is then deleted with its pods", func() {
		namespace := newNamespace()
		newRuntime(namespace, using(newConfig(func(c *v1alpha1.SeldonConfig) { c.Spec.Components = nil }).Name))
		config := newServerConfig()
		server := newServer(namespace, "mlserver", config.Name)
		Eventually(ready(server)).Should(HavePrefix("True"))

		grow := func(size string) {
			GinkgoHelper()
			edit(config, func(c *v1alpha1.ServerConfig) {
				claim := &c.Spec.VolumeClaimTemplates[0].Spec
				raw, err := claim.Raw()
				Expect(err).NotTo(HaveOccurred())
				raw["resources"] = map[string]any{"requests": map[string]any{"storage": size}}
				Expect(claim.UnmarshalJSON(asJSON(raw))).To(Succeed())
			})
		}
		before := get(namespace, "mlserver", &appsv1.StatefulSet{}).UID
		grow("50Gi")
		Eventually(func(g Gomega) {
			set := &appsv1.StatefulSet{}
			g.Expect(admin.Get(lifetime, client.ObjectKeyFromObject(server), set)).To(Succeed())
			g.Expect(set.UID).NotTo(Equal(before))
			g.Expect(get(namespace, "mlserver", server).Finalizers).To(BeEmpty())
		}).Should(Succeed())

		By("being rejected")
		quota := &corev1.ResourceQuota{ObjectMeta: objectMeta(namespace, "none")}
		quota.Spec.Hard = corev1.ResourceList{"count/statefulsets.apps": quantity("1"), "persistentvolumeclaims": quantity("9")}
		Expect(admin.Create(lifetime, quota)).To(Succeed())
		Eventually(func() corev1.ResourceList { return get(namespace, "none", quota).Status.Used }).ShouldNot(BeEmpty())
		edit(quota, func(q *corev1.ResourceQuota) { q.Spec.Hard["count/statefulsets.apps"] = quantity("0") })
		Eventually(func() bool {
			q := get(namespace, "none", quota).Status.Hard["count/statefulsets.apps"]
			return q.IsZero()
		}).Should(BeTrue())
		grow("60Gi")
		Eventually(condition(server, "RecreationFailed")).Should(And(HavePrefix("True"), ContainSubstring("pods mlserver-0 to mlserver-0")))
		Expect(server.Finalizers).To(ConsistOf(v1alpha1.ServerFinalizer))
		Expect(admin.Delete(lifetime, server)).To(Succeed())
		Consistently(exists(namespace, "mlserver", &v1alpha1.Server{})).Should(BeTrue())
		Expect(admin.Delete(lifetime, quota)).To(Succeed())
		Eventually(exists(namespace, "mlserver", &v1alpha1.Server{})).Should(BeFalse())
		Eventually(exists(namespace, "mlserver-0", &corev1.Pod{})).Should(BeFalse())
		Expect(namesOf(&appsv1.ControllerRevisionList{}, namespace)).NotTo(ContainElement("mlserver-recreate-backup"))
	})
})

func asJSON(value any) []byte {
	GinkgoHelper()
	text, err := json.Marshal(value)
	Expect(err).NotTo(HaveOccurred())
	return text
}
