package controlplane_test

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func labels() map[string]string { return map[string]string{"app": "test"} }

func selector() *metav1.LabelSelector { return &metav1.LabelSelector{MatchLabels: labels()} }

// podTemplate has every kind of container, and a grace period that is longer than any
// test.
func podTemplate() corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels()},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: new(int64(3600)),
			InitContainers: []corev1.Container{
				{Name: "prepare", Image: "example.com/prepare"},
				{Name: "sidecar", Image: "example.com/sidecar", RestartPolicy: new(corev1.ContainerRestartPolicyAlways)},
			},
			Containers: []corev1.Container{
				{Name: "main", Image: "example.com/main"},
				{Name: "helper", Image: "example.com/helper"},
			},
		},
	}
}

func newPod(ns string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "pod"}, Spec: podTemplate().Spec}
}

func runningPod(t *testing.T, c client.Client, ns string) *corev1.Pod {
	t.Helper()
	g := NewWithT(t)
	pod := newPod(ns)
	g.Expect(c.Create(t.Context(), pod)).To(Succeed())
	g.Eventually(fetch(t, c, pod)).WithTimeout(timeout).Should(HaveField("Status.Phase", corev1.PodRunning))
	return pod
}

func claim(name, size string, class *string) corev1.PersistentVolumeClaim {
	return corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			StorageClassName: class,
			Resources: corev1.VolumeResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)},
			},
		},
	}
}

func configMap(ns, name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
}

// bindToEdit grants the role edit in a namespace to a group.
func bindToEdit(t *testing.T, c client.Client, ns, group string) {
	t.Helper()
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: group},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "edit"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: group}},
	}
	NewWithT(t).Expect(c.Create(t.Context(), binding)).To(Succeed())
}
