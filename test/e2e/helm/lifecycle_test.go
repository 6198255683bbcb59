package lifecycle_test

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
)

// Both modes live the same life.
var _ = DescribeTableSubtree("An installation", Ordered, func(i installation) {
	var scheduler *fakescheduler.Scheduler
	BeforeAll(func() {
		DeferCleanup(i.remove)
		scheduler = i.install()
	})

	both := func() map[string]string {
		found := map[string]string{}
		for _, namespace := range []string{i.data, i.operator} {
			for name, version := range content(namespace) {
				found[namespace+" "+name] = version
			}
		}
		return found
	}

	It("passes the test of its chart", func() {
		Expect(i.helm("test", setup)).To(MatchRegexp(`Phase:\s+Succeeded`))
	})

	It("stays as it is when it is upgraded to the same", func() {
		before := both()
		i.upgrade(crds, chartOf(crds))
		for _, release := range []string{setup, dataPlane, servers} {
			i.upgrade(release, chartOf(release))
		}
		Consistently(func() string { return cmp.Diff(before, both()) }).Should(BeEmpty())
		Expect(i.sharedFields("helm")).To(BeEmpty())
	})

	It("follows its values", func() {
		i.upgrade(setup, chartOf(setup), "--set", "kafka.topicPrefix=of-all", "--set", "logging.logLevel=debug")
		i.upgrade(dataPlane, chartOf(dataPlane), "--set", "envoy.replicas=2", "--set", "config.tracingConfig.ratio=0.5")
		i.upgrade(servers, chartOf(servers), "--set", "mlserver.replicas=2,mlserver.maxReplicas=2")
		Eventually(func(g Gomega) {
			g.Expect(*deployment(i.data, "seldon-envoy").Spec.Replicas).To(BeEquivalentTo(2))
			configuration := &corev1.ConfigMap{}
			g.Expect(user.Get(lifetime, client.ObjectKey{Namespace: i.data, Name: "seldon-kafka"}, configuration)).To(Succeed())
			g.Expect(configuration.Data["kafka.json"]).To(ContainSubstring("of-all"))
			g.Expect(exists(&corev1.Pod{ObjectMeta: i.server("mlserver-1").ObjectMeta})()).To(BeTrue())
		}).Should(Succeed())
		i.untilReady()
	})

	It("gets a new version of the operator without a restart of the data plane", func() {
		chart := helmPackage(setup, "0.2.0")
		before := content(i.data)
		i.upgrade(setup, chart, "--reuse-values")
		Expect(deployment(i.operator, operator).Spec.Template.Spec.Containers[0].Image).To(HaveSuffix(":0.2.0"))
		i.untilReady()
		Consistently(func() string { return cmp.Diff(withoutOperator(before), withoutOperator(content(i.data))) }).Should(BeEmpty())
	})

	It("gets a new version of the CRDs and keeps its objects", func() {
		before := both()
		i.upgrade(crds, chartWithAField("future"))
		patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"future":"now"}}`))
		Expect(client.WithFieldValidation(user, "Strict").Patch(lifetime, i.model(), patch)).To(Succeed())
		i.untilReady()
		after := both()
		for _, versions := range []map[string]string{before, after} {
			delete(versions, i.data+" "+iris)
		}
		Expect(cmp.Diff(before, after)).To(BeEmpty())
	})

	It("goes back to what it was", func() {
		pods := i.pods()
		i.helm("rollback", crds)
		i.helm("rollback", setup, "--wait")
		Expect(deployment(i.operator, operator).Spec.Template.Spec.Containers[0].Image).NotTo(HaveSuffix(":0.2.0"))
		i.untilReady()
		Consistently(func() string { return cmp.Diff(pods, i.pods()) }).Should(BeEmpty())
		i.helm("rollback", servers)
		untilGone(&corev1.Pod{ObjectMeta: i.server("mlserver-1").ObjectMeta})
		i.untilReady()
	})

	It("has Helm and the scheduler agree on replicas, if the values leave them out", func() {
		i.upgrade(servers, chartOf(servers), "--set", "mlserver.maxReplicas=2")
		Eventually(func() error { return scheduler.RequestScaling("mlserver", 2) }).Should(Succeed())
		server := i.server("mlserver")
		replicas := func() int64 {
			Expect(user.Get(lifetime, client.ObjectKeyFromObject(server), server)).To(Succeed())
			return *server.Spec.Replicas
		}
		Eventually(replicas).Should(BeEquivalentTo(2))
		complaint, err := tryHelm("upgrade", servers, chartOf(servers), "--namespace", i.data, "--set", "mlserver.maxReplicas=2")
		Expect(err).To(HaveOccurred())
		Expect(complaint).To(And(ContainSubstring("seldon-operator-scaling"), ContainSubstring(".spec.replicas")))
		i.upgrade(servers, chartOf(servers), "--set", "mlserver.maxReplicas=2,mlserver.replicas=null")
		Consistently(replicas).Should(BeEquivalentTo(2))
		i.untilReady()
	})

	It("leaves only what is documented", func() { i.uninstall(servers, dataPlane, setup, crds) })
},
	Entry("of one namespace", installation{operator: "life", data: "life"}),
	Entry("of all namespaces", installation{operator: "life-operator", data: "life-team", values: []string{"controller.clusterwide=true"}}),
)

func withoutOperator(of map[string]string) map[string]string {
	for name := range of {
		// Its Deployment and what comes of it, and what carries the version of the chart.
		if strings.Contains(name, "/seldon-v2-") {
			delete(of, name)
		}
	}
	return of
}

// helmPackage packs a chart as another version, and returns the file.
func helmPackage(chart, version string) string {
	GinkgoHelper()
	helm("package", chartOf(chart), "--version", version, "--app-version", version, "--destination", folder)
	return filepath.Join(folder, chart+"-"+version+".tgz")
}

// chartWithAField is the chart of the CRDs, with one more field in a Model's spec.
func chartWithAField(name string) string {
	GinkgoHelper()
	changed := filepath.Join(GinkgoT().TempDir(), crds)
	Expect(os.CopyFS(changed, os.DirFS(chartOf(crds)))).To(Succeed())
	file := filepath.Join(changed, "files", "mlops.seldon.io_models.yaml")
	text, err := os.ReadFile(file)
	Expect(err).NotTo(HaveOccurred())
	definition := map[string]any{}
	Expect(yaml.Unmarshal(text, &definition)).To(Succeed())
	version := definition["spec"].(map[string]any)["versions"].([]any)[0].(map[string]any)
	Expect(unstructured.SetNestedField(version, "string", "schema", "openAPIV3Schema", "properties", "spec", "properties", name, "type")).To(Succeed())
	text, err = yaml.Marshal(definition)
	Expect(err).NotTo(HaveOccurred())
	Expect(os.WriteFile(file, text, 0o600)).To(Succeed())
	return changed
}
