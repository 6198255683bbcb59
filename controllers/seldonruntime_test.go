package controllers_test

import (
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/controllers"
)

var _ = Describe("A SeldonRuntime", func() {
	var namespace string
	BeforeEach(func() { namespace = newNamespace() })

	It("expands into all child objects, and becomes ready with its pods", func() {
		runtime := newRuntime(namespace, func(r *v1alpha1.SeldonRuntime) {
			r.Spec.Servers = []v1alpha1.RuntimeServer{
				{Name: "mlserver", ServerSpec: v1alpha1.ServerSpec{ServerConfig: "mlserver"}},
				{Name: "triton", ServerSpec: v1alpha1.ServerSpec{ServerConfig: "triton"}},
			}
		})
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		for kind, names := range map[client.ObjectList][]string{
			&appsv1.StatefulSetList{}:    {"mlserver", "seldon-scheduler", "triton"},
			&appsv1.DeploymentList{}:     {"hodometer", "seldon-dataflow-engine", "seldon-envoy", "seldon-modelgateway", "seldon-pipelinegateway"},
			&corev1.ServiceList{}:        {"mlserver-0", "seldon-mesh", "seldon-scheduler", "triton-0"},
			&corev1.ServiceAccountList{}: {"default", "hodometer", "seldon-scheduler", "seldon-server"},
			&rbacv1.RoleList{}:           {"agent-role", "hodometer-role", "seldon-scheduler-role"},
			&rbacv1.RoleBindingList{}:    {"agent-rolebinding", "hodometer-rolebinding", "seldon-scheduler-rolebinding"},
			&v1alpha1.ServerList{}:       {"mlserver", "triton"},
		} {
			Expect(namesOf(kind, namespace)).To(Equal(names))
		}
		Expect(runtime.Status.ObservedGeneration).To(Equal(runtime.Generation))
		Expect(get(namespace, "seldon-scheduler", &corev1.Service{}).Spec.Type).To(Equal(corev1.ServiceTypeClusterIP))
		Eventually(eventReasons(runtime)).Should(ContainElement("RuntimeReady"))
	})

	It("is not ready before its pods are", func() {
		runtime := newRuntime(namespace, override("seldon-envoy", func(o *v1alpha1.OverrideSpec) {
			o.PodSpec = podSpec(`{nodeSelector: {no: such}}`)
		}))
		Eventually(condition(runtime, v1alpha1.ConditionSchedulerReady)).Should(HavePrefix("True"))
		Consistently(ready(runtime)).Should(And(HavePrefix("False Progressing"), ContainSubstring("Deployment seldon-envoy")))
		Expect(condition(runtime, v1alpha1.ConditionEnvoyReady)()).To(HavePrefix("False"))
	})

	It("is ready without a disabled component, and prunes what only that component needs", func() {
		runtime := newRuntime(namespace)
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		edit(runtime, func(r *v1alpha1.SeldonRuntime) {
			r.Spec.Overrides = []v1alpha1.OverrideSpec{{Name: "hodometer", Disable: true}, {Name: "seldon-envoy", Disable: true}}
		})
		Eventually(func() []string { return namesOf(&appsv1.DeploymentList{}, namespace) }).
			Should(Equal([]string{"seldon-dataflow-engine", "seldon-modelgateway", "seldon-pipelinegateway"}))
		Eventually(func() []string { return namesOf(&corev1.ServiceList{}, namespace) }).Should(Equal([]string{"seldon-scheduler"}))
		Eventually(func() []string { return namesOf(&corev1.ServiceAccountList{}, namespace) }).
			Should(Equal([]string{"default", "seldon-scheduler", "seldon-server"}))
		Eventually(ready(runtime)).Should(HavePrefix("True Ready disabled: hodometer, seldon-envoy"))
		Expect(condition(runtime, v1alpha1.ConditionHodometerReady)()).To(Equal("none"))
		Eventually(eventReasons(runtime)).Should(ContainElement("Pruned"))
	})

	It("follows a component from Deployment to StatefulSet and back", func() {
		config := newConfig()
		runtime := newRuntime(namespace, using(config.Name))
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		edit(config, func(c *v1alpha1.SeldonConfig) {
			for i := range c.Spec.Components {
				if c.Spec.Components[i].Name == "hodometer" {
					c.Spec.Components[i].VolumeClaimTemplates = c.Spec.Components[0].VolumeClaimTemplates
				}
			}
		})
		Eventually(exists(namespace, "hodometer", &appsv1.StatefulSet{})).Should(BeTrue())
		Eventually(exists(namespace, "hodometer", &appsv1.Deployment{})).Should(BeFalse())
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		edit(config, func(c *v1alpha1.SeldonConfig) {
			for i := range c.Spec.Components {
				if c.Spec.Components[i].Name == "hodometer" {
					c.Spec.Components[i].VolumeClaimTemplates = nil
				}
			}
		})
		Eventually(exists(namespace, "hodometer", &appsv1.Deployment{})).Should(BeTrue())
		Eventually(exists(namespace, "hodometer", &appsv1.StatefulSet{})).Should(BeFalse())
	})

	It("prunes a component that its SeldonConfig no longer has, and creates one of an unknown name", func() {
		config := newConfig(func(c *v1alpha1.SeldonConfig) { c.Spec.Components = c.Spec.Components[:2] })
		runtime := newRuntime(namespace, using(config.Name))
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		edit(config, func(c *v1alpha1.SeldonConfig) {
			c.Spec.Components[1].Name = "sidekick"
		})
		Eventually(func() []string { return namesOf(&appsv1.DeploymentList{}, namespace) }).Should(Equal([]string{"sidekick"}))
		Eventually(ready(runtime)).Should(HavePrefix("True"))
	})

	It("creates and prunes the Servers that it lists", func() {
		runtime := newRuntime(namespace, func(r *v1alpha1.SeldonRuntime) {
			r.Spec.Servers = []v1alpha1.RuntimeServer{{Name: "one", ServerSpec: v1alpha1.ServerSpec{ServerConfig: "mlserver"}}}
		})
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		user := newServer(namespace, "users", "mlserver")
		Eventually(ready(user)).Should(HavePrefix("True"))
		edit(runtime, func(r *v1alpha1.SeldonRuntime) { r.Spec.Servers = nil })
		Eventually(func() []string { return namesOf(&v1alpha1.ServerList{}, namespace) }).Should(Equal([]string{"users"}))
		Eventually(exists(namespace, "one", &appsv1.StatefulSet{})).Should(BeFalse())
	})

	It("waits for its SeldonConfig, in the operator's namespace and nowhere else", func() {
		runtime := newRuntime(namespace, using("later-"+namespace))
		Eventually(ready(runtime)).Should(HavePrefix(fmt.Sprintf("False ConfigNotFound spec.seldonConfig: there is no SeldonConfig %q in namespace %s", "later-"+namespace, operatorNamespace)))
		local := get(operatorNamespace, "default", &v1alpha1.SeldonConfig{})
		local.ObjectMeta = objectMeta(namespace, "later-"+namespace)
		Expect(admin.Create(lifetime, local)).To(Succeed())
		Consistently(ready(runtime)).Should(HavePrefix("False ConfigNotFound"))
		newConfig(func(c *v1alpha1.SeldonConfig) { c.GenerateName, c.Name = "", "later-"+namespace })
		Eventually(ready(runtime)).Should(HavePrefix("True"))
	})

	It("reports an override of an unknown component", func() {
		runtime := newRuntime(namespace, override("seldon-envoi", func(*v1alpha1.OverrideSpec) {}))
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		Expect(condition(runtime, "OverrideTargetNotFound")()).To(And(
			HavePrefix("True"), ContainSubstring(`spec.overrides[0].name`), ContainSubstring(`no component "seldon-envoi", and the override has no effect; correct the name to one of seldon-scheduler,`)))
		Eventually(eventReasons(runtime)).Should(ContainElement("OverrideTargetNotFound"))
	})

	DescribeTable("reports what is wrong with a patch", func(patch v1alpha1.Patch, reason, message string) {
		runtime := newRuntime(namespace, func(r *v1alpha1.SeldonRuntime) { r.Spec.Patches = []v1alpha1.Patch{patch} })
		Eventually(ready(runtime)).Should(And(HavePrefix("False "+reason), ContainSubstring("spec.patches[0]"), ContainSubstring(message)))
		Expect(namesOf(&appsv1.DeploymentList{}, namespace)).To(BeEmpty(), "an incomplete rendering is not applied")
		edit(runtime, func(r *v1alpha1.SeldonRuntime) { r.Spec.Patches = nil })
		Eventually(ready(runtime)).Should(HavePrefix("True"))
	},
		Entry("a path that does not exist", v1alpha1.Patch{Target: &v1alpha1.PatchTarget{Kind: "Deployment", Name: "seldon-envoy"},
			Patch: `[{"op": "replace", "path": "/spec/nope/x", "value": 1}]`}, "InvalidPatch", "seldon-envoy"),
		Entry("an unknown field", v1alpha1.Patch{Target: &v1alpha1.PatchTarget{Kind: "Deployment", Name: "seldon-envoy"},
			Patch: `spec: {replicsa: 2}`}, "InvalidPatch", "replicsa"),
		Entry("a selector", v1alpha1.Patch{Target: &v1alpha1.PatchTarget{Kind: "Service", Name: "seldon-mesh"},
			Patch: `spec: {selector: {app: other}}`}, "InvalidPatch", "selector"),
		Entry("RBAC", v1alpha1.Patch{Target: &v1alpha1.PatchTarget{Kind: "Role", Name: "agent-role"},
			Patch: `rules: []`}, "InvalidPatch", "Role"),
		Entry("an account, from a tenant", v1alpha1.Patch{Target: &v1alpha1.PatchTarget{Kind: "ServiceAccount", Name: "seldon-server"},
			Patch: `metadata: {annotations: {cloud: role}}`}, "InvalidPatch", "ServiceAccount"),
		Entry("the operator's own keys", v1alpha1.Patch{Target: &v1alpha1.PatchTarget{Kind: "Deployment", Name: "seldon-envoy"},
			Patch: `metadata: {labels: {mlops.seldon.io/owner-kind: me}}`}, "InvalidPatch", "mlops.seldon.io/owner-kind"),
	)

	It("applies patches, those of the SeldonConfig first, and reports one that matches no object", func() {
		config := newConfig(func(c *v1alpha1.SeldonConfig) {
			c.Spec.Patches = []v1alpha1.Patch{
				{Target: &v1alpha1.PatchTarget{Kind: "Service", Name: "seldon-mesh"}, Patch: `metadata: {annotations: {cloud: a, size: s}}`},
				{Target: &v1alpha1.PatchTarget{Kind: "ServiceAccount", Name: "seldon-server"}, Patch: `metadata: {annotations: {cloud: role}}`},
			}
		})
		runtime := newRuntime(namespace, using(config.Name), func(r *v1alpha1.SeldonRuntime) {
			r.Spec.Patches = []v1alpha1.Patch{
				{Target: &v1alpha1.PatchTarget{Kind: "Service", Name: "seldon-mesh"}, Patch: `metadata: {annotations: {cloud: b}}`},
				{Target: &v1alpha1.PatchTarget{Kind: "Deployment", Name: "seldon-envoy"}, Patch: `{"spec":{"template":{"spec":{"containers":[{"name":"envoy","lifecycle":null}]}}}}`},
				{Target: &v1alpha1.PatchTarget{Kind: "Deployment", Name: "unknown"}, Patch: `spec: {paused: true}`},
			}
		})
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		Expect(get(namespace, "seldon-mesh", &corev1.Service{}).Annotations).To(And(HaveKeyWithValue("cloud", "b"), HaveKeyWithValue("size", "s")))
		Expect(get(namespace, "seldon-server", &corev1.ServiceAccount{}).Annotations).To(HaveKeyWithValue("cloud", "role"))
		Expect(get(namespace, "seldon-envoy", &appsv1.Deployment{}).Spec.Template.Spec.Containers[0].Lifecycle).To(BeNil())
		Expect(condition(runtime, "PatchTargetNotFound")()).To(ContainSubstring("spec.patches[2]"))
	})

	It("reports what the API server rejects", func() {
		quota := &corev1.ResourceQuota{ObjectMeta: objectMeta(namespace, "small"), Spec: corev1.ResourceQuotaSpec{
			Hard: corev1.ResourceList{"count/services": resource.MustParse("1")}}}
		Expect(admin.Create(lifetime, quota)).To(Succeed())
		Eventually(func() bool { return len(get(namespace, "small", quota).Status.Hard) > 0 }).Should(BeTrue())
		runtime := newRuntime(namespace)
		Eventually(ready(runtime)).Should(And(HavePrefix("False Forbidden"), ContainSubstring("Service "+namespace), ContainSubstring("exceeded quota")))
		Eventually(eventReasons(runtime)).Should(ContainElement("SeldonRuntimeNotReady"))
		Expect(admin.Delete(lifetime, quota)).To(Succeed())
		Eventually(ready(runtime)).Should(HavePrefix("True"))
	})

	It("restores what another client deletes or empties", func() {
		runtime := newRuntime(namespace)
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		Expect(admin.Delete(lifetime, get(namespace, "agent-role", &rbacv1.Role{}))).To(Succeed())
		Eventually(exists(namespace, "agent-role", &rbacv1.Role{})).Should(BeTrue())
		edit(get(namespace, "agent-rolebinding", &rbacv1.RoleBinding{}), func(b *rbacv1.RoleBinding) { b.Subjects = nil })
		Eventually(func() int { return len(get(namespace, "agent-rolebinding", &rbacv1.RoleBinding{}).Subjects) }).Should(Equal(1))
		edit(get(namespace, "seldon-agent", &corev1.ConfigMap{}), func(c *corev1.ConfigMap) { c.Data["agent.yaml"] = "x"; c.Data["extra"] = "kept" })
		Eventually(func() string { return get(namespace, "seldon-agent", &corev1.ConfigMap{}).Data["agent.yaml"] }).ShouldNot(Equal("x"))
		Expect(get(namespace, "seldon-agent", &corev1.ConfigMap{}).Data).To(HaveKeyWithValue("extra", "kept"))
		Eventually(eventReasons(runtime)).Should(ContainElement("DriftCorrected"))
	})

	It("restarts only the pods that read a changed configuration at start", func() {
		runtime := newRuntime(namespace)
		server := newServer(namespace, "mlserver", "mlserver")
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		Eventually(ready(server)).Should(HavePrefix("True"))
		edit(runtime, func(r *v1alpha1.SeldonRuntime) { r.Spec.Config.KafkaConfig.TopicPrefix = new("other") })
		Eventually(restarted(namespace)).Should(ConsistOf("seldon-scheduler", "seldon-modelgateway", "seldon-pipelinegateway"))
		Eventually(eventReasons(runtime)).Should(ContainElement("ConfigurationChanged"))
		edit(runtime, func(r *v1alpha1.SeldonRuntime) { r.Spec.Config.TracingConfig.Disable = new(true) })
		Eventually(restarted(namespace)).Should(ConsistOf("seldon-scheduler", "seldon-modelgateway", "seldon-pipelinegateway", "seldon-dataflow-engine", "mlserver"))
		edit(runtime, func(r *v1alpha1.SeldonRuntime) { r.Spec.Config.AgentConfig.Rclone.Config = []string{"{}"} })
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		Consistently(restarted(namespace)).Should(HaveLen(5))
	})

	It("propagates its metadata, but not the keys of Helm and GitOps tools", func() {
		runtime := newRuntime(namespace, func(r *v1alpha1.SeldonRuntime) {
			r.Labels = map[string]string{"team": "a", "app.kubernetes.io/managed-by": "Helm", "app.kubernetes.io/name": "mine"}
			r.Annotations = map[string]string{"cost": "1", "meta.helm.sh/release-name": "x", "argocd.argoproj.io/tracking-id": "y", "mlops.seldon.io/note": "z"}
		})
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		gateway := get(namespace, "seldon-modelgateway", &appsv1.Deployment{})
		Expect(gateway.Spec.Template.Labels).To(Equal(map[string]string{"team": "a", "app.kubernetes.io/name": "seldon-modelgateway"}))
		Expect(gateway.Spec.Template.Annotations).To(Equal(map[string]string{"cost": "1"}))
		Expect(gateway.Labels).To(HaveKeyWithValue("team", "a"))
		Expect(get(namespace, "seldon-mesh", &corev1.Service{}).Labels).NotTo(HaveKey("team"))
	})

	It("is the only one of its namespace; the younger one waits", func() {
		older := newRuntime(namespace)
		Eventually(ready(older)).Should(HavePrefix("True"))
		// Creation times are whole seconds.
		Eventually(time.Now).Should(BeTemporally(">", older.CreationTimestamp.Add(time.Second)))
		younger := newRuntime(namespace, func(r *v1alpha1.SeldonRuntime) { r.Name = "another" })
		Eventually(ready(younger)).Should(HavePrefix("False DuplicateRuntime SeldonRuntime seldon is the older one"))
		Expect(admin.Delete(lifetime, older)).To(Succeed())
		Eventually(ready(younger)).Should(HavePrefix("True"))
	})

	DescribeTable("completes its deletion, and deletes its child objects", func(propagation client.PropagationPolicy) {
		runtime := newRuntime(namespace, func(r *v1alpha1.SeldonRuntime) {
			r.Spec.Servers = []v1alpha1.RuntimeServer{{Name: "own", ServerSpec: v1alpha1.ServerSpec{ServerConfig: "mlserver"}}}
		})
		user := newServer(namespace, "users", "mlserver")
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		Expect(admin.Delete(lifetime, runtime, propagation)).To(Succeed())
		Eventually(exists(namespace, "seldon", &v1alpha1.SeldonRuntime{})).Should(BeFalse())
		Eventually(func() []string { return namesOf(&appsv1.DeploymentList{}, namespace) }).Should(BeEmpty())
		Eventually(func() []string { return namesOf(&corev1.ServiceAccountList{}, namespace) }).Should(Equal([]string{"default"}))
		Expect(namesOf(&v1alpha1.ServerList{}, namespace)).To(Equal([]string{user.Name}))
		Consistently(func() []string { return namesOf(&appsv1.StatefulSetList{}, namespace) }).Should(Equal([]string{"users"}))
	},
		Entry("in the background", client.PropagationPolicy("Background")),
		Entry("in the foreground", client.PropagationPolicy("Foreground")),
	)

	It("deletes its Servers before its scheduler", func() {
		runtime := newRuntime(namespace, func(r *v1alpha1.SeldonRuntime) {
			r.Spec.Servers = []v1alpha1.RuntimeServer{{Name: "own", ServerSpec: v1alpha1.ServerSpec{ServerConfig: "mlserver"}}}
		})
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		edit(get(namespace, "own", &v1alpha1.Server{}), func(s *v1alpha1.Server) { s.Finalizers = []string{"example.com/held"} })
		Expect(admin.Delete(lifetime, runtime)).To(Succeed())
		Eventually(ready(runtime)).Should(And(HavePrefix("False Terminating"), ContainSubstring("Server own")))
		Consistently(exists(namespace, "seldon-scheduler", &appsv1.StatefulSet{})).Should(BeTrue())
		edit(get(namespace, "own", &v1alpha1.Server{}), func(s *v1alpha1.Server) { s.Finalizers = nil })
		Eventually(exists(namespace, "seldon", &v1alpha1.SeldonRuntime{})).Should(BeFalse())
	})

	It("waits at its deletion for objects of users with the policy Block", func() {
		newScheduler(namespace)
		runtime := newRuntime(namespace, func(r *v1alpha1.SeldonRuntime) { r.Spec.DeletionPolicy = v1alpha1.DeletionPolicyBlock })
		model := newModel(namespace, "users")
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		Expect(admin.Delete(lifetime, runtime)).To(Succeed())
		Eventually(ready(runtime)).Should(Equal("False Terminating waiting until these are deleted: Model users; delete them, or change spec.deletionPolicy"))
		Consistently(exists(namespace, "seldon-scheduler", &appsv1.StatefulSet{})).Should(BeTrue())
		Expect(admin.Delete(lifetime, model)).To(Succeed())
		Eventually(exists(namespace, "seldon", &v1alpha1.SeldonRuntime{})).Should(BeFalse())
	})

	It("deletes objects of users in order with the policy Cascade", func() {
		newScheduler(namespace)
		runtime := newRuntime(namespace, func(r *v1alpha1.SeldonRuntime) { r.Spec.DeletionPolicy = v1alpha1.DeletionPolicyCascade })
		newModel(namespace, "users")
		newServer(namespace, "users", "mlserver")
		pipeline := &v1alpha1.Pipeline{ObjectMeta: objectMeta(namespace, "users"), Spec: v1alpha1.PipelineSpec{Steps: []v1alpha1.PipelineStep{{Name: "step"}}}}
		pipeline.Finalizers = []string{"example.com/held"}
		Expect(admin.Create(lifetime, pipeline)).To(Succeed())
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		Expect(admin.Delete(lifetime, runtime)).To(Succeed())
		Eventually(ready(runtime)).Should(Equal("False Terminating waiting until these are deleted: Pipeline users; if this lasts, check their finalizers"))
		Consistently(exists(namespace, "users", &v1alpha1.Model{})).Should(BeTrue(), "a Pipeline is deleted before its Models")
		edit(pipeline, func(p *v1alpha1.Pipeline) { p.Finalizers = nil })
		Eventually(exists(namespace, "seldon", &v1alpha1.SeldonRuntime{})).Should(BeFalse())
		Expect(exists(namespace, "users", &v1alpha1.Model{})()).To(BeFalse())
		Expect(exists(namespace, "users", &v1alpha1.Server{})()).To(BeFalse())
	})

	It("records each Event once", func() {
		runtime := newRuntime(namespace, override("unknown", func(*v1alpha1.OverrideSpec) {}))
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		Eventually(eventReasons(runtime)).Should(ContainElement("RuntimeReady"))
		Consistently(eventReasons(runtime)).Should(ConsistOf("OverrideTargetNotFound", "RuntimeReady"))
	})

	It("writes nothing while paused, but completes its deletion", func() {
		runtime := newRuntime(namespace)
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		edit(runtime, func(r *v1alpha1.SeldonRuntime) { r.Annotations = map[string]string{v1alpha1.PausedAnnotation: "true"} })
		Eventually(condition(runtime, v1alpha1.ConditionPaused)).Should(HavePrefix("True"))
		Expect(admin.Delete(lifetime, get(namespace, "hodometer", &appsv1.Deployment{}))).To(Succeed())
		edit(runtime, func(r *v1alpha1.SeldonRuntime) { r.Spec.Config.KafkaConfig.TopicPrefix = new("other") })
		Consistently(exists(namespace, "hodometer", &appsv1.Deployment{})).Should(BeFalse())
		Expect(get(namespace, "seldon-kafka", &corev1.ConfigMap{}).Data["kafka.json"]).NotTo(ContainSubstring("other"))
		edit(runtime, func(r *v1alpha1.SeldonRuntime) { delete(r.Annotations, v1alpha1.PausedAnnotation) })
		Eventually(exists(namespace, "hodometer", &appsv1.Deployment{})).Should(BeTrue())
		Eventually(func() string { return get(namespace, "seldon-kafka", &corev1.ConfigMap{}).Data["kafka.json"] }).Should(ContainSubstring("other"))
		Eventually(condition(runtime, v1alpha1.ConditionPaused)).Should(Equal("none"))
		edit(runtime, func(r *v1alpha1.SeldonRuntime) { r.Annotations = map[string]string{v1alpha1.PausedAnnotation: "true"} })
		Expect(admin.Delete(lifetime, runtime)).To(Succeed())
		Eventually(exists(namespace, "seldon", &v1alpha1.SeldonRuntime{})).Should(BeFalse())
	})

	It("does not change replicas that no layer sets", func() {
		runtime := newRuntime(namespace)
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		scale(namespace, "seldon-envoy", 3)
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		waitForQuiescence(namespace)
		Expect(replicasOf(namespace, "seldon-envoy")).To(BeEquivalentTo(3))

		edit(runtime, func(r *v1alpha1.SeldonRuntime) {
			r.Spec.Overrides = []v1alpha1.OverrideSpec{{Name: "seldon-envoy", Replicas: new(int64(2))}}
		})
		Eventually(func() int32 { return replicasOf(namespace, "seldon-envoy") }).Should(BeEquivalentTo(2))
		edit(runtime, func(r *v1alpha1.SeldonRuntime) { r.Spec.Overrides = nil })
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		waitForQuiescence(namespace)
		Expect(replicasOf(namespace, "seldon-envoy")).To(BeEquivalentTo(2))
		scale(namespace, "seldon-envoy", 4)
		waitForQuiescence(namespace)
		Expect(replicasOf(namespace, "seldon-envoy")).To(BeEquivalentTo(4))
	})

	It("uses a component's replicas of the SeldonConfig", func() {
		config := newConfig(func(c *v1alpha1.SeldonConfig) {
			for i := range c.Spec.Components {
				if c.Spec.Components[i].Name == "seldon-envoy" {
					c.Spec.Components[i].Replicas = new(int64(2))
				}
			}
		})
		runtime := newRuntime(namespace, using(config.Name))
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		Expect(replicasOf(namespace, "seldon-envoy")).To(BeEquivalentTo(2))
	})

	It("limits the replicas of gateways by the number of objects, and reports it once", func() {
		runtime := newRuntime(namespace,
			override("seldon-modelgateway", func(o *v1alpha1.OverrideSpec) { o.Replicas = new(int64(5)) }),
			override("seldon-dataflow-engine", func(o *v1alpha1.OverrideSpec) { o.Replicas = new(int64(1)) }))
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		Expect(replicasOf(namespace, "seldon-modelgateway")).To(BeEquivalentTo(1))
		Expect(condition(runtime, "ReplicasLimited")()).To(ContainSubstring("seldon-modelgateway has 1 of 5 requested replicas"))
		for i := range 2 {
			newModel(namespace, fmt.Sprintf("model-%d", i))
		}
		Eventually(func() int32 { return replicasOf(namespace, "seldon-modelgateway") }).Should(BeEquivalentTo(2))
		waitForQuiescence(namespace)
		mark := requests.mark()
		for i := range 20 {
			model := get(namespace, "model-0", &v1alpha1.Model{})
			before := model.DeepCopy()
			model.Status.AvailableReplicas = int64(i + 1)
			Expect(admin.Status().Patch(lifetime, model, client.MergeFrom(before))).To(Succeed())
		}
		waitForQuiescence(namespace)
		Expect(requests.since(mark, namespace)).To(BeEmpty())
	})

	It("inherits the type of its Services from layer to layer", func() {
		config := newConfig(func(c *v1alpha1.SeldonConfig) {
			c.Spec.Config.ServiceConfig.ServiceType = new(corev1.ServiceTypeNodePort)
			c.Spec.Config.ServiceConfig.GrpcServicePrefix = new("grpc-")
		})
		runtime := newRuntime(namespace, using(config.Name),
			override("seldon-envoy", func(o *v1alpha1.OverrideSpec) { o.Replicas = new(int64(1)) }),
			override("seldon-scheduler", func(o *v1alpha1.OverrideSpec) { o.ServiceType = corev1.ServiceTypeClusterIP }))
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		mesh := get(namespace, "seldon-mesh", &corev1.Service{})
		Expect(mesh.Spec.Type).To(Equal(corev1.ServiceTypeNodePort))
		Expect(mesh.Spec.Ports[0].Name).To(Equal("grpc-data"))
		Expect(mesh.Spec.Ports[1].Name).To(Equal("stats"))
		Expect(get(namespace, "seldon-scheduler", &corev1.Service{}).Spec.Type).To(Equal(corev1.ServiceTypeClusterIP))
	})

	It("overrides items in place, and explicit zero values take precedence", func() {
		runtime := newRuntime(namespace, override("seldon-modelgateway", func(o *v1alpha1.OverrideSpec) {
			o.PodSpec = podSpec(`
terminationGracePeriodSeconds: 0
securityContext: {runAsNonRoot: false}
containers:
- name: modelgateway
  args: [--only]
  env:
  - {name: LOG_LEVEL, value: ""}
  - {name: ADDED, value: x}
  livenessProbe: {httpGet: {path: /live, port: 1234}}
  readinessProbe: {tcpSocket: {port: health}}
`)
		}))
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		before := get(operatorNamespace, "default", &v1alpha1.SeldonConfig{}).Spec.Components[2].PodSpec.Containers[0]
		pod := get(namespace, "seldon-modelgateway", &appsv1.Deployment{}).Spec.Template.Spec
		gateway := pod.Containers[0]
		Expect(*pod.TerminationGracePeriodSeconds).To(BeZero())
		Expect(*pod.SecurityContext.RunAsNonRoot).To(BeFalse())
		Expect(gateway.Args).To(Equal([]string{"--only"}))
		Expect(gateway.Env).To(HaveLen(len(before.Env) + 1))
		for i, env := range before.Env {
			Expect(gateway.Env[i].Name).To(Equal(env.Name))
			if env.Name == "LOG_LEVEL" {
				Expect(gateway.Env[i].Value).To(BeEmpty())
			}
		}
		Expect(gateway.Env[len(before.Env)].Name).To(Equal("ADDED"))
		Expect(gateway.LivenessProbe.HTTPGet.Port.IntValue()).To(Equal(1234))
		Expect(gateway.ReadinessProbe.HTTPGet).To(BeNil())
		Expect(gateway.ReadinessProbe.TCPSocket).NotTo(BeNil())
	})

	It("keeps the configuration of its last rollout with disableAutoUpdate", ownOperator, func() {
		startOperator(controllers.Options{}, namespace)
		config := newConfig()
		runtime := newRuntime(namespace, using(config.Name), func(r *v1alpha1.SeldonRuntime) { r.Spec.DisableAutoUpdate = true })
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		prefix := func() string { return get(namespace, "seldon-kafka", &corev1.ConfigMap{}).Data["kafka.json"] }
		edit(config, func(c *v1alpha1.SeldonConfig) { c.Spec.Config.KafkaConfig.TopicPrefix = new("newer") })

		// Still pinned after changes of other objects, a restart of the operator, and a change of
		// replicas.
		Expect(admin.Delete(lifetime, get(namespace, "seldon-kafka", &corev1.ConfigMap{}))).To(Succeed())
		Eventually(exists(namespace, "seldon-kafka", &corev1.ConfigMap{})).Should(BeTrue())
		Expect(prefix()).NotTo(ContainSubstring("newer"))
		startOperator(controllers.Options{}, namespace)
		edit(runtime, func(r *v1alpha1.SeldonRuntime) {
			r.Spec.Overrides = []v1alpha1.OverrideSpec{{Name: "seldon-envoy"}}
		})
		Eventually(prefix).Should(ContainSubstring("newer"), "another spec is another roll-out")
		edit(config, func(c *v1alpha1.SeldonConfig) { c.Spec.Config.KafkaConfig.TopicPrefix = new("newest") })
		edit(runtime, func(r *v1alpha1.SeldonRuntime) { r.Spec.Overrides[0].Replicas = new(int64(2)) })
		Eventually(func() int32 { return replicasOf(namespace, "seldon-envoy") }).Should(BeEquivalentTo(2))
		Expect(prefix()).NotTo(ContainSubstring("newest"))

		edit(runtime, func(r *v1alpha1.SeldonRuntime) { r.Spec.DisableAutoUpdate = false })
		Eventually(prefix).Should(ContainSubstring("newest"))
		pins := &appsv1.ControllerRevisionList{}
		Eventually(func() int {
			Expect(admin.List(lifetime, pins, client.InNamespace(namespace), client.HasLabels{"mlops.seldon.io/pinned-config-for"})).To(Succeed())
			return len(pins.Items)
		}).Should(BeZero())
	})
})
