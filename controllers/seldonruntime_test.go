package controllers_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

var _ = Describe("A SeldonRuntime", func() {
	It("expands into all that it takes, and becomes ready with its pods", func() {
		namespace := newNamespace()
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
		pods := &corev1.PodList{}
		Expect(admin.List(lifetime, pods, client.InNamespace(namespace))).To(Succeed())
		Expect(pods.Items).To(HaveLen(8))
		mark := requests.mark()
		quiet(namespace)
		Expect(writes(requests.since(mark, namespace))).To(BeEmpty())
	})
})

func namesOf(list client.ObjectList, namespace string) []string {
	GinkgoHelper()
	Expect(admin.List(lifetime, list, client.InNamespace(namespace))).To(Succeed())
	return names(list)
}
