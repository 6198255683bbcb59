package controllers_test

import (
	"fmt"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/controllers"
)

// reportMetric makes `make bench` print a number.
func reportMetric(what string, value int) {
	GinkgoHelper()
	AddReportEntry(what, value, ReportEntryVisibilityAlways)
}

// The requests that the operator sends. Events are not counted.
var _ = Describe("The number of requests", func() {
	var namespace string
	var runtime *v1alpha1.SeldonRuntime

	BeforeEach(func() {
		namespace = newNamespace()
		if slices.Contains(CurrentSpecReport().Labels(), ownOperatorLabel) {
			startOperator(controllers.Options{}, namespace)
		}
		runtime = newRuntime(namespace, func(r *v1alpha1.SeldonRuntime) {
			r.Spec.Servers = []v1alpha1.RuntimeServer{{Name: "mlserver", ServerSpec: v1alpha1.ServerSpec{ServerConfig: "mlserver"}}}
		})
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		waitForQuiescence(namespace)
	})

	It("to create a runtime is one per child object, one for the finalizer, and a status write per change of a condition", func() {
		made := writes(requests.since(0, namespace))
		perObject := map[string]int{}
		statuses := map[string]int{}
		for _, entry := range made {
			if path, isStatus := strings.CutSuffix(entry, "/status"); isStatus {
				statuses[path]++
			} else {
				perObject[entry]++
			}
		}
		Expect(perObject).To(HaveLen(25), "21 of the runtime's, its Server, the Server's two, and the runtime itself: %v", made)
		for entry, count := range perObject {
			Expect(count).To(Equal(1), entry)
		}
		Expect(requests.since(0, namespace)).To(HaveLen(len(made)), "nothing has to be read")
		reportMetric("bring-up: requests besides status", len(perObject))
		// At most one for each of 8 conditions that changes, and the first status.
		for path, count := range statuses {
			Expect(count).To(BeNumerically("<=", 10), path)
			reportMetric("bring-up: writes of the status of "+strings.Join(strings.Split(path, "/")[6:], " "), count)
		}
	})

	It("without changes, and for a changed status of child objects, is 0", func() {
		mark := requests.mark()
		for round := range 100 {
			deployment := get(namespace, "seldon-envoy", &appsv1.Deployment{})
			deployment.Status.Conditions = append(slices.DeleteFunc(deployment.Status.Conditions, func(c appsv1.DeploymentCondition) bool { return c.Type == "Tested" }),
				appsv1.DeploymentCondition{Type: "Tested", Status: corev1.ConditionTrue, Message: fmt.Sprint(round)})
			err := admin.Status().Update(lifetime, deployment)
			Expect(err == nil || apierrors.IsConflict(err)).To(BeTrue())
		}
		waitForQuiescence(namespace)
		sent := requests.since(mark, namespace)
		reportMetric("nothing to do, and 100 status changes of children: requests", len(sent))
		Expect(sent).To(BeEmpty())
	})

	It("for a changed key of a configuration is one patch", func() {
		mark := requests.mark()
		edit(runtime, func(r *v1alpha1.SeldonRuntime) { r.Spec.Config.AgentConfig.Rclone.Config = []string{"{}"} })
		Eventually(func() string { return get(namespace, "seldon-agent", &corev1.ConfigMap{}).Data["agent.yaml"] }).Should(ContainSubstring("config:"))
		waitForQuiescence(namespace)
		sent := slices.DeleteFunc(requests.since(mark, namespace), func(entry string) bool { return strings.HasSuffix(entry, "/status") })
		reportMetric("one changed ConfigMap key: requests", len(sent))
		Expect(sent).To(Equal([]string{"PATCH /api/v1/namespaces/" + namespace + "/configmaps/seldon-agent"}))
	})

	It("of a restart includes no write", ownOperator, func() {
		mark := requests.mark()
		startOperator(controllers.Options{}, namespace)
		Eventually(func() []string { return requests.since(mark, namespace) }).ShouldNot(BeEmpty(), "it looks at every instance")
		waitForQuiescence(namespace)
		made := writes(requests.since(mark, namespace))
		reportMetric("restart of the operator: writes", len(made))
		Expect(made).To(BeEmpty())
	})

	It("for a Service that a preexisting runtime does not have is one read", ownOperator, func() {
		edit(runtime, override("seldon-envoy", func(o *v1alpha1.OverrideSpec) { o.Disable = true }))
		Eventually(exists(namespace, "seldon-mesh", &corev1.Service{})).Should(BeFalse())
		waitForQuiescence(namespace)
		mark := requests.mark()
		startOperator(controllers.Options{}, namespace)
		for round := range 3 {
			edit(runtime, func(r *v1alpha1.SeldonRuntime) { r.Spec.Config.AgentConfig.Rclone.Config = []string{fmt.Sprint(round)} })
			Eventually(func() string { return get(namespace, "seldon-agent", &corev1.ConfigMap{}).Data["agent.yaml"] }).Should(ContainSubstring(fmt.Sprint(round)))
		}
		waitForQuiescence(namespace)
		reads := slices.DeleteFunc(requests.since(mark, namespace), func(entry string) bool {
			return entry != "GET /api/v1/namespaces/"+namespace+"/services/seldon-mesh"
		})
		reportMetric("a Service that is not there, restart and three changes: reads", len(reads))
		Expect(reads).To(HaveLen(1))
	})
})
