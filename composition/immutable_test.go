package composition_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/seldon-operator/seldon-operator/composition"
)

var _ = Describe("Fields that nobody may change", func() {
	var site *instance

	BeforeEach(func() { site = newInstance() })

	blocked := func(message string) {
		GinkgoHelper()
		var outcome composition.Outcome
		made := writes(requests.during(func() { outcome = site.mustReconcile() }))
		Expect(outcome.Held()).To(HaveExactElements(And(
			HaveField("Reason", composition.Blocked), HaveField("Message", message))))
		Expect(made).To(BeEmpty())
	}
	overlay := func(kind schema.GroupVersionKind, name string, content map[string]any) {
		site.request.Input.Layers = append(site.request.Input.Layers, composition.Layer{
			Source: "test", Overlays: func() ([]composition.Overlay, error) {
				return []composition.Overlay{{Path: "spec", Kind: kind, Name: name, Content: content}}, nil
			},
		})
	}

	It("blocks a selector, and goes on when the object was deleted", func() {
		site.settle()
		labels := map[string]any{"app.kubernetes.io/name": "shop", "more": "1"}
		site.overlay("shop", map[string]any{"spec": map[string]any{
			"selector": map[string]any{"matchLabels": labels},
			"template": map[string]any{"metadata": map[string]any{"labels": labels}},
		}})
		blocked(`Deployment ` + site.owner.Namespace + `/shop: spec.selector cannot be changed: ` +
			`it is {"matchLabels":{"app.kubernetes.io/name":"shop"}}, wanted is {"matchLabels":{"app.kubernetes.io/name":"shop","more":"1"}}`)

		Expect(admin.Delete(site.ctx, site.deployment())).To(Succeed())
		site.settle()
		Expect(site.deployment().Spec.Selector.MatchLabels).To(HaveLen(2))

		By("blocking a narrower one too")
		site.request.Input.Layers = nil
		site.cached()
		outcome := site.mustReconcile()
		Expect(outcome.Held()).To(HaveExactElements(HaveField("Reason", composition.Blocked)))
	})

	It("blocks a RoleBinding's role", func() {
		site.settle()
		overlay(rbacv1.SchemeGroupVersion.WithKind("RoleBinding"), "site", map[string]any{"roleRef": map[string]any{"name": "other"}})
		blocked(`RoleBinding ` + site.owner.Namespace + `/site: roleRef cannot be changed: ` +
			`it is {"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"site"}, wanted is {"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"other"}`)
	})

	It("blocks all fields of a StatefulSet at once, and a Service's address", func() {
		site.use("depot", map[string]string{"stock": "1", "size": "1Gi"})
		site.settle()
		overlay(appsv1.SchemeGroupVersion.WithKind("StatefulSet"), "depot", map[string]any{"spec": map[string]any{
			"serviceName": "other", "podManagementPolicy": "OrderedReady"}})
		blocked(`StatefulSet ` + site.owner.Namespace + `/depot: spec.serviceName cannot be changed: it is "depot", wanted is "other"; ` +
			`spec.podManagementPolicy cannot be changed: it is "Parallel", wanted is "OrderedReady"`)

		site.request.Input.Layers = nil
		overlay(corev1.SchemeGroupVersion.WithKind("Service"), "depot", map[string]any{"spec": map[string]any{"clusterIP": "10.0.0.9"}})
		blocked(`Service ` + site.owner.Namespace + `/depot: spec.clusterIP cannot be changed: it is "None", wanted is "10.0.0.9"`)
	})

	It("blocks a ConfigMap that was made immutable", func() {
		site.settle()
		site.patch(&corev1.ConfigMap{}, "site", `{"immutable":true}`)
		Expect(requests.during(func() { site.refresh() })).To(BeEmpty())
		site.request.Input.Frames[0].Values["greeting"] = "hi"
		outcome := site.mustReconcile()
		Expect(outcome.Held()).To(HaveExactElements(HaveField("Message",
			`ConfigMap `+site.owner.Namespace+`/site: data cannot be changed: it is {"index.html":"hello"}, wanted is {"index.html":"hi"}`)))
	})
})
