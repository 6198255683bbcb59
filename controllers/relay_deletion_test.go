package controllers_test

import (
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"google.golang.org/grpc/codes"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
)

var _ = Describe("The relay, at a deletion,", func() {
	var namespace string

	BeforeEach(func() { namespace = newNamespace() })

	It("releases objects that are deleted while the scheduler is unreachable, and unloads them later", func() {
		sim := newScheduler(namespace)
		newSmallRuntime(namespace, withServer)
		pipeline := newPipeline(namespace, "iris")
		experiment := newExperiment(namespace, "iris")
		Eventually(loadedObjects(sim)).Should(HaveLen(2))
		sim.Kill()
		mark, deleted := requests.mark(), time.Now()
		for _, object := range []client.Object{experiment, pipeline} {
			Expect(admin.Delete(lifetime, object)).To(Succeed())
		}
		Eventually(ready(pipeline)).Should(Equal("False Terminating waiting for the scheduler to unload it: " +
			"there is no connection to the scheduler; see the condition SchedulerReachable of the SeldonRuntime"))
		for _, object := range []client.Object{experiment, pipeline} {
			Eventually(isDeleted(object)).Should(BeTrue())
			Expect(time.Since(deleted)).To(BeNumerically(">", deletionDeadline-2*time.Second))
			Eventually(eventReasons(object)).Should(ContainElement("UnloadTimedOut"))
		}
		Expect(slices.DeleteFunc(writes(requests.since(mark, namespace)), func(entry string) bool { return !strings.Contains(entry, "/pipelines/") })).
			To(HaveLen(2), "the status, and the finalizer")
		Expect(sim.Restart(fakescheduler.RestartOptions{})).To(Succeed())
		Eventually(loadedObjects(sim)).Should(BeEmpty(), "what has no custom resource")
	})

	It("reports once why a deletion waits for a scheduler that rejects the unload", func() {
		sim := newScheduler(namespace)
		newSmallRuntime(namespace, withServer)
		model := newModel(namespace, "iris")
		Eventually(ready(model)).Should(HavePrefix("True"))
		sim.FailCalls("UnloadModel", -1, codes.Internal)
		mark := requests.mark()
		Expect(admin.Delete(lifetime, model)).To(Succeed())
		Eventually(ready(model)).Should(HavePrefix("False Terminating waiting for the scheduler to unload it: the call failed and is retried: "))
		Eventually(eventReasons(model)).Should(ContainElement("ModelNotReady"))
		sim.FailCalls("UnloadModel", 0, codes.Internal)
		Eventually(isDeleted(model)).Should(BeTrue())
		Expect(aboutModels(requests.since(mark, namespace))).To(HaveLen(2), "the status, and the finalizer")
	})

	It("releases deleted objects after the timeout, also if no session was ever started", func() {
		reject(namespace, "seldonruntimes", "!has(object.metadata.finalizers)", func() error {
			probe := &v1alpha1.SeldonRuntime{ObjectMeta: objectMeta(namespace, "probe"), Spec: v1alpha1.SeldonRuntimeSpec{SeldonConfig: "default"}}
			probe.Finalizers = []string{"example.com/kept"}
			return admin.Create(lifetime, probe, client.DryRunAll)
		})
		runtime := newSmallRuntime(namespace)
		Eventually(ready(runtime)).Should(HavePrefix("False Invalid"))
		model := newModel(namespace, "iris")
		Eventually(func() []string { return get(namespace, "iris", model).Finalizers }).ShouldNot(BeEmpty())
		Expect(admin.Delete(lifetime, model)).To(Succeed())
		Consistently(isDeleted(model)).WithTimeout(deletionDeadline - 3*time.Second).Should(BeFalse())
		Eventually(isDeleted(model)).WithTimeout(6 * time.Second).Should(BeTrue())
		Eventually(eventReasons(model)).Should(ContainElement("UnloadTimedOut"))
	})

	It("does not load an object that could be deleted without being unloaded", func() {
		sim := newScheduler(namespace)
		allow := reject(namespace, "models", "!has(object.metadata.finalizers)", func() error {
			probe := &v1alpha1.Model{ObjectMeta: objectMeta(namespace, "probe")}
			probe.Spec.StorageURI, probe.Finalizers = "gs://models/one", []string{"example.com/held"}
			return admin.Create(lifetime, probe, client.DryRunAll)
		})
		model := newModel(namespace, "iris")
		// The relay lists the scheduler's objects when it is connected.
		runtime := newSmallRuntime(namespace, withServer)
		Eventually(condition(runtime, v1alpha1.ConditionSchedulerReachable)).Should(HavePrefix("True"))
		Consistently(loadedObjects(sim)).Should(BeEmpty())
		allow()
		Eventually(ready(model)).Should(HavePrefix("True"))
	})

	It("releases all objects of a terminating namespace", func() {
		sim := newScheduler(namespace)
		newSmallRuntime(namespace, withServer, func(r *v1alpha1.SeldonRuntime) { r.Spec.DeletionPolicy = v1alpha1.DeletionPolicyBlock })
		model := newModel(namespace, "iris")
		// The runtime remains, so that its absence is not the reason for the release.
		held := newExperiment(namespace, "iris")
		edit(held, func(e *v1alpha1.Experiment) { e.Finalizers = append(e.Finalizers, "example.com/held") })
		Eventually(ready(model)).Should(HavePrefix("True"))
		sim.Kill()
		before := unconfirmedReleases("Model", "NamespaceTerminating")
		Expect(admin.Delete(lifetime, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})).To(Succeed())
		// The namespace controller takes some seconds.
		Eventually(isDeleted(model)).WithTimeout(time.Minute).Should(BeTrue())
		Expect(unconfirmedReleases("Model", "NamespaceTerminating")).To(Equal(before+1), "released at once, and not at the deadline")
		edit(held, func(e *v1alpha1.Experiment) { e.Finalizers = nil })
		Eventually(isDeleted(&v1alpha1.SeldonRuntime{ObjectMeta: objectMeta(namespace, "seldon")})).Should(BeTrue())
	})

	It("releases objects of users when the garbage collector deletes the runtime", func() {
		sim := newScheduler(namespace)
		runtime := newSmallRuntime(namespace, withServer)
		model := newModel(namespace, "iris")
		Eventually(ready(model)).Should(HavePrefix("True"))
		// The scheduler would not respond any more.
		release := sim.HangCalls("UnloadModel")
		DeferCleanup(release)
		Expect(admin.Delete(lifetime, runtime, client.PropagationPolicy(metav1.DeletePropagationForeground))).To(Succeed())
		Eventually(isDeleted(runtime)).Should(BeTrue())
		Eventually(ready(model)).Should(HavePrefix("False NoRuntime"))
		Expect(admin.Delete(lifetime, model)).To(Succeed())
		Eventually(isDeleted(model)).WithTimeout(deletionDeadline / 2).Should(BeTrue())
	})

	It("loads an object whose predecessor of the same name was just deleted", func() {
		sim := newScheduler(namespace, func(o *fakescheduler.Options) { o.Delays.AgentUnload = time.Second })
		newSmallRuntime(namespace, withServer)
		model := newModel(namespace, "iris")
		Eventually(ready(model)).Should(HavePrefix("True"))
		Expect(admin.Delete(lifetime, model)).To(Succeed())
		Consistently(isDeleted(model)).WithTimeout(700*time.Millisecond).Should(BeFalse(), "the scheduler still has it")
		Eventually(isDeleted(model)).Should(BeTrue())
		model = newModel(namespace, "iris")
		Eventually(ready(model)).Should(HavePrefix("True"))
		Expect(sim.Calls("LoadModel")).To(Equal(2))
	})

	It("waits for a predecessor of the same name that is still being unloaded", func() {
		sim := newScheduler(namespace, func(o *fakescheduler.Options) { o.Delays.AgentUnload = 3 * time.Second })
		newSmallRuntime(namespace, withServer)
		model := newModel(namespace, "iris")
		Eventually(ready(model)).Should(HavePrefix("True"))
		Expect(admin.Delete(lifetime, model)).To(Succeed())
		Eventually(func() int { return sim.Calls("UnloadModel") }).Should(BeNumerically(">", 0))
		// Another client removes the finalizer.
		edit(model, func(m *v1alpha1.Model) { m.Finalizers = nil })
		model = newModel(namespace, "iris")
		Eventually(ready(model)).Should(HavePrefix("Unknown WaitingForPreviousDeletion"))
		Eventually(ready(model)).Should(HavePrefix("True"))
	})

	It("writes no status for a deletion that takes a few seconds", func() {
		sim := newScheduler(namespace, func(o *fakescheduler.Options) { o.Delays.AgentUnload = deletionDeadline/2 - time.Second })
		newSmallRuntime(namespace, withServer)
		model := newModel(namespace, "iris")
		Eventually(ready(model)).Should(HavePrefix("True"))
		Eventually(eventReasons(model)).Should(ContainElement("ModelReady"))
		mark, events := requests.mark(), eventReasons(model)()
		Expect(admin.Delete(lifetime, model)).To(Succeed())
		Eventually(isDeleted(model)).Should(BeTrue())
		Expect(sim.Calls("UnloadModel")).To(Equal(1))
		Expect(aboutModels(requests.since(mark, namespace))).To(HaveLen(1), "the finalizer")
		Expect(eventReasons(model)()).To(Equal(events))
	})
})

// unconfirmedReleases returns how many objects of a kind this process released for a
// reason.
func unconfirmedReleases(kind, reason string) float64 {
	GinkgoHelper()
	return metricValue("seldon_operator_scheduler_unconfirmed_releases_total", map[string]string{"kind": kind, "reason": reason})()
}
