package modes_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// mode is a way to install the operator.
type mode struct {
	namespace string // of the operator
	folder    string // with a kustomization, relative to the root of the repository
	all       bool   // it watches all namespaces, or those listed
	listed    string
}

var (
	namespaced  = mode{namespace: "seldon-mesh", folder: "config/namespaced"}
	clusterwide = mode{namespace: "seldon-system", folder: "config/default", all: true}
	// Two side by side.
	listed = []mode{
		{namespace: "ops-a", folder: "test/modes/testdata/ops-a", all: true, listed: "team-listed-a"},
		{namespace: "ops-b", folder: "test/modes/testdata/ops-b", all: true, listed: "team-listed-b"},
	}
)

func apply(folder string) {
	GinkgoHelper()
	run("", "apply", "--kustomize", filepath.Join("..", "..", folder))
}

func (m mode) install() {
	GinkgoHelper()
	apply(m.folder)
	untilAvailable(m.namespace)
}

// uninstall does what a chart does: the finalizers go first.
func (m mode) uninstall() {
	GinkgoHelper()
	run(fmt.Sprintf(releaseJob, m.all, m.listed), "apply", "--namespace", m.namespace, "--filename", "-")
	job := &batchv1.Job{ObjectMeta: metadata(m.namespace, "release")}
	Eventually(func() int32 {
		Expect(user.Get(lifetime, client.ObjectKeyFromObject(job), job)).To(Succeed())
		Expect(job.Status.Failed).To(BeZero(), func() string {
			log, _ := node.Log(m.namespace, "release")
			return log
		})
		return job.Status.Succeeded
	}).Should(BeEquivalentTo(1))
	Expect(operatorPods(m.namespace)).To(BeEmpty())
	log, err := node.Log(m.namespace, "release")
	Expect(err).NotTo(HaveOccurred())
	Expect(log).To(ContainSubstring("stopped Deployment " + m.namespace + "/" + deployment))
}

// orphans are a runtime and a Model, which an operator that is gone has left.
func (m mode) orphans(namespace string) {
	GinkgoHelper()
	runtime, model := newRuntime(namespace), newModel(namespace, "orphan")
	Eventually(func() []string {
		Expect(user.Get(lifetime, client.ObjectKeyFromObject(runtime), runtime)).To(Succeed())
		Expect(user.Get(lifetime, client.ObjectKeyFromObject(model), model)).To(Succeed())
		return append(runtime.Finalizers, model.Finalizers...)
	}).Should(HaveLen(2))
	m.uninstall()
	for _, object := range []client.Object{runtime, model} {
		Expect(user.Get(lifetime, client.ObjectKeyFromObject(object), object)).To(Succeed())
		Expect(object.GetFinalizers()).To(BeEmpty())
	}
}

var _ = Describe("In one namespace", Ordered, func() {
	It("becomes ready and lives with the rights of one namespace", func() {
		namespaced.install()
		live(namespaced.namespace, namespaced.namespace)
	})

	It("serves metrics to its own pod alone", func() {
		pod := operatorPods(namespaced.namespace)[0]
		address := node.Address(namespaced.namespace, pod, 4000)
		host, _, err := net.SplitHostPort(address)
		Expect(err).NotTo(HaveOccurred())
		Expect(net.ParseIP(host).IsLoopback()).To(BeTrue())
		status, text := scrape("http://"+address, "")
		Expect(status).To(Equal(http.StatusOK))
		Expect(text).To(ContainSubstring("controller_runtime_reconcile_total"))
	})

	It("leaves nothing behind that hangs on it", func() { namespaced.orphans(namespaced.namespace) })

	It("was refused nothing, and has no right that it does not need", func() {
		Expect(refused(namespaced.namespace)).To(BeEmpty())
		Expect(needless(namespaced.namespace)).To(BeEmpty())
		for each, where := range granted(namespaced.namespace) {
			Expect(where).To(HaveEach(namespaced.namespace), each.String())
		}
	})

	It("is not ready without its rights, and tells which one is missing", func() {
		binding := &rbacv1.RoleBinding{ObjectMeta: metadata(namespaced.namespace, "seldon-v2-manager-rolebinding")}
		remove(binding)
		run("", "scale", "--namespace", namespaced.namespace, "--replicas=1", "deployment/"+deployment)
		var pod string
		Eventually(func() []string { return operatorPods(namespaced.namespace) }).Should(HaveLen(1))
		pod = operatorPods(namespaced.namespace)[0]
		Eventually(func() string { return podLog(namespaced.namespace, pod) }).Should(And(
			ContainSubstring("A right is missing"),
			ContainSubstring(`cannot list resource \"models\" in API group \"mlops.seldon.io\" in the namespace \"seldon-mesh\"`)))
		probes := node.Address(namespaced.namespace, pod, 8081)
		Expect(readyz(probes)).To(Equal(http.StatusInternalServerError))
		Expect(strings.Count(podLog(namespaced.namespace, pod), `cannot list resource \"models\"`)).To(Equal(1))
		namespaced.install()
		Expect(readyz(probes)).To(Equal(http.StatusOK))
	})

	It("goes with its namespace once it is released", func() {
		run("", "delete", "--namespace", namespaced.namespace, "job/release")
		namespaced.uninstall()
		run("", "delete", "--kustomize", filepath.Join("..", "..", namespaced.folder), "--wait=false")
		untilGone(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespaced.namespace}})
	})
})

var _ = Describe("In all namespaces", Ordered, func() {
	const team = "team-a"

	It("becomes ready and lives with the rights of its ClusterRole", func() {
		clusterwide.install()
		newNamespace(team)
		live(clusterwide.namespace, team)
	})

	It("lets go of what goes with its namespace", func() {
		const gone = "team-gone"
		newNamespace(gone)
		scheduler := newScheduler(gone)
		runtime, model := newRuntime(gone), newModel(gone, "one")
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		Eventually(ready(model)).Should(HavePrefix("True"))
		scheduler.Stop()
		remove(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: gone}})
		untilGone(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: gone}})
	})

	It("serves metrics over TLS to who may read them", func() {
		address := "https://127.0.0.1" + node.Address(clusterwide.namespace, operatorPods(clusterwide.namespace)[0], 8443)
		status, text := scrape(address, "")
		Expect(status).To(Equal(http.StatusUnauthorized))
		Expect(text).To(ContainSubstring("give the token of a ServiceAccount"))
		status, _ = scrape(address, "made up")
		Expect(status).To(Equal(http.StatusUnauthorized))

		Expect(user.Create(lifetime, &corev1.ServiceAccount{ObjectMeta: metadata(team, "stranger")})).To(Succeed())
		status, text = scrape(address, tokenOf(team, "stranger"))
		Expect(status).To(Equal(http.StatusForbidden))
		Expect(text).To(ContainSubstring("system:serviceaccount:team-a:stranger may not get /metrics"))

		Expect(user.Create(lifetime, &corev1.ServiceAccount{ObjectMeta: metadata(team, "prometheus")})).To(Succeed())
		Expect(user.Create(lifetime, &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "prometheus"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "seldon-v2-metrics-reader"},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: team, Name: "prometheus"}},
		})).To(Succeed())
		token := tokenOf(team, "prometheus")
		Eventually(func() int { status, text = scrape(address, token); return status }).Should(Equal(http.StatusOK))
		Expect(text).To(ContainSubstring("controller_runtime_reconcile_total"))
		reviews := func() (count int) {
			for _, each := range requestsOf(clusterwide.namespace) {
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

	It("has another replica take over, which writes nothing that is as it should be", func() {
		newScheduler(team)
		runtime, model := newRuntime(team), newModel(team, "one")
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		Eventually(ready(model)).Should(HavePrefix("True"))
		run("", "scale", "--namespace", clusterwide.namespace, "--replicas=2", "deployment/"+deployment)
		untilAvailable(clusterwide.namespace)

		lease := &coordinationv1.Lease{ObjectMeta: metadata(clusterwide.namespace, "e98130ae.seldon.io")}
		Expect(user.Get(lifetime, client.ObjectKeyFromObject(lease), lease)).To(Succeed())
		holder := *lease.Spec.HolderIdentity
		var leader string
		for _, pod := range operatorPods(clusterwide.namespace) {
			if strings.Contains(podLog(clusterwide.namespace, pod), "Starting workers") {
				leader = pod
			}
		}
		mark := len(requestsOf(clusterwide.namespace))
		Expect(node.Kill(clusterwide.namespace, leader)).To(Succeed())
		Eventually(func() string {
			Expect(user.Get(lifetime, client.ObjectKeyFromObject(lease), lease)).To(Succeed())
			return *lease.Spec.HolderIdentity
		}).ShouldNot(Or(Equal(holder), BeEmpty()))

		// What comes after that is served by the other one.
		late := newModel(team, "late")
		Eventually(ready(late)).Should(HavePrefix("True"))
		untilAvailable(clusterwide.namespace)
		for _, each := range requestsOf(clusterwide.namespace)[mark:] {
			if each.writes() && each.ObjectRef.Namespace == team && each.ObjectRef.Resource != "events" {
				Expect(each.ObjectRef.Name).To(Equal("late"), each.String())
			}
		}
	})

	It("leaves nothing behind that hangs on it", func() {
		const left = "team-left"
		newNamespace(left)
		clusterwide.orphans(left)
	})

	It("was refused nothing, and has no right that it does not need", func() {
		Expect(refused(clusterwide.namespace)).To(BeEmpty())
		Expect(needless(clusterwide.namespace)).To(BeEmpty())
		for each, where := range granted(clusterwide.namespace) {
			if each.resource == "leases" || each.resource == "pods" || strings.HasSuffix(each.resource, "configs") {
				Expect(where).To(HaveEach(clusterwide.namespace), each.String())
			}
		}
	})
})

var _ = Describe("In listed namespaces, two operators side by side", Ordered, func() {
	one, other := listed[0], listed[1]

	It("become ready, and each lives with rights in its own list", func() {
		for _, each := range listed {
			newNamespace(each.listed)
			apply("test/modes/testdata/" + strings.Replace(each.listed, "team-", "", 1))
			apply(each.folder)
		}
		untilAvailable(one.namespace)
		untilAvailable(other.namespace)
		newScheduler(other.listed)
		runtime, model := newRuntime(other.listed), newModel(other.listed, "one")
		live(one.namespace, one.listed)
		Eventually(ready(runtime)).Should(HavePrefix("True"))
		Eventually(ready(model)).Should(HavePrefix("True"))
	})

	It("leave nothing behind that hangs on them", func() {
		one.orphans(one.listed)
		other.uninstall()
		model := &v1alpha1.Model{ObjectMeta: metadata(other.listed, "one")}
		Expect(user.Get(lifetime, client.ObjectKeyFromObject(model), model)).To(Succeed())
		Expect(model.Finalizers).To(BeEmpty())
	})

	It("were refused nothing, have no right that they do not need, and did nothing elsewhere", func() {
		Expect(needless(one.namespace)).To(BeEmpty())
		for _, each := range listed {
			Expect(refused(each.namespace)).To(BeEmpty())
			places := HaveEach(BeElementOf(each.namespace, each.listed))
			for right, where := range granted(each.namespace) {
				Expect(where).To(places, right.String())
			}
			var seen []string
			for _, request := range requestsOf(each.namespace) {
				if request.ObjectRef != nil {
					seen = append(seen, request.ObjectRef.Namespace)
				}
			}
			Expect(seen).To(places)
		}
	})
})

func podLog(namespace, pod string) string {
	log, err := node.Log(namespace, pod)
	Expect(err).NotTo(HaveOccurred())
	return log
}

func readyz(address string) int {
	GinkgoHelper()
	response, err := http.Get("http://127.0.0.1" + address[strings.LastIndex(address, ":"):] + "/readyz") //nolint:noctx // of this process's own machine
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
