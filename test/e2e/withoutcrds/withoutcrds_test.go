package withoutcrds_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/cli"
	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
)

// runtime is a SeldonRuntime with a Server, with or without hodometer.
func runtime(withoutHodometer bool) string {
	return fmt.Sprintf(`
apiVersion: mlops.seldon.io/v1alpha1
kind: SeldonRuntime
metadata: {name: seldon}
spec:
  seldonConfig: default
  overrides: [{name: hodometer, disable: %t}]
  servers: [{name: mlserver, serverConfig: mlserver, replicas: 2}]
`, withoutHodometer)
}

// applied are objects of each kind and wave that the runtime or the Server has.
var applied = map[string]client.Object{
	"seldon-scheduler": &appsv1.StatefulSet{}, "seldon-envoy": &appsv1.Deployment{}, "mlserver": &appsv1.StatefulSet{},
	"mlserver-1": &corev1.Service{}, "seldon-kafka": &corev1.ConfigMap{}, "seldon-server": &corev1.ServiceAccount{}, "agent-role": &rbacv1.Role{},
}

var _ = Describe("A cluster without CRDs and without the operator", Ordered, func() {
	var namespace, other string
	var before, otherBefore map[string]string

	var scheduler *fakescheduler.Scheduler

	BeforeAll(func() {
		namespace, other = newNamespace(), newNamespace()
		scheduler = environment.StartScheduler(namespace)
		environment.StartScheduler(other)
	})

	It("runs what is rendered", func() {
		environment.Kubectl("apply", "-f", render(namespace, runtime(false)))
		environment.Kubectl("apply", "--server-side", "-f", render(other, runtime(true)))
		Eventually(func() map[string]string { return pods(namespace) }).Should(And(
			HaveLen(8), HaveKey("seldon-scheduler-0"), HaveKey("mlserver-0"), HaveKey("mlserver-1")))
		Eventually(func() map[string]string { return pods(other) }).Should(HaveLen(7))
		otherBefore = pods(other)
	})

	It("tree reports that the CRDs are not installed", func() {
		var stdout, stderr bytes.Buffer
		config := cli.Config{Name: "kubectl seldon", Version: "dev", Streams: genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: &stdout, ErrOut: &stderr}}
		Expect(cli.Run(ctx, config, []string{"tree", "--kubeconfig", environment.Kubeconfig(), "--namespace", namespace})).To(Equal(1))
		Expect(stdout.String()).To(BeEmpty())
		Expect(stderr.String()).To(Equal("error: list seldonruntimes.mlops.seldon.io: the API server does not have this resource; install the CRDs\n"))
	})

	It("has the Models of a folder, also after its scheduler was killed", func() {
		folder := GinkgoT().TempDir()
		models, err := os.ReadFile(root("config/samples/mlops_v1alpha1_model.yaml"))
		Expect(err).NotTo(HaveOccurred())
		for name, content := range map[string][]byte{"models.yaml": models, "runtime.yaml": []byte(runtime(false))} {
			Expect(os.WriteFile(filepath.Join(folder, name), content, 0o600)).To(Succeed())
		}
		startSync(namespace, folder, scheduler.Address())
		available := func() map[string]pb.ModelStatus_ModelState {
			states := map[string]pb.ModelStatus_ModelState{}
			for _, model := range scheduler.Models() {
				states[model.Name] = model.State
			}
			return states
		}
		all := And(HaveLen(3), HaveEach(pb.ModelStatus_ModelAvailable))
		Eventually(available).Should(all)
		scheduler.Kill()
		Expect(scheduler.Restart(fakescheduler.RestartOptions{LoseAgents: true})).To(Succeed())
		Eventually(available).Should(all)
	})

	It("prunes what is no longer rendered, with an ApplySet of kubectl", func() {
		GinkgoT().Setenv("KUBECTL_APPLYSET", "true")
		apply := func(withoutHodometer bool) {
			GinkgoHelper()
			environment.Kubectl("apply", "--prune", "--applyset=configmaps/seldon", "-n", namespace, "-f", render(namespace, runtime(withoutHodometer)))
		}
		apply(false)
		Expect(pods(namespace)).To(HaveLen(8))
		apply(true)
		Expect(environment.Exists(&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "hodometer"}})()).To(BeFalse())
		Expect(environment.Exists(&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "hodometer-role"}})()).To(BeFalse())
		Eventually(func() map[string]string { return pods(namespace) }).Should(HaveLen(7))
		before = pods(namespace)
	})

	It("adopts all of it when the operator is installed, without a restart", func() {
		specs := func(namespace string) map[string]any {
			specs := map[string]any{}
			for _, list := range []client.ObjectList{&appsv1.DeploymentList{}, &appsv1.StatefulSetList{}} {
				Expect(environment.Client.List(ctx, list, client.InNamespace(namespace))).To(Succeed())
				switch typed := list.(type) {
				case *appsv1.DeploymentList:
					for _, each := range typed.Items {
						specs[each.Name] = each.Spec
					}
				case *appsv1.StatefulSetList:
					for _, each := range typed.Items {
						specs[each.Name] = each.Spec
					}
				}
			}
			return specs
		}
		specsBefore, otherSpecs := specs(namespace), specs(other)
		environment.Kubectl("apply", "--server-side", "-k", root("config/crd"))
		environment.AwaitCRDsServed()
		environment.Kubectl("apply", "--server-side", "-k", root("config/default"))
		runtimes := []*v1alpha1.SeldonRuntime{}
		for _, each := range []string{namespace, other} {
			server := v1alpha1.RuntimeServer{Name: "mlserver"}
			server.ServerConfig, server.Replicas = "mlserver", new(int64(2))
			created := &v1alpha1.SeldonRuntime{
				ObjectMeta: metav1.ObjectMeta{Namespace: each, Name: "seldon"},
				Spec: v1alpha1.SeldonRuntimeSpec{
					SeldonConfig: "default", Overrides: []v1alpha1.OverrideSpec{{Name: "hodometer", Disable: true}}, Servers: []v1alpha1.RuntimeServer{server},
				},
			}
			Expect(environment.Client.Create(ctx, created)).To(Succeed())
			runtimes = append(runtimes, created)
		}
		for _, each := range runtimes {
			Eventually(environment.Ready(each)).Should(HavePrefix("True "), each.Namespace)
			server := get(&v1alpha1.Server{}, each.Namespace, "mlserver")
			Eventually(environment.Ready(server)).Should(HavePrefix("True "))
			for name, object := range applied {
				object = get(object, each.Namespace, name)
				owner := metav1.GetControllerOf(object)
				Expect(owner).NotTo(BeNil(), "%T %s", object, name)
				Expect(owner.UID).To(BeElementOf(each.UID, server.UID))
				Expect(object.GetLabels()).NotTo(HaveKey("applyset.kubernetes.io/part-of"))
				Expect(object.GetAnnotations()).NotTo(HaveKey(corev1.LastAppliedConfigAnnotation))
				Expect(object.GetManagedFields()).NotTo(ContainElement(HaveField("Manager", HavePrefix("kubectl"))))
			}
		}
		Expect(pods(namespace)).To(Equal(before))
		Expect(pods(other)).To(Equal(otherBefore))
		Expect(specs(namespace)).To(Equal(specsBefore))
		Expect(specs(other)).To(Equal(otherSpecs))
	})

	It("leaves what was adopted to the operator when the manifests are pruned", func() {
		GinkgoT().Setenv("KUBECTL_APPLYSET", "true")
		environment.Kubectl("apply", "--prune", "--applyset=configmaps/seldon", "-n", namespace, "-f", render(namespace, `{apiVersion: v1, kind: ConfigMap, metadata: {name: unrelated}}`))
		Expect(pods(namespace)).To(Equal(before))
		for name, object := range applied {
			Expect(get(object, namespace, name).GetDeletionTimestamp()).To(BeNil())
		}
	})
})
