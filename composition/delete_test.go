package composition_test

import (
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/composition/object"
	"github.com/seldon-operator/seldon-operator/composition/plan"
)

var _ = Describe("Deletion", func() {
	var site *instance

	BeforeEach(func() { site = newInstance() })

	deleteAll := func() []object.Ref {
		GinkgoHelper()
		remaining, err := site.engine.Delete(site.ctx, site.request.Owner)
		Expect(err).NotTo(HaveOccurred())
		return remaining
	}
	finalizer := func(obj *corev1.Service, value string) {
		GinkgoHelper()
		site.patch(obj, "shop", `{"metadata":{"finalizers":`+value+`}}`)
		site.cached()
	}

	It("waits for objects with finalizers, and returns those that remain", func() {
		site.settle()
		finalizer(&corev1.Service{}, `["example.org/keep"]`)
		Expect(deleteAll()).To(HaveExactElements(
			site.key("", "Service", "shop"),
			site.key("", "ConfigMap", "site"),
			HaveField("Kind", "RoleBinding"), HaveField("Kind", "Role"), HaveField("Kind", "ServiceAccount")))
		Expect(site.exists(&appsv1.Deployment{}, "shop")).To(BeFalse())
		Expect(site.exists(&corev1.ConfigMap{}, "site")).To(BeTrue())
		site.cached()
		Expect(writes(requests.during(func() { Expect(deleteAll()).To(HaveLen(5)) }))).To(BeEmpty())

		finalizer(&corev1.Service{}, `null`)
		Expect(deleteAll()).To(BeEmpty())
		Expect(site.exists(&corev1.ConfigMap{}, "site")).To(BeFalse())
		Expect(site.exists(&rbacv1.Role{}, "site")).To(BeFalse())
	})

	It("with the orphan policy is not undone while the cache does not show it", func() {
		site.settle()
		service := &corev1.Service{}
		orphan := func() {
			site.patch(service, "shop", `{"metadata":{"ownerReferences":null}}`)
			site.cached()
		}
		By("adopting the object again while the owner is not being deleted")
		orphan()
		site.mustReconcile()
		site.get(service, "shop")
		Expect(metav1.IsControlledBy(service, site.owner)).To(BeTrue())
		site.cached()

		By("leaving it to the garbage collector once the owner is being deleted")
		site.patch(site.owner, site.owner.Name, `{"metadata":{"finalizers":["example.org/keep"]}}`)
		Expect(admin.Delete(site.ctx, site.owner)).To(Succeed())
		orphan()
		// The service counts as not cached yet for a while after it was written.
		Eventually(func() error {
			_, err := site.reconcile()
			return err
		}).Should(Satisfy(apierrors.IsConflict))
		site.get(service, "shop")
		Expect(service.OwnerReferences).To(BeEmpty())
	})

	It("waits for objects that another client has deleted", func() {
		site.settle()
		finalizer(&corev1.Service{}, `["example.org/keep"]`)
		service := &corev1.Service{}
		site.get(service, "shop")
		Expect(admin.Delete(site.ctx, service)).To(Succeed())
		site.cached()
		Expect(deleteAll()).To(HaveLen(5))
		finalizer(service, `null`)
		Expect(deleteAll()).To(BeEmpty())
	})

	It("deletes objects that were never adopted, and reads those that remain from the API server", func() {
		site.predecessor()
		finalizer(&corev1.Service{}, `["example.org/keep"]`)
		Expect(deleteAll()).To(HaveLen(5))
		Expect(site.exists(&appsv1.Deployment{}, "shop")).To(BeFalse())
		Expect(deleteAll()).To(HaveLen(5))
		finalizer(&corev1.Service{}, `null`)
		Expect(deleteAll()).To(BeEmpty())
		Expect(site.exists(&corev1.ConfigMap{}, "site")).To(BeFalse())
	})

	It("deletes objects that the cache does not show yet", func() {
		site.freeze()
		site.mustReconcile()
		Expect(deleteAll()).To(BeEmpty())
		Expect(site.exists(&appsv1.Deployment{}, "shop")).To(BeFalse())
		Expect(writes(requests.during(func() { Expect(deleteAll()).To(BeEmpty()) }))).To(BeEmpty())
	})

	It("does not delete volume claims and objects of others", func() {
		site.settle()
		site.engine = newEngine(func(config *composition.Config) {
			config.Kinds = append(slices.Clip(kinds), object.Kind{Object: &corev1.PersistentVolumeClaim{}})
		})
		claim := &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: quantityOf("1Gi")}},
		}}
		claim.Namespace, claim.Name = site.owner.Namespace, "kept"
		claim.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(site.owner, corev1.SchemeGroupVersion.WithKind("ConfigMap"))}
		Expect(admin.Create(site.ctx, claim)).To(Succeed())
		frozen := site.freeze()
		frozen.lists["PersistentVolumeClaim"] = append(frozen.lists["PersistentVolumeClaim"], claim)
		result := site.mustReconcile()
		Expect(result.Plan.Prunes).To(HaveExactElements(HaveField("Action", plan.Retain)))
		Expect(deleteAll()).To(BeEmpty())
		Expect(site.exists(&corev1.PersistentVolumeClaim{}, "kept")).To(BeTrue())
		Expect(site.exists(&corev1.ConfigMap{}, "owner")).To(BeTrue())
	})
})
