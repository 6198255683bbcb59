package controllers_test

import (
	"fmt"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/controllers"
)

var _ = Describe("A Server", func() {
	var namespace string
	BeforeEach(func() {
		namespace = newNamespace()
		// A runtime without components: Servers need its ServiceAccount and its
		// configuration.
		newSmallRuntime(namespace)
	})

	It("expands into a StatefulSet and a Service per replica", func() {
		server := newServer(namespace, "mlserver", "mlserver", replicas(2))
		Eventually(ready(server)).Should(HavePrefix("True"))
		Expect(namesOf(&corev1.ServiceList{}, namespace)).To(Equal([]string{"mlserver-0", "mlserver-1"}))
		Expect(server.Status.Replicas).To(BeEquivalentTo(2))
		Expect(server.Status.Selector).To(Equal("seldon-server-name=mlserver"))
		stored := &unstructured.Unstructured{}
		stored.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Server"))
		loaded, found, err := unstructured.NestedInt64(get(namespace, "mlserver", stored).Object, "status", "loadedModels")
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeTrue(), "the upstream operator's schema requires it, at zero too")
		Expect(loaded).To(BeZero())
		set := get(namespace, "mlserver", &appsv1.StatefulSet{})
		Expect(set.Spec.Template.Labels).To(Equal(map[string]string{"app.kubernetes.io/name": "seldon-server", "seldon-server-name": "mlserver"}))
		Expect(set.Spec.Template.Annotations).To(BeEmpty())
		Eventually(eventReasons(server)).Should(ContainElement("ServerReady"))
	})

	It("keeps a replica's Service until its pod is deleted", func() {
		server := newServer(namespace, "mlserver", "mlserver", replicas(2))
		Eventually(ready(server)).Should(HavePrefix("True"))
		// A finalizer simulates a drain that takes some time.
		edit(get(namespace, "mlserver-1", &corev1.Pod{}), func(p *corev1.Pod) { p.Finalizers = []string{"example.com/draining"} })
		edit(server, replicas(1))
		Eventually(func() bool { return get(namespace, "mlserver-1", &corev1.Pod{}).DeletionTimestamp != nil }).Should(BeTrue())
		Consistently(exists(namespace, "mlserver-1", &corev1.Service{})).Should(BeTrue())
		edit(get(namespace, "mlserver-1", &corev1.Pod{}), func(p *corev1.Pod) { p.Finalizers = nil })
		Eventually(exists(namespace, "mlserver-1", &corev1.Service{})).Should(BeFalse())
		Expect(exists(namespace, "mlserver-0", &corev1.Service{})()).To(BeTrue())
	})

	It("waits for its ServerConfig, in the operator's namespace", func() {
		server := newServer(namespace, "mlserver", "later-"+namespace)
		Eventually(ready(server)).Should(And(HavePrefix("False ConfigNotFound"), ContainSubstring("ServerConfig \"later-"+namespace), ContainSubstring(operatorNamespace)))
		newServerConfig(func(c *v1alpha1.ServerConfig) { c.GenerateName, c.Name = "", "later-"+namespace })
		Eventually(ready(server)).Should(HavePrefix("True"))
	})

	It("follows its ServerConfig, except with disableAutoUpdate", func() {
		config := newServerConfig()
		follows := newServer(namespace, "follows", config.Name)
		pinned := newServer(namespace, "pinned", config.Name, func(s *v1alpha1.Server) { s.Spec.DisableAutoUpdate = true })
		Eventually(ready(follows)).Should(HavePrefix("True"))
		Eventually(ready(pinned)).Should(HavePrefix("True"))
		edit(config, func(c *v1alpha1.ServerConfig) { c.Spec.PodSpec.Containers[2].Image = "mlserver:2" })
		image := func(name string) func() string {
			return func() string {
				return get(namespace, name, &appsv1.StatefulSet{}).Spec.Template.Spec.Containers[2].Image
			}
		}
		Eventually(image("follows")).Should(Equal("mlserver:2"))
		edit(pinned, replicas(2))
		Eventually(func() int32 { return *get(namespace, "pinned", &appsv1.StatefulSet{}).Spec.Replicas }).Should(BeEquivalentTo(2))
		Expect(image("pinned")()).NotTo(Equal("mlserver:2"))
	})

	DescribeTable("writes capabilities", func(change func(*v1alpha1.Server), want string) {
		server := newServer(namespace, "mlserver", "mlserver", change)
		Eventually(ready(server)).Should(HavePrefix("True"))
		for _, container := range get(namespace, "mlserver", &appsv1.StatefulSet{}).Spec.Template.Spec.Containers {
			for _, env := range container.Env {
				if env.Name == v1alpha1.ServerCapabilitiesEnv {
					Expect(env.Value).To(Or(Equal(want), HaveSuffix(want)))
					Expect(strings.Count(env.Value, want)).To(Equal(1))
				}
			}
		}
	},
		Entry("of its own", func(s *v1alpha1.Server) { s.Spec.Capabilities = []string{"a", "b"} }, "a,b"),
		Entry("in addition", func(s *v1alpha1.Server) { s.Spec.ExtraCapabilities = []string{"c"} }, "xgboost,c"),
	)

	It("reports capabilities without effect", func() {
		config := newServerConfig(func(c *v1alpha1.ServerConfig) {
			for i := range c.Spec.PodSpec.Containers {
				c.Spec.PodSpec.Containers[i].Env = nil
			}
		})
		server := newServer(namespace, "mlserver", config.Name, func(s *v1alpha1.Server) { s.Spec.Capabilities = []string{"a"} })
		Eventually(condition(server, "FieldsIgnored")).Should(And(HavePrefix("True"), ContainSubstring("spec.capabilities")))
	})

	It("above the limit of replicas keeps its live replicas, and the rest is applied", func() {
		scaleTo := func(server *v1alpha1.Server, replicas int) error {
			return admin.SubResource("scale").Patch(lifetime, server.DeepCopy(), client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas)))
		}
		server := newServer(namespace, "mlserver", "mlserver", replicas(2))
		Eventually(ready(server)).Should(HavePrefix("True"))
		other := newNamespace()
		Eventually(ready(newRuntime(other))).Should(HavePrefix("True"))
		waitForQuiescence(other)
		mark := requests.mark()
		Expect(apierrors.IsInvalid(scaleTo(server, 100_000))).To(BeTrue())
		Expect(scaleTo(server, 10_000)).To(Succeed())
		Eventually(condition(server, "ReplicasLimited")).Should(Equal("True ReplicasLimited spec.replicas: 10000 replicas are requested, and the operator's " +
			"--max-replicas-per-server allows 500; StatefulSet mlserver is applied with 2 replicas; lower spec.replicas or raise the flag"))
		edit(server, func(s *v1alpha1.Server) { s.Spec.PodSpec = podSpec(`terminationGracePeriodSeconds: 7`) })
		Eventually(func() int64 {
			return *get(namespace, "mlserver", &appsv1.StatefulSet{}).Spec.Template.Spec.TerminationGracePeriodSeconds
		}).Should(BeEquivalentTo(7))
		Eventually(ready(server)).Should(HavePrefix("True"))
		Expect(*get(namespace, "mlserver", &appsv1.StatefulSet{}).Spec.Replicas).To(BeEquivalentTo(2))
		Expect(namesOf(&corev1.ServiceList{}, namespace)).To(Equal([]string{"mlserver-0", "mlserver-1"}))
		Expect(requests.since(mark, other)).To(BeEmpty(), "another namespace has no part in it")
		Expect(len(requests.since(mark, namespace))).To(BeNumerically("<", 30))
		Expect(scaleTo(server, 1)).To(Succeed())
		Eventually(condition(server, "ReplicasLimited")).Should(Equal("none"))
		Eventually(func() int32 { return *get(namespace, "mlserver", &appsv1.StatefulSet{}).Spec.Replicas }).Should(BeEquivalentTo(1))
	})

	It("that is created above the limit of replicas gets the limit, in replicas and Services", ownOperator, func() {
		startOperator(controllers.Options{MaxReplicasPerServer: 3}, namespace)
		server := newServer(namespace, "mlserver", "mlserver", replicas(v1alpha1.MaxReplicas))
		Eventually(ready(server)).Should(HavePrefix("True"))
		Expect(condition(server, "ReplicasLimited")()).To(ContainSubstring("StatefulSet mlserver is applied with 3 replicas"))
		Expect(*get(namespace, "mlserver", &appsv1.StatefulSet{}).Spec.Replicas).To(BeEquivalentTo(3))
		Expect(namesOf(&corev1.ServiceList{}, namespace)).To(HaveLen(3))
	})

	It("keeps an immutable field, reports it with both values, and applies the rest", func() {
		config := newServerConfig()
		server := newServer(namespace, "mlserver", config.Name)
		Eventually(ready(server)).Should(HavePrefix("True"))
		edit(config, func(c *v1alpha1.ServerConfig) {
			c.Spec.VolumeClaimTemplates[0].Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
		})
		Eventually(ready(server)).Should(And(HavePrefix("False ImmutableFieldChanged"), ContainSubstring(
			`spec.volumeClaimTemplates[0].spec.accessModes[0] is immutable and keeps its live value "ReadWriteOnce"; the desired value is "ReadWriteMany"`)))
		Eventually(eventReasons(server)).Should(ContainElement("ImmutableFieldChanged"))
		edit(server, func(s *v1alpha1.Server) { replicas(2)(s) })
		Eventually(func() int32 { return get(namespace, "mlserver", &appsv1.StatefulSet{}).Status.ReadyReplicas }).Should(Equal(int32(2)))
		edit(config, func(c *v1alpha1.ServerConfig) {
			c.Spec.VolumeClaimTemplates[0].Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
		})
		Eventually(ready(server)).Should(HavePrefix("True"))
		Expect(condition(server, v1alpha1.ConditionImmutableFieldChanged)()).To(Equal("none"))
	})

	It("expands its volume claims without restarting its pods", func() {
		config := newServerConfig()
		server := newServer(namespace, "mlserver", config.Name, replicas(2))
		Eventually(ready(server)).Should(HavePrefix("True"))
		before := podsOf(namespace)
		edit(config, func(c *v1alpha1.ServerConfig) {
			c.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests[corev1.ResourceStorage] = quantity("2Gi")
		})
		for _, name := range []string{"mlserver-models-mlserver-0", "mlserver-models-mlserver-1"} {
			Eventually(func() string {
				return get(namespace, name, &corev1.PersistentVolumeClaim{}).Spec.Resources.Requests.Storage().String()
			}).Should(Equal("2Gi"))
		}
		Eventually(func() string {
			set := &appsv1.StatefulSet{}
			if admin.Get(lifetime, client.ObjectKey{Namespace: namespace, Name: "mlserver"}, set) != nil {
				return ""
			}
			return set.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests.Storage().String()
		}).Should(Equal("2Gi"))
		Eventually(ready(server)).Should(HavePrefix("True"))
		// The pods have no owner until the new StatefulSet adopts them.
		Eventually(func() map[string]string { return podsOf(namespace) }).Should(Equal(before))
	})

	It("of a runtime keeps the replicas that an autoscaler set, until the runtime changes them", func() {
		runtime := get(namespace, "seldon", &v1alpha1.SeldonRuntime{})
		edit(runtime, func(r *v1alpha1.SeldonRuntime) {
			r.Spec.Servers = []v1alpha1.RuntimeServer{{Name: "own", ServerSpec: v1alpha1.ServerSpec{
				ServerConfig: "mlserver", ScalingSpec: v1alpha1.ScalingSpec{Replicas: new(int64(1))}}}}
		})
		Eventually(exists(namespace, "own", &v1alpha1.Server{})).Should(BeTrue())
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		server := get(namespace, "own", &v1alpha1.Server{})
		Expect(admin.SubResource("scale").Patch(lifetime, server, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"replicas":3}}`)))).To(Succeed())
		Eventually(func() int32 { return *get(namespace, "own", &appsv1.StatefulSet{}).Spec.Replicas }).Should(BeEquivalentTo(3))
		edit(runtime, func(r *v1alpha1.SeldonRuntime) { r.Spec.Servers[0].ExtraCapabilities = []string{"x"} })
		Eventually(func() []string { return get(namespace, "own", server).Spec.ExtraCapabilities }).Should(Equal([]string{"x"}))
		Expect(*server.Spec.Replicas).To(BeEquivalentTo(3))
		edit(runtime, func(r *v1alpha1.SeldonRuntime) { r.Spec.Servers[0].Replicas = new(int64(2)) })
		Eventually(func() int64 { return *get(namespace, "own", &v1alpha1.Server{}).Spec.Replicas }).Should(BeEquivalentTo(2))
	})

	It("writes nothing while paused", func() {
		server := newServer(namespace, "mlserver", "mlserver", func(s *v1alpha1.Server) {
			s.Annotations = map[string]string{v1alpha1.PausedAnnotation: "true"}
		})
		Eventually(condition(server, v1alpha1.ConditionPaused)).Should(HavePrefix("True"))
		Expect(ready(server)()).To(HavePrefix("False"))
		Consistently(exists(namespace, "mlserver", &appsv1.StatefulSet{})).Should(BeFalse())
		edit(server, func(s *v1alpha1.Server) { s.Annotations = nil })
		Eventually(ready(server)).Should(HavePrefix("True"))
	})

	It("changes between StatefulSet and Deployment with the operator's flag", ownOperator, func() {
		startOperator(controllers.Options{}, namespace)
		server := newServer(namespace, "mlserver", newServerConfig(func(c *v1alpha1.ServerConfig) {
			// A Deployment has a volume instead of the volume claims.
			c.Spec.VolumeClaimTemplates = nil
			c.Spec.PodSpec.Volumes = append(c.Spec.PodSpec.Volumes, corev1.Volume{Name: "mlserver-models", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
		}).Name)
		Eventually(ready(server)).Should(HavePrefix("True"))
		startOperator(controllers.Options{UseDeploymentsForServers: true}, namespace)
		Eventually(exists(namespace, "mlserver", &appsv1.Deployment{})).Should(BeTrue())
		Eventually(exists(namespace, "mlserver", &appsv1.StatefulSet{})).Should(BeFalse())
		Eventually(func() []string { return namesOf(&corev1.ServiceList{}, namespace) }).Should(BeEmpty())
		Eventually(ready(server)).Should(HavePrefix("True"))
	})
})

func replicas(number int64) func(*v1alpha1.Server) {
	return func(server *v1alpha1.Server) { server.Spec.Replicas = &number }
}
