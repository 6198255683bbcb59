package composition_test

import (
	"context"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/composition/object"
	"github.com/seldon-operator/seldon-operator/composition/plan"
	"github.com/seldon-operator/seldon-operator/composition/template"
)

var _ = Describe("Expansion of volume claims", func() {
	var site *instance

	BeforeEach(func() {
		site = newInstance()
		site.use("depot", map[string]string{"stock": "1", "size": "1Gi"})
		site.settle()
		site.scale(&appsv1.StatefulSet{}, "depot", 2)
		ready(site, 2)
		site.cached()
	})

	claims := func() map[string]*corev1.PersistentVolumeClaim {
		GinkgoHelper()
		list := &corev1.PersistentVolumeClaimList{}
		Expect(admin.List(site.ctx, list, client.InNamespace(site.owner.Namespace))).To(Succeed())
		found := map[string]*corev1.PersistentVolumeClaim{}
		for i := range list.Items {
			found[list.Items[i].Name] = &list.Items[i]
		}
		return found
	}
	podUIDs := func() []string {
		GinkgoHelper()
		list := &corev1.PodList{}
		Expect(admin.List(site.ctx, list, client.InNamespace(site.owner.Namespace))).To(Succeed())
		var uids []string
		for _, pod := range list.Items {
			if strings.HasPrefix(pod.Name, "depot-") {
				uids = append(uids, pod.Name+" "+string(pod.UID))
			}
		}
		return uids
	}
	// keepsPods sets a larger size, calls expand, and expects that the pods still exist, with a new
	// StatefulSet as their controller.
	keepsPods := func(expand func()) {
		GinkgoHelper()
		before, pods := site.depot(), podUIDs()
		Expect(pods).To(HaveLen(2))
		site.request.Input.Templates[0].Parameters["size"] = "2Gi"
		expand()
		site.settle()
		after := site.depot()
		Expect(after.UID).NotTo(Equal(before.UID))
		Expect(after.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests.Storage().String()).To(Equal("2Gi"))
		Expect(*after.Spec.Replicas).To(BeEquivalentTo(2), "they were set by `kubectl scale` only")
		Expect(after.Spec.Template).To(Equal(before.Spec.Template))
		ready(site, 2)
		Eventually(func(g Gomega) {
			for _, name := range []string{"depot-0", "depot-1"} {
				pod := &corev1.Pod{}
				site.get(pod, name)
				owner := metav1.GetControllerOf(pod)
				g.Expect(owner).NotTo(BeNil())
				g.Expect(owner.UID).To(Equal(after.UID))
			}
		}).Should(Succeed())
		Expect(podUIDs()).To(Equal(pods))
		for _, name := range []string{"shelf-depot-0", "shelf-depot-1"} {
			Expect(claims()[name].Spec.Resources.Requests.Storage().String()).To(Equal("2Gi"), name)
		}
		Expect(plannedWrites(site.mustReconcile().Plan)).To(BeZero())
		site.engine = newEngine()
		Expect(writes(requests.during(func() { site.mustReconcile() }))).To(BeEmpty())
	}

	It("keeps the pods", func() {
		keepsPods(func() { site.mustReconcile() })
	})

	It("keeps pods that were restarted by a changed configuration, and what others set in their template", func() {
		site.patch(&appsv1.StatefulSet{}, "depot", `{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"now"}}}}}`)
		site.request.Input.Templates[0].Parameters["stock"] = "2"
		site.cached()
		Expect(site.mustReconcile().Restarted).To(HaveLen(1))
		site.settle()
		Eventually(func(g Gomega) {
			set := site.depot()
			g.Expect(set.Status.CurrentRevision).To(Equal(set.Status.UpdateRevision))
			g.Expect(set.Status.ReadyReplicas).To(BeEquivalentTo(2))
			g.Expect(set.Status.ObservedGeneration).To(Equal(set.Generation))
		}).Should(Succeed())
		site.cached()
		keepsPods(func() { site.mustReconcile() })
	})

	It("keeps the pods after an interruption before the recreation", func() {
		keepsPods(func() {
			site.mustReconcile()
			site.engine = newEngine()
			Eventually(func() bool { return site.exists(&appsv1.StatefulSet{}, "depot") }).Should(BeFalse())
			site.stopBefore("StatefulSet")
		})
	})

	It("keeps the pods after an interruption before field ownership is restored", func() {
		site.patch(&appsv1.StatefulSet{}, "depot", `{"metadata":{"annotations":{"example.org/other":"1"}}}`)
		site.cached()
		keepsPods(func() {
			site.mustReconcile()
			site.engine = newEngine()
			Eventually(func() bool { return site.exists(&appsv1.StatefulSet{}, "depot") }).Should(BeFalse())
			site.engine.Client = patchless{writer}
			_, err := site.reconcile()
			Expect(err).To(MatchError(errStopped))
			Expect(site.exists(&appsv1.StatefulSet{}, "depot")).To(BeTrue(), "it has been recreated")
			site.engine = newEngine()
			site.cached()
		})
		Expect(site.depot().Annotations).To(HaveKey("example.org/other"))
	})

	Describe("while the StatefulSet does not exist", func() {
		const backup = "depot-recreate-backup"
		var before *appsv1.StatefulSet
		var pods []string

		BeforeEach(func() {
			before, pods = site.depot(), podUIDs()
			site.request.Input.Templates[0].Parameters["size"] = "2Gi"
			Expect(site.mustReconcile().Recreating).To(BeTrue())
			Eventually(func() bool { return site.exists(&appsv1.StatefulSet{}, "depot") }).Should(BeFalse())
			site.engine = newEngine()
		})
		recreated := func() {
			GinkgoHelper()
			after := site.depot()
			Expect(after.UID).NotTo(Equal(before.UID))
			Expect(after.Spec.Template).To(Equal(before.Spec.Template))
			Expect(after.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests.Storage().String()).To(Equal("2Gi"))
			Expect(podUIDs()).To(Equal(pods))
			Expect(site.exists(&appsv1.ControllerRevision{}, backup)).To(BeFalse())
		}
		noPods := func() {
			GinkgoHelper()
			Eventually(podUIDs).Should(BeEmpty())
			Expect(site.exists(&appsv1.StatefulSet{}, "depot")).To(BeFalse())
			Expect(site.exists(&appsv1.ControllerRevision{}, backup)).To(BeFalse())
		}

		It("recreates it when the owner is paused", func() {
			site.request.Paused = true
			Expect(site.mustReconcile().Recreating).To(BeFalse())
			recreated()
		})

		It("recreates it when the owner cannot be rendered", func() {
			site.request.Input.Templates = append(site.request.Input.Templates, template.Ref{Folder: "no such template"})
			_, err := site.reconcile()
			Expect(err).To(MatchError(ContainSubstring("no such template")))
			recreated()
		})

		It("recreates it when the owner has no input", func() {
			Expect(site.engine.Resume(site.ctx, site.request.Owner, site.request.SkipInitialScan, false)).To(BeTrue())
			recreated()
			Expect(metav1.IsControlledBy(site.depot(), site.owner)).To(BeTrue())
		})

		It("recreates it without owner when the owner is deleted with the orphan policy", func() {
			Expect(site.engine.Resume(site.ctx, site.request.Owner, site.request.SkipInitialScan, true)).To(BeTrue())
			recreated()
			Expect(site.depot().OwnerReferences).To(BeEmpty())
		})

		It("deletes the pods with it when it is no longer rendered", func() {
			site.request.Input.Templates[0] = template.Ref{Folder: "kiosk"}
			Eventually(func() []object.Ref { return site.refresh().Pruned }).Should(ContainElement(site.key("apps", "StatefulSet", "depot")))
			noPods()
		})

		It("deletes the pods with it when the owner is being deleted", func() {
			Eventually(func() ([]object.Ref, error) { return site.engine.Delete(site.ctx, site.request.Owner) }).Should(BeEmpty())
			noPods()
		})

		It("keeps the backup while the API server rejects the StatefulSet, and applies other objects", func() {
			quota := &corev1.ResourceQuota{Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"count/statefulsets.apps": quantityOf("0")}}}
			quota.Namespace, quota.Name = site.owner.Namespace, "none"
			Expect(admin.Create(site.ctx, quota)).To(Succeed())
			Eventually(func() corev1.ResourceList { site.get(quota, "none"); return quota.Status.Hard }).ShouldNot(BeEmpty())

			site.request.Input.Templates[0].Parameters["stock"] = "2"
			result := site.mustReconcile()
			Expect(result.Blocked()).To(HaveExactElements(And(
				HaveField("Reason", plan.RecreationFailed),
				HaveField("Message", And(ContainSubstring("exceeded quota"), ContainSubstring("pods depot-0 to depot-1"), ContainSubstring("ControllerRevision "+backup))))))
			Expect(result.Applied).To(HaveExactElements(HaveField("Kind", "ConfigMap")))
			Expect(result.Recreating).To(BeTrue())
			Expect(result.RequeueAfter).To(BeNumerically(">", 0))

			By("reporting it when it is no longer rendered, the owner cannot be rendered or is being deleted")
			disabled := site.request
			disabled.Input.Templates = []template.Ref{{Folder: "kiosk"}}
			result, err := site.engine.Reconcile(site.ctx, disabled)
			Expect(err).NotTo(HaveOccurred())
			Expect(result.Blocked()).To(HaveExactElements(HaveField("Reason", plan.RecreationFailed)))
			Expect(result.Pruned).To(BeEmpty(), "the pods use it")
			Expect(site.exists(&corev1.ConfigMap{}, "depot")).To(BeTrue())
			disabled.Input.Templates = []template.Ref{{Folder: "no such template"}}
			result, err = site.engine.Reconcile(site.ctx, disabled)
			Expect(err).To(MatchError(And(ContainSubstring("no such template"), ContainSubstring("pods depot-0 to depot-1"))))
			Expect(result.RequeueAfter).To(BeNumerically(">", 0))
			_, err = site.engine.Delete(site.ctx, site.request.Owner)
			Expect(err).To(MatchError(ContainSubstring("pods depot-0 to depot-1")))

			Expect(podUIDs()).To(Equal(pods))
			Expect(admin.Delete(site.ctx, quota)).To(Succeed())
			site.request.Input.Templates[0].Parameters["stock"] = "1"
			Eventually(func() bool { return site.mustReconcile().Recreating }).Should(BeFalse())
			recreated()
		})

		It("does not change another StatefulSet of the same name that was created in the meantime", func() {
			other := &appsv1.StatefulSet{Spec: *before.Spec.DeepCopy()}
			other.Namespace, other.Name = before.Namespace, before.Name
			other.Spec.Replicas = new(int32(0))
			other.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "other"}}
			other.Spec.Template.Labels = other.Spec.Selector.MatchLabels
			Expect(admin.Create(site.ctx, other)).To(Succeed())
			Expect(site.mustReconcile().Blocked()).To(HaveExactElements(And(
				HaveField("Reason", plan.RecreationFailed), HaveField("Message", ContainSubstring("exists that has another owner")))))
			Expect(site.depot().UID).To(Equal(other.UID))
			Expect(site.depot().OwnerReferences).To(BeEmpty())
			Expect(*site.depot().Spec.Replicas).To(BeZero())

			Expect(admin.Delete(site.ctx, other, client.PropagationPolicy(metav1.DeletePropagationOrphan))).To(Succeed())
			Eventually(func() bool { return site.mustReconcile().Recreating }).Should(BeFalse())
			recreated()
		})
	})

	It("changes nothing if BeforeRecreate fails", func() {
		before := site.depot()
		site.request.Input.Templates[0].Parameters["size"] = "2Gi"
		site.request.BeforeRecreate = func(context.Context) error { return errStopped }
		_, err := site.reconcile()
		Expect(err).To(MatchError(errStopped))
		Expect(site.depot().UID).To(Equal(before.UID))
		Expect(site.exists(&appsv1.ControllerRevision{}, "depot-recreate-backup")).To(BeFalse())
	})

	It("changes nothing if a storage class does not allow expansion", func() {
		class := &corev1.PersistentVolumeClaim{}
		site.get(class, "shelf-depot-1")
		Expect(admin.Delete(site.ctx, class)).To(Succeed())
		site.patch(&corev1.PersistentVolumeClaim{}, "shelf-depot-1", `{"metadata":{"finalizers":null}}`)
		rigid := &corev1.PersistentVolumeClaim{}
		rigid.Namespace, rigid.Name = site.owner.Namespace, "shelf-depot-1"
		none := "rigid"
		rigid.Spec = corev1.PersistentVolumeClaimSpec{
			StorageClassName: &none, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: quantityOf("1Gi")}},
		}
		Eventually(func() error { return admin.Create(site.ctx, rigid.DeepCopy()) }).Should(Succeed())
		Eventually(func() corev1.PersistentVolumeClaimPhase { return claims()["shelf-depot-1"].Status.Phase }).Should(Equal(corev1.ClaimBound))
		before := site.depot()

		site.request.Input.Templates[0].Parameters["size"] = "2Gi"
		result := site.mustReconcile()
		Expect(result.Blocked()).To(HaveExactElements(And(
			HaveField("Reason", plan.ImmutableFieldChanged),
			HaveField("Message", And(
				ContainSubstring("StatefulSet "+site.owner.Namespace+"/depot: spec.volumeClaimTemplates is immutable and keeps its live value 1Gi; the desired value is 2Gi"),
				ContainSubstring("PersistentVolumeClaim shelf-depot-1 cannot be expanded"))))))
		Expect(claims()["shelf-depot-0"].Spec.Resources.Requests.Storage().String()).To(Equal("1Gi"))
		Expect(site.depot().UID).To(Equal(before.UID))

		By("applying other changes")
		Expect(result.RequeueAfter).To(Equal(time.Second))
		site.request.Input.Templates[0].Parameters["stock"] = "2"
		message := result.Blocked()[0].Message
		result = site.mustReconcile()
		Expect(result.Applied).To(ConsistOf(HaveField("Kind", "ConfigMap"), HaveField("Kind", "StatefulSet")))
		Expect(result.RequeueAfter).To(BeNumerically("~", time.Minute, 2*time.Second), "the class may be changed")
		Expect(result.Blocked()).To(HaveExactElements(HaveField("Message", message)))
		site.cached()

		Expect(requests.during(func() {
			for range 5 {
				Expect(site.mustReconcile().Blocked()).To(HaveExactElements(HaveField("Message", message)))
			}
		})).To(BeEmpty())
		later := time.Now().Add(time.Minute)
		site.engine.Clock = func() time.Time { return later }
		Expect(requests.during(func() { site.mustReconcile() })).NotTo(BeEmpty(), "the class may have been changed")
	})

	It("never shrinks claims", func() {
		site.request.Input.Templates[0].Parameters["size"] = "512Mi"
		result := site.mustReconcile()
		Expect(result.Blocked()).To(HaveExactElements(HaveField("Reason", plan.ImmutableFieldChanged)))
		Expect(result.Blocked()[0].Message).To(ContainSubstring(
			`spec.volumeClaimTemplates[0].spec.resources.requests.storage is immutable and keeps its live value "1Gi"; the desired value is "512Mi"`))
	})
})

// ready waits until the depot's StatefulSet has a number of ready pods.
func ready(site *instance, replicas int32) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		set := site.depot()
		g.Expect(set.Status.ReadyReplicas).To(Equal(replicas))
		g.Expect(set.Status.ObservedGeneration).To(Equal(set.Generation))
	}).Should(Succeed())
}
