package controlplane_test

import (
	"context"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/test/framework/controlplane"
)

// timeout is for everything that the control plane does by itself. It is generous: a
// test waits this long only if it fails.
const timeout = time.Minute

func TestWholeControlPlane(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	cp, err := controlplane.Start(ctx, controlplane.Options{Nodes: 2})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { expectCancelStops(t, cp, cancel) })

	c, err := client.New(cp.Config(), client.Options{})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	for _, test := range []struct {
		name string
		run  func(*testing.T, *controlplane.ControlPlane, client.Client, string)
	}{
		{"DeploymentsBecomeReady", deploymentsBecomeReady},
		{"StatefulSetsBecomeReadyWithTheirClaims", statefulSetsBecomeReadyWithTheirClaims},
		{"ClaimsOfAnyClassAreBound", claimsOfAnyClassAreBound},
		{"PodsAreDeletedAtOnce", podsAreDeletedAtOnce},
		{"PodsStayPendingOnCordonedNodes", podsStayPendingOnCordonedNodes},
		{"OrphansAreCollected", orphansAreCollected},
		{"NamespacesAreDeleted", namespacesAreDeleted},
		{"QuotasAreEnforced", quotasAreEnforced},
		{"ServiceAccountTokensAuthenticate", serviceAccountTokensAuthenticate},
		{"UsersHaveGrantedPermissionsOnly", usersHaveGrantedPermissionsOnly},
		{"BlockOwnerDeletionNeedsPermission", blockOwnerDeletionNeedsPermission},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
			NewWithT(t).Expect(c.Create(t.Context(), ns)).To(Succeed())
			test.run(t, cp, c, ns.Name)
		})
	}
}

func deploymentsBecomeReady(t *testing.T, _ *controlplane.ControlPlane, c client.Client, ns string) {
	g := NewWithT(t)
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "web"}}
	deployment.Spec.Replicas = new(int32(3))
	deployment.Spec.Selector = selector()
	deployment.Spec.Template = podTemplate()
	g.Expect(c.Create(t.Context(), deployment)).To(Succeed())
	g.Eventually(fetch(t, c, deployment)).WithTimeout(timeout).Should(HaveField("Status.AvailableReplicas", int32(3)))

	pods := &corev1.PodList{}
	g.Expect(c.List(t.Context(), pods, client.InNamespace(ns))).To(Succeed())
	g.Expect(pods.Items).To(HaveLen(3))
	g.Expect(pods.Items).To(HaveEach(And(
		HaveField("Status.PodIP", Not(BeEmpty())),
		HaveField("Status.ContainerStatuses", HaveEach(HaveField("Ready", BeTrue()))),
		HaveField("Status.InitContainerStatuses", ConsistOf(
			And(HaveField("Name", "prepare"), HaveField("State.Terminated.ExitCode", int32(0))),
			And(HaveField("Name", "sidecar"), HaveField("State.Running", Not(BeNil()))),
		)),
	)))
}

func statefulSetsBecomeReadyWithTheirClaims(t *testing.T, _ *controlplane.ControlPlane, c client.Client, ns string) {
	g := NewWithT(t)
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "db"}}
	set.Spec.Replicas = new(int32(2))
	set.Spec.Selector = selector()
	set.Spec.Template = podTemplate()
	set.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{claim("data", "1Gi", nil)}
	g.Expect(c.Create(t.Context(), set)).To(Succeed())
	g.Eventually(fetch(t, c, set)).WithTimeout(timeout).Should(HaveField("Status.ReadyReplicas", int32(2)))

	expanded := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "data-db-0"}}
	g.Expect(fetch(t, c, expanded)()).To(And(
		HaveField("Status.Phase", corev1.ClaimBound),
		HaveField("Spec.StorageClassName", HaveValue(Equal(controlplane.StorageClass))),
	))
	before := expanded.DeepCopy()
	expanded.Spec.Resources.Requests[corev1.ResourceStorage] = resource.MustParse("3Gi")
	g.Expect(c.Patch(t.Context(), expanded, client.MergeFrom(before))).To(Succeed())
	g.Eventually(func() (string, error) {
		err := c.Get(t.Context(), client.ObjectKeyFromObject(expanded), expanded)
		return expanded.Status.Capacity.Storage().String(), err
	}).WithTimeout(timeout).Should(Equal("3Gi"))
	volume := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: expanded.Spec.VolumeName}}
	g.Expect(fetch(t, c, volume)()).To(HaveField("Spec.Capacity", HaveKeyWithValue(
		corev1.ResourceStorage, HaveField("String()", "3Gi"))))

	g.Expect(c.Delete(t.Context(), set)).To(Succeed())
	g.Expect(c.Delete(t.Context(), expanded)).To(Succeed())
	g.Eventually(isDeleted(t, c, expanded)).WithTimeout(timeout).Should(BeTrue())
	g.Eventually(isDeleted(t, c, volume)).WithTimeout(timeout).Should(BeTrue(), "a volume is deleted with its claim")
}

func claimsOfAnyClassAreBound(t *testing.T, _ *controlplane.ControlPlane, c client.Client, ns string) {
	g := NewWithT(t)
	rigid := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "rigid"}, Provisioner: "example.com/rigid"}
	g.Expect(c.Create(t.Context(), rigid)).To(Succeed())
	for name, class := range map[string]*string{"rigid": new("rigid"), "missing": new("missing"), "none": new("")} {
		pvc := claim(name, "1Gi", class)
		pvc.Namespace = ns
		g.Expect(c.Create(t.Context(), &pvc)).To(Succeed())
		g.Eventually(fetch(t, c, &pvc)).WithTimeout(timeout).Should(HaveField("Status.Phase", corev1.ClaimBound), name)

		before := pvc.DeepCopy()
		pvc.Spec.Resources.Requests[corev1.ResourceStorage] = resource.MustParse("2Gi")
		err := c.Patch(t.Context(), &pvc, client.MergeFrom(before))
		g.Expect(apierrors.IsForbidden(err)).To(BeTrue(), "%s does not allow expansion: %v", name, err)
	}
}

func podsAreDeletedAtOnce(t *testing.T, _ *controlplane.ControlPlane, c client.Client, ns string) {
	g := NewWithT(t)
	pod := runningPod(t, c, ns)
	g.Expect(c.Delete(t.Context(), pod)).To(Succeed())
	// Its grace period is an hour.
	g.Eventually(isDeleted(t, c, pod)).WithTimeout(timeout).Should(BeTrue())
}

func podsStayPendingOnCordonedNodes(t *testing.T, _ *controlplane.ControlPlane, c client.Client, ns string) {
	g := NewWithT(t)
	cordon := func(unschedulable bool) {
		nodes := &corev1.NodeList{}
		g.Expect(c.List(t.Context(), nodes)).To(Succeed())
		g.Expect(nodes.Items).To(HaveLen(2))
		for _, node := range nodes.Items {
			before := node.DeepCopy()
			node.Spec.Unschedulable = unschedulable
			g.Expect(c.Patch(t.Context(), &node, client.MergeFrom(before))).To(Succeed())
		}
	}
	cordon(true)
	pod := newPod(ns)
	g.Expect(c.Create(t.Context(), pod)).To(Succeed())
	g.Eventually(fetch(t, c, pod)).WithTimeout(timeout).Should(HaveField("Status.Conditions", ContainElement(
		HaveField("Reason", corev1.PodReasonUnschedulable))))
	cordon(false)
	g.Eventually(fetch(t, c, pod)).WithTimeout(timeout).Should(HaveField("Status.Phase", corev1.PodRunning))
}

func orphansAreCollected(t *testing.T, _ *controlplane.ControlPlane, c client.Client, ns string) {
	g := NewWithT(t)
	owner, child := configMap(ns, "owner"), configMap(ns, "child")
	g.Expect(c.Create(t.Context(), owner)).To(Succeed())
	child.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(owner, corev1.SchemeGroupVersion.WithKind("ConfigMap"))}
	g.Expect(c.Create(t.Context(), child)).To(Succeed())
	g.Expect(c.Delete(t.Context(), owner)).To(Succeed())
	g.Eventually(isDeleted(t, c, child)).WithTimeout(timeout).Should(BeTrue())
}

func namespacesAreDeleted(t *testing.T, _ *controlplane.ControlPlane, c client.Client, ns string) {
	g := NewWithT(t)
	pod := runningPod(t, c, ns)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}
	g.Expect(c.Delete(t.Context(), namespace)).To(Succeed())
	g.Eventually(isDeleted(t, c, namespace)).WithTimeout(timeout).Should(BeTrue())
	g.Expect(isDeleted(t, c, pod)()).To(BeTrue())
}

func quotasAreEnforced(t *testing.T, _ *controlplane.ControlPlane, c client.Client, ns string) {
	g := NewWithT(t)
	services := corev1.ResourceList{corev1.ResourceServices: resource.MustParse("0")}
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "none"}}
	quota.Spec.Hard = services
	g.Expect(c.Create(t.Context(), quota)).To(Succeed())
	g.Eventually(fetch(t, c, quota)).WithTimeout(timeout).Should(HaveField("Status.Used", HaveLen(1)))
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "web"}}
	service.Spec.Ports = []corev1.ServicePort{{Port: 80}}
	g.Expect(c.Create(t.Context(), service)).To(MatchError(ContainSubstring("exceeded quota")))
}

func serviceAccountTokensAuthenticate(t *testing.T, cp *controlplane.ControlPlane, c client.Client, ns string) {
	g := NewWithT(t)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "default"}}
	g.Eventually(fetch(t, c, account)).WithTimeout(timeout).Should(HaveField("UID", Not(BeEmpty())))
	request := &authenticationv1.TokenRequest{}
	g.Expect(c.SubResource("token").Create(t.Context(), account, request)).To(Succeed())
	user := "system:serviceaccount:" + ns + ":default"
	g.Expect(whoAmI(t, withToken(cp.Config(), request.Status.Token))).To(Equal(user))

	// The older kind of token, which kube-controller-manager writes into a Secret.
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Namespace: ns, Name: "token", Annotations: map[string]string{corev1.ServiceAccountNameKey: account.Name},
	}, Type: corev1.SecretTypeServiceAccountToken}
	g.Expect(c.Create(t.Context(), secret)).To(Succeed())
	g.Eventually(fetch(t, c, secret)).WithTimeout(timeout).Should(
		HaveField("Data", HaveKey(corev1.ServiceAccountTokenKey)))
	token := string(secret.Data[corev1.ServiceAccountTokenKey])
	g.Expect(whoAmI(t, withToken(cp.Config(), token))).To(Equal(user))

	bundle := configMap(ns, "kube-root-ca.crt")
	g.Eventually(fetch(t, c, bundle)).WithTimeout(timeout).Should(
		HaveField("Data", HaveKeyWithValue("ca.crt", string(cp.Config().CAData))))
}

func usersHaveGrantedPermissionsOnly(t *testing.T, cp *controlplane.ControlPlane, c client.Client, ns string) {
	g := NewWithT(t)
	config, kubeconfig, err := cp.User("alice", "team-a")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(whoAmI(t, config)).To(Equal("alice"))
	fromFile, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(whoAmI(t, fromFile)).To(Equal("alice"))

	alice, err := client.New(config, client.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	err = alice.Create(t.Context(), configMap(ns, "config"))
	g.Expect(apierrors.IsForbidden(err)).To(BeTrue(), "a new user has no permissions: %v", err)

	bindToEdit(t, c, ns, "team-a")
	g.Eventually(func() error { return alice.Create(t.Context(), configMap(ns, "config")) }).
		WithTimeout(timeout).Should(Succeed(), "the role edit is aggregated and bound to the group")
}

// blockOwnerDeletionNeedsPermission tests the admission plugin
// OwnerReferencesPermissionEnforcement: blockOwnerDeletion needs the permission to update
// the owner's finalizers, which the role edit does not grant for nodes.
func blockOwnerDeletionNeedsPermission(t *testing.T, cp *controlplane.ControlPlane, c client.Client, ns string) {
	g := NewWithT(t)
	config, _, err := cp.User("bob", "team-b")
	g.Expect(err).NotTo(HaveOccurred())
	bob, err := client.New(config, client.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	bindToEdit(t, c, ns, "team-b")
	g.Eventually(func() error { return bob.Create(t.Context(), configMap(ns, "free")) }).WithTimeout(timeout).Should(Succeed())

	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-0"}}
	g.Expect(fetch(t, c, node)()).NotTo(BeNil())
	child := configMap(ns, "child")
	child.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(node, corev1.SchemeGroupVersion.WithKind("Node"))}
	g.Expect(bob.Create(t.Context(), child)).To(MatchError(ContainSubstring("cannot set blockOwnerDeletion")))
}

// fetch returns a function that gets the object, for Eventually.
func fetch[T client.Object](t *testing.T, c client.Client, object T) func() (T, error) {
	return func() (T, error) {
		return object, client.IgnoreNotFound(c.Get(t.Context(), client.ObjectKeyFromObject(object), object))
	}
}

// isDeleted returns a function that returns whether the object does not exist.
func isDeleted(t *testing.T, c client.Client, object client.Object) func() (bool, error) {
	return func() (bool, error) {
		err := c.Get(t.Context(), client.ObjectKeyFromObject(object), object)
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	}
}

func whoAmI(t *testing.T, config *rest.Config) string {
	t.Helper()
	clients, err := kubernetes.NewForConfig(config)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	review, err := clients.AuthenticationV1().SelfSubjectReviews().
		Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return review.Status.UserInfo.Username
}

func withToken(config *rest.Config, token string) *rest.Config {
	config = rest.AnonymousClientConfig(config)
	config.BearerToken = token
	return config
}
