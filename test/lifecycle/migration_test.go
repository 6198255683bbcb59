package lifecycle_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/test/framework/status"
)

// What docs/migration.md says, step by step.
var _ = DescribeTableSubtree("A migration from the upstream operator", Ordered, func(e *existing) {
	i := e.installation
	// had is what was in the namespace of the data plane, less what others make of it.
	var had map[string]string
	BeforeAll(func() {
		DeferCleanup(i.remove)
		removeCRDs()
		if i.values == nil {
			// Without clusterwide, the list gave rights in all namespaces and nothing else.
			e.values = []string{"controller.watchNamespaces={" + i.data + "}"}
		}
		e.install()
		had = content(i.data)
		maps.DeleteFunc(had, func(name, _ string) bool {
			return strings.HasPrefix(name, "Pod/") || strings.HasPrefix(name, "ReplicaSet/") || strings.HasPrefix(name, "ControllerRevision/")
		})
		e.scheduler.ResetCounters()
	})

	forward := func() {
		GinkgoHelper()
		if e.created {
			i.upgrade(crds, chartOf(crds), "--install", "--take-ownership", "--force-conflicts")
		} else {
			i.upgrade(crds, chartOf(crds), e.flags...)
		}
		for _, release := range []string{setup, dataPlane, servers} {
			i.upgrade(release, chartOf(release), append(e.flags, "--values", usedValues(release))...)
		}
	}
	// migrated holds after each way forward.
	migrated := func() {
		GinkgoHelper()
		i.untilReady()
		for _, each := range e.served {
			Eventually(ready(each.(status.Object))).Should(HavePrefix("True"), i.log)
		}
		for _, release := range releases {
			Expect(statusOf(i, release)).To(Equal("deployed"))
		}
		Consistently(func() map[string]string { return i.missing(e.running) }).Should(BeEmpty(), "pods that are gone")
	}

	It("is told what its values do not do any more", func() {
		told := i.helm("upgrade", setup, chartOf(setup), "--values", usedValues(setup), "--dry-run=client")
		Expect(told).To(ContainSubstring("controller.image.repository seldonio/seldonv2-controller is the upstream operator's and has no effect"))
	})

	It("restarts no pod, loads no model again and deletes nothing that is used", func() {
		forward()
		migrated()
		Expect(e.scheduler.Calls("LoadModel") + e.scheduler.Calls("LoadPipeline") + e.scheduler.Calls("StartExperiment")).To(BeZero())
		By("taking away what was left over")
		Eventually(func() []string { return names(i.missing(had)) }).Should(ConsistOf(i.leftovers()))
	})

	It("owns what it took over", func() {
		for _, child := range e.children {
			live := child.DeepCopy()
			Expect(user.Get(lifetime, client.ObjectKeyFromObject(child), live)).To(Succeed())
			Expect(live.GetAnnotations()).NotTo(HaveKey(v1alpha1.LastAppliedAnnotation), "%s %s", live.GetKind(), live.GetName())
			for _, entry := range live.GetManagedFields() {
				Expect(entry.Manager == string(existingManager) && entry.Subresource == "").To(BeFalse(), "%s %s", live.GetKind(), live.GetName())
			}
		}
		By("applying as Helm 3 did, unless it is told to apply server-side")
		configuration := &v1alpha1.SeldonConfig{}
		Expect(user.Get(lifetime, client.ObjectKey{Namespace: i.operator, Name: "default"}, configuration)).To(Succeed())
		applies := metav1.ManagedFieldsOperationUpdate
		if e.flags != nil {
			applies = metav1.ManagedFieldsOperationApply
		}
		byHelm := slices.DeleteFunc(configuration.ManagedFields, func(entry metav1.ManagedFieldsEntry) bool { return entry.Manager != "helm" })
		Expect(byHelm).To(HaveExactElements(HaveField("Operation", applies)))
		role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "seldon-v2-manager-role"}}
		Expect(exists(role)()).To(Equal(i.values != nil))
	})

	It("changes nothing by an upgrade to the same", func() {
		before := content(i.data)
		forward()
		Consistently(func() string { return cmp.Diff(withoutOperator(before), withoutOperator(content(i.data))) }).Should(BeEmpty())
	})

	It("goes back to the upstream operator", func() {
		for _, release := range []string{servers, dataPlane, setup} {
			i.helm("rollback", release, "1", "--wait")
		}
		Eventually(func() (found []string) {
			for name := range content(i.operator) {
				if strings.HasPrefix(name, "Pod/"+operator) {
					found = append(found, name)
				}
			}
			return found
		}).Should(HaveLen(1))
		Expect(deployment(i.operator, operator).Spec.Template.Spec.Containers[0].Image).To(HaveSuffix("/seldonv2-controller:2.10.2"))

		By("having it write all its children and their owners' status again")
		for _, child := range e.children {
			e.overwrite(child)
		}
		for _, file := range []string{"seldonruntime.yaml", "server-cr.yaml"} {
			e.writeBack(file)
		}
		for _, each := range e.served {
			Expect(user.Get(lifetime, client.ObjectKeyFromObject(each), each)).To(Succeed())
			Expect(each.GetFinalizers()).To(HaveLen(1), "it ends deletions of its own")
			e.writeServed(each)
		}
		Consistently(func() map[string]string { return i.missing(e.running) }).Should(BeEmpty(), "pods that are gone")
	})

	It("comes forward again", func() {
		e.scheduler.ResetCounters()
		forward()
		migrated()
		Expect(e.scheduler.Calls("LoadModel") + e.scheduler.Calls("LoadPipeline") + e.scheduler.Calls("StartExperiment")).To(BeZero())
	})
},
	Entry("of one namespace", &existing{installation: installation{operator: "seldon-mesh", data: "seldon-mesh"}}),
	Entry("of all namespaces, with server-side apply, and CRDs that were not Helm's", &existing{
		installation: installation{operator: "seldon-system", data: "team-a", values: []string{"controller.clusterwide=true"}},
		created:      true,
		flags:        []string{"--server-side=true"},
	}),
)

// missing are those of a time before that are not there any more as the same object.
func (i installation) missing(before map[string]string) map[string]string {
	GinkgoHelper()
	now, found := content(i.data), map[string]string{}
	for name, version := range before {
		uid, _, _ := strings.Cut(version, " ")
		if !strings.HasPrefix(now[name], uid) && !strings.Contains(name, operator) {
			found[name] = version
		}
	}
	return found
}

// leftovers are what the upstream operator and its charts left and nobody uses.
func (i installation) leftovers() []string {
	gone := []string{
		"Service/seldon-pipelinegateway", "Deployment/seldon-payload-logger", "StatefulSet/seldon-dataflow-engine", "Service/mlserver-3", "Deployment/mlserver",
	}
	if i.operator == i.data {
		gone = append(gone, "ConfigMap/seldon-manager-config", "Role/seldon-v2-manager-tls-role", "RoleBinding/seldon-v2-manager-tls-rolebinding")
	}
	return gone
}

// overwrite writes a child as the upstream operator does: all of it, whatever is there.
func (e *existing) overwrite(child *unstructured.Unstructured) {
	GinkgoHelper()
	live := child.DeepCopy()
	Expect(user.Get(lifetime, client.ObjectKeyFromObject(child), live)).To(Succeed())
	written := child.DeepCopy()
	written.SetResourceVersion(live.GetResourceVersion())
	Expect(user.Update(lifetime, written, existingManager)).To(Succeed())
}

func statusOf(i installation, release string) string {
	GinkgoHelper()
	found := struct{ Info struct{ Status string } }{}
	Expect(json.Unmarshal([]byte(i.helm("status", release, "--output", "json")), &found)).To(Succeed())
	return found.Info.Status
}
