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

// The deletion of a listed namespace deletes the operator's Role in it. Whenever that
// happens, the operator must continue to serve the other namespaces.
var _ = Describe("An operator with a list of namespaces of which some are unavailable", Ordered, func() {
	const kept, deleted, never = "list-kept", "list-deleted", "list-never"
	i := &install{namespace: "list-ops", workloadNamespace: kept, listed: []string{kept, deleted},
		values: []string{"controller.clusterwide=true", "controller.watchNamespaces={" + kept + "," + deleted + "}"}}
	var runtime *v1alpha1.SeldonRuntime // in the namespace that is kept

	deleteNamespace := func() {
		GinkgoHelper()
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: deleted}}
		deleteObject(namespace)
		awaitDeleted(namespace)
	}
	recreateNamespace := func() {
		GinkgoHelper()
		Expect(k8sClient.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: deleted}})).To(Succeed())
		run(i.helm("template", helm.Chart(setup), "--show-only", "templates/controller/rbac.yaml"), "apply", "--filename", "-")
	}
	restarts := func() int32 {
		GinkgoHelper()
		pod := &corev1.Pod{}
		Expect(k8sClient.Get(ctx, client.ObjectKey{Namespace: i.namespace, Name: i.pods()[0]}, pod)).To(Succeed())
		return pod.Status.ContainerStatuses[0].RestartCount
	}
	updates := 0
	expectOtherServed := func() {
		GinkgoHelper()
		updates++
		edit(runtime, func(r *v1alpha1.SeldonRuntime) {
			r.Spec.Config.KafkaConfig.BootstrapServers = new(fmt.Sprintf("kafka-%d:9092", updates))
		})
		Eventually(ready(runtime)).Should(HavePrefix("True"), i.log)
	}

	BeforeAll(func() {
		for _, namespace := range i.namespaces() {
			Expect(k8sClient.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})).To(Succeed())
		}
		DeferCleanup(i.remove)
	})

	It("restarts without a namespace that is deleted before the operator is ready", func() {
		i.helm("install", helm.Chart(setup), "--set", "controller.replicas=0")
		binding := &rbacv1.RoleBinding{ObjectMeta: metadata(i.namespace, "seldon-v2-manager-rolebinding")}
		Expect(k8sClient.Get(ctx, client.ObjectKeyFromObject(binding), binding)).To(Succeed())
		deleteObject(binding)
		run("", "scale", "--namespace", i.namespace, "--replicas=1", "deployment/"+deployment)
		Eventually(i.log).Should(ContainSubstring("A permission is missing"))
		Expect(restarts()).To(BeZero())
		deleteNamespace()
		Eventually(restarts).Should(BeEquivalentTo(1), i.log)

		By("becoming ready with the other namespace")
		binding.ResourceVersion = ""
		Expect(k8sClient.Create(ctx, binding)).To(Succeed())
		i.awaitAvailable()
		Expect(i.log()).To(MatchRegexp(`"A listed namespace is not watched[^\n]*"namespace":"%s"`, deleted))
		runtime = newRuntime(kept)
		Eventually(ready(runtime)).Should(HavePrefix("True"), i.log)
	})

	It("restarts when the namespace is recreated with its Role", func() {
		recreateNamespace()
		Eventually(restarts).Should(BeEquivalentTo(2), i.log)
		Eventually(ready(newRuntime(deleted))).Should(HavePrefix("True"), i.log)
		expectOtherServed()
	})

	It("does not restart while the namespace is deleted and recreated after the operator was ready", func() {
		own := &v1alpha1.SeldonRuntime{ObjectMeta: metadata(deleted, "seldon")}
		deleteObject(own)
		awaitDeleted(own)
		deleteNamespace()
		Eventually(func() []string { return forbiddenRequests(i.namespace) }).Should(ContainElement(ContainSubstring(deleted)))
		expectOtherServed()
		recreateNamespace()
		Eventually(ready(newRuntime(deleted))).Should(HavePrefix("True"), i.log)
		Expect(restarts()).To(BeEquivalentTo(2))
	})

	It("logs and counts a namespace that never existed", func() {
		run("", "set", "env", "--namespace", i.namespace, "deployment/"+deployment, "WATCH_NAMESPACES="+kept+","+never)
		i.awaitAvailable()
		pod := i.pods()[0]
		Expect(podLog(i.namespace, pod)).To(MatchRegexp(`"A listed namespace is not watched[^\n]*"namespace":"%s"`, never))
		_, text := scrape("http://"+node.Address(i.namespace, pod, 4000), "")
		Expect(text).To(ContainSubstring(`seldon_operator_unwatched_namespaces{namespace="%s"} 1`, never))
		expectOtherServed()
	})

	It("removes its finalizers in the namespaces that are available", func() {
		By("an administrator removing the finalizers in a terminating namespace")
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: deleted}}
		deleteObject(namespace)
		output, err := exec.CommandContext(ctx, node.Program, "remove-finalizers", "--namespace="+deleted, "--kubeconfig="+cluster.KubeconfigPath()).CombinedOutput()
		Expect(err).NotTo(HaveOccurred(), string(output))
		Expect(string(output)).To(ContainSubstring("removed the finalizer from SeldonRuntime " + deleted + "/seldon"))
		awaitDeleted(namespace)

		i.removeFinalizers()
		Expect(k8sClient.Get(ctx, client.ObjectKeyFromObject(runtime), runtime)).To(Succeed())
		Expect(runtime.Finalizers).To(BeEmpty())
		log, err := node.Log(i.namespace, "seldon-v2-remove-finalizers")
		Expect(err).NotTo(HaveOccurred())
		Expect(log).To(ContainSubstring("skipped namespace " + deleted))
		Expect(log).NotTo(ContainSubstring("skipped namespace " + kept))
	})
})
