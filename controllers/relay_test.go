package controllers_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"google.golang.org/grpc/codes"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/controllers"
	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
)

// one runtime with a Server mlserver of one replica.
func withServer(runtime *v1alpha1.SeldonRuntime) {
	runtime.Spec.Servers = []v1alpha1.RuntimeServer{{Name: "mlserver", ServerSpec: v1alpha1.ServerSpec{ServerConfig: "mlserver"}}}
}

// newPipeline creates a Pipeline `chain`, whose steps are in sequence.
func newPipeline(namespace string, steps ...string) *v1alpha1.Pipeline {
	GinkgoHelper()
	pipeline := &v1alpha1.Pipeline{ObjectMeta: objectMeta(namespace, "chain")}
	for i, step := range steps {
		each := v1alpha1.PipelineStep{Name: step}
		if i > 0 {
			each.Inputs = []string{steps[i-1]}
		}
		pipeline.Spec.Steps = append(pipeline.Spec.Steps, each)
	}
	Expect(admin.Create(lifetime, pipeline)).To(Succeed())
	return pipeline
}

// newExperiment creates an Experiment `ab` with candidates of the same weight.
func newExperiment(namespace string, candidates ...string) *v1alpha1.Experiment {
	GinkgoHelper()
	experiment := &v1alpha1.Experiment{ObjectMeta: objectMeta(namespace, "ab")}
	for _, candidate := range candidates {
		experiment.Spec.Candidates = append(experiment.Spec.Candidates, v1alpha1.ExperimentCandidate{Name: candidate, Weight: 50})
	}
	Expect(admin.Create(lifetime, experiment)).To(Succeed())
	return experiment
}

// isDeleted reports whether an object does not exist.
func isDeleted(object client.Object) func() bool {
	return func() bool { return !exists(object.GetNamespace(), object.GetName(), object)() }
}

// reject makes the API server reject requests for which a CEL expression is false, about a
// resource of the operator in a namespace, until the returned function is called. probe
// sends such a request.
func reject(namespace, resource, expression string, probe func() error) (allow func()) {
	GinkgoHelper()
	name := objectMeta("", "reject-"+namespace)
	policy := &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: name, Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
		MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: admissionregistrationv1.RuleWithOperations{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
			Rule:       admissionregistrationv1.Rule{APIGroups: []string{v1alpha1.GroupVersion.Group}, APIVersions: []string{"*"}, Resources: []string{resource}},
		}}}},
		Validations: []admissionregistrationv1.Validation{{Expression: expression}},
	}}
	binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: name, Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
		PolicyName: policy.Name, ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
		MatchResources: &admissionregistrationv1.MatchResources{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: namespace}}},
	}}
	for _, object := range []client.Object{policy, binding} {
		Expect(admin.Create(lifetime, object)).To(Succeed())
		DeferCleanup(func() { Expect(client.IgnoreNotFound(admin.Delete(lifetime, object))).To(Succeed()) })
	}
	Eventually(probe).Should(HaveOccurred())
	return func() {
		GinkgoHelper()
		Expect(admin.Delete(lifetime, binding)).To(Succeed())
	}
}

// loadedObjects returns the names of the objects that a scheduler has and was not
// requested to unload.
func loadedObjects(sim *fakescheduler.Scheduler) func() []string {
	return func() []string {
		names := []string{}
		for _, each := range sim.Models() {
			if !each.Deleted {
				names = append(names, "Model "+each.Name)
			}
		}
		for _, each := range sim.Pipelines() {
			if !each.Deleted {
				names = append(names, "Pipeline "+each.Name)
			}
		}
		for _, each := range sim.Experiments() {
			if !each.Deleted {
				names = append(names, "Experiment "+each.Name)
			}
		}
		return names
	}
}

// mutations counts the calls to a scheduler that change something.
func mutations(sim *fakescheduler.Scheduler) int {
	total := 0
	for _, method := range []string{"LoadModel", "UnloadModel", "LoadPipeline", "UnloadPipeline", "StartExperiment", "StopExperiment"} {
		total += sim.Calls(method)
	}
	return total
}

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

	It("resets numbers to zero, also those of the upstream operator, and writes that once", func() {
		sim := newScheduler(namespace)
		runtime := newSmallRuntime(namespace, withServer)
		model := newModel(namespace, "iris")
		Eventually(ready(model)).Should(HavePrefix("True"))
		Expect(model.Status.AvailableReplicas).To(BeEquivalentTo(1))
		edited := model.DeepCopy()
		edited.Status.AvailableReplicas, edited.Status.ModelGwStatus = 7, "ModelAvailable"
		Expect(admin.Status().Update(lifetime, edited, client.FieldOwner("manager"))).To(Succeed())

		sim.DisconnectAgent("mlserver", 0)
		stored := func() map[string]any {
			object := &unstructured.Unstructured{}
			object.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Model"))
			return get(namespace, "iris", object).Object["status"].(map[string]any)
		}
		Eventually(stored).Should(HaveKeyWithValue("availableReplicas", BeEquivalentTo(0)))
		Expect(ready(model)()).NotTo(HavePrefix("True"))
		waitForQuiescence(namespace)
		mark := requests.mark()
		edit(model, func(m *v1alpha1.Model) { m.Spec.PreLoaded = true })
		Eventually(func() int64 { return get(namespace, "iris", model).Status.ObservedGeneration }).Should(Equal(model.Generation))
		waitForQuiescence(namespace)
		Expect(aboutModels(requests.since(mark, namespace))).To(HaveLen(1), "the new generation, and no number again")

		By("deleting the runtime")
		sim.ConnectAgent(fakescheduler.Agent{Server: "mlserver"})
		Eventually(ready(model)).Should(HavePrefix("True"))
		Expect(admin.Delete(lifetime, runtime)).To(Succeed())
		Eventually(ready(model)).Should(HavePrefix("False NoRuntime"))
		Expect(stored()).To(And(HaveKeyWithValue("availableReplicas", BeEquivalentTo(0)), HaveKeyWithValue("replicas", BeEquivalentTo(0)), Not(HaveKey("modelgwReady"))))
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

	It("reports that the API server rejects a status", func() {
		model := newModel(namespace, "iris")
		Eventually(ready(model)).Should(HavePrefix("False"))
		allow := reject(namespace, "models/status", "false", func() error {
			return admin.Status().Patch(lifetime, model, client.RawPatch(types.MergePatchType, []byte(`{"status":{"replicas":1}}`)), client.DryRunAll)
		})
		newScheduler(namespace)
		newSmallRuntime(namespace, withServer)
		Eventually(eventReasons(model)).Should(ContainElement("StatusUpdateRejected"))
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

	It("ignores invalid messages", func() {
		sim := newScheduler(namespace)
		newSmallRuntime(namespace, withServer)
		other := newNamespace()
		newScheduler(other)
		newSmallRuntime(other, withServer)
		Eventually(ready(&v1alpha1.SeldonRuntime{ObjectMeta: objectMeta(namespace, "seldon")})).Should(HavePrefix("True"))
		Eventually(ready(&v1alpha1.Server{ObjectMeta: objectMeta(namespace, "mlserver")})).Should(HavePrefix("True"))
		model, theirs := newModel(namespace, "iris"), newModel(other, "iris")
		Eventually(ready(model)).Should(HavePrefix("True"))
		Eventually(ready(theirs)).Should(HavePrefix("True"))
		waitForQuiescence(namespace)
		mark := requests.mark()
		failed := func(namespace string, generation int64) *pb.ModelStatusResponse {
			return &pb.ModelStatusResponse{ModelName: "iris", Versions: []*pb.ModelVersionStatus{{
				KubernetesMeta: &pb.KubernetesMeta{Namespace: namespace, Generation: generation},
				State:          &pb.ModelStatus{State: pb.ModelStatus_ModelFailed, Reason: "100%s"},
			}}}
		}
		for _, message := range []*pb.ModelStatusResponse{
			{}, {ModelName: "iris"}, {ModelName: "iris", Versions: []*pb.ModelVersionStatus{{}}},
			failed(other, model.Generation), failed("", model.Generation), failed(namespace, model.Generation-1), failed(namespace, model.Generation+7),
		} {
			Expect(sim.InjectModelStatus(message)).To(Succeed())
		}
		Expect(sim.InjectPipelineStatus(&pb.PipelineStatusResponse{PipelineName: "x", Versions: []*pb.PipelineWithState{{}}})).To(Succeed())
		Expect(sim.InjectExperimentStatus(&pb.ExperimentStatusResponse{ExperimentName: "x"})).To(Succeed())
		Expect(sim.InjectServerStatus(&pb.ServerStatusResponse{ServerName: "mlserver", Type: 77})).To(Succeed())
		Consistently(ready(model)).Should(HavePrefix("True"))
		Expect(ready(theirs)()).To(HavePrefix("True"))
		Expect(writes(requests.since(mark, namespace))).To(BeEmpty())

		// A valid one is used, with its per cent sign.
		Expect(sim.InjectModelStatus(failed(namespace, model.Generation))).To(Succeed())
		Eventually(ready(model)).Should(Equal("False ModelFailed 100%s"))
	})

	It("writes any numbers and texts that a scheduler reports", func() {
		sim := newScheduler(namespace)
		newSmallRuntime(namespace, withServer)
		model, server := newModel(namespace, "iris"), &v1alpha1.Server{ObjectMeta: objectMeta(namespace, "mlserver")}
		Eventually(ready(model)).Should(HavePrefix("True"))
		Eventually(ready(server)).Should(HavePrefix("True"))
		waitForQuiescence(namespace)
		long := strings.Repeat("x\x00ä", 64<<10)
		for i, test := range []struct{ available, unavailable, wantReplicas, wantAvailable uint32 }{
			{2, math.MaxUint32, 1, 2}, {math.MaxUint32, 2, 1, 0}, {math.MaxInt32, 0, math.MaxInt32, math.MaxInt32}, {1 << 31, 1 << 31, 0, 0},
		} {
			Expect(sim.InjectModelStatus(&pb.ModelStatusResponse{ModelName: "iris", Versions: []*pb.ModelVersionStatus{{
				Version: math.MaxUint32, ServerName: long, KubernetesMeta: &pb.KubernetesMeta{Namespace: namespace, Generation: model.Generation},
				State: &pb.ModelStatus{
					State: 1000 + pb.ModelStatus_ModelState(i), Reason: long, ModelGwState: math.MinInt32, ModelGwReason: long,
					AvailableReplicas: test.available, UnavailableReplicas: test.unavailable,
				},
			}}})).To(Succeed())
			Eventually(ready(model)).Should(HavePrefix(fmt.Sprintf("False State%d x ä", 1000+i)))
			Expect(model.Status.Replicas).To(BeEquivalentTo(test.wantReplicas))
			Expect(model.Status.AvailableReplicas).To(BeEquivalentTo(test.wantAvailable))
			Expect(model.Status.Selector).To(Equal("server="))
		}
		report := func(kind pb.ServerStatusResponse_Type, expected, loaded int32, generation int64) {
			Expect(sim.InjectServerStatus(&pb.ServerStatusResponse{
				ServerName: "mlserver", Type: kind, ExpectedReplicas: expected, NumLoadedModelReplicas: loaded,
				KubernetesMeta: &pb.KubernetesMeta{Namespace: namespace, Generation: generation},
			})).To(Succeed())
		}
		loaded := func() int64 { return get(namespace, "mlserver", server).Status.LoadedModelReplicas }
		for _, extreme := range []int32{math.MaxInt32, math.MinInt32} {
			report(pb.ServerStatusResponse_StatusUpdate, math.MaxInt32, extreme, server.Generation)
			Eventually(loaded).Should(BeEquivalentTo(max(0, extreme)))
		}
		report(pb.ServerStatusResponse_ScalingRequest, math.MaxInt32, 0, math.MaxInt64)
		Eventually(eventReasons(server)).Should(ContainElement("ScalingRejected"))
		report(pb.ServerStatusResponse_ScalingRequest, math.MinInt32, 0, math.MinInt64)
		Consistently(func() *int64 { return get(namespace, "mlserver", server).Spec.Replicas }).Should(BeNil())
		for _, object := range []client.Object{model, server} {
			Expect(eventReasons(object)()).NotTo(ContainElement("StatusUpdateRejected"))
		}
	})

	It("reports a Model of 0 replicas as scaled down, once", func() {
		sim := newScheduler(namespace)
		newSmallRuntime(namespace, withServer)
		model := newModel(namespace, "iris", func(m *v1alpha1.Model) { m.Spec.Replicas = new(int64(0)) })
		Eventually(ready(model)).Should(HavePrefix("False ModelScaledDown"))
		Expect(condition(model, "Reconciling")()).To(Equal("none"))
		Expect(model.Status.ObservedGeneration).To(Equal(model.Generation))
		waitForQuiescence(namespace)
		mark, polls := requests.mark(), sim.Calls("ModelStatus")
		for _, state := range []pb.ModelStatus_ModelState{pb.ModelStatus_ModelStateUnknown, pb.ModelStatus_ModelCreate, pb.ModelStatus_ModelScaledDown} {
			Expect(sim.InjectModelStatus(&pb.ModelStatusResponse{ModelName: "iris", Versions: []*pb.ModelVersionStatus{{
				Version: 1, KubernetesMeta: &pb.KubernetesMeta{Namespace: namespace, Generation: model.Generation},
				State:     &pb.ModelStatus{State: state, ModelGwState: pb.ModelStatus_ModelCreate},
				ModelDefn: &pb.Model{Meta: &pb.MetaData{Name: "iris"}, DeploymentSpec: &pb.DeploymentSpec{MaxReplicas: math.MaxUint32}},
			}}})).To(Succeed())
		}
		waitForQuiescence(namespace)
		Expect(len(aboutModels(requests.since(mark, namespace)))).To(BeNumerically("<=", 1), "the state in the gateway")
		Expect(sim.Calls("ModelStatus")).To(Equal(polls), "the status is not polled again")
		Expect(ready(model)()).To(HavePrefix("False ModelScaledDown"))
		edit(model, func(m *v1alpha1.Model) { m.Spec.Replicas = new(int64(1)) })
		Eventually(ready(model)).Should(HavePrefix("True"))
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

	It("sends few writes", ownOperator, func() {
		startOperator(controllers.Options{}, namespace)
		sim := newScheduler(namespace)
		newSmallRuntime(namespace, withServer)
		Eventually(func() int { return sim.Calls("ServerNotify") }).Should(BeNumerically(">", 0))
		waitForQuiescence(namespace)
		mark := requests.mark()
		var models []*v1alpha1.Model
		for i := range 20 {
			models = append(models, newModel(namespace, fmt.Sprintf("model-%d", i)))
		}
		for _, model := range models {
			Eventually(ready(model)).Should(HavePrefix("True"))
		}
		waitForQuiescence(namespace)
		up := aboutModels(requests.since(mark, namespace))
		Expect(len(up)).To(BeNumerically("<=", 2*len(models)), strings.Join(up, "\n"))
		Expect(sim.Calls("LoadModel")).To(Equal(len(models)))

		By("restarting the operator")
		mark = requests.mark()
		calls := mutations(sim)
		subscriptions := sim.Calls("SubscribeControlPlane")
		startOperator(controllers.Options{}, namespace)
		Eventually(func() int { return sim.Calls("SubscribeControlPlane") }).Should(BeNumerically(">", subscriptions))
		waitForQuiescence(namespace)
		Expect(writes(requests.since(mark, namespace))).To(BeEmpty())
		Expect(mutations(sim)).To(Equal(calls), "the scheduler has it all")
		Expect(sim.Calls("ModelStatus")).To(Equal(2), "a listing for each connection, and no question")

		By("deleting them")
		mark = requests.mark()
		for _, model := range models {
			Expect(admin.Delete(lifetime, model)).To(Succeed())
		}
		for _, model := range models {
			Eventually(isDeleted(model)).Should(BeTrue())
		}
		down := aboutModels(requests.since(mark, namespace))
		Expect(down).To(HaveLen(len(models)), "the finalizers, and no status: %s", strings.Join(down, "\n"))
		for _, model := range models {
			Expect(eventReasons(model)()).To(Equal([]string{"ModelReady"}))
		}
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

// aboutModels returns the writes to Models among requests.
func aboutModels(entries []string) []string {
	return slices.DeleteFunc(writes(entries), func(entry string) bool { return !strings.Contains(entry, "/models/") })
}

// unconfirmedReleases returns how many objects of a kind this process released for a
// reason.
func unconfirmedReleases(kind, reason string) float64 {
	GinkgoHelper()
	return metricValue("seldon_operator_scheduler_unconfirmed_releases_total", map[string]string{"kind": kind, "reason": reason})()
}
