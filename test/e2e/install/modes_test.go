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
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/test/framework/helm"
)

// Whichever way an operator is installed, it gets by with its rights, and needs them.
// Operators of one entry are there side by side. What is particular to a mode goes on
// with the first of them, before its end.
var _ = DescribeTableSubtree("An operator", Ordered, func(operators []*install, particular ...func(*install)) {
	BeforeAll(func() {
		if operators[0].all {
			untilGone(going...) // it would have to do with them
		}
		for _, each := range operators {
			for _, namespace := range each.namespaces() {
				Expect(user.Create(lifetime, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})).To(Succeed())
			}
		}
		DeferCleanup(func() {
			for _, each := range operators {
				each.remove()
			}
		})
		for _, each := range operators {
			each.install()
		}
	})

	It("goes through the life of a runtime", func() {
		lives := sync.WaitGroup{}
		for _, each := range operators {
			lives.Go(func() {
				defer GinkgoRecover()
				each.live()
			})
		}
		lives.Wait()
	})

	for _, each := range particular {
		each(operators[0])
	}

	It("leaves nothing behind that hangs on it, with its rights as they were and all in use", func() {
		for _, each := range operators {
			rights := granted(each.namespace)
			Expect(rights).NotTo(BeEmpty())
			var left []client.Object
			for _, namespace := range each.watched() {
				left = append(left, newRuntime(namespace), newModel(namespace, "left"))
			}
			for _, object := range left {
				Eventually(func() []string {
					Expect(user.Get(lifetime, client.ObjectKeyFromObject(object), object)).To(Succeed())
					return object.GetFinalizers()
				}).Should(HaveLen(1), each.log)
			}
			each.removeFinalizers()
			for _, object := range left {
				Expect(user.Get(lifetime, client.ObjectKeyFromObject(object), object)).To(Succeed())
				Expect(object.GetFinalizers()).To(BeEmpty())
			}
			Expect(needless(each.namespace, rights)).To(BeEmpty())
			Expect(used(requestsOf(each.namespace))[secretByName]).To(Equal(each.secure), "it reads Secrets for TLS alone")
			for right, places := range rights {
				for _, place := range places {
					// A ClusterRole has what is for the operator's own namespace in none.
					own := right.resource == "leases" || right.resource == "pods" || strings.HasSuffix(right.resource, "configs")
					Expect(each.may(place) && (!own || place == each.namespace)).To(BeTrue(), "%s in namespace %q", right, place)
				}
			}
		}
	})

	It("was refused nothing, and asked for nothing elsewhere", func() {
		for _, each := range operators {
			Expect(refused(each.namespace)).To(BeEmpty())
			for _, request := range requestsOf(each.namespace) {
				if request.ObjectRef != nil {
					Expect(each.may(request.ObjectRef.Namespace)).To(BeTrue(), request.String())
				}
			}
		}
	})
},
	Entry("from config/default",
		[]*install{{namespace: "seldon-system", home: "team-a", all: true, kustomizations: []string{"config/default"}}},
		letsGoWithNamespaces, servesMetricsOverTLS, takesOver),
	Entry("by the chart, in all namespaces",
		[]*install{{namespace: "chart-all", home: "chart-team", all: true, values: []string{"controller.clusterwide=true"}}},
		servesMetricsOverTLS),
	Entry("from config/namespaced",
		[]*install{{namespace: "seldon-mesh", home: "seldon-mesh", kustomizations: []string{"config/namespaced"}}},
		servesMetricsToItself),
	Entry("from config/namespaced with a list, beside another",
		[]*install{
			{namespace: "ops-a", home: "team-listed-a", listed: []string{"team-listed-a"}, kustomizations: []string{"test/e2e/install/testdata/listed-a", "test/e2e/install/testdata/ops-a"}},
			{namespace: "ops-b", home: "team-listed-b", listed: []string{"team-listed-b"}, kustomizations: []string{"test/e2e/install/testdata/listed-b", "test/e2e/install/testdata/ops-b"}},
		}),
	Entry("by the chart, in one namespace",
		[]*install{{namespace: "chart-own", home: "chart-own"}},
		servesMetricsToItself),
	Entry("by the chart with a list, beside another, which speaks TLS to schedulers",
		[]*install{
			{namespace: "chart-ops-a", home: "chart-a-one", listed: []string{"chart-a-one", "chart-a-two"},
				values: []string{"controller.clusterwide=true", "controller.watchNamespaces={chart-a-one,chart-a-two}"}},
			{namespace: "chart-ops-b", home: "chart-ops-b", listed: []string{"chart-b"}, secure: true,
				values: []string{"controller.clusterwide=true", "controller.watchNamespaces={chart-b}", "security.controlplane.protocol=SSL"}},
		}),
)

func servesMetricsToItself(i *install) {
	It("serves metrics to its own pod alone", func() {
		address := node.Address(i.namespace, i.pods()[0], 4000)
		host, _, err := net.SplitHostPort(address)
		Expect(err).NotTo(HaveOccurred())
		Expect(net.ParseIP(host).IsLoopback()).To(BeTrue())
		status, text := scrape("http://"+address, "")
		Expect(status).To(Equal(http.StatusOK))
		Expect(text).To(ContainSubstring("controller_runtime_reconcile_total"))
	})
}

func letsGoWithNamespaces(i *install) {
	It("lets go of what goes with its namespace", func() {
		const gone = "team-gone"
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: gone}}
		Expect(user.Create(lifetime, namespace)).To(Succeed())
		scheduler := newScheduler(gone, nil)
		runtime, model := newRuntime(gone), newModel(gone, "one")
		Eventually(ready(runtime)).Should(HavePrefix("True"), i.log)
		Eventually(ready(model)).Should(HavePrefix("True"), i.log)
		scheduler.Stop()
		remove(namespace)
		untilGone(namespace)
	})
}

func servesMetricsOverTLS(i *install) {
	It("serves metrics over TLS to who may read them", func() {
		address := "https://127.0.0.1" + node.Address(i.namespace, i.pods()[0], 8443)
		status, text := scrape(address, "")
		Expect(status).To(Equal(http.StatusUnauthorized))
		Expect(text).To(ContainSubstring("give the token of a ServiceAccount"))
		status, _ = scrape(address, "made up")
		Expect(status).To(Equal(http.StatusUnauthorized))

		Expect(user.Create(lifetime, &corev1.ServiceAccount{ObjectMeta: metadata(i.home, "stranger")})).To(Succeed())
		status, text = scrape(address, tokenOf(i.home, "stranger"))
		Expect(status).To(Equal(http.StatusForbidden))
		Expect(text).To(ContainSubstring("system:serviceaccount:" + i.home + ":stranger may not get /metrics"))

		Expect(user.Create(lifetime, &corev1.ServiceAccount{ObjectMeta: metadata(i.home, "prometheus")})).To(Succeed())
		binding := &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: i.home + "-prometheus"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "seldon-v2-metrics-reader"},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: i.home, Name: "prometheus"}},
		}
		Expect(user.Create(lifetime, binding)).To(Succeed())
		DeferCleanup(func() { remove(binding) })
		token := tokenOf(i.home, "prometheus")
		// A no holds for 10 seconds.
		Eventually(func() int { status, text = scrape(address, token); return status }).Should(Equal(http.StatusOK))
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
		Expect(reviews()).To(Equal(before), "an answer holds for a while")
	})
}

func takesOver(i *install) {
	It("has another replica take over from one that hangs, and writes nothing that is as it should be", func() {
		newScheduler(i.home, nil)
		runtime, model := newRuntime(i.home), newModel(i.home, "one")
		Eventually(ready(runtime)).Should(HavePrefix("True"), i.log)
		Eventually(ready(model)).Should(HavePrefix("True"), i.log)
		run("", "scale", "--namespace", i.namespace, "--replicas=2", "deployment/"+deployment)
		i.untilAvailable()

		lease := &coordinationv1.Lease{ObjectMeta: metadata(i.namespace, "e98130ae.seldon.io")}
		Expect(user.Get(lifetime, client.ObjectKeyFromObject(lease), lease)).To(Succeed())
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
			Expect(user.Get(lifetime, client.ObjectKeyFromObject(lease), lease)).To(Succeed())
			return *lease.Spec.HolderIdentity
		}).ShouldNot(Or(Equal(holder), BeEmpty()))

		// What comes after that is served by the other one. A Model would change its
		// Server's status.
		late := newPipeline(i.home, "late", "one")
		Eventually(ready(late)).Should(HavePrefix("True"), i.log)
		var wrote []request
		for _, each := range requestsOf(i.namespace)[mark:] {
			if each.writes() && each.ObjectRef.Namespace == i.home && each.ObjectRef.Resource != "events" {
				wrote = append(wrote, each)
			}
		}
		Expect(wrote).NotTo(BeEmpty())
		for _, each := range wrote {
			Expect(each.ObjectRef.Name).To(Equal("late"), each.String())
			Expect(each.pod()).To(And(Not(Equal(leader)), BeElementOf(i.pods())), each.String())
		}
		Expect(node.Kill(i.namespace, leader)).To(Succeed())
		i.untilAvailable()
		for _, each := range []client.Object{late, model, runtime} {
			remove(each)
			untilGone(each)
		}
	})
}

var _ = Describe("An operator by the chart", Ordered, func() {
	i := &install{namespace: "chart-less", home: "chart-less"}
	BeforeAll(func() {
		Expect(user.Create(lifetime, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: i.namespace}})).To(Succeed())
		DeferCleanup(i.remove)
	})

	It("is not ready without its rights, and tells which one is missing", func() {
		i.helm("install", helm.Chart(setup), "--set", "controller.replicas=0")
		remove(&rbacv1.RoleBinding{ObjectMeta: metadata(i.namespace, "seldon-v2-manager-rolebinding")})
		run("", "scale", "--namespace", i.namespace, "--replicas=1", "deployment/"+deployment)
		Eventually(i.pods).Should(HaveLen(1))
		pod := i.pods()[0]
		const missing = `cannot list resource \"models\" in API group \"mlops.seldon.io\" in the namespace \"chart-less\"`
		Eventually(func() string { return podLog(i.namespace, pod) }).Should(And(ContainSubstring("A right is missing"), ContainSubstring(missing)))
		probes := node.Address(i.namespace, pod, 8081)
		Expect(readyz(probes)).To(Equal(http.StatusInternalServerError))
		By("telling it once, however often it is refused")
		Eventually(func() int {
			return strings.Count(strings.Join(refused(i.namespace), "\n"), `cannot list resource "models"`)
		}).Should(BeNumerically(">=", 3))
		Expect(strings.Count(podLog(i.namespace, pod), missing)).To(Equal(1))

		i.helm("upgrade", helm.Chart(setup), "--wait", "--reset-values")
		Expect(i.pods()).To(ConsistOf(pod))
		Expect(readyz(probes)).To(Equal(http.StatusOK))
	})

	It("comes back by an upgrade after it was released, without a conflict", func() {
		run(i.helm("template", helm.Chart(setup), "--show-only", "templates/controller/remove-finalizers-job.yaml"), "apply", "--filename", "-")
		i.untilComplete("seldon-v2-remove-finalizers")
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

// scraper trusts every certificate, as a ServiceMonitor does of one that is made
// for the occasion.
var scraper = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}

func scrape(address, token string) (status int, text string) {
	GinkgoHelper()
	request, err := http.NewRequestWithContext(lifetime, http.MethodGet, address+"/metrics", nil)
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

func tokenOf(namespace, name string) string {
	GinkgoHelper()
	request := &authenticationv1.TokenRequest{}
	Expect(user.SubResource("token").Create(lifetime, &corev1.ServiceAccount{ObjectMeta: metadata(namespace, name)}, request)).To(Succeed())
	return request.Status.Token
}
