package controllers_test

import (
	"fmt"
	"math"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/controllers"
	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
)

var _ = Describe("The status that the relay reports", func() {
	var namespace string

	BeforeEach(func() { namespace = newNamespace() })

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
})

// aboutModels returns the writes to Models among requests.
func aboutModels(entries []string) []string {
	return slices.DeleteFunc(writes(entries), func(entry string) bool { return !strings.Contains(entry, "/models/") })
}
