package composition_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/composition"

	"github.com/seldon-operator/seldon-operator/composition/plan"
)

var _ = Describe("Adoption of the objects of another operator", func() {
	var site *instance

	BeforeEach(func() { site = newInstance() })

	// otherArgs gives a pod template that the first apply would change.
	otherArgs := func(object *unstructured.Unstructured) {
		if object.GetKind() != "Deployment" {
			return
		}
		containers, _, _ := unstructured.NestedSlice(object.Object, "spec", "template", "spec", "containers")
		containers[0].(map[string]any)["args"] = []any{"--appended"}
		Expect(unstructured.SetNestedSlice(object.Object, containers, "spec", "template", "spec", "containers")).To(Succeed())
	}

	managers := func(object client.Object) []string {
		var names []string
		for _, entry := range object.GetManagedFields() {
			if entry.Subresource == "" {
				names = append(names, string(entry.Operation)+" "+entry.Manager)
			}
		}
		return names
	}

	It("restarts no pods and removes what the other operator set, except in pod templates", func() {
		site.predecessor()
		before := site.deployment()
		site.settle()

		after := site.deployment()
		Expect(after.UID).To(Equal(before.UID))
		Expect(after.Spec).To(Equal(before.Spec))
		Expect(after.Annotations).NotTo(Or(HaveKey(lastApplied), HaveKey("example.org/written")))
		Expect(after.Labels).To(HaveKeyWithValue(engineOptions.OwnerLabel(), "configmap"))
		Expect(managers(after)).NotTo(ContainElement("Update " + predecessorManager))
		for name, child := range map[string]client.Object{"site": &corev1.ConfigMap{}, "shop": &corev1.Service{}} {
			site.get(child, name)
			Expect(child.GetAnnotations()).NotTo(HaveKey(lastApplied))
			Expect(managers(child)).NotTo(ContainElement("Update " + predecessorManager))
		}

		site.engine = newEngine()
		Expect(writes(requests.during(func() { site.mustReconcile() }))).To(BeEmpty())
		Expect(requests.during(func() { site.mustReconcile() })).To(BeEmpty())
	})

	It("keeps the claim templates of a StatefulSet, including defaults", func() {
		site.use("depot", map[string]string{"stock": "1", "size": "1Gi"})
		site.predecessor()
		Eventually(func(g Gomega) {
			g.Expect(site.depot().Status.ReadyReplicas).To(BeEquivalentTo(1))
		}).Should(Succeed())
		before, pod := site.depot(), &corev1.Pod{}
		site.get(pod, "depot-0")
		site.settle()

		after, same := site.depot(), &corev1.Pod{}
		Expect(after.Generation).To(Equal(before.Generation))
		Expect(after.Spec).To(Equal(before.Spec))
		site.get(same, "depot-0")
		Expect(same.UID).To(Equal(pod.UID))
	})

	It("removes fields that are later no longer desired", func() {
		site.overlay("shop", webContainer(map[string]any{"env": []any{map[string]any{"name": "EXTRA", "value": "1"}}, "workingDir": "/work"}))
		site.predecessor()
		site.settle()
		site.request.Input.Layers = nil
		site.settle()
		web := site.deployment().Spec.Template.Spec.Containers[0]
		Expect(web.WorkingDir).To(BeEmpty())
		Expect(web.Env).To(HaveExactElements(HaveField("Name", "LOG_LEVEL")))
	})

	It("preserves keys of tools in pod templates until these change for another reason", func() {
		site.predecessor()
		site.settle()
		site.engine = newEngine()
		site.settle()
		template := site.deployment().Spec.Template
		Expect(template.Labels).To(HaveKey("app.kubernetes.io/managed-by"))
		Expect(template.Annotations).To(HaveKey("meta.helm.sh/release-name"))

		site.overlay("shop", map[string]any{"metadata": map[string]any{"labels": map[string]any{"tier": "front"}}})
		site.settle()
		Expect(site.deployment().Labels).To(HaveKey("tier"))
		Expect(site.deployment().Spec.Template).To(Equal(template), "nothing else in the pod template changes")

		site.overlay("shop", webContainer(map[string]any{"image": "web:2"}))
		site.settle()
		template = site.deployment().Spec.Template
		Expect(template.Labels).NotTo(HaveKey("app.kubernetes.io/managed-by"))
		Expect(template.Annotations).To(BeEmpty())
	})

	It("blocks a workload whose pods would restart, without another dry-run, until restarts are allowed", func() {
		site.predecessor(otherArgs)
		before := site.deployment()
		adopted, err := newEngine().Plan(site.ctx, site.request, composition.NewDryRuns())
		Expect(err).NotTo(HaveOccurred())
		Expect(adopted.Steps).To(ContainElement(And(HaveField("Ref.Kind", "Service"), HaveField("Action", plan.Apply), HaveField("Reason", plan.Adopting))))
		result := site.mustReconcile()
		Expect(result.Blocked()).To(HaveLen(1))
		blocked := result.Blocked()[0]
		Expect(blocked.Reason).To(Equal(plan.RestartRequired))
		Expect(blocked.Message).To(ContainSubstring("Deployment %s/shop would restart its pods: spec.template.spec.containers[]", site.owner.Namespace))
		Expect(site.deployment().Spec).To(Equal(before.Spec))

		site.refresh()
		Expect(requests.during(func() {
			for range 5 {
				Expect(site.mustReconcile().Blocked()).To(HaveExactElements(HaveField("Message", blocked.Message)))
			}
		})).To(BeEmpty(), "the workload is cached, and the result of the dry-run is remembered")

		By("planning the same without writes, in another process")
		var planned composition.Plan
		Expect(writes(requests.during(func() {
			var err error
			planned, err = newEngine().Plan(site.ctx, site.request, composition.NewDryRuns())
			Expect(err).NotTo(HaveOccurred())
		}))).To(BeEmpty())
		Expect(planned.Steps).To(ContainElement(And(
			HaveField("Ref.Kind", "Deployment"), HaveField("Action", plan.Block), HaveField("Reason", plan.RestartRequired), HaveField("Message", blocked.Message))))

		By("blocking it after a restart of the operator")
		site.engine = newEngine()
		Expect(writes(requests.during(func() {
			Expect(site.mustReconcile().Blocked()).To(HaveExactElements(HaveField("Reason", plan.RestartRequired)))
		}))).To(BeEmpty())

		By("allowing restarts")
		site.request.AllowRestarts = true
		site.settle()
		template := site.deployment().Spec.Template
		Expect(template.Spec.Containers[0].Args).To(BeEmpty())
		Expect(template.Labels).NotTo(HaveKey("app.kubernetes.io/managed-by"))

		By("applying later changes")
		site.request.AllowRestarts = false
		site.overlay("shop", webContainer(map[string]any{"image": "web:2"}))
		site.settle()
		Expect(site.deployment().Spec.Template.Spec.Containers[0].Image).To(Equal("web:2"))
	})

	It("blocks a workload with duplicate environment variables", func() {
		site.predecessor(func(object *unstructured.Unstructured) {
			if object.GetKind() != "Deployment" {
				return
			}
			containers, _, _ := unstructured.NestedSlice(object.Object, "spec", "template", "spec", "containers")
			web := containers[0].(map[string]any)
			web["env"] = append(web["env"].([]any), map[string]any{"name": "LOG_LEVEL", "value": "debug"})
			Expect(unstructured.SetNestedSlice(object.Object, containers, "spec", "template", "spec", "containers")).To(Succeed())
		})
		before := site.deployment()
		Expect(site.mustReconcile().Blocked()).To(HaveExactElements(HaveField("Reason", plan.RestartRequired)))
		Expect(site.deployment().Spec).To(Equal(before.Spec))
		site.request.AllowRestarts = true
		site.settle()
		Expect(site.deployment().Spec.Template.Spec.Containers[0].Env).To(HaveLen(1))
	})

	It("does not own live replicas that are not rendered", func() {
		site.predecessor(func(object *unstructured.Unstructured) {
			if object.GetKind() == "Deployment" {
				Expect(unstructured.SetNestedField(object.Object, int64(3), "spec", "replicas")).To(Succeed())
			}
		})
		site.settle()
		Expect(*site.deployment().Spec.Replicas).To(BeEquivalentTo(3))
		site.scale(&appsv1.Deployment{}, "shop", 2)
		Expect(requests.during(func() { site.refresh() })).To(BeEmpty())
		Expect(*site.deployment().Spec.Replicas).To(BeEquivalentTo(2))
	})

	It("continues after an interruption before the first apply", func() {
		site.predecessor(otherArgs)
		before := site.deployment()
		site.stopBefore("ServiceAccount")
		Expect(site.mustReconcile().Blocked()).To(HaveExactElements(HaveField("Reason", plan.RestartRequired)))
		Expect(site.deployment().Spec).To(Equal(before.Spec))
	})

	It("prunes only orphans that the owner controls, once it is not paused", func() {
		createService := func(name string, uid bool) {
			service := &corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 1}}}}
			service.Namespace, service.Name = site.owner.Namespace, name
			if uid {
				service.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(site.owner, corev1.SchemeGroupVersion.WithKind("ConfigMap"))}
			}
			Expect(admin.Create(site.ctx, service)).To(Succeed())
		}
		createService("old", true)
		createService("unowned", false)
		site.request.Paused = true
		site.mustReconcile()
		Expect(site.exists(&corev1.Service{}, "old")).To(BeTrue())

		site.request.Paused = false
		result := site.mustReconcile()
		Expect(result.Pruned).To(HaveExactElements(site.key("", "Service", "old")))
		Expect(site.exists(&corev1.Service{}, "old")).To(BeFalse())
		Expect(site.exists(&corev1.Service{}, "unowned")).To(BeTrue())
		site.settle()
		Expect(site.mustReconcile().Pruned).To(BeEmpty())
	})

	It("does not prune orphans with an annotation against it, labelled or not", func() {
		site.settle()
		orphan := func(name string, labels, annotations map[string]string) {
			service := &corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 1}}}}
			service.Namespace, service.Name, service.Labels, service.Annotations = site.owner.Namespace, name, labels, annotations
			service.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(site.owner, corev1.SchemeGroupVersion.WithKind("ConfigMap"))}
			Expect(admin.Create(site.ctx, service)).To(Succeed())
		}
		labels := map[string]string{engineOptions.OwnerLabel(): "configmap"}
		disabled := map[string]string{engineOptions.KeyPrefix + "prune": "disabled"}
		orphan("unlabelled", nil, disabled)
		orphan("labelled", labels, disabled)
		orphan("flux", labels, map[string]string{"kustomize.toolkit.fluxcd.io/prune": "disabled"})
		orphan("enabled", labels, map[string]string{engineOptions.KeyPrefix + "prune": "enabled"})
		site.engine = newEngine()
		result := site.refresh()
		Expect(result.Pruned).To(HaveExactElements(site.key("", "Service", "enabled")))
		Expect(result.Plan.Prunes).To(ContainElements(
			HaveField("Reason", plan.PruneDisabled), HaveField("Reason", plan.PruneDisabled), HaveField("Reason", plan.PruneDisabled)))
		for _, name := range []string{"unlabelled", "labelled", "flux"} {
			Expect(site.exists(&corev1.Service{}, name)).To(BeTrue(), name)
		}
	})

	It("is repeated after the other operator has written again", func() {
		site.predecessor()
		site.settle()
		back := func(change func(*appsv1.Deployment)) {
			deployment := site.deployment()
			deployment.Annotations[lastApplied] = "{}"
			deployment.Annotations["example.org/written"] = "again"
			change(deployment)
			Expect(admin.Update(site.ctx, deployment, client.FieldOwner(predecessorManager))).To(Succeed())
			site.cached()
			site.engine = newEngine()
		}
		back(func(*appsv1.Deployment) {})
		site.settle()
		after := site.deployment()
		Expect(after.Annotations).NotTo(Or(HaveKey(lastApplied), HaveKey("example.org/written")))
		Expect(managers(after)).NotTo(ContainElement("Update " + predecessorManager))

		By("restarting no pods")
		back(func(deployment *appsv1.Deployment) {
			web := &deployment.Spec.Template.Spec.Containers[0]
			web.Env = append(web.Env, corev1.EnvVar{Name: "EXTRA", Value: "1"})
		})
		before := site.deployment()
		for range 3 {
			Expect(site.mustReconcile().Blocked()).To(HaveExactElements(HaveField("Reason", plan.RestartRequired)))
			site.cached()
		}
		Expect(site.deployment().Spec).To(Equal(before.Spec))
		Expect(requests.during(func() { site.mustReconcile() })).To(BeEmpty())
		site.request.AllowRestarts = true
		site.settle()
		Expect(site.deployment().Spec.Template.Spec.Containers[0].Env).To(HaveExactElements(HaveField("Name", "LOG_LEVEL")))
		Expect(site.deployment().Annotations).NotTo(HaveKey(lastApplied))
	})

	It("is not repeated for an adopted object without its label", func() {
		site.settle()
		site.patch(&appsv1.Deployment{}, "shop", `{"metadata":{"labels":null}}`)
		site.cached()
		site.overlay("shop", webContainer(map[string]any{"image": "web:2"}))
		Expect(site.mustReconcile().Blocked()).To(BeEmpty())
		site.settle()
		deployment := site.deployment()
		Expect(deployment.Spec.Template.Spec.Containers[0].Image).To(Equal("web:2"))
		Expect(deployment.Labels).To(HaveKey(engineOptions.OwnerLabel()))
	})

	Describe("together with a change of a configuration", func() {
		BeforeEach(func() {
			site.predecessor()
			Eventually(func() int64 { return site.deployment().Status.ObservedGeneration }).ShouldNot(BeZero())
			site.request.Input.Templates[0].Parameters["greeting"] = "hi"
			site.request.AllowRestarts = true
		})

		// A Deployment has a ReplicaSet for each pod template that it has had.
		expectOneRollout := func() {
			GinkgoHelper()
			sets := func() []appsv1.ReplicaSet {
				list := &appsv1.ReplicaSetList{}
				Expect(admin.List(site.ctx, list, client.InNamespace(site.owner.Namespace))).To(Succeed())
				return list.Items
			}
			Eventually(sets).Should(HaveLen(2))
			Eventually(func(g Gomega) {
				g.Expect(site.deployment().Status.ObservedGeneration).To(Equal(site.deployment().Generation))
			}).Should(Succeed())
			Expect(sets()).To(HaveLen(2))
			Expect(site.deployment().Spec.Template.Annotations).To(HaveKey(engineOptions.KeyPrefix + "config-hash"))
		}

		It("blocks the workload until restarts are allowed, and then restarts it exactly once", func() {
			site.request.AllowRestarts = false
			blocked := site.mustReconcile().Blocked()
			Expect(blocked).To(HaveLen(1))
			Expect(blocked[0].Reason).To(Equal(plan.RestartRequired))
			site.request.AllowRestarts = true
			Expect(site.mustReconcile().Restarted).To(HaveLen(1))
			site.settle()
			expectOneRollout()
		})

		It("restarts it once after an interruption between configuration and workload", func() {
			site.stopBefore("Deployment")
			site.settle()
			expectOneRollout()
		})

		It("restarts it once after an interruption before the configuration", func() {
			site.stopBefore("ConfigMap")
			site.settle()
			expectOneRollout()
		})
	})
})

var _ = Describe("Adoption of objects from rendered manifests", func() {
	var site *instance

	BeforeEach(func() { site = newInstance() })

	// manifests returns the rendered objects with the owner label, as a user applies them in a
	// cluster without the operator.
	manifests := func() []*unstructured.Unstructured {
		GinkgoHelper()
		rendered, err := composition.Render(site.engine.templates, site.request.Input, composition.Options{})
		Expect(err).NotTo(HaveOccurred())
		planned := plan.Compute(plan.State{Owner: site.request.Owner, Objects: rendered.Objects, Options: engineOptions})
		var objects []*unstructured.Unstructured
		for _, step := range planned.Steps {
			child := step.Object.DeepCopy()
			child.SetOwnerReferences(nil)
			objects = append(objects, child)
		}
		return objects
	}
	// clientSide creates objects as kubectl apply does, and serverSide as with --server-side.
	clientSide := func(object *unstructured.Unstructured) {
		GinkgoHelper()
		annotations := object.GetAnnotations()
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[corev1.LastAppliedConfigAnnotation] = "{}"
		object.SetAnnotations(annotations)
		Expect(admin.Create(site.ctx, object, client.FieldOwner("kubectl-client-side-apply"))).To(Succeed())
	}
	serverSide := func(object *unstructured.Unstructured) {
		GinkgoHelper()
		Expect(admin.Apply(site.ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner("kubectl"))).To(Succeed())
	}

	for name, apply := range map[string]func(*unstructured.Unstructured){"client-side": clientSide, "server-side": serverSide} {
		It("restarts no pods, and removes what is not rendered, after a "+name+" apply", func() {
			for _, object := range manifests() {
				labels := object.GetLabels()
				labels["applyset.kubernetes.io/part-of"] = "applyset-x"
				object.SetLabels(labels)
				apply(object)
			}
			site.cached()
			before := site.deployment()
			site.settle()

			after := site.deployment()
			Expect(after.UID).To(Equal(before.UID))
			Expect(after.Spec).To(Equal(before.Spec))
			for name, child := range map[string]client.Object{"site": &corev1.ConfigMap{}, "shop": &appsv1.Deployment{}} {
				site.get(child, name)
				Expect(metav1.GetControllerOf(child)).To(HaveField("UID", site.owner.UID))
				Expect(child.GetLabels()).NotTo(HaveKey("applyset.kubernetes.io/part-of"))
				Expect(child.GetAnnotations()).NotTo(HaveKey(corev1.LastAppliedConfigAnnotation))
				Expect(child.GetManagedFields()).NotTo(ContainElement(And(HaveField("Manager", HavePrefix("kubectl")), HaveField("Subresource", BeEmpty()))))
			}
			site.engine = newEngine()
			Expect(writes(requests.during(func() { site.mustReconcile() }))).To(BeEmpty())
		})
	}

	It("blocks a workload whose pods would restart", func() {
		for _, object := range manifests() {
			if object.GetKind() == "Deployment" {
				containers, _, _ := unstructured.NestedSlice(object.Object, "spec", "template", "spec", "containers")
				containers[0].(map[string]any)["args"] = []any{"--changed"}
				Expect(unstructured.SetNestedSlice(object.Object, containers, "spec", "template", "spec", "containers")).To(Succeed())
			}
			clientSide(object)
		}
		site.cached()
		before := site.deployment()
		for range 2 {
			Expect(site.mustReconcile().Blocked()).To(HaveExactElements(HaveField("Reason", plan.RestartRequired)))
			site.cached()
			site.engine = newEngine()
		}
		Expect(site.deployment().Spec).To(Equal(before.Spec))
		site.request.AllowRestarts = true
		site.settle()
		Expect(site.deployment().Spec.Template.Spec.Containers[0].Args).To(BeEmpty())
	})

	It("does not adopt an object that another program created", func() {
		for _, object := range manifests() {
			Expect(admin.Create(site.ctx, object, client.FieldOwner("someone"))).To(Succeed())
		}
		site.cached()
		Expect(site.mustReconcile().Blocked()).To(HaveEach(HaveField("Reason", plan.OwnershipConflict)))
		Expect(metav1.GetControllerOf(site.deployment())).To(BeNil())
	})
})
