package controllers_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// `kubectl delete --cascade=orphan` leaves child objects without an owner; the same object
// adopts them when it is created again.
var _ = Describe("Deletion with --cascade=orphan", func() {
	var namespace string
	BeforeEach(func() { namespace = newNamespace() })

	orphan := func(object client.Object) {
		GinkgoHelper()
		Expect(admin.Delete(lifetime, object, client.PropagationPolicy(metav1.DeletePropagationOrphan))).To(Succeed())
		Eventually(func() error { return admin.Get(lifetime, client.ObjectKeyFromObject(object), object) }).ShouldNot(Succeed())
	}
	// children returns the UIDs of the child objects in a namespace.
	children := func(owner metav1.Object) map[string]string {
		GinkgoHelper()
		found := map[string]string{}
		for _, list := range []client.ObjectList{&appsv1.DeploymentList{}, &appsv1.StatefulSetList{}, &corev1.ServiceList{}, &corev1.ConfigMapList{}, &v1alpha1.ServerList{}} {
			Expect(admin.List(lifetime, list, client.InNamespace(namespace))).To(Succeed())
			each(list, func(object client.Object) {
				if object.GetName() == "kube-root-ca.crt" {
					return
				}
				if owner == nil {
					Expect(metav1.GetControllerOf(object)).To(BeNil(), object.GetName())
				} else if !metav1.IsControlledBy(object, owner) {
					return
				}
				found[object.GetName()] = string(object.GetUID())
			})
		}
		return found
	}

	It("leaves a runtime's child objects, and the runtime adopts them when it is applied again", func() {
		runtime := newRuntime(namespace)
		model := newModel(namespace, "iris")
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		Eventually(func() []string { return get(namespace, "iris", model).Finalizers }).ShouldNot(BeEmpty())
		before, pods := children(runtime), podsOf(namespace)
		Expect(before).NotTo(BeEmpty())

		orphan(runtime)
		Expect(children(nil)).To(Equal(before))
		Consistently(func() map[string]string { return podsOf(namespace) }).Should(Equal(pods))
		Expect(admin.Delete(lifetime, model)).To(Succeed())
		Eventually(exists(namespace, "iris", &v1alpha1.Model{})).Should(BeFalse())

		again := newRuntime(namespace)
		Eventually(ready(again)).Should(HavePrefix("True"))
		Expect(children(again)).To(Equal(before))
		Consistently(func() map[string]string { return podsOf(namespace) }).Should(Equal(pods))
	})

	It("leaves a Server's child objects, and the Server adopts them when it is applied again", func() {
		newRuntime(namespace, using(newConfig(func(c *v1alpha1.SeldonConfig) { c.Spec.Components = nil }).Name))
		server := newServer(namespace, "mlserver", "mlserver", replicas(2))
		Eventually(ready(server)).Should(HavePrefix("True"))
		before, pods := children(server), podsOf(namespace)
		Expect(before).To(HaveLen(3))

		orphan(server)
		Consistently(func() map[string]string { return podsOf(namespace) }).Should(Equal(pods))

		By("blocking on an object that the operator did not create")
		edit(get(namespace, "mlserver-1", &corev1.Service{}), func(s *corev1.Service) { s.ManagedFields = []metav1.ManagedFieldsEntry{{}} })
		again := newServer(namespace, "mlserver", "mlserver", replicas(2))
		Eventually(condition(again, "OwnershipConflict")).Should(And(HavePrefix("True"), ContainSubstring("Service "+namespace+"/mlserver-1 exists")))
		Expect(admin.Delete(lifetime, get(namespace, "mlserver-1", &corev1.Service{}))).To(Succeed())
		delete(before, "mlserver-1")

		Eventually(func() map[string]string {
			adopted := children(again)
			delete(adopted, "mlserver-1")
			return adopted
		}).Should(Equal(before))
		Consistently(func() map[string]string { return podsOf(namespace) }).Should(Equal(pods))
	})
})

// each calls do for the items of a list.
func each(list client.ObjectList, do func(client.Object)) {
	GinkgoHelper()
	Expect(meta.EachListItem(list, func(item runtime.Object) error {
		do(item.(client.Object))
		return nil
	})).To(Succeed())
}
