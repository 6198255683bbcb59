package composition_test

import (
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/composition/plan"
)

var _ = Describe("Repeated drift", func() {
	It("is reverted immediately a few times, then with a backoff, and reported", func() {
		site := newInstance()
		now := time.Now()
		site.engine.Clock = func() time.Time { return now }
		site.settle()
		drift := func(round int) {
			GinkgoHelper()
			site.patch(&corev1.ConfigMap{}, "site", fmt.Sprintf(`{"data":{"index.html":"%d"}}`, round), client.FieldOwner("rewriter"))
			site.cached()
		}
		for round := range 5 {
			now = now.Add(time.Second)
			drift(round)
			Expect(site.mustReconcile().DriftCorrected).To(HaveLen(1), "round %d", round)
		}
		now = now.Add(time.Second)
		drift(5)
		// A later write of a manager that is not involved.
		site.patch(&corev1.ConfigMap{}, "site", `{"metadata":{"annotations":{"other":"1"}}}`, client.FieldOwner("annotator"))
		site.cached()
		result := site.mustReconcile()
		Expect(result.DriftCorrected).To(BeEmpty())
		message := "ConfigMap " + site.owner.Namespace + `/site: data is changed repeatedly by "rewriter", and is corrected once a minute until that stops`
		Expect(result.Blocked()).To(HaveExactElements(And(HaveField("Reason", plan.FieldManagerConflict), HaveField("Message", message))))
		Expect(result.RequeueAfter).To(Equal(59 * time.Second))

		By("sending no request during the backoff")
		Expect(requests.during(func() { result = site.mustReconcile() })).To(BeEmpty())
		Expect(result.Blocked()).To(HaveExactElements(HaveField("Message", message)))

		By("correcting once a minute")
		now = now.Add(time.Minute)
		Expect(site.mustReconcile().DriftCorrected).To(HaveLen(1))
		drift(6)
		Expect(site.mustReconcile().Blocked()).To(HaveLen(1))

		By("ending when there has been no drift for a while")
		now = now.Add(6 * time.Minute)
		Expect(site.mustReconcile().DriftCorrected).To(HaveLen(1))
		now = now.Add(time.Second)
		drift(7)
		Expect(site.mustReconcile().DriftCorrected).To(HaveLen(1))
		site.settle()
	})
})
