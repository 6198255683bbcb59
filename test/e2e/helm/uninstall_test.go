package helm_test

import (
	"os"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/test/framework/installation"
)

const (
	lease = "Lease/e98130ae.seldon.io"
	iris  = "Model/iris"
)

// uninstalls defines the specs of what remains of an installation, in orders other than
// those of its life.
func uninstalls() {
	// The CRDs are kept, unless a spec deletes them.
	BeforeEach(func() { env.InstallCRDs() })

	DescribeTable("leaves only the documented objects, in any order:", func(i installation.Installation, order ...string) {
		DeferCleanup(i.Remove)
		i.Install()
		uninstall(i, order...)
	},
		Entry("the operator first", newInstallation("down-two", "down-two"), installation.Setup, installation.Runtime, installation.Servers, installation.CRDs),
		unlessShort(
			Entry("the runtime before its servers", newInstallation("down-three", "down-three"), installation.Runtime, installation.Servers, installation.Setup, installation.CRDs),
			Entry("the CRDs first", newInstallation("down-four", "down-four"), installation.CRDs, installation.Servers, installation.Runtime, installation.Setup),
		),
	)

	It("completes when the operator's own namespace is deleted after its finalizers were removed", func() {
		i := newInstallation("end-own", "end-own")
		DeferCleanup(i.Remove)
		i.Install()
		Expect(os.Setenv("POD_NAMESPACE", i.OperatorNamespace)).To(Succeed())
		DeferCleanup(os.Unsetenv, "POD_NAMESPACE")
		output := env.Run(env.Manager, "remove-finalizers", "--stop-deployment="+installation.OperatorName, "--namespace="+i.OperatorNamespace)
		Expect(output).To(And(ContainSubstring("removed the finalizer from Model end-own/iris"), ContainSubstring("removed the finalizer from SeldonRuntime end-own/seldon")))
		deleteNamespace(i.OperatorNamespace)
	})

	It("can be completed by installing the CRDs again, if they were deleted before the releases that depend on them", func() {
		i := newInstallation("crds-three", "crds-three")
		DeferCleanup(i.Remove)
		i.Install()
		remaining := claims(i)
		i.HelmRelease("uninstall", installation.Setup)
		env.DeleteCRDs()
		env.InstallCRDs()
		for _, release := range []string{installation.Servers, installation.Runtime} {
			i.HelmRelease("uninstall", release)
		}
		eventualContent(i.DataNamespace).Should(ConsistOf(append(remaining, lease)))
	})
}

// uninstallsWithCRDs defines the specs of uninstalls that delete the CRDs. Those of a spec before
// are not installed again only to be deleted: the API server of Kubernetes 1.37 may not finish
// the deletion of a CRD that it has served for less than a second.
func uninstallsWithCRDs() {
	DescribeTable("completes if the CRDs are not kept and are uninstalled", func(i installation.Installation, order ...string) {
		DeferCleanup(i.Remove)
		env.DeleteCRDs()
		env.InstallCRDs("--set", "keep=false")
		i.Install()
		for _, release := range order {
			i.HelmRelease("uninstall", release)
		}
		env.AwaitNoCRDs()
	},
		Entry("first", newInstallation("crds-one", "crds-one"), installation.CRDs, installation.Servers, installation.Runtime, installation.Setup),
		Entry("after the operator", newInstallation("crds-two", "crds-two"), installation.Setup, installation.CRDs, installation.Servers, installation.Runtime),
	)
}

// uninstall uninstalls the releases in an order, checks what remains, and deletes the
// Model, which a user created.
func uninstall(i installation.Installation, order ...string) {
	GinkgoHelper()
	remaining := append(claims(i), iris)
	for _, release := range order {
		i.HelmRelease("uninstall", release)
	}
	if i.OperatorNamespace == i.DataNamespace {
		remaining = append(remaining, lease)
	} else {
		eventualContent(i.OperatorNamespace).Should(ConsistOf(lease))
	}
	eventualContent(i.DataNamespace).Should(ConsistOf(remaining))
	By("deleting the user's Model")
	Expect(env.Client.Delete(ctx, i.Model())).To(Succeed())
	env.AwaitDeleted(i.Model())
}

// claims returns the volume claims of the scheduler's state and of models, which are
// never deleted.
func claims(i installation.Installation) (found []string) {
	GinkgoHelper()
	for name := range env.Content(i.DataNamespace) {
		if strings.HasPrefix(name, "PersistentVolumeClaim/") {
			found = append(found, name)
		}
	}
	Expect(found).NotTo(BeEmpty())
	return found
}

// eventualContent polls the names of the objects in a namespace. The garbage collector
// looks for new kinds every 30 seconds.
func eventualContent(namespace string) AsyncAssertion {
	return Eventually(func() []string { return installation.Names(env.Content(namespace)) }).WithTimeout(90 * time.Second).WithPolling(500 * time.Millisecond)
}

// deletedNamespaces are empty and are being deleted. The namespace controller takes
// some seconds for that, during which the other specs run.
var deletedNamespaces []*corev1.Namespace

var _ = AfterSuite(func() {
	for _, namespace := range deletedNamespaces {
		env.AwaitDeleted(namespace)
	}
})

func deleteNamespace(name string) {
	GinkgoHelper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	Expect(env.Client.Delete(ctx, namespace)).To(Succeed())
	deletedNamespaces = append(deletedNamespaces, namespace)
	eventualContent(name).Should(BeEmpty())
	records := &corev1.SecretList{} // Helm's, which Content leaves out
	Eventually(func() []corev1.Secret {
		Expect(env.Client.List(ctx, records, client.InNamespace(name))).To(Succeed())
		return records.Items
	}).Should(BeEmpty())
}
