package composition_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/seldon-operator/seldon-operator/composition/plan"
	"github.com/seldon-operator/seldon-operator/composition/template"
)

var _ = Describe("Immutable fields", func() {
	var site *instance

	BeforeEach(func() { site = newInstance() })

	// keeps reconciles, and expects that the object is applied with the live value of the field.
	keeps := func(kind, message string) {
		GinkgoHelper()
		result := site.refresh()
		Expect(result.Blocked()).To(HaveExactElements(And(
			HaveField("Reason", plan.ImmutableFieldChanged), HaveField("Message", message))))
		for _, applied := range result.Applied {
			Expect(applied.Kind).To(Equal(kind))
		}
		Eventually(func() []string {
			return requests.during(func() { result = site.refresh() })
		}).Should(BeEmpty())
		Expect(result.Blocked()).To(HaveExactElements(HaveField("Message", message)))
	}
	overlay := func(kind schema.GroupVersionKind, name string, content map[string]any) {
		site.request.Input.Layers = append(site.request.Input.Layers, template.Layer{
			Source: "test", Overlays: func() ([]template.Overlay, error) {
				return []template.Overlay{{Path: "spec", Kind: kind, Name: name, Content: content}}, nil
			},
		})
	}

	It("keeps a selector, and sets the desired one when the object is recreated", func() {
		site.settle()
		labels := map[string]any{"app.kubernetes.io/name": "shop", "more": "1"}
		site.overlay("shop", map[string]any{"spec": map[string]any{
			"selector": map[string]any{"matchLabels": labels},
			"template": map[string]any{"metadata": map[string]any{"labels": labels, "annotations": map[string]any{"rest": "applied"}}},
		}})
		keeps("Deployment", `Deployment `+site.owner.Namespace+`/shop: spec.selector.matchLabels.more is immutable and keeps its live value unset; `+
			`the desired value is "1"; restore the live value in the configuration, or delete the Deployment, which also deletes its pods; it is then recreated with the desired value`)
		Expect(site.deployment().Spec.Template.Annotations).To(HaveKeyWithValue("rest", "applied"))

		Expect(admin.Delete(site.ctx, site.deployment())).To(Succeed())
		site.cached()
		site.settle()
		Expect(site.deployment().Spec.Selector.MatchLabels).To(HaveLen(2))

		By("keeping a selector with more labels than desired, together with these labels of the pod template")
		site.request.Input.Layers = nil
		site.cached()
		keeps("Deployment", `Deployment `+site.owner.Namespace+`/shop: spec.selector.matchLabels.more is immutable and keeps its live value "1"; `+
			`the desired value is unset; restore the live value in the configuration, or delete the Deployment, which also deletes its pods; it is then recreated with the desired value`)
		Expect(site.deployment().Spec.Template.Labels).To(HaveKeyWithValue("more", "1"))
	})

	It("keeps the role of a RoleBinding", func() {
		site.settle()
		overlay(rbacv1.SchemeGroupVersion.WithKind("RoleBinding"), "site", map[string]any{
			"metadata": map[string]any{"labels": map[string]any{"rest": "applied"}}, "roleRef": map[string]any{"name": "other"}})
		keeps("RoleBinding", `RoleBinding `+site.owner.Namespace+`/site: roleRef.name is immutable and keeps its live value "site"; `+
			`the desired value is "other"; restore the live value in the configuration, or delete the RoleBinding; it is then recreated with the desired value`)
		binding := &rbacv1.RoleBinding{}
		site.get(binding, "site")
		Expect(binding.Labels).To(HaveKeyWithValue("rest", "applied"))
	})

	It("keeps the fields of a StatefulSet and the address of a Service", func() {
		site.use("depot", map[string]string{"stock": "1", "size": "1Gi"})
		site.settle()
		overlay(appsv1.SchemeGroupVersion.WithKind("StatefulSet"), "depot", map[string]any{"spec": map[string]any{
			"serviceName": "other", "podManagementPolicy": "OrderedReady", "replicas": int64(2)}})
		keeps("StatefulSet", `StatefulSet `+site.owner.Namespace+`/depot: spec.serviceName is immutable and keeps its live value "depot"; the desired value is "other"; `+
			`spec.podManagementPolicy is immutable and keeps its live value "Parallel"; the desired value is "OrderedReady"; `+
			`restore the live values in the configuration, or delete the StatefulSet, which also deletes its pods; it is then recreated with the desired value`)
		Expect(*site.depot().Spec.Replicas).To(Equal(int32(2)))

		site.request.Input.Layers = nil
		overlay(corev1.SchemeGroupVersion.WithKind("Service"), "depot", map[string]any{"spec": map[string]any{"clusterIP": "10.0.0.9"}})
		site.mustReconcile()
		keeps("Service", `Service `+site.owner.Namespace+`/depot: spec.clusterIP is immutable and keeps its live value "None"; the desired value is "10.0.0.9"; `+
			`restore the live value in the configuration, or delete the Service; it is then recreated with the desired value`)
	})

	It("keeps claim templates whose change is not an expansion", func() {
		site.use("depot", map[string]string{"stock": "1", "size": "1Gi"})
		site.settle()
		before := site.depot()
		overlay(appsv1.SchemeGroupVersion.WithKind("StatefulSet"), "depot", map[string]any{"spec": map[string]any{
			"replicas": int64(2),
			"volumeClaimTemplates": []any{map[string]any{
				"metadata": map[string]any{"name": "shelf"},
				"spec":     map[string]any{"accessModes": []any{"ReadWriteMany"}, "resources": map[string]any{"requests": map[string]any{"storage": "2Gi"}}},
			}}}})
		keeps("StatefulSet", `StatefulSet `+site.owner.Namespace+`/depot: spec.volumeClaimTemplates[0].spec.accessModes[0] is immutable and keeps its live value `+
			`"ReadWriteOnce"; the desired value is "ReadWriteMany"; restore the live value in the configuration, or delete the StatefulSet, which also deletes its pods; it is then recreated with the desired value`)
		Expect(*site.depot().Spec.Replicas).To(Equal(int32(2)))
		Expect(site.depot().UID).To(Equal(before.UID))
	})

	It("keeps the contents of an immutable ConfigMap, and does not report them", func() {
		site.settle()
		site.patch(&corev1.ConfigMap{}, "site", `{"immutable":true}`)
		Expect(requests.during(func() { site.refresh() })).To(BeEmpty())
		overlay(corev1.SchemeGroupVersion.WithKind("ConfigMap"), "site", map[string]any{
			"metadata": map[string]any{"labels": map[string]any{"rest": "applied"}}, "data": map[string]any{"index.html": "secret"}})
		keeps("ConfigMap", `ConfigMap `+site.owner.Namespace+`/site: data is immutable and keeps its live value; `+
			`restore the live value in the configuration, or delete the ConfigMap; it is then recreated with the desired value`)
		configuration := &corev1.ConfigMap{}
		site.get(configuration, "site")
		Expect(configuration.Data).To(HaveKeyWithValue("index.html", "hello"))
		Expect(configuration.Labels).To(HaveKeyWithValue("rest", "applied"))
	})

	It("keeps the field immutable if no layer sets it any more", func() {
		overlay(corev1.SchemeGroupVersion.WithKind("ConfigMap"), "site", map[string]any{"immutable": true})
		site.settle()
		site.request.Input.Layers = nil
		Expect(site.refresh().Blocked()).To(BeEmpty(), "nothing else differs")
		site.request.Input.Templates[0].Parameters["greeting"] = "hi"
		keeps("ConfigMap", `ConfigMap `+site.owner.Namespace+`/site: data is immutable and keeps its live value; `+
			`restore the live value in the configuration, or delete the ConfigMap; it is then recreated with the desired value`)
	})
})
