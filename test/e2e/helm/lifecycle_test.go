package helm_test

import (
	"os"
	"path/filepath"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
	"github.com/seldon-operator/seldon-operator/test/framework/installation"
)

// life defines the specs of an installation from its beginning to its end, when it is
// uninstalled in the given order.
func life(i installation.Installation, order ...string) {
	var scheduler *fakescheduler.Scheduler
	BeforeAll(func() {
		DeferCleanup(i.Remove)
		env.InstallCRDs()
		scheduler = i.Install()
	})

	// content returns the objects in both namespaces.
	content := func() map[string]string {
		found := map[string]string{}
		for _, namespace := range []string{i.DataNamespace, i.OperatorNamespace} {
			for name, version := range env.Content(namespace) {
				found[namespace+" "+name] = version
			}
		}
		return found
	}

	It("passes the test of its chart", func() {
		Expect(i.HelmRelease("test", installation.Setup)).To(MatchRegexp(`Phase:\s+Succeeded`))
	})

	It("changes nothing when it is upgraded to the same version and values", func() {
		before := content()
		i.Upgrade(installation.CRDs, installation.Chart(installation.CRDs))
		for _, release := range []string{installation.Setup, installation.Runtime, installation.Servers} {
			i.Upgrade(release, installation.Chart(release))
		}
		Consistently(func() string { return cmp.Diff(before, content()) }).Should(BeEmpty())
		Expect(i.SharedFields("helm")).To(BeEmpty())
	})

	It("applies changed values", func() {
		i.Upgrade(installation.Setup, installation.Chart(installation.Setup), "--set", "kafka.topicPrefix=of-all", "--set", "logging.logLevel=debug")
		i.Upgrade(installation.Runtime, installation.Chart(installation.Runtime), "--set", "envoy.replicas=2", "--set", "config.tracingConfig.ratio=0.5")
		i.Upgrade(installation.Servers, installation.Chart(installation.Servers), "--set", "mlserver.replicas=2,mlserver.maxReplicas=2")
		Eventually(func(g Gomega) {
			g.Expect(*env.Deployment(i.DataNamespace, "seldon-envoy").Spec.Replicas).To(BeEquivalentTo(2))
			configuration := &corev1.ConfigMap{}
			g.Expect(env.Client.Get(ctx, client.ObjectKey{Namespace: i.DataNamespace, Name: "seldon-kafka"}, configuration)).To(Succeed())
			g.Expect(configuration.Data["kafka.json"]).To(ContainSubstring("of-all"))
			g.Expect(env.Exists(&corev1.Pod{ObjectMeta: i.Server("mlserver-1").ObjectMeta})()).To(BeTrue())
		}).Should(Succeed())
		i.AwaitReady()
	})

	It("upgrades the operator without a restart of the data plane", func() {
		chart := helmPackage(installation.Setup, "0.2.0")
		before := env.Content(i.DataNamespace)
		i.Upgrade(installation.Setup, chart, "--reuse-values")
		Expect(env.Deployment(i.OperatorNamespace, installation.OperatorName).Spec.Template.Spec.Containers[0].Image).To(HaveSuffix(":0.2.0"))
		i.AwaitReady()
		Consistently(func() string {
			return cmp.Diff(installation.WithoutOperator(before), installation.WithoutOperator(env.Content(i.DataNamespace)))
		}).Should(BeEmpty())
	})

	It("upgrades the CRDs and keeps its objects", func() {
		before := content()
		i.Upgrade(installation.CRDs, crdsWithField("future"))
		patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"future":"now"}}`))
		Expect(client.WithFieldValidation(env.Client, "Strict").Patch(ctx, i.Model(), patch)).To(Succeed())
		i.AwaitReady()
		after := content()
		for _, versions := range []map[string]string{before, after} {
			delete(versions, i.DataNamespace+" "+iris)
		}
		Expect(cmp.Diff(before, after)).To(BeEmpty())
	})

	It("rolls back", func() {
		pods := i.DataPlanePods()
		i.HelmRelease("rollback", installation.CRDs)
		i.HelmRelease("rollback", installation.Setup, "--wait")
		Expect(env.Deployment(i.OperatorNamespace, installation.OperatorName).Spec.Template.Spec.Containers[0].Image).NotTo(HaveSuffix(":0.2.0"))
		i.AwaitReady()
		Consistently(func() string { return cmp.Diff(pods, i.DataPlanePods()) }).Should(BeEmpty())
		i.HelmRelease("rollback", installation.Servers)
		env.AwaitDeleted(&corev1.Pod{ObjectMeta: i.Server("mlserver-1").ObjectMeta})
		i.AwaitReady()
	})

	It("leaves replicas to the scheduler, if the values do not set them", func() {
		i.Upgrade(installation.Servers, installation.Chart(installation.Servers), "--set", "mlserver.maxReplicas=2")
		Eventually(func() error { return scheduler.RequestScaling("mlserver", 2) }).Should(Succeed())
		server := i.Server("mlserver")
		replicas := func() int64 {
			Expect(env.Client.Get(ctx, client.ObjectKeyFromObject(server), server)).To(Succeed())
			return *server.Spec.Replicas
		}
		Eventually(replicas).Should(BeEquivalentTo(2))
		_, err := env.TryHelm("upgrade", installation.Servers, installation.Chart(installation.Servers), "--namespace", i.DataNamespace, "--set", "mlserver.maxReplicas=2")
		Expect(err).To(MatchError(And(ContainSubstring("seldon-operator-scaling"), ContainSubstring(".spec.replicas"))))
		i.Upgrade(installation.Servers, installation.Chart(installation.Servers), "--set", "mlserver.maxReplicas=2,mlserver.replicas=null")
		Consistently(replicas).Should(BeEquivalentTo(2))
		i.AwaitReady()
	})

	if i.OperatorNamespace != i.DataNamespace {
		It("leaves nothing in another namespace that is deleted while the operator watches it", func() {
			another := newInstallation(i.OperatorNamespace, "life-another")
			another.CreateNamespaces()
			another.InstallDataPlane()
			deleteNamespace(another.DataNamespace)
		})
	}

	It("leaves only the documented objects when it is uninstalled", func() {
		uninstall(i, order...)
	})
}

// helmPackage packages a chart as another version, and returns the file.
func helmPackage(chart, version string) string {
	GinkgoHelper()
	env.Helm("package", installation.Chart(chart), "--version", version, "--app-version", version, "--destination", env.TempDir)
	return filepath.Join(env.TempDir, chart+"-"+version+".tgz")
}

// crdsWithField returns the directory of the chart of the CRDs, with an additional field in a Model's spec.
func crdsWithField(name string) string {
	GinkgoHelper()
	changed := filepath.Join(GinkgoT().TempDir(), installation.CRDs)
	Expect(os.CopyFS(changed, os.DirFS(installation.Chart(installation.CRDs)))).To(Succeed())
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
