package installation

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

func (e *Environment) listCRDs() []apiextensionsv1.CustomResourceDefinition {
	GinkgoHelper()
	list := &apiextensionsv1.CustomResourceDefinitionList{}
	Expect(e.Client.List(e.ctx, list)).To(Succeed())
	return list.Items
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
