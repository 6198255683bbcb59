package install_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/test/framework/helm"
)

// However an operator is installed, its permissions are sufficient and all needed.
// The operators of one entry run at the same time. The specs of one mode use the first
// of them, before it is uninstalled.
//
// There are three shapes of permissions: in all namespaces, in one, and in a list. One
// operator of each shape takes a runtime through its whole life, which uses every
// permission. The others have equal permissions, and serve a Model.
var _ = DescribeTableSubtree("An operator", Ordered, func(operators []*install, modeSpecs ...func(*install)) {
	BeforeAll(func() {
		if operators[0].all {
			awaitDeleted(deletedNamespaces...) // since it would watch them
		}
		for _, each := range operators {
			for _, namespace := range each.namespaces() {
				Expect(k8sClient.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})).To(Succeed())
			}
		}
		DeferCleanup(func() { inParallel(operators, (*install).remove) })
		inParallel(operators, (*install).install)
	})

	It("manages a runtime from creation to deletion", func() {
		inParallel(operators, func(i *install) {
			if i.sameAs == nil {
				i.runLifecycle()
			} else {
				i.serveModel()
			}
		})
	})

	for _, each := range modeSpecs {
		each(operators[0])
	}

	It("leaves no finalizer behind, and has used all its permissions", func() {
		inParallel(operators, func(i *install) {
			permissions := granted(k8sClient, i.namespace)
			Expect(permissions).NotTo(BeEmpty())
			var remaining []client.Object
			for _, namespace := range i.watched() {
				remaining = append(remaining, newRuntime(namespace), newModel(namespace, "remaining"))
			}
			for _, object := range remaining {
				Eventually(func() []string {
					Expect(k8sClient.Get(ctx, client.ObjectKeyFromObject(object), object)).To(Succeed())
					return object.GetFinalizers()
				}).Should(HaveLen(1), i.log)
			}
			i.removeFinalizers()
			for _, object := range remaining {
				Expect(k8sClient.Get(ctx, client.ObjectKeyFromObject(object), object)).To(Succeed())
				Expect(object.GetFinalizers()).To(BeEmpty())
			}
			if i.sameAs == nil {
				Expect(unusedPermissions(i.namespace, permissions)).To(BeEmpty())
			} else {
				Expect(i.byScope(permissions)).To(Equal(i.sameAs.byScope(granted(rendered(i.sameAs.kustomizations), i.sameAs.namespace))))
			}
			Expect(used(requestsOf(i.namespace))[secretByName]).To(Equal(i.secure), "it reads Secrets only for TLS")
			for permission, namespaces := range permissions {
				for _, namespace := range namespaces {
					// Permissions for the operator's own namespace are in no ClusterRole.
					own := permission.resource == "leases" || permission.resource == "pods" || strings.HasSuffix(permission.resource, "configs")
					Expect(i.allowedIn(namespace) && (!own || namespace == i.namespace)).To(BeTrue(), "%s in namespace %q", permission, namespace)
				}
			}
		})
	})

	It("had no request rejected, and sent none for another namespace", func() {
		for _, each := range operators {
			Expect(forbiddenRequests(each.namespace)).To(BeEmpty())
			for _, request := range requestsOf(each.namespace) {
				if request.ObjectRef != nil {
					Expect(each.allowedIn(request.ObjectRef.Namespace)).To(BeTrue(), request.String())
				}
			}
		}
	})
},
	Entry("by the chart, in all namespaces",
		[]*install{{namespace: "chart-all", workloadNamespace: "chart-team", all: true, values: []string{"controller.clusterwide=true"}, sameAs: allNamespaces}},
		servesMetricsOverTLS),
	Entry("from config/default", []*install{allNamespaces}, forgetsDeletedNamespaces, servesMetricsOverTLS, failsOver),
	Entry("in one namespace or in listed ones, from config/namespaced or by the chart, one of them with TLS to schedulers", []*install{
		oneNamespace,
		{namespace: "chart-own", workloadNamespace: "chart-own", sameAs: oneNamespace},
		listedNamespaces,
		{namespace: "ops-b", workloadNamespace: "team-listed-b", listed: []string{"team-listed-b"}, sameAs: listedNamespaces,
			kustomizations: []string{"test/e2e/install/testdata/listed-b", "test/e2e/install/testdata/ops-b"}},
		{namespace: "chart-ops-a", workloadNamespace: "chart-a-one", listed: []string{"chart-a-one", "chart-a-two"}, sameAs: listedNamespaces,
			values: []string{"controller.clusterwide=true", "controller.watchNamespaces={chart-a-one,chart-a-two}"}},
		{namespace: "chart-ops-b", workloadNamespace: "chart-ops-b", listed: []string{"chart-b"}, secure: true, sameAs: listedNamespaces,
			values: []string{"controller.clusterwide=true", "controller.watchNamespaces={chart-b}", "security.controlplane.protocol=SSL"}},
	}, servesMetricsToItself),
)

// The operators that take a runtime through its whole life.
var (
	allNamespaces    = &install{namespace: "seldon-system", workloadNamespace: "team-a", all: true, kustomizations: []string{"config/default"}}
	oneNamespace     = &install{namespace: "seldon-mesh", workloadNamespace: "seldon-mesh", kustomizations: []string{"config/namespaced"}}
	listedNamespaces = &install{namespace: "ops-a", workloadNamespace: "team-listed-a", listed: []string{"team-listed-a"},
		kustomizations: []string{"test/e2e/install/testdata/listed-a", "test/e2e/install/testdata/ops-a"}}
)

// inParallel calls a function for each operator, and returns when all have returned.
func inParallel(operators []*install, function func(*install)) {
	running := sync.WaitGroup{}
	for _, each := range operators {
		running.Go(func() {
			defer GinkgoRecover()
			function(each)
		})
	}
	running.Wait()
}

func servesMetricsToItself(i *install) {
	It("serves metrics on loopback only", func() {
		address := node.Address(i.namespace, i.pods()[0], 4000)
		host, _, err := net.SplitHostPort(address)
		Expect(err).NotTo(HaveOccurred())
		Expect(net.ParseIP(host).IsLoopback()).To(BeTrue())
		status, text := scrape("http://"+address, "")
		Expect(status).To(Equal(http.StatusOK))
		Expect(text).To(ContainSubstring("controller_runtime_reconcile_total"))
	})
}

func forgetsDeletedNamespaces(i *install) {
	It("does not block the deletion of a namespace", func() {
		const name = "team-deleted"
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		Expect(k8sClient.Create(ctx, namespace)).To(Succeed())
		scheduler := newScheduler(name, nil)
		runtime, model := newRuntime(name), newModel(name, "one")
		Eventually(ready(runtime)).Should(HavePrefix("True"), i.log)
		Eventually(ready(model)).Should(HavePrefix("True"), i.log)
		scheduler.Stop()
		deleteObject(namespace)
		awaitDeleted(namespace)
	})
}

func servesMetricsOverTLS(i *install) {
	It("serves metrics over TLS to authorized clients only", func() {
		address := "https://127.0.0.1" + node.Address(i.namespace, i.pods()[0], 8443)
		status, text := scrape(address, "")
		Expect(status).To(Equal(http.StatusUnauthorized))
		Expect(text).To(ContainSubstring("send the token of a ServiceAccount"))
		status, _ = scrape(address, "invalid")
		Expect(status).To(Equal(http.StatusUnauthorized))

		Expect(k8sClient.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metadata(i.workloadNamespace, "stranger")})).To(Succeed())
		status, text = scrape(address, createToken(i.workloadNamespace, "stranger"))
		Expect(status).To(Equal(http.StatusForbidden))
		Expect(text).To(ContainSubstring("system:serviceaccount:" + i.workloadNamespace + ":stranger may not get /metrics"))

		Expect(k8sClient.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metadata(i.workloadNamespace, "prometheus")})).To(Succeed())
		binding := &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: i.workloadNamespace + "-prometheus"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "seldon-v2-metrics-reader"},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: i.workloadNamespace, Name: "prometheus"}},
		}
		Expect(k8sClient.Create(ctx, binding)).To(Succeed())
		DeferCleanup(func() { deleteObject(binding) })
		token := createToken(i.workloadNamespace, "prometheus")
		// A rejection would be cached for 10 seconds.
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User:                  "system:serviceaccount:" + i.workloadNamespace + ":prometheus",
			NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: "/metrics", Verb: "get"},
		}}
		Eventually(func() bool {
			requested := review.DeepCopy()
			Expect(k8sClient.Create(ctx, requested)).To(Succeed())
			return requested.Status.Allowed
		}).Should(BeTrue())
		status, text = scrape(address, token)
		Expect(status).To(Equal(http.StatusOK))
		Expect(text).To(ContainSubstring("controller_runtime_reconcile_total"))
		reviews := func() (count int) {
			for _, each := range requestsOf(i.namespace) {
				if each.ObjectRef != nil && each.ObjectRef.Resource == "tokenreviews" {
					count++
				}
			}
			return count
		}
		before := reviews()
		scrape(address, token)
		Expect(reviews()).To(Equal(before), "the decision is cached")
	})
}

func failsOver(i *install) {
	It("fails over from a replica that hangs, and the new leader writes only what is out of date", func() {
		newScheduler(i.workloadNamespace, nil)
		runtime, model := newRuntime(i.workloadNamespace), newModel(i.workloadNamespace, "one")
		Eventually(ready(runtime)).Should(HavePrefix("True"), i.log)
		Eventually(ready(model)).Should(HavePrefix("True"), i.log)
		run("", "scale", "--namespace", i.namespace, "--replicas=2", "deployment/"+deployment)
		i.awaitAvailable()

		lease := &coordinationv1.Lease{ObjectMeta: metadata(i.namespace, "e98130ae.seldon.io")}
		Expect(k8sClient.Get(ctx, client.ObjectKeyFromObject(lease), lease)).To(Succeed())
		holder := *lease.Spec.HolderIdentity
		var leader string
		for _, pod := range i.pods() {
			if strings.Contains(podLog(i.namespace, pod), "Starting workers") {
				leader = pod
			}
		}
		Expect(leader).NotTo(BeEmpty())
		Expect(node.Freeze(i.namespace, leader)).To(Succeed())
		mark := len(requestsOf(i.namespace))
		Eventually(func() string {
			Expect(k8sClient.Get(ctx, client.ObjectKeyFromObject(lease), lease)).To(Succeed())
			return *lease.Spec.HolderIdentity
		}).ShouldNot(Or(Equal(holder), BeEmpty()))

		// The new leader serves what is created after that. It is no Model, which would
		// change the status of its Server.
		late := newPipeline(i.workloadNamespace, "late", "one")
		Eventually(ready(late)).Should(HavePrefix("True"), i.log)
		var writes []request
		for _, each := range requestsOf(i.namespace)[mark:] {
			if each.writes() && each.ObjectRef.Namespace == i.workloadNamespace && each.ObjectRef.Resource != "events" {
				writes = append(writes, each)
			}
		}
		Expect(writes).NotTo(BeEmpty())
		for _, each := range writes {
			Expect(each.ObjectRef.Name).To(Equal("late"), each.String())
			Expect(each.pod()).To(And(Not(Equal(leader)), BeElementOf(i.pods())), each.String())
		}
		Expect(node.Kill(i.namespace, leader)).To(Succeed())
		i.awaitAvailable()
		for _, each := range []client.Object{late, model, runtime} {
			deleteObject(each)
			awaitDeleted(each)
		}
	})
}

var _ = Describe("An operator by the chart", Ordered, func() {
	i := &install{namespace: "chart-less", workloadNamespace: "chart-less"}
	BeforeAll(func() {
		Expect(k8sClient.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: i.namespace}})).To(Succeed())
		DeferCleanup(i.remove)
	})

	It("is not ready without its permissions, and logs which one is missing", func() {
		i.helm("install", helm.Chart(setup), "--set", "controller.replicas=0")
		deleteObject(&rbacv1.RoleBinding{ObjectMeta: metadata(i.namespace, "seldon-v2-manager-rolebinding")})
		run("", "scale", "--namespace", i.namespace, "--replicas=1", "deployment/"+deployment)
		Eventually(i.pods).Should(HaveLen(1))
		pod := i.pods()[0]
		const missing = `cannot list resource \"models\" in API group \"mlops.seldon.io\" in the namespace \"chart-less\"`
		Eventually(func() string { return podLog(i.namespace, pod) }).Should(And(ContainSubstring("A permission is missing"), ContainSubstring(missing)))
		probes := node.Address(i.namespace, pod, 8081)
		Expect(readyz(probes)).To(Equal(http.StatusInternalServerError))
		By("logging it once, however many requests are rejected")
		Eventually(func() int {
			return strings.Count(strings.Join(forbiddenRequests(i.namespace), "\n"), `cannot list resource "models"`)
		}).Should(BeNumerically(">=", 3))
		Expect(strings.Count(podLog(i.namespace, pod), missing)).To(Equal(1))

		i.helm("upgrade", helm.Chart(setup), "--wait", "--reset-values")
		Expect(i.pods()).To(ConsistOf(pod))
		Expect(readyz(probes)).To(Equal(http.StatusOK))
	})

	It("is restored by an upgrade after its finalizers were removed, without a conflict", func() {
		run(i.helm("template", helm.Chart(setup), "--show-only", "templates/controller/remove-finalizers-job.yaml"), "apply", "--filename", "-")
		i.awaitComplete("seldon-v2-remove-finalizers")
		Expect(i.pods()).To(BeEmpty())
		i.helm("upgrade", helm.Chart(setup), "--wait")
		Expect(i.pods()).To(HaveLen(1))
	})
})

func podLog(namespace, pod string) string {
	log, err := node.Log(namespace, pod)
	Expect(err).NotTo(HaveOccurred())
	return log
}

func readyz(address string) int {
	GinkgoHelper()
	response, err := http.Get("http://127.0.0.1" + address[strings.LastIndex(address, ":"):] + "/readyz")
	Expect(err).NotTo(HaveOccurred())
	Expect(response.Body.Close()).To(Succeed())
	return response.StatusCode
}

// scraper accepts every certificate, as a ServiceMonitor does for a self-signed one.
var scraper = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}

func scrape(address, token string) (status int, text string) {
	GinkgoHelper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/metrics", nil)
	Expect(err).NotTo(HaveOccurred())
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := scraper.Do(request)
	Expect(err).NotTo(HaveOccurred())
	content, err := io.ReadAll(response.Body)
	Expect(err).NotTo(HaveOccurred())
	Expect(response.Body.Close()).To(Succeed())
	return response.StatusCode, string(content)
}

func createToken(namespace, name string) string {
	GinkgoHelper()
	request := &authenticationv1.TokenRequest{}
	Expect(k8sClient.SubResource("token").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metadata(namespace, name)}, request)).To(Succeed())
	return request.Status.Token
}
