package controllers_test

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/controllers"
	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
)

var _ = Describe("The relay of Servers", func() {
	var namespace string
	BeforeEach(func() { namespace = newNamespace() })

	expected := func(scheduler *fakescheduler.Scheduler) func() int {
		return func() int {
			for _, each := range scheduler.Servers() {
				if each.Name == "own" {
					return each.Expected
				}
			}
			return -1
		}
	}

	// The agents of the test stay connected while the Server is recreated, as those of an
	// orphaned StatefulSet do.
	DescribeTable("keeps Models available on a Server that is recreated", func(recreatedLate bool) {
		scheduler := newScheduler(namespace, func(o *fakescheduler.Options) { o.Agents = fakescheduler.AgentsManual })
		newSmallRuntime(namespace)
		server := newServer(namespace, "own", "mlserver")
		Eventually(ready(server)).Should(HavePrefix("True"))
		scheduler.ConnectAgent(fakescheduler.Agent{Server: "own"})
		model := newModel(namespace, "iris")
		Eventually(ready(model)).Should(HavePrefix("True"))

		Expect(admin.Delete(lifetime, server, client.PropagationPolicy(metav1.DeletePropagationOrphan))).To(Succeed())
		Eventually(exists(namespace, "own", &v1alpha1.Server{})).Should(BeFalse())
		if recreatedLate {
			Eventually(ready(model)).Should(HavePrefix("False ScheduleFailed"))
			Expect(expected(scheduler)()).To(BeZero())
		}
		again := newServer(namespace, "own", "mlserver")
		Eventually(ready(again)).Should(HavePrefix("True"))
		Eventually(expected(scheduler)).Should(Equal(1))
		Eventually(ready(model)).Should(HavePrefix("True"))
		if !recreatedLate {
			Consistently(expected(scheduler), 11*time.Second).Should(Equal(1))
			Expect(eventReasons(model)()).NotTo(ContainElement("ModelNotReady"))
		}
		Eventually(func() int64 { return get(namespace, "own", again).Status.LoadedModelReplicas }).Should(BeEquivalentTo(1))
	},
		Entry("within seconds", false),
		Entry("after the scheduler was notified of 0 replicas", true),
	)

	It("scales Servers that run as Deployments", ownOperator, func() {
		startOperator(controllers.Options{UseDeploymentsForServers: true}, namespace)
		scheduler := newScheduler(namespace)
		newSmallRuntime(namespace)
		server := newServer(namespace, "own", newServerConfig(func(c *v1alpha1.ServerConfig) {
			c.Spec.VolumeClaimTemplates = nil
			c.Spec.PodSpec.Volumes = append(c.Spec.PodSpec.Volumes, corev1.Volume{Name: "mlserver-models", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
		}).Name, func(s *v1alpha1.Server) { s.Spec.MaxReplicas = new(int64(3)) })
		Eventually(expected(scheduler)).Should(Equal(1))
		Expect(scheduler.RequestScaling("own", 3)).To(Succeed())
		Eventually(func() int32 { return *get(namespace, "own", &appsv1.Deployment{}).Spec.Replicas }).Should(BeEquivalentTo(3))
		Eventually(expected(scheduler)).Should(Equal(3))
		Eventually(eventReasons(server)).Should(ContainElement("Scaled"))
	})

	It("scales Servers as the scheduler requests, within their limits", func() {
		sim := newScheduler(namespace)
		newSmallRuntime(namespace, withServer, func(r *v1alpha1.SeldonRuntime) {
			r.Spec.Servers[0].MinReplicas, r.Spec.Servers[0].MaxReplicas = new(int64(1)), new(int64(3))
		})
		server := &v1alpha1.Server{ObjectMeta: objectMeta(namespace, "mlserver")}
		Eventually(ready(server)).Should(HavePrefix("True"))
		replicas := func() int32 { return *get(namespace, "mlserver", &appsv1.StatefulSet{}).Spec.Replicas }
		expected := func() int {
			for _, each := range sim.Servers() {
				return each.Expected
			}
			return -1
		}
		Eventually(expected).Should(Equal(1))

		Expect(sim.RequestScaling("mlserver", 3)).To(Succeed())
		Eventually(replicas).Should(BeEquivalentTo(3))
		Eventually(expected).Should(Equal(3), "the scheduler is notified of what was deployed")
		Eventually(eventReasons(server)).Should(ContainElement("Scaled"))
		Consistently(replicas).Should(BeEquivalentTo(3), "the runtime does not put it back")

		Expect(sim.RequestScaling("mlserver", 4)).To(Succeed())
		Eventually(eventReasons(server)).Should(ContainElement("ScalingRejected"))
		Expect(sim.RequestScaling("mlserver", -1)).To(Succeed())
		Expect(sim.RequestScalingAt("mlserver", 1, 1)).To(Succeed())
		Consistently(replicas).Should(BeEquivalentTo(3), "out of limits, or requested before the Server changed")

		scale := &autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: 2}}
		Expect(admin.SubResource("scale").Update(lifetime, get(namespace, "mlserver", server), client.WithSubResourceBody(scale))).To(Succeed())
		Eventually(replicas).Should(BeEquivalentTo(2))
		Eventually(expected).Should(Equal(2))
		Expect(sim.RequestScaling("mlserver", 3)).To(Succeed())
		Eventually(eventReasons(server)).Should(ContainElement("ScalingIgnored"))
		Consistently(replicas).Should(BeEquivalentTo(2))
	})

	It("notifies the scheduler of a deleted Server", func() {
		sim := newScheduler(namespace, func(o *fakescheduler.Options) { o.Agents = fakescheduler.AgentsManual })
		newSmallRuntime(namespace)
		server := newServer(namespace, "own", "mlserver")
		expected := func() []int {
			var all []int
			for _, each := range sim.Servers() {
				all = append(all, each.Expected)
			}
			return all
		}
		Eventually(expected).Should(Equal([]int{1}))
		Expect(admin.Delete(lifetime, server)).To(Succeed())
		Eventually(expected).Should(Equal([]int{0}))
	})

	It("opens the readiness gate of a scheduler in a namespace without Servers", func() {
		sim := newScheduler(namespace)
		newSmallRuntime(namespace)
		Eventually(sim.GateOpen).Should(BeTrue())
		model := newModel(namespace, "iris")
		Eventually(ready(model)).Should(HavePrefix("False ScheduleFailed"))
	})
})
