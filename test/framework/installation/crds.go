package installation

import (
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

func (e *Environment) listCRDs() []apiextensionsv1.CustomResourceDefinition {
	GinkgoHelper()
	list := &apiextensionsv1.CustomResourceDefinitionList{}
	Expect(e.Client.List(e.ctx, list)).To(Succeed())
	return list.Items
}

// InstallCRDs installs or upgrades the release of the CRDs, and waits until they are
// served.
func (e *Environment) InstallCRDs(arguments ...string) {
	GinkgoHelper()
	e.Helm(append([]string{"upgrade", CRDs, Chart(CRDs), "--install", "--namespace", metav1.NamespaceDefault}, arguments...)...)
	e.AwaitCRDsServed()
}

// ReleaseCRDs removes the ownership of a field manager from all CRDs, which keep their
// fields.
func (e *Environment) ReleaseCRDs(manager string) {
	GinkgoHelper()
	for _, each := range e.listCRDs() {
		each.ManagedFields = slices.DeleteFunc(each.ManagedFields, func(entry metav1.ManagedFieldsEntry) bool { return entry.Manager == manager })
		Expect(e.Client.Update(e.ctx, &each)).To(Succeed())
	}
}

// DeleteCRDs deletes all CRDs and waits until they are deleted.
func (e *Environment) DeleteCRDs() {
	GinkgoHelper()
	for _, each := range e.listCRDs() {
		Expect(client.IgnoreNotFound(e.Client.Delete(e.ctx, &each))).To(Succeed())
	}
	e.AwaitNoCRDs()
}

// AwaitNoCRDs waits until no CRD exists.
func (e *Environment) AwaitNoCRDs() {
	GinkgoHelper()
	Eventually(func() (remaining []string) {
		for _, each := range e.listCRDs() {
			remaining = append(remaining, each.Name)
			for _, condition := range each.Status.Conditions {
				remaining = append(remaining, condition.Message)
			}
		}
		return remaining
	}).Should(BeEmpty())
}

// AwaitCRDsServed waits until discovery lists every CRD, which is a little later than
// the CRD exists. Helm uses discovery.
func (e *Environment) AwaitCRDsServed() {
	GinkgoHelper()
	var defined []string
	for _, each := range e.listCRDs() {
		defined = append(defined, each.Spec.Names.Plural)
	}
	Eventually(func() (served []string) {
		found, err := e.discovery.ServerResourcesForGroupVersion(v1alpha1.GroupVersion.String())
		Expect(client.IgnoreNotFound(err)).To(Succeed())
		if err == nil {
			for _, resource := range found.APIResources {
				served = append(served, resource.Name)
			}
		}
		return served
	}).Should(ContainElements(defined))
}
