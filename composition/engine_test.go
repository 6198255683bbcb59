package composition_test

import (
	"fmt"
	"slices"

	"github.com/seldon-operator/seldon-operator/composition/plan"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/composition"
	"github.com/seldon-operator/seldon-operator/composition/object"
)

var _ = Describe("An instance", func() {
	var site *instance

	BeforeEach(func() { site = newInstance() })

	It("is created with one request per object, in waves, and then sends no request", func() {
		sent := writes(requests.during(func() { site.mustReconcile() }))
		Expect(sent).To(HaveLen(6))
		Expect(sent[3]).To(HaveSuffix("/configmaps/site"), "accounts are applied before configuration: %v", sent)
		Expect(sent[4]).To(HaveSuffix("/services/shop"))
		Expect(sent[5]).To(HaveSuffix("/deployments/shop"))

		site.settle()
		Expect(requests.during(func() { site.mustReconcile() })).To(BeEmpty())

		deployment := site.deployment()
		Expect(deployment.OwnerReferences).To(HaveLen(1))
		Expect(*deployment.OwnerReferences[0].Controller).To(BeTrue())
		Expect(deployment.Labels).To(HaveKeyWithValue(engineOptions.OwnerLabel(), "configmap"))
		Expect(deployment.Spec.Template.Labels).To(Equal(map[string]string{"app.kubernetes.io/name": "shop"}))
		Expect(deployment.Spec.Template.Annotations).To(BeEmpty())
	})

	It("sends no request when the status of objects changes", func() {
		site.settle()
		for round := range 20 {
			deployment := site.deployment()
			deployment.Status.Conditions = []appsv1.DeploymentCondition{{
				Type: "Tested", Status: corev1.ConditionTrue, Message: fmt.Sprint(round),
			}}
			Expect(admin.Status().Update(site.ctx, deployment)).To(Or(Succeed(), WithTransform(apierrors.IsConflict, BeTrue())))
			site.cached()
			Expect(requests.during(func() { site.mustReconcile() })).To(BeEmpty())
		}
	})

	It("sends one patch for a changed configuration and one for the workload that reads it", func() {
		site.settle()
		before := site.deployment()
		site.request.Input.Templates[0].Parameters["greeting"] = "hi"
		var result composition.Result
		sent := writes(requests.during(func() { result = site.mustReconcile() }))
		Expect(sent).To(HaveExactElements(HaveSuffix("/configmaps/site"), HaveSuffix("/deployments/shop")))
		Expect(result.Restarted).To(HaveLen(1))
		Expect(site.deployment().Spec.Template.Annotations).To(HaveLen(1))

		site.request.Input.Templates[0].Parameters["greeting"] = "hello"
		site.mustReconcile()
		Expect(site.deployment().Spec.Template).To(Equal(before.Spec.Template), "the hash depends on the configuration at creation and the current one only")
	})

	It("restarts the workload after an interruption between configuration and workload", func() {
		site.settle()
		configuration := &corev1.ConfigMap{}
		site.get(configuration, "site")
		patch := []byte(`{"data":{"index.html":"hi"}}`)
		Expect(admin.Patch(site.ctx, configuration, client.RawPatch(types.MergePatchType, patch))).To(Succeed())
		site.request.Input.Templates[0].Parameters["greeting"] = "hi"
		site.engine = newEngine()
		site.cached()
		site.mustReconcile()
		Expect(site.deployment().Spec.Template.Annotations).To(HaveLen(1))
	})

	It("writes nothing after a restart", func() {
		site.overlay("shop", map[string]any{"spec": map[string]any{"template": map[string]any{"spec": map[string]any{
			"containers": []any{map[string]any{"name": "web", "env": []any{map[string]any{"name": "EMPTY", "value": ""}},
				"resources": map[string]any{"requests": map[string]any{"cpu": "0.5", "memory": "1024Mi"}}}},
		}}}})
		site.settle()
		site.engine = newEngine()
		Expect(writes(requests.during(func() { site.mustReconcile() }))).To(BeEmpty())
		Expect(requests.during(func() { site.mustReconcile() })).To(BeEmpty())
	})

	It("plans the writes that a reconcile then makes, and writes nothing", func() {
		site := newInstance()
		writesOfPlan := func() (planned []composition.ObjectRef) {
			GinkgoHelper()
			sent := requests.during(func() {
				computed, err := site.engine.Plan(site.ctx, site.request, composition.NewDryRuns())
				Expect(err).NotTo(HaveOccurred())
				for _, step := range slices.Concat(computed.Steps, computed.Prunes) {
					if step.Action == plan.Apply || step.Action == plan.Delete {
						planned = append(planned, step.Ref)
					}
				}
			})
			Expect(writes(sent)).To(BeEmpty())
			return planned
		}
		done := func() []composition.ObjectRef {
			GinkgoHelper()
			result := site.mustReconcile()
			return slices.Concat(result.Applied, result.Pruned)
		}
		planned := writesOfPlan()
		Expect(planned).To(HaveLen(len(site.mustReconcile().Applied)))
		site.settle()
		Expect(writesOfPlan()).To(BeEmpty(), "everything is up to date")

		By("changing one object and removing others")
		site.overlay("shop", webContainer(map[string]any{"image": "web:2"}))
		site.request.Input.Templates[0].Components = nil
		planned = writesOfPlan()
		Expect(planned).NotTo(BeEmpty())
		Expect(done()).To(ConsistOf(planned))
		site.settle()

		By("making a dry-run after a restart")
		site.engine = newEngine()
		Expect(writesOfPlan()).To(BeEmpty())
		site.overlay("shop", webContainer(map[string]any{"image": "web:3"}))
		planned = writesOfPlan()
		Expect(done()).To(ConsistOf(planned))
	})

	It("applies after a restart what has changed before, including removals", func() {
		site.overlay("shop", map[string]any{"metadata": map[string]any{"annotations": map[string]any{"note": "x"}}})
		site.settle()
		Expect(site.deployment().Annotations).To(HaveKey("note"))
		site.request.Input.Layers = nil
		site.engine = newEngine()
		site.mustReconcile()
		Expect(site.deployment().Annotations).NotTo(HaveKey("note"))
	})

	DescribeTable("reverts drift of fields that it owns", func(drift string, obj client.Object, name string, intact func(client.Object) bool) {
		site.settle()
		site.get(obj, name)
		Expect(admin.Patch(site.ctx, obj, client.RawPatch(types.MergePatchType, []byte(drift)))).To(Succeed())
		Expect(intact(obj)).To(BeFalse())
		site.cached()
		var result composition.Result
		Expect(writes(requests.during(func() { result = site.mustReconcile() }))).To(HaveLen(1))
		Expect(result.DriftCorrected).To(HaveLen(1))
		site.get(obj, name)
		Expect(intact(obj)).To(BeTrue())
		site.settle()
	},
		Entry("a field", `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"evil"}]}}}}`, &appsv1.Deployment{}, "shop",
			func(o client.Object) bool {
				return o.(*appsv1.Deployment).Spec.Template.Spec.Containers[0].Image == "web:1"
			}),
		Entry("a label", `{"metadata":{"labels":{"app.kubernetes.io/name":"other"}}}`, &appsv1.Deployment{}, "shop",
			func(o client.Object) bool { return o.GetLabels()["app.kubernetes.io/name"] == "shop" }),
		Entry("a removed label", `{"metadata":{"labels":{"app.kubernetes.io/name":null}}}`, &appsv1.Deployment{}, "shop",
			func(o client.Object) bool { return o.GetLabels()["app.kubernetes.io/name"] == "shop" }),
		Entry("a ConfigMap's data", `{"data":{"index.html":"x"}}`, &corev1.ConfigMap{}, "site",
			func(o client.Object) bool { return o.(*corev1.ConfigMap).Data["index.html"] == "hello" }),
		Entry("a RoleBinding's subjects", `{"subjects":[]}`, &rbacv1.RoleBinding{}, "site",
			func(o client.Object) bool { return len(o.(*rbacv1.RoleBinding).Subjects) == 1 }),
		Entry("an additional rule of a Role", `{"rules":[{"apiGroups":[""],"resources":["configmaps"],"verbs":["get"]},{"apiGroups":[""],"resources":["secrets"],"verbs":["get"]}]}`, &rbacv1.Role{}, "site",
			func(o client.Object) bool { return len(o.(*rbacv1.Role).Rules) == 1 }),
		Entry("a Service's port", `{"spec":{"ports":[{"name":"http","port":80,"targetPort":"other"}]}}`, &corev1.Service{}, "shop",
			func(o client.Object) bool { return o.(*corev1.Service).Spec.Ports[0].TargetPort.StrVal == "http" }),
	)

	It("recreates a deleted object", func() {
		site.settle()
		role := &rbacv1.Role{}
		site.get(role, "site")
		Expect(admin.Delete(site.ctx, role)).To(Succeed())
		site.cached()
		site.mustReconcile()
		site.get(role, "site")
	})

	It("does not change fields, labels and annotations of others, even when it applies changes", func() {
		site.settle()
		drift := `{"metadata":{"labels":{"other":"1"},"annotations":{"other":"2"}},
			"spec":{"minReadySeconds":3,"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"now"}}}}}`
		Expect(admin.Patch(site.ctx, site.deployment(), client.RawPatch(types.MergePatchType, []byte(drift)))).To(Succeed())
		site.cached()
		Expect(requests.during(func() { site.mustReconcile() })).To(BeEmpty())

		site.overlay("shop", map[string]any{"spec": map[string]any{"template": map[string]any{"spec": map[string]any{
			"containers": []any{map[string]any{"name": "web", "image": "web:2"}}}}}})
		site.mustReconcile()
		deployment := site.deployment()
		Expect(deployment.Spec.Template.Spec.Containers[0].Image).To(Equal("web:2"))
		Expect(deployment.Labels).To(HaveKeyWithValue("other", "1"))
		Expect(deployment.Annotations).To(HaveKeyWithValue("other", "2"))
		Expect(deployment.Spec.MinReadySeconds).To(BeEquivalentTo(3))
		Expect(deployment.Spec.Template.Annotations).To(HaveKey("kubectl.kubernetes.io/restartedAt"))
	})

	It("prunes its objects that are no longer rendered, in reverse order", func() {
		site.settle()
		site.request.Input.Templates[0].Components = nil
		result := site.mustReconcile()
		Expect(result.Pruned).To(HaveLen(3))
		Expect(apierrors.IsNotFound(admin.Get(site.ctx, client.ObjectKey{Namespace: site.owner.Namespace, Name: "site"}, &rbacv1.Role{}))).To(BeTrue())
		site.deployment()
		site.settle()
	})

	It("applies objects that do not refer to a rejected object", func() {
		quota := &corev1.ResourceQuota{Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"count/services": quantityOf("0")}}}
		quota.Namespace, quota.Name = site.owner.Namespace, "none"
		Expect(admin.Create(site.ctx, quota)).To(Succeed())
		Eventually(func(g Gomega) {
			g.Expect(admin.Get(site.ctx, client.ObjectKeyFromObject(quota), quota)).To(Succeed())
			g.Expect(quota.Status.Hard).NotTo(BeEmpty())
		}).Should(Succeed())
		_, err := site.reconcile()
		child := &composition.ObjectError{}
		Expect(err).To(MatchError(ContainSubstring("exceeded quota")))
		Expect(asObjectError(err, &child)).To(BeTrue())
		Expect(child.Ref.Kind).To(Equal("Service"))
		site.deployment()

		Expect(admin.Delete(site.ctx, quota)).To(Succeed())
		Eventually(func() error { _, err := site.reconcile(); return err }).Should(Succeed())
		site.get(&corev1.Service{}, "shop")
	})

	It("never changes an object of another owner, and reports it", func() {
		foreign := &corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 1}}}}
		foreign.Namespace, foreign.Name = site.owner.Namespace, "shop"
		Expect(admin.Create(site.ctx, foreign)).To(Succeed())
		result := site.mustReconcile()
		Expect(result.Blocked()).To(HaveLen(1))
		Expect(result.Blocked()[0].Reason).To(Equal(plan.OwnershipConflict))
		Expect(result.Blocked()[0].Message).To(ContainSubstring("Service " + site.owner.Namespace + "/shop exists"))
		version := foreign.ResourceVersion
		site.get(foreign, "shop")
		Expect(foreign.ResourceVersion).To(Equal(version))
		site.deployment() // other objects are applied
	})

	It("writes nothing while paused, and applies everything afterwards", func() {
		site.request.Paused = true
		Expect(writes(requests.during(func() { site.mustReconcile() }))).To(BeEmpty())
		site.request.Paused = false
		site.settle()
		site.deployment()
	})

	It("is deleted in the reverse order of waves", func() {
		site.settle()
		var order []string
		Eventually(func(g Gomega) {
			var remaining []object.Ref
			order = append(order, writes(requests.during(func() {
				var err error
				remaining, err = site.engine.Delete(site.ctx, site.request.Owner)
				g.Expect(err).NotTo(HaveOccurred())
			}))...)
			g.Expect(remaining).To(BeEmpty())
		}).Should(Succeed())
		Expect(order).To(HaveLen(6))
		Expect(order[0]).To(HaveSuffix("/deployments/shop"))
		Expect(order[1]).To(HaveSuffix("/services/shop"))
		Expect(order[2]).To(HaveSuffix("/configmaps/site"))
	})
})
