package controllers_test

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"google.golang.org/grpc/codes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
)

var _ = Describe("The relay", func() {
	var namespace string

	BeforeEach(func() { namespace = newNamespace() })

	It("loads objects, reports their state, and unloads them", func() {
		sim := newScheduler(namespace)
		runtime := newSmallRuntime(namespace, withServer)
		Eventually(condition(runtime, v1alpha1.ConditionSchedulerReachable)).Should(HavePrefix("True Connected"))

		model := newModel(namespace, "iris")
		Eventually(ready(model)).Should(HavePrefix("True Ready"))
		Expect(condition(model, v1alpha1.ConditionModelReady)()).To(HavePrefix("True ModelAvailable"))
		Expect(model.Status.Replicas).To(BeEquivalentTo(1))
		Expect(model.Status.AvailableReplicas).To(BeEquivalentTo(1))
		Expect(model.Status.Selector).To(Equal("server=mlserver"))
		Expect(model.Status.ModelGwStatus).To(HavePrefix("ModelAvailable"))
		Expect(model.Status.ObservedGeneration).To(Equal(model.Generation))
		Eventually(eventReasons(model)).Should(ContainElement("ModelReady"))

		pipeline := newPipeline(namespace, "iris")
		Eventually(ready(pipeline)).Should(HavePrefix("True Ready"))
		experiment := newExperiment(namespace, "iris")
		Eventually(ready(experiment)).Should(HavePrefix("True Ready"))
		server := get(namespace, "mlserver", &v1alpha1.Server{})
		Eventually(func() int64 { return get(namespace, "mlserver", server).Status.LoadedModelReplicas }).Should(BeEquivalentTo(1))

		edit(model, func(m *v1alpha1.Model) { m.Spec.StorageURI = "gs://models/two" })
		Eventually(ready(model)).Should(HavePrefix("True Ready"))
		Expect(sim.Models()[0].Definition.GetModelSpec().GetUri()).To(Equal("gs://models/two"))

		for _, object := range []client.Object{experiment, pipeline, model} {
			Expect(admin.Delete(lifetime, object)).To(Succeed())
			Eventually(isDeleted(object)).Should(BeTrue())
		}
		Expect(loadedObjects(sim)()).To(BeEmpty())
	})

	It("reports a change about which the scheduler reports nothing", func() {
		newScheduler(namespace)
		newSmallRuntime(namespace, withServer)
		model := newModel(namespace, "iris")
		Eventually(ready(model)).Should(HavePrefix("True"))
		edit(model, func(m *v1alpha1.Model) { m.Spec.PreLoaded = true })
		Eventually(func() int64 {
			return get(namespace, "iris", model).Status.ObservedGeneration
		}).Should(BeNumerically("==", model.Generation))
		Expect(ready(model)()).To(HavePrefix("True"))
	})

	It("reports what the scheduler rejects, and retries when the object changes", func() {
		newScheduler(namespace)
		newSmallRuntime(namespace, withServer)
		newModel(namespace, "iris")
		pipeline := &v1alpha1.Pipeline{ObjectMeta: objectMeta(namespace, "chain"), Spec: v1alpha1.PipelineSpec{
			Steps: []v1alpha1.PipelineStep{{Name: "iris", Inputs: []string{"nowhere.outputs"}}}}}
		Expect(admin.Create(lifetime, pipeline)).To(Succeed())
		Eventually(ready(pipeline)).Should(And(HavePrefix("False Rejected"), ContainSubstring("nowhere")))
		Expect(condition(pipeline, v1alpha1.ConditionPipelineReady)()).To(HavePrefix("False Rejected"))
		Eventually(eventReasons(pipeline)).Should(ContainElement("PipelineNotReady"))
		edit(pipeline, func(p *v1alpha1.Pipeline) { p.Spec.Steps[0].Inputs = nil })
		Eventually(ready(pipeline)).Should(HavePrefix("True"))
	})

	It("reports that a namespace has no runtime, and loads its objects when one is created", func() {
		sim := newScheduler(namespace)
		model := newModel(namespace, "iris")
		Eventually(ready(model)).Should(HavePrefix("False NoRuntime"))
		other := newModel(namespace, "other")
		Eventually(ready(other)).Should(HavePrefix("False NoRuntime"))
		Expect(admin.Delete(lifetime, other)).To(Succeed())
		Eventually(isDeleted(other)).Should(BeTrue(), "nothing holds it")

		runtime := newSmallRuntime(namespace, withServer)
		Eventually(ready(model)).Should(HavePrefix("True"))
		Expect(admin.Delete(lifetime, runtime)).To(Succeed())
		Eventually(isDeleted(runtime)).Should(BeTrue())
		Eventually(ready(model)).Should(HavePrefix("False NoRuntime"))
		sim.DisconnectAgent("mlserver", 0) // with its pod

		newSmallRuntime(namespace, withServer)
		Eventually(ready(model)).Should(HavePrefix("True"))
		Expect(sim.Models()).To(HaveLen(1))
		Expect(sim.Models()[0].Version).To(BeEquivalentTo(1), "the scheduler still has it")
	})

	It("reports an unreachable scheduler at once, and sets its objects to Unknown after the timeout", func() {
		sim := newScheduler(namespace)
		runtime := newSmallRuntime(namespace, withServer)
		model := newModel(namespace, "iris")
		Eventually(ready(model)).Should(HavePrefix("True"))
		Eventually(condition(runtime, v1alpha1.ConditionSchedulerReachable)).Should(HavePrefix("True"))
		Eventually(ready(runtime)).Should(HavePrefix("True"))

		Eventually(condition(runtime, v1alpha1.ConditionSchedulerSynced)).Should(HavePrefix("True Synced"))
		waitForQuiescence(namespace)

		runtimeMark := requests.mark()
		sim.Kill()
		Eventually(condition(runtime, v1alpha1.ConditionSchedulerReachable)).WithTimeout(2 * time.Second).Should(HavePrefix("False ConnectionLost"))
		Expect(condition(runtime, v1alpha1.ConditionSchedulerSynced)()).To(HavePrefix("Unknown NotConnected"))
		Expect(writes(requests.since(runtimeMark, namespace))).To(HaveLen(1), "both conditions at once")
		Expect(ready(runtime)()).To(HavePrefix("True"), "it has no say in Ready")
		Expect(ready(model)()).To(HavePrefix("True"))
		mark := requests.mark()
		Eventually(ready(model)).Should(HavePrefix("Unknown SchedulerUnreachable"))
		Consistently(func() []string { return aboutModels(requests.since(mark, namespace)) }).WithTimeout(2*silence).
			Should(HaveLen(1), "the status, once")

		Expect(sim.Restart(fakescheduler.RestartOptions{})).To(Succeed())
		Eventually(ready(model)).Should(HavePrefix("True"))
		Eventually(condition(runtime, v1alpha1.ConditionSchedulerReachable)).Should(HavePrefix("True"))
		Eventually(condition(runtime, v1alpha1.ConditionSchedulerSynced)).Should(HavePrefix("True Synced"))
		Expect(aboutModels(requests.since(mark, namespace))).To(HaveLen(2), "the outage, and the recovery")
	})

	It("reports a kind that cannot be listed, and loads the others", func() {
		sim := newScheduler(namespace)
		sim.FailCalls("PipelineStatus", -1, codes.Internal)
		runtime := newSmallRuntime(namespace, withServer)
		model := newModel(namespace, "iris")
		Eventually(ready(model)).Should(HavePrefix("True"))
		Eventually(condition(runtime, v1alpha1.ConditionSchedulerSynced)).Should(HavePrefix("False ListFailed Pipeline: "))
		Eventually(ready(runtime)).Should(HavePrefix("True"), "it does not count towards Ready")
		sim.FailCalls("PipelineStatus", 0, codes.Internal)
		Eventually(condition(runtime, v1alpha1.ConditionSchedulerSynced)).Should(HavePrefix("True Synced"))
	})

	It("reloads a pipeline that was changed in the scheduler at the same generation", func() {
		sim := newScheduler(namespace)
		newSmallRuntime(namespace, withServer)
		newModel(namespace, "one")
		newModel(namespace, "two")
		pipeline := newPipeline(namespace, "one")
		Eventually(ready(pipeline)).Should(HavePrefix("True"))
		sim.Kill()
		edit(pipeline, func(p *v1alpha1.Pipeline) { p.Finalizers = nil })
		Expect(admin.Delete(lifetime, pipeline)).To(Succeed())
		pipeline = newPipeline(namespace, "two")
		Expect(pipeline.Generation).To(BeEquivalentTo(1))
		// Its status by then is set by the operator, not reported by the scheduler.
		Eventually(ready(pipeline)).Should(HavePrefix("Unknown WaitingForScheduler"))
		Expect(sim.Restart(fakescheduler.RestartOptions{})).To(Succeed())
		Eventually(func() string {
			for _, each := range sim.Pipelines() {
				if each.Name == "chain" && !each.Deleted {
					return each.Definition.GetSteps()[0].GetName()
				}
			}
			return ""
		}).Should(Equal("two"))
		Eventually(ready(pipeline)).Should(HavePrefix("True"))
	})

	It("retries calls that fail", func() {
		sim := newScheduler(namespace)
		sim.FailCalls("LoadModel", 3, codes.Unavailable)
		sim.LoseReplies("LoadPipeline", 1, codes.Unavailable)
		newSmallRuntime(namespace, withServer)
		model, pipeline := newModel(namespace, "iris"), newPipeline(namespace, "iris")
		Eventually(ready(model)).Should(HavePrefix("True"))
		Eventually(ready(pipeline)).Should(HavePrefix("True"))
		sim.LoseReplies("UnloadPipeline", 1, codes.Unavailable)
		sim.FailCalls("UnloadModel", 1, codes.Internal)
		for _, object := range []client.Object{pipeline, model} {
			Expect(admin.Delete(lifetime, object)).To(Succeed())
			Eventually(isDeleted(object)).Should(BeTrue())
		}
	})
})
