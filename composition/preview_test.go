package composition_test

import (
	"errors"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/composition/plan"
)

var _ = Describe("A preview", func() {
	// planned returns the plan of an instance by an engine without memory.
	planned := func(site *instance, dryRuns *composition.DryRuns) composition.Plan {
		GinkgoHelper()
		result, err := site.engine.Plan(site.ctx, site.request, dryRuns)
		Expect(err).NotTo(HaveOccurred())
		return result
	}
	stepOf := func(planned composition.Plan, kind string) plan.Step {
		GinkgoHelper()
		for _, step := range planned.Steps {
			if step.Ref.Kind == kind {
				return step
			}
		}
		Fail("no step for a " + kind)
		return plan.Step{}
	}
	imageOf := func(workload *unstructured.Unstructured) any {
		GinkgoHelper()
		containers, _, err := unstructured.NestedSlice(workload.Object, "spec", "template", "spec", "containers")
		Expect(err).NotTo(HaveOccurred())
		return containers[0].(map[string]any)["image"]
	}
	newSettled := func() *instance {
		site := newInstance()
		site.settle()
		site.engine = newEngine()
		return site
	}

	It("shares the dry-run of equal changes of equal objects", func() {
		first, second, other := newSettled(), newSettled(), newSettled()
		other.patch(&appsv1.Deployment{}, "shop", `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"web:drifted"}]}}}}`)
		other.cached()
		dryRuns := composition.NewDryRuns()
		for _, site := range []*instance{first, second, other} {
			site.overlay("shop", webContainer(map[string]any{"image": "web:2"}))
		}
		var steps []plan.Step
		dryRunsSent := 0
		for _, site := range []*instance{first, second, other} {
			site.engine.Client = faulty{writer, func(string) error { dryRunsSent++; return nil }}
			steps = append(steps, stepOf(planned(site, dryRuns), "Deployment"))
		}
		for i, evidence := range []plan.Evidence{plan.DryRun, plan.Inferred, plan.DryRun} {
			Expect(steps[i].Action).To(Equal(plan.Apply))
			Expect(steps[i].Evidence).To(Equal(evidence))
			Expect(imageOf(steps[i].Result)).To(Equal("web:2"))
			Expect(steps[i].Result.GetNamespace()).To(Equal(steps[i].Ref.Namespace))
			Expect(plan.ImpactOf(steps[i])).To(Equal(plan.ImpactRestart))
		}
		Expect(dryRunsSent).To(Equal(2))
	})

	It("makes a dry-run of each object whose result the API server completes", func() {
		first, second := newSettled(), newSettled()
		dryRuns := composition.NewDryRuns()
		for _, site := range []*instance{first, second} {
			// The API server sets defaults in the new container.
			site.overlay("shop", onPods(map[string]any{"containers": []any{map[string]any{"name": "sidecar", "image": "sidecar:1"}}}))
			Expect(stepOf(planned(site, dryRuns), "Deployment").Evidence).To(Equal(plan.DryRun))
		}
	})

	It("computes the result in memory where dry-runs are not permitted", func() {
		site := newSettled()
		site.overlay("shop", webContainer(map[string]any{"image": "web:2"}))
		resource := schema.GroupResource{Group: "apps", Resource: "deployments"}
		site.engine.Client = faulty{writer, func(string) error {
			return apierrors.NewForbidden(resource, "shop", errors.New(`User "viewer" cannot patch resource "deployments"`))
		}}
		denied := stepOf(planned(site, composition.NewDryRuns()), "Deployment")
		Expect(denied.Action).To(Equal(plan.Apply))
		Expect(denied.Evidence).To(Equal(plan.ComputedInMemory))
		Expect(denied.DryRunDenied).To(BeTrue())
		Expect(imageOf(denied.Result)).To(Equal("web:2"))

		By("distinguishing an admission plugin that rejects the object")
		site.engine.Client = faulty{writer, func(string) error { return apierrors.NewForbidden(resource, "shop", errors.New("exceeded quota")) }}
		rejected := stepOf(planned(site, composition.NewDryRuns()), "Deployment")
		Expect(rejected.DryRunError).To(MatchError(ContainSubstring("exceeded quota")))
		Expect(rejected.DryRunDenied).To(BeFalse())
	})

	It("shows what the API server rejects, and what is not applied because of it", func() {
		site := newInstance()
		site.engine.Client = faulty{writer, func(kind string) error {
			if kind == "ServiceAccount" {
				return apierrors.NewForbidden(schema.GroupResource{Resource: "serviceaccounts"}, "shop", errors.New("exceeded quota"))
			}
			return nil
		}}
		result := planned(site, composition.NewDryRuns())
		Expect(stepOf(result, "ServiceAccount").DryRunError).To(MatchError(ContainSubstring("exceeded quota")))
		Expect(result.Steps).To(ContainElement(And(HaveField("Action", plan.Block), HaveField("Reason", plan.DependencyRejected))))
	})

	It("keeps fields that are released", func() {
		site := newInstance()
		site.overlay("shop", map[string]any{"spec": map[string]any{"replicas": int64(3)}})
		site.settle()
		site.engine = newEngine()
		site.request.Input.Layers = nil
		step := stepOf(planned(site, composition.NewDryRuns()), "Deployment")
		Expect(step.ReleaseFields).NotTo(BeEmpty())
		replicas, _, err := unstructured.NestedInt64(step.Result.Object, "spec", "replicas")
		Expect(err).NotTo(HaveOccurred())
		Expect(replicas).To(Equal(int64(3)))
		Expect(plan.ImpactOf(step)).To(Equal(plan.ImpactNoOp))
		site.settle()
		Expect(ptr.Deref(site.deployment().Spec.Replicas, 0)).To(Equal(int32(3)))
	})

	It("has the result of a creation, with the API server's defaults", func() {
		site := newInstance()
		step := stepOf(planned(site, composition.NewDryRuns()), "Deployment")
		Expect(step.Reason).To(Equal(plan.NotFound))
		strategy, _, _ := unstructured.NestedString(step.Result.Object, "spec", "strategy", "type")
		Expect(strategy).To(Equal("RollingUpdate"))
		Expect(site.exists(&appsv1.Deployment{}, "shop")).To(BeFalse())
	})
})
