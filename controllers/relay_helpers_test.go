package controllers_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
)

// withServer adds a Server mlserver of one replica to a runtime.
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
