package composition_test

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/composition"
)

var _ = Describe("Claims that grow", func() {
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
			uids = append(uids, pod.Name+" "+string(pod.UID))
		}
		return uids
	}
	// keepsPods grows the claims, which make brings about, and expects the pods to
	// stay, with a new StatefulSet as their controller.
	keepsPods := func(grow func()) {
		GinkgoHelper()
		before, pods := site.depot(), podUIDs()
		Expect(pods).To(HaveLen(2))
		site.request.Input.Frames[0].Values["size"] = "2Gi"
		grow()
		site.settle()
		after := site.depot()
		Expect(after.UID).NotTo(Equal(before.UID))
		Expect(after.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests.Storage().String()).To(Equal("2Gi"))
		Expect(*after.Spec.Replicas).To(BeEquivalentTo(2), "nobody but `kubectl scale` set them")
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
		Expect(site.mustReconcile().Plan.Writes()).To(BeZero())
		site.engine = newEngine()
		Expect(writes(requests.during(func() { site.mustReconcile() }))).To(BeEmpty())
	}

	It("grow in place, around pods that stay", func() {
		keepsPods(func() { site.mustReconcile() })
	})

	It("grow around pods that a changed configuration has rolled, and what others put into their template", func() {
		site.patch(&appsv1.StatefulSet{}, "depot", `{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"now"}}}}}`)
		site.request.Input.Frames[0].Values["stock"] = "2"
		site.cached()
		Expect(site.mustReconcile().Rolled).To(HaveLen(1))
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

	It("grow around pods also when the operator stops in between", func() {
		keepsPods(func() {
			site.mustReconcile()
			site.engine = newEngine()
			Eventually(func() bool { return site.exists(&appsv1.StatefulSet{}, "depot") }).Should(BeFalse())
			site.stopBefore("StatefulSet")
		})
	})

	It("grow around pods also when the operator stops before it has handed back what is others'", func() {
		site.patch(&appsv1.StatefulSet{}, "depot", `{"metadata":{"annotations":{"example.org/theirs":"1"}}}`)
		site.cached()
		keepsPods(func() {
			site.mustReconcile()
			site.engine = newEngine()
			Eventually(func() bool { return site.exists(&appsv1.StatefulSet{}, "depot") }).Should(BeFalse())
			site.engine.Client = patchless{writer}
			_, err := site.reconcile()
			Expect(err).To(MatchError(errStopped))
			Expect(site.exists(&appsv1.StatefulSet{}, "depot")).To(BeTrue(), "it is made again by then")
			site.engine = newEngine()
			site.cached()
		})
		Expect(site.depot().Annotations).To(HaveKey("example.org/theirs"))
	})

	It("are left alone where their class does not let them grow", func() {
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

		site.request.Input.Frames[0].Values["size"] = "2Gi"
		outcome := site.mustReconcile()
		Expect(outcome.Held()).To(HaveExactElements(And(
			HaveField("Reason", composition.Blocked),
			HaveField("Message", And(
				ContainSubstring("StatefulSet "+site.owner.Namespace+"/depot: spec.volumeClaimTemplates is immutable and keeps its live value 1Gi; desired is 2Gi"),
				ContainSubstring("PersistentVolumeClaim shelf-depot-1 cannot grow"))))))
		Expect(claims()["shelf-depot-0"].Spec.Resources.Requests.Storage().String()).To(Equal("1Gi"))
		Expect(site.depot().UID).To(Equal(before.UID))

		By("applying the rest")
		Expect(outcome.RequeueAfter).To(Equal(time.Second))
		site.request.Input.Frames[0].Values["stock"] = "2"
		message := outcome.Held()[0].Message
		outcome = site.mustReconcile()
		Expect(outcome.Applied).To(ConsistOf(HaveField("Kind", "ConfigMap"), HaveField("Kind", "StatefulSet")))
		Expect(outcome.Held()).To(HaveExactElements(HaveField("Message", message)))
		site.cached()

		Expect(requests.during(func() {
			for range 5 {
				Expect(site.mustReconcile().Held()).To(HaveExactElements(HaveField("Message", message)))
			}
		})).To(BeEmpty())
		later := time.Now().Add(time.Minute)
		site.engine.Now = func() time.Time { return later }
		Expect(requests.during(func() { site.mustReconcile() })).NotTo(BeEmpty(), "the class may have been mended")
	})

	It("never shrink", func() {
		site.request.Input.Frames[0].Values["size"] = "512Mi"
		outcome := site.mustReconcile()
		Expect(outcome.Held()).To(HaveExactElements(HaveField("Reason", composition.Blocked)))
		Expect(outcome.Held()[0].Message).To(ContainSubstring(
			`spec.volumeClaimTemplates[0].spec.resources.requests.storage is immutable and keeps its live value "1Gi"; desired is "512Mi"`))
	})
})

// ready waits until the depot's StatefulSet has this many pods that are ready.
func ready(site *instance, replicas int32) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		set := site.depot()
		g.Expect(set.Status.ReadyReplicas).To(Equal(replicas))
		g.Expect(set.Status.ObservedGeneration).To(Equal(set.Generation))
	}).Should(Succeed())
}
