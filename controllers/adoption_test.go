package controllers_test

import (
	"path/filepath"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/controllers"
)

// A namespace as the upstream operator leaves it is adopted when this operator starts.
var _ = Describe("Adoption", ownOperator, func() {
	var namespace string

	BeforeEach(func() {
		namespace = newNamespace()
	})
	start := func() {
		GinkgoHelper()
		startOperator(controllers.Options{}, namespace)
	}

	It("adopts a runtime and a Server without restarting a pod", func() {
		runtime := existing(namespace, "seldonruntime.yaml", &v1alpha1.SeldonRuntime{})
		server := existing(namespace, "server-cr.yaml", &v1alpha1.Server{})
		existingChildren(runtime, "runtime.yaml", "orphans.yaml")
		existingChildren(server, "server.yaml", "server-orphans.yaml")
		before := podsOf(namespace)
		start()
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		Eventually(ready(server)).Should(HavePrefix("True"))
		Consistently(func() map[string]string { return podsOf(namespace) }).Should(Equal(before))

		By("adopting the child objects")
		gateway := get(namespace, "seldon-modelgateway", &appsv1.Deployment{})
		Expect(gateway.Labels).To(HaveKey("mlops.seldon.io/owner-kind"))
		Expect(gateway.Annotations).NotTo(HaveKey(v1alpha1.LastAppliedAnnotation))
		Expect(*gateway.Spec.Replicas).To(BeEquivalentTo(1))
		for _, entry := range gateway.ManagedFields {
			Expect(entry.Manager == "manager" && entry.Subresource == "").To(BeFalse(), "the predecessor still owns fields")
		}
		Expect(find(runtime.Status.Conditions, "DataflowReady")).To(BeNil(), "a stale condition of the predecessor")

		By("pruning what the previous operator left")
		Eventually(exists(namespace, "seldon-pipelinegateway", &corev1.Service{})).Should(BeFalse())
		Eventually(exists(namespace, "seldon-payload-logger", &appsv1.Deployment{})).Should(BeFalse())
		Eventually(exists(namespace, "seldon-dataflow-engine", &appsv1.StatefulSet{})).Should(BeFalse())
		Eventually(exists(namespace, "mlserver", &appsv1.Deployment{})).Should(BeFalse())
		Eventually(exists(namespace, "mlserver-3", &corev1.Service{})).Should(BeFalse())

		By("removing the keys of Helm that the previous operator copied when the pods change anyway")
		Expect(gateway.Spec.Template.Labels).To(HaveKey("app.kubernetes.io/managed-by"))
		edit(runtime, func(r *v1alpha1.SeldonRuntime) {
			for i := range r.Spec.Overrides {
				if r.Spec.Overrides[i].Name == "seldon-modelgateway" {
					r.Spec.Overrides[i].PodSpec = podSpec(`{containers: [{name: modelgateway, env: [{name: LOG_LEVEL, value: debug}]}]}`)
				}
			}
		})
		Eventually(func() map[string]string {
			return get(namespace, "seldon-modelgateway", &appsv1.Deployment{}).Spec.Template.Labels
		}).ShouldNot(HaveKey("app.kubernetes.io/managed-by"))

		By("removing a field that is no longer rendered")
		edit(runtime, func(r *v1alpha1.SeldonRuntime) { delete(r.Labels, "example.com/team") })
		Eventually(func() map[string]string {
			return get(namespace, "seldon-modelgateway", &appsv1.Deployment{}).Labels
		}).ShouldNot(HaveKey("example.com/team"))
	})

	It("keeps the replicas of a Server that has more than the limit", func() {
		runtime := existing(namespace, "seldonruntime.yaml", &v1alpha1.SeldonRuntime{})
		server := existing(namespace, "server-cr.yaml", &v1alpha1.Server{})
		existingChildren(runtime, "runtime.yaml")
		existingChildren(server, "server.yaml")
		replicas := get(namespace, server.Name, &appsv1.StatefulSet{}).Spec.Replicas
		before := podsOf(namespace)
		Expect(*replicas).To(BeNumerically(">", 1))
		startOperator(controllers.Options{MaxReplicasPerServer: 1}, namespace)
		Eventually(condition(server, "ReplicasLimited")).Should(HavePrefix("True"))
		Eventually(ready(server)).Should(HavePrefix("True"))
		set := get(namespace, server.Name, &appsv1.StatefulSet{})
		Expect(set.Labels).To(HaveKey("mlops.seldon.io/owner-kind"))
		Expect(set.Spec.Replicas).To(Equal(replicas))
		Consistently(func() map[string]string { return podsOf(namespace) }).Should(Equal(before))
	})

	It("prunes a component that was disabled before", func() {
		runtime := existing(namespace, "seldonruntime-hodometer-disabled.yaml", &v1alpha1.SeldonRuntime{})
		existingChildren(runtime, "runtime.yaml")
		start()
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		Expect(exists(namespace, "hodometer", &appsv1.Deployment{})()).To(BeFalse())
		Expect(exists(namespace, "hodometer", &corev1.ServiceAccount{})()).To(BeFalse())
	})

	DescribeTable("blocks a workload whose pods would restart, and applies it", func(release func(*v1alpha1.SeldonRuntime)) {
		runtime := existing(namespace, "runtime-with-overrides.yaml", &v1alpha1.SeldonRuntime{})
		existingChildren(runtime, "duplicates.yaml", "runtime.yaml")
		before := podsOf(namespace)
		start()
		Eventually(condition(runtime, v1alpha1.ConditionRestartRequired)).Should(And(HavePrefix("True"), ContainSubstring("seldon-modelgateway")))
		Eventually(ready(runtime)).Should(HavePrefix("False RestartRequired"))
		Consistently(func() map[string]string { return podsOf(namespace) }).Should(Equal(before))
		edit(runtime, release)
		Eventually(condition(runtime, v1alpha1.ConditionRestartRequired)).Should(Equal("none"))
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		Expect(get(namespace, "seldon-modelgateway", &appsv1.Deployment{}).Spec.Template.Spec.Containers[0].Name).To(Equal("modelgateway"))
	},
		Entry("when the annotation allows it", func(r *v1alpha1.SeldonRuntime) {
			r.Annotations[v1alpha1.AllowRestartAnnotation] = "true"
		}),
		Entry("when the runtime changes", func(r *v1alpha1.SeldonRuntime) {
			r.Spec.Config.KafkaConfig.TopicPrefix = new("other")
		}),
	)

	It("does not restart pods because replicas were changed", func() {
		server := existing(namespace, "server-cr.yaml", &v1alpha1.Server{}, func(object *unstructured.Unstructured) {
			Expect(unstructured.SetNestedField(object.Object, int64(77), "spec", "podSpec", "terminationGracePeriodSeconds")).To(Succeed())
		})
		existingChildren(existing(namespace, "seldonruntime.yaml", &v1alpha1.SeldonRuntime{}), "runtime.yaml")
		existingChildren(server, "server.yaml")
		before := podsOf(namespace)
		start()
		blocked := And(HavePrefix("True"), ContainSubstring("StatefulSet "+namespace+"/mlserver would restart its pods"))
		Eventually(condition(server, v1alpha1.ConditionRestartRequired)).Should(blocked)
		stays := func(by string, change func()) {
			GinkgoHelper()
			generation := server.Generation
			change()
			Expect(get(namespace, "mlserver", server).Generation).To(BeNumerically(">", generation), by)
			Eventually(condition(server, v1alpha1.ConditionRestartRequired)).Should(blocked, by)
			Consistently(func() map[string]string { return podsOf(namespace) }).Should(Equal(before), by)
		}
		applied := func(manager string, replicas int64) func() {
			return func() {
				scaled := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"replicas": replicas}}}
				scaled.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Server"))
				scaled.SetNamespace(namespace)
				scaled.SetName("mlserver")
				Expect(admin.Apply(lifetime, client.ApplyConfigurationFromUnstructured(scaled), client.FieldOwner(manager), client.ForceOwnership)).To(Succeed())
			}
		}
		stays("the scale subresource", func() {
			Expect(admin.SubResource("scale").Patch(lifetime, server, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"replicas":3}}`)))).To(Succeed())
		})
		stays("the operator at its scheduler's request", applied("seldon-operator-scaling", 1))
		stays("a change of its bounds", func() { edit(server, func(s *v1alpha1.Server) { s.Spec.MaxReplicas = new(int64(4)) }) })
		operator.stop()
		applied("someone", 2)()
		start()
		Eventually(condition(server, v1alpha1.ConditionRestartRequired)).Should(blocked)
		Consistently(func() map[string]string { return podsOf(namespace) }).Should(Equal(before))

		edit(server, func(s *v1alpha1.Server) { s.Spec.PodSpec = podSpec(`{terminationGracePeriodSeconds: 78}`) })
		Eventually(condition(server, v1alpha1.ConditionRestartRequired)).Should(Equal("none"))
		Eventually(func() *int64 {
			return get(namespace, "mlserver", &appsv1.StatefulSet{}).Spec.Template.Spec.TerminationGracePeriodSeconds
		}).Should(HaveValue(BeEquivalentTo(78)))
	})

	It("does not make a Service reachable from outside the cluster", func() {
		runtime := existing(namespace, "seldonruntime.yaml", &v1alpha1.SeldonRuntime{}, func(object *unstructured.Unstructured) {
			unstructured.RemoveNestedField(object.Object, "spec", "overrides")
		})
		existingChildren(runtime, "runtime.yaml")
		edit(get(namespace, "seldon-mesh", &corev1.Service{}), func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP })
		start()
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		waitForQuiescence(namespace)
		Expect(get(namespace, "seldon-mesh", &corev1.Service{}).Spec.Type).To(Equal(corev1.ServiceTypeClusterIP))
		edit(runtime, func(r *v1alpha1.SeldonRuntime) {
			r.Spec.Overrides = []v1alpha1.OverrideSpec{{Name: "seldon-envoy", ServiceType: corev1.ServiceTypeLoadBalancer}}
		})
		Eventually(func() corev1.ServiceType { return get(namespace, "seldon-mesh", &corev1.Service{}).Spec.Type }).Should(Equal(corev1.ServiceTypeLoadBalancer))
	})

	It("restarts no pods for a configuration that changes with the adoption, and only its readers afterwards", func() {
		runtime := existing(namespace, "seldonruntime.yaml", &v1alpha1.SeldonRuntime{}, func(object *unstructured.Unstructured) {
			Expect(unstructured.SetNestedField(object.Object, "moved", "spec", "config", "kafkaConfig", "topicPrefix")).To(Succeed())
		})
		existingChildren(runtime, "runtime.yaml")
		before := podsOf(namespace)
		start()
		Eventually(ready(runtime)).Should(HavePrefix("False RestartRequired"))
		Expect(get(namespace, "seldon-kafka", &corev1.ConfigMap{}).Data["kafka.json"]).To(ContainSubstring("moved"))
		Consistently(func() map[string]string { return podsOf(namespace) }).Should(Equal(before))
		edit(runtime, func(r *v1alpha1.SeldonRuntime) { r.Annotations[v1alpha1.AllowRestartAnnotation] = "true" })
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		Expect(restarted(namespace)()).To(ConsistOf("seldon-scheduler", "seldon-modelgateway", "seldon-pipelinegateway"))
	})

	It("blocks a Server whose configuration the adoption of the runtime has changed before", func() {
		runtime := existing(namespace, "seldonruntime.yaml", &v1alpha1.SeldonRuntime{}, func(object *unstructured.Unstructured) {
			Expect(unstructured.SetNestedField(object.Object, "moved:4317", "spec", "config", "tracingConfig", "otelExporterEndpoint")).To(Succeed())
		})
		existingChildren(runtime, "runtime.yaml")
		start()
		Eventually(func() string { return get(namespace, "seldon-tracing", &corev1.ConfigMap{}).Data["tracing.json"] }).Should(ContainSubstring("moved"))
		operator.stop()
		server := existing(namespace, "server-cr.yaml", &v1alpha1.Server{})
		existingChildren(server, "server.yaml")
		start()
		Eventually(ready(server)).Should(HavePrefix("False RestartRequired"))
		edit(server, func(s *v1alpha1.Server) {
			s.Annotations = map[string]string{v1alpha1.AllowRestartAnnotation: "true"}
		})
		Eventually(restarted(namespace)).Should(ContainElement("mlserver"))
	})
})

// existing creates a custom resource as the upstream operator left it, status included.
func existing[T client.Object](namespace, file string, into T, change ...func(*unstructured.Unstructured)) T {
	GinkgoHelper()
	object := read(filepath.Join("testdata", "legacy", file))[0]
	object.SetNamespace(namespace)
	for _, change := range change {
		change(object)
	}
	status := object.Object["status"]
	Expect(admin.Create(lifetime, object, client.FieldOwner("manager"))).To(Succeed())
	if status != nil {
		object.Object["status"] = status
		Expect(admin.Status().Update(lifetime, object, client.FieldOwner("manager"))).To(Succeed())
	}
	return get(namespace, object.GetName(), into)
}

// existingChildren creates child objects of owner as the upstream operator left them;
// those that exist already are not changed. It waits until all pods are ready.
func existingChildren(owner client.Object, files ...string) {
	GinkgoHelper()
	gvk, err := admin.GroupVersionKindFor(owner)
	Expect(err).NotTo(HaveOccurred())
	for _, file := range files {
		for _, object := range read(filepath.Join("testdata", "legacy", file)) {
			inNamespace(object.Object, owner.GetNamespace())
			object.SetNamespace(owner.GetNamespace())
			object.SetOwnerReferences([]metav1.OwnerReference{*metav1.NewControllerRef(owner, gvk)})
			err := admin.Create(lifetime, object, client.FieldOwner("manager"))
			Expect(client.IgnoreAlreadyExists(err)).NotTo(HaveOccurred())
		}
	}
	Eventually(func() bool {
		pods := podsOf(owner.GetNamespace())
		for _, state := range pods {
			if state == "" {
				return false
			}
		}
		return len(pods) > 0
	}).Should(BeTrue())
	Eventually(func() int { // the workloads are complete
		waiting := 0
		deployments, sets := &appsv1.DeploymentList{}, &appsv1.StatefulSetList{}
		Expect(admin.List(lifetime, deployments, client.InNamespace(owner.GetNamespace()))).To(Succeed())
		Expect(admin.List(lifetime, sets, client.InNamespace(owner.GetNamespace()))).To(Succeed())
		for _, deployment := range deployments.Items {
			if deployment.Status.ReadyReplicas < *deployment.Spec.Replicas {
				waiting++
			}
		}
		for _, set := range sets.Items {
			if set.Status.ReadyReplicas < *set.Spec.Replicas {
				waiting++
			}
		}
		return waiting
	}).Should(BeZero())
}

// inNamespace replaces the namespace of fixtures by another one.
func inNamespace(value any, namespace string) {
	switch value := value.(type) {
	case map[string]any:
		for key, below := range value {
			if key == "namespace" && below == "seldon-mesh" {
				value[key] = namespace
			}
			inNamespace(below, namespace)
		}
	case []any:
		for _, item := range value {
			inNamespace(item, namespace)
		}
	}
}

// podsOf returns the UIDs of the ready pods of desired workloads in a namespace, by name.
// Pods of orphaned workloads do not count.
func podsOf(namespace string) map[string]string {
	GinkgoHelper()
	pods := &corev1.PodList{}
	Expect(admin.List(lifetime, pods, client.InNamespace(namespace))).To(Succeed())
	found := map[string]string{}
	for _, pod := range pods.Items {
		if owner := metav1.GetControllerOf(&pod); owner == nil || isOrphaned(pod, owner) {
			continue
		}
		found[pod.Name] = ""
		for _, condition := range pod.Status.Conditions {
			if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
				found[pod.Name] = string(pod.UID)
			}
		}
	}
	return found
}

func isOrphaned(pod corev1.Pod, owner *metav1.OwnerReference) bool {
	switch pod.Labels["app.kubernetes.io/name"] {
	case "seldon-payload-logger":
		return true
	case "seldon-dataflow-engine":
		return owner.Kind == "StatefulSet"
	case "seldon-server":
		return owner.Kind != "StatefulSet"
	}
	return false
}

func find(conditions []metav1.Condition, kind string) *metav1.Condition {
	for i := range conditions {
		if conditions[i].Type == kind {
			return &conditions[i]
		}
	}
	return nil
}
