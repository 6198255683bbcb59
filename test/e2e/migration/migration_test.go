package migration_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/test/framework/installation"
	"github.com/seldon-operator/seldon-operator/test/framework/status"
)

// With "go test -short", only one of the migrations is rolled back and repeated. Ginkgo's
// random seed, which it prints, selects it.
var _ = DescribeTableSubtree("A migration from the upstream operator", Ordered, func(number int64, legacy *legacyInstallation) {
	// before is the content of the namespace of the data plane before the migration,
	// without the objects that Kubernetes' controllers create.
	var before map[string]string
	BeforeAll(func() {
		DeferCleanup(legacy.Remove)
		env.DeleteCRDs()
		values := legacy.Values
		if values == nil {
			// Without clusterwide, the upstream chart creates a ClusterRole for this list
			// and has no other use for it.
			values = []string{"controller.watchNamespaces={" + legacy.DataNamespace + "}"}
		}
		legacy.install(values)
		before = env.Content(legacy.DataNamespace)
		maps.DeleteFunc(before, func(name, _ string) bool {
			return strings.HasPrefix(name, "Pod/") || strings.HasPrefix(name, "ReplicaSet/") || strings.HasPrefix(name, "ControllerRevision/")
		})
		legacy.scheduler.ResetCounters()
	})

	migrate := func() {
		GinkgoHelper()
		if legacy.crdsByKubectl {
			legacy.Upgrade(installation.CRDs, installation.Chart(installation.CRDs), "--install", "--take-ownership", "--force-conflicts")
		} else {
			legacy.Upgrade(installation.CRDs, installation.Chart(installation.CRDs), legacy.helmFlags...)
		}
		for _, release := range []string{installation.Setup, installation.Runtime, installation.Servers} {
			legacy.Upgrade(release, installation.Chart(release), append(legacy.helmFlags, "--values", valuesFile(release))...)
		}
	}
	// expectMigrated checks the state after each migration.
	expectMigrated := func() {
		GinkgoHelper()
		legacy.AwaitReady()
		for _, each := range legacy.resources {
			Eventually(env.Ready(each.(status.Object))).Should(HavePrefix("True"), legacy.Log)
		}
		for _, release := range installation.Releases {
			Expect(legacy.releaseStatus(release)).To(Equal("deployed"))
		}
		Consistently(func() map[string]string { return legacy.missing(legacy.pods) }).Should(BeEmpty(), "deleted pods")
	}
	numLoads := func() int {
		return legacy.scheduler.Calls("LoadModel") + legacy.scheduler.Calls("LoadPipeline") + legacy.scheduler.Calls("StartExperiment")
	}

	It("lists the values that have no effect any more", func() {
		notes := legacy.HelmRelease("upgrade", installation.Setup, installation.Chart(installation.Setup), "--values", valuesFile(installation.Setup), "--dry-run=client")
		Expect(notes).To(ContainSubstring("controller.image.repository seldonio/seldonv2-controller is the upstream operator's and has no effect"))
	})

	It("restarts no pod, loads no model again and deletes nothing that is used", func() {
		migrate()
		expectMigrated()
		Expect(numLoads()).To(BeZero())
		By("pruning orphaned objects")
		Eventually(func() []string { return installation.Names(legacy.missing(before)) }).Should(ConsistOf(legacy.orphans()))
	})

	It("migrates the ownership of fields", func() {
		for _, child := range legacy.children {
			live := child.DeepCopy()
			Expect(env.Client.Get(ctx, client.ObjectKeyFromObject(child), live)).To(Succeed())
			Expect(live.GetAnnotations()).NotTo(HaveKey(v1alpha1.LastAppliedAnnotation), "%s %s", live.GetKind(), live.GetName())
			for _, entry := range live.GetManagedFields() {
				Expect(entry.Manager == string(legacyManager) && entry.Subresource == "").To(BeFalse(), "%s %s", live.GetKind(), live.GetName())
			}
		}
		By("applying client-side as Helm 3 did, unless a flag sets server-side apply")
		configuration := &v1alpha1.SeldonConfig{}
		Expect(env.Client.Get(ctx, client.ObjectKey{Namespace: legacy.OperatorNamespace, Name: "default"}, configuration)).To(Succeed())
		operation := metav1.ManagedFieldsOperationUpdate
		if legacy.helmFlags != nil {
			operation = metav1.ManagedFieldsOperationApply
		}
		byHelm := slices.DeleteFunc(configuration.ManagedFields, func(entry metav1.ManagedFieldsEntry) bool { return entry.Manager != "helm" })
		Expect(byHelm).To(HaveExactElements(HaveField("Operation", operation)))
		role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "seldon-v2-manager-role"}}
		Expect(env.Exists(role)()).To(Equal(legacy.Values != nil))
	})

	if testing.Short() && GinkgoRandomSeed()%2 != number {
		return
	}

	It("changes nothing in an upgrade to the same version and values", func() {
		content := func() map[string]string { return installation.WithoutOperator(env.Content(legacy.DataNamespace)) }
		before := content()
		migrate()
		Consistently(func() string { return cmp.Diff(before, content()) }).Should(BeEmpty())
	})

	It("rolls back to the upstream operator", func() {
		for _, release := range []string{installation.Servers, installation.Runtime, installation.Setup} {
			legacy.HelmRelease("rollback", release, "1", "--wait")
		}
		Eventually(func() (found []string) {
			for name := range env.Content(legacy.OperatorNamespace) {
				if strings.HasPrefix(name, "Pod/"+installation.OperatorName) {
					found = append(found, name)
				}
			}
			return found
		}).Should(HaveLen(1))
		operator := env.Deployment(legacy.OperatorNamespace, installation.OperatorName)
		Expect(operator.Spec.Template.Spec.Containers[0].Image).To(HaveSuffix("/seldonv2-controller:2.10.2"))

		By("writing all children and their owners' status as the upstream operator does")
		for _, child := range legacy.children {
			legacy.overwrite(child)
		}
		for _, file := range ownerFiles {
			legacy.simulateLegacyWrite(file)
		}
		for _, each := range legacy.resources {
			Expect(env.Client.Get(ctx, client.ObjectKeyFromObject(each), each)).To(Succeed())
			Expect(each.GetFinalizers()).To(HaveLen(1), "the upstream operator removes its finalizer only")
			legacy.writeResourceStatus(each)
		}
		Consistently(func() map[string]string { return legacy.missing(legacy.pods) }).Should(BeEmpty(), "deleted pods")
	})

	It("migrates again", func() {
		legacy.scheduler.ResetCounters()
		migrate()
		expectMigrated()
		Expect(numLoads()).To(BeZero())
	})
},
	Entry("of one namespace", int64(0), &legacyInstallation{Installation: installation.Installation{
		Environment: &env, OperatorNamespace: "seldon-mesh", DataNamespace: "seldon-mesh",
	}}),
	Entry("of all namespaces, with server-side apply, and CRDs that were not installed by Helm", int64(1), &legacyInstallation{
		Installation: installation.Installation{
			Environment: &env, OperatorNamespace: "seldon-system", DataNamespace: "team-a", Values: []string{"controller.clusterwide=true"},
		},
		crdsByKubectl: true,
		helmFlags:     []string{"--server-side=true"},
	}),
)

// missing returns the entries of an earlier Content of the namespace of the data plane
// whose object, by UID, does not exist any more.
func (l *legacyInstallation) missing(before map[string]string) map[string]string {
	GinkgoHelper()
	now, found := env.Content(l.DataNamespace), map[string]string{}
	for name, version := range before {
		uid, _, _ := strings.Cut(version, " ")
		if !strings.HasPrefix(now[name], uid) && !strings.Contains(name, installation.OperatorName) {
			found[name] = version
		}
	}
	return found
}

// orphans returns the objects that the upstream operator and its charts leave behind
// and that a migration deletes.
func (l *legacyInstallation) orphans() []string {
	orphans := []string{
		"Service/seldon-pipelinegateway", "Deployment/seldon-payload-logger", "StatefulSet/seldon-dataflow-engine", "Service/mlserver-3", "Deployment/mlserver",
	}
	if l.OperatorNamespace == l.DataNamespace {
		orphans = append(orphans, "ConfigMap/seldon-manager-config", "Role/seldon-v2-manager-tls-role", "RoleBinding/seldon-v2-manager-tls-rolebinding")
	}
	return orphans
}

// releaseStatus returns the status of a Helm release.
func (l *legacyInstallation) releaseStatus(release string) string {
	GinkgoHelper()
	found := struct{ Info struct{ Status string } }{}
	Expect(json.Unmarshal([]byte(l.HelmRelease("status", release, "--output", "json")), &found)).To(Succeed())
	return found.Info.Status
}
