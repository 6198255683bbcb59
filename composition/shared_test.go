package composition_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

var _ = Describe("Fields that others set as well", func() {
	var site *instance
	withReplicas := func(replicas int64) map[string]any {
		return map[string]any{"spec": map[string]any{"replicas": replicas}}
	}

	BeforeEach(func() { site = newInstance() })

	It("does not set replicas that no layer has ever set", func() {
		site.settle()
		site.scale(&appsv1.Deployment{}, "shop", 4)
		Expect(requests.during(func() { site.refresh() })).To(BeEmpty())

		site.overlay("shop", webContainer(map[string]any{"image": "web:2"}))
		site.settle()
		Expect(*site.deployment().Spec.Replicas).To(BeEquivalentTo(4))
	})

	It("reverts changes of replicas that a layer sets", func() {
		site.overlay("shop", withReplicas(3))
		site.settle()
		site.scale(&appsv1.Deployment{}, "shop", 4)
		Expect(site.refresh().DriftCorrected).To(HaveLen(1))
		Expect(*site.deployment().Spec.Replicas).To(BeEquivalentTo(3))
	})

	It("releases replicas that no layer sets any more", func() {
		site.overlay("shop", withReplicas(3))
		site.settle()
		site.request.Input.Layers = nil
		site.settle()
		Expect(*site.deployment().Spec.Replicas).To(BeEquivalentTo(3), "the live value is kept")

		site.scale(&appsv1.Deployment{}, "shop", 5)
		Expect(requests.during(func() { site.refresh() })).To(BeEmpty())
		Expect(*site.deployment().Spec.Replicas).To(BeEquivalentTo(5))
	})

	It("releases them after an interruption before the apply", func() {
		site.overlay("shop", withReplicas(3))
		site.settle()
		site.request.Input.Layers = nil
		site.overlay("shop", webContainer(map[string]any{"image": "web:2"}))
		site.stopBefore("Deployment")
		site.settle()
		Expect(*site.deployment().Spec.Replicas).To(BeEquivalentTo(3))
		Expect(site.deployment().Spec.Template.Spec.Containers[0].Image).To(Equal("web:2"))
	})

	Describe("that are initial-only", func() {
		withInitialReplicas := func(replicas int64) {
			site.request.Input.Layers = nil
			site.overlay("kiosk", withReplicas(replicas))
		}
		live := func() int32 {
			GinkgoHelper()
			deployment := &appsv1.Deployment{}
			site.get(deployment, "kiosk")
			return *deployment.Spec.Replicas
		}

		BeforeEach(func() {
			site.use("kiosk", nil)
			withInitialReplicas(2)
			site.settle()
		})

		It("sends the value at creation, and then allows changes by others", func() {
			Expect(live()).To(BeEquivalentTo(2))
			site.scale(&appsv1.Deployment{}, "kiosk", 5)
			Expect(requests.during(func() { site.refresh() })).To(BeEmpty())
			site.engine = newEngine()
			Expect(writes(requests.during(func() { site.mustReconcile() }))).To(BeEmpty())
			Expect(live()).To(BeEquivalentTo(5))

			By("changing another field")
			site.overlay("kiosk", webContainer(map[string]any{"image": "web:2"}))
			site.settle()
			Expect(live()).To(BeEquivalentTo(5))
		})

		It("allows another manager to apply the field", func() {
			scaled := client.RawPatch("application/apply-patch+yaml",
				[]byte(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"kiosk"},"spec":{"replicas":6}}`))
			kiosk := &appsv1.Deployment{}
			site.get(kiosk, "kiosk")
			Expect(admin.Patch(site.ctx, kiosk, scaled, client.FieldOwner("scaler"), client.ForceOwnership)).To(Succeed())
			Expect(requests.during(func() { site.refresh() })).To(BeEmpty())
			Expect(live()).To(BeEquivalentTo(6))
		})

		It("sends a new desired value once", func() {
			site.scale(&appsv1.Deployment{}, "kiosk", 5)
			withInitialReplicas(3)
			Expect(writes(requests.during(func() { site.refresh() }))).To(HaveLen(1))
			Expect(live()).To(BeEquivalentTo(3))
			site.scale(&appsv1.Deployment{}, "kiosk", 1)
			site.settle()
			Expect(live()).To(BeEquivalentTo(1))
		})

		It("keeps the live value when no value is desired any more", func() {
			site.request.Input.Layers = nil
			site.settle()
			Expect(live()).To(BeEquivalentTo(2))
			site.scale(&appsv1.Deployment{}, "kiosk", 4)
			Expect(requests.during(func() { site.refresh() })).To(BeEmpty())
		})
	})
})
