package install_test

import (
	"fmt"
	"os/exec"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/test/framework/helm"
)

// With a listed namespace goes the operator's Role in it. At every moment of its life
// that costs the operator the namespace, and the others nothing.
var _ = Describe("An operator with a list of which a part is gone", Ordered, func() {
	const stays, goes, never = "list-stays", "list-goes", "list-never"
	i := &install{namespace: "list-ops", home: stays, listed: []string{stays, goes},
		values: []string{"controller.clusterwide=true", "controller.watchNamespaces={" + stays + "," + goes + "}"}}
	var runtime *v1alpha1.SeldonRuntime // in the namespace that stays

	goesAway := func() {
		GinkgoHelper()
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: goes}}
		remove(namespace)
		untilGone(namespace)
	}
	comesBack := func() {
		GinkgoHelper()
		Expect(user.Create(lifetime, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: goes}})).To(Succeed())
		run(i.helm("template", helm.Chart(setup), "--show-only", "templates/controller/rbac.yaml"), "apply", "--filename", "-")
	}
	restarts := func() int32 {
		GinkgoHelper()
		pod := &corev1.Pod{}
		Expect(user.Get(lifetime, client.ObjectKey{Namespace: i.namespace, Name: i.pods()[0]}, pod)).To(Succeed())
		return pod.Status.ContainerStatuses[0].RestartCount
	}
	servers := 0
	servesTheOther := func() {
		GinkgoHelper()
		servers++
		edit(runtime, func(r *v1alpha1.SeldonRuntime) {
			r.Spec.Config.KafkaConfig.BootstrapServers = new(fmt.Sprintf("kafka-%d:9092", servers))
		})
		Eventually(ready(runtime)).Should(HavePrefix("True"), i.log)
	}

	BeforeAll(func() {
		for _, namespace := range i.namespaces() {
			Expect(user.Create(lifetime, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})).To(Succeed())
		}
		DeferCleanup(i.remove)
	})

	It("begins anew without one that goes before it is ready", func() {
		i.helm("install", helm.Chart(setup), "--set", "controller.replicas=0")
		binding := &rbacv1.RoleBinding{ObjectMeta: metadata(i.namespace, "seldon-v2-manager-rolebinding")}
		Expect(user.Get(lifetime, client.ObjectKeyFromObject(binding), binding)).To(Succeed())
		remove(binding)
		run("", "scale", "--namespace", i.namespace, "--replicas=1", "deployment/"+deployment)
		Eventually(i.log).Should(ContainSubstring("A right is missing"))
		Expect(restarts()).To(BeZero())
		goesAway()
		Eventually(restarts).Should(BeEquivalentTo(1), i.log)

		By("being ready with the rest")
		binding.ResourceVersion = ""
		Expect(user.Create(lifetime, binding)).To(Succeed())
		i.untilAvailable()
		Expect(i.log()).To(MatchRegexp(`"A listed namespace is not watched[^\n]*"namespace":"%s"`, goes))
		runtime = newRuntime(stays)
		Eventually(ready(runtime)).Should(HavePrefix("True"), i.log)
	})

	It("begins anew when it comes back with its Role", func() {
		comesBack()
		Eventually(restarts).Should(BeEquivalentTo(2), i.log)
		Eventually(ready(newRuntime(goes))).Should(HavePrefix("True"), i.log)
		servesTheOther()
	})

	It("goes on while it goes and comes back", func() {
		own := &v1alpha1.SeldonRuntime{ObjectMeta: metadata(goes, "seldon")}
		remove(own)
		untilGone(own)
		goesAway()
		Eventually(func() []string { return refused(i.namespace) }).Should(ContainElement(ContainSubstring(goes)))
		servesTheOther()
		comesBack()
		Eventually(ready(newRuntime(goes))).Should(HavePrefix("True"), i.log)
		Expect(restarts()).To(BeEquivalentTo(2))
	})

	It("tells of one that never was", func() {
		run("", "set", "env", "--namespace", i.namespace, "deployment/"+deployment, "WATCH_NAMESPACES="+stays+","+never)
		i.untilAvailable()
		pod := i.pods()[0]
		Expect(podLog(i.namespace, pod)).To(MatchRegexp(`"A listed namespace is not watched[^\n]*"namespace":"%s"`, never))
		_, text := scrape("http://"+node.Address(i.namespace, pod, 4000), "")
		Expect(text).To(ContainSubstring(`seldon_operator_unwatched_namespaces{namespace="%s"} 1`, never))
		servesTheOther()
	})

	It("is released from those that are there", func() {
		By("having one that would hang released by an administrator")
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: goes}}
		remove(namespace)
		output, err := exec.CommandContext(lifetime, node.Program, "remove-finalizers", "--namespace="+goes, "--kubeconfig="+cluster.KubeconfigPath()).CombinedOutput()
		Expect(err).NotTo(HaveOccurred(), string(output))
		Expect(string(output)).To(ContainSubstring("removed the finalizer from SeldonRuntime " + goes + "/seldon"))
		untilGone(namespace)

		i.removeFinalizers()
		Expect(user.Get(lifetime, client.ObjectKeyFromObject(runtime), runtime)).To(Succeed())
		Expect(runtime.Finalizers).To(BeEmpty())
		log, err := node.Log(i.namespace, "seldon-v2-remove-finalizers")
		Expect(err).NotTo(HaveOccurred())
		Expect(log).To(ContainSubstring("skipped namespace " + goes))
		Expect(log).NotTo(ContainSubstring("skipped namespace " + stays))
	})
})
