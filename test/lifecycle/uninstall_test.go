package lifecycle_test

import (
	"os"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

const (
	lease = "Lease/e98130ae.seldon.io"
	iris  = "Model/iris"
)

var _ = Describe("An uninstall", func() {
	DescribeTable("leaves only what is documented, in any order:", func(i installation, order ...string) {
		DeferCleanup(i.remove)
		i.install()
		i.uninstall(order...)
	},
		Entry("the operator first", installation{operator: "down-two", data: "down-two"}, setup, dataPlane, servers, crds),
		Entry("the runtime before its servers", installation{operator: "down-three", data: "down-three"}, dataPlane, servers, setup, crds),
		Entry("the CRDs first", installation{operator: "down-four", data: "down-four"}, crds, servers, dataPlane, setup),
	)

	DescribeTable("ends if CRDs that are not kept go", func(i installation, order ...string) {
		DeferCleanup(i.remove)
		removeCRDs()
		i.install("--set", "keep=false")
		for _, release := range order {
			i.helm("uninstall", release)
		}
		untilNoCRDs()
	},
		Entry("first", installation{operator: "gone-one", data: "gone-one"}, crds, servers, dataPlane, setup),
		Entry("after the operator", installation{operator: "gone-two", data: "gone-two"}, setup, crds, servers, dataPlane),
	)

	It("is made good by installing CRDs again that went before what depends on them", func() {
		i := installation{operator: "gone-three", data: "gone-three"}
		DeferCleanup(i.remove)
		i.install()
		stays := i.claims()
		i.helm("uninstall", setup)
		removeCRDs()
		i.upgrade(crds, chartOf(crds))
		untilServed()
		for _, release := range []string{servers, dataPlane} {
			i.helm("uninstall", release)
		}
		left(i.data).Should(ConsistOf(append(stays, lease)))
	})

	It("ends with a namespace of the data plane", func() {
		i := installation{operator: "end-operator", data: "end-team", values: []string{"controller.clusterwide=true"}}
		DeferCleanup(i.remove)
		i.install()
		deleteNamespace(i.data)
		i.helm("uninstall", setup)
		left(i.operator).Should(ConsistOf(lease))
	})

	It("ends with the operator's own namespace, once it is released", func() {
		i := installation{operator: "end-own", data: "end-own"}
		DeferCleanup(i.remove)
		i.install()
		Expect(os.Setenv("POD_NAMESPACE", i.operator)).To(Succeed())
		DeferCleanup(os.Unsetenv, "POD_NAMESPACE")
		output, err := run(manager, "remove-finalizers", "--stop-deployment="+operator, "--namespace="+i.operator)
		Expect(err).NotTo(HaveOccurred(), output)
		Expect(output).To(And(ContainSubstring("removed the finalizer from Model end-own/iris"), ContainSubstring("removed the finalizer from SeldonRuntime end-own/seldon")))
		deleteNamespace(i.operator)
	})
})

// left is what is in a namespace in the end. The garbage collector looks for new
// kinds every 30 seconds.
func left(namespace string) AsyncAssertion {
	return Eventually(func() []string { return names(content(namespace)) }).WithTimeout(90 * time.Second)
}

// claims are those of the scheduler's state and of models, which stay.
func (i installation) claims() (found []string) {
	GinkgoHelper()
	for name := range content(i.data) {
		if strings.HasPrefix(name, "PersistentVolumeClaim/") {
			found = append(found, name)
		}
	}
	Expect(found).NotTo(BeEmpty())
	return found
}

// uninstall uninstalls the releases in an order, and looks at what is left.
func (i installation) uninstall(order ...string) {
	GinkgoHelper()
	stays := append(i.claims(), iris)
	for _, release := range order {
		i.helm("uninstall", release)
	}
	if i.operator == i.data {
		stays = append(stays, lease)
	} else {
		left(i.operator).Should(ConsistOf(lease))
	}
	left(i.data).Should(ConsistOf(stays))
	By("taking what users made")
	Expect(user.Delete(lifetime, i.model())).To(Succeed())
	untilGone(i.model())
}

// going are namespaces that are empty and being deleted: their own controller looks
// again only after some seconds, in which the tests go on.
var going []*corev1.Namespace

var _ = AfterSuite(func() {
	for _, namespace := range going {
		untilGone(namespace)
	}
})

func deleteNamespace(name string) {
	GinkgoHelper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	Expect(user.Delete(lifetime, namespace)).To(Succeed())
	going = append(going, namespace)
	left(name).Should(BeEmpty())
	records := &corev1.SecretList{} // Helm's, which are not counted there
	Eventually(func() []corev1.Secret {
		Expect(user.List(lifetime, records, client.InNamespace(name))).To(Succeed())
		return records.Items
	}).Should(BeEmpty())
}

func definitions() []apiextensionsv1.CustomResourceDefinition {
	GinkgoHelper()
	list := &apiextensionsv1.CustomResourceDefinitionList{}
	Expect(user.List(lifetime, list)).To(Succeed())
	return list.Items
}

func untilNoCRDs() {
	GinkgoHelper()
	Eventually(func() (left []string) {
		for _, each := range definitions() {
			left = append(left, each.Name)
			for _, condition := range each.Status.Conditions {
				left = append(left, condition.Message)
			}
		}
		return left
	}).Should(BeEmpty())
}

// remove takes away what a test left running. CRDs stay.
func (i installation) remove() {
	GinkgoHelper()
	for _, release := range []string{servers, dataPlane, setup, crds} {
		i.helm("uninstall", release, "--ignore-not-found")
	}
}

func removeCRDs() {
	GinkgoHelper()
	for _, each := range definitions() {
		Expect(client.IgnoreNotFound(user.Delete(lifetime, &each))).To(Succeed())
	}
	untilNoCRDs()
}

// untilServed waits until the API server names what is defined, which is a little
// later than the definitions are there. Helm goes by that.
func untilServed() {
	GinkgoHelper()
	var defined []string
	for _, each := range definitions() {
		defined = append(defined, each.Spec.Names.Plural)
	}
	Eventually(func() (served []string) {
		found, err := kinds.ServerResourcesForGroupVersion(v1alpha1.GroupVersion.String())
		Expect(client.IgnoreNotFound(err)).To(Succeed())
		if err == nil {
			for _, resource := range found.APIResources {
				served = append(served, resource.Name)
			}
		}
		return served
	}).Should(ContainElements(defined))
}
