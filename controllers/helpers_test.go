package controllers_test

import (
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

func newModel(namespace, name string, change ...func(*v1alpha1.Model)) *v1alpha1.Model {
	GinkgoHelper()
	model := &v1alpha1.Model{ObjectMeta: objectMeta(namespace, name), Spec: v1alpha1.ModelSpec{
		InferenceArtifactSpec: v1alpha1.InferenceArtifactSpec{StorageURI: "gs://models/one"}}}
	for _, change := range change {
		change(model)
	}
	Expect(admin.Create(lifetime, model)).To(Succeed())
	return model
}

func namesOf(list client.ObjectList, namespace string) []string {
	GinkgoHelper()
	Expect(admin.List(lifetime, list, client.InNamespace(namespace))).To(Succeed())
	return names(list)
}

// restarted returns the workloads whose pod template has the hash of a changed
// configuration.
func restarted(namespace string) func() []string {
	return func() []string {
		const mark = "mlops.seldon.io/config-hash"
		var found []string
		deployments, sets := &appsv1.DeploymentList{}, &appsv1.StatefulSetList{}
		Expect(admin.List(lifetime, deployments, client.InNamespace(namespace))).To(Succeed())
		Expect(admin.List(lifetime, sets, client.InNamespace(namespace))).To(Succeed())
		for _, deployment := range deployments.Items {
			if deployment.Spec.Template.Annotations[mark] != "" {
				found = append(found, deployment.Name)
			}
		}
		for _, set := range sets.Items {
			if set.Spec.Template.Annotations[mark] != "" {
				found = append(found, set.Name)
			}
		}
		return found
	}
}

// scale uses the scale subresource, as kubectl and autoscalers do.
func scale(namespace, deployment string, replicas int32) {
	GinkgoHelper()
	patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas)
	object := get(namespace, deployment, &appsv1.Deployment{})
	Expect(admin.SubResource("scale").Patch(lifetime, object, client.RawPatch(types.MergePatchType, patch))).To(Succeed())
}

func replicasOf(namespace, deployment string) int32 {
	GinkgoHelper()
	return *get(namespace, deployment, &appsv1.Deployment{}).Spec.Replicas
}
