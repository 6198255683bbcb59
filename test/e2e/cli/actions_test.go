package cli

import (
	"bytes"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/inputs"
)

var _ = Describe("the commands for a runtime", Ordered, func() {
	var f *fixture

	BeforeAll(func() {
		f = &fixture{namespace: newNamespace(), applied: map[string]*unstructured.Unstructured{}, folder: GinkgoT().TempDir()}
		environment.StartScheduler(f.namespace)
		f.apply(f.read(`
apiVersion: mlops.seldon.io/v1alpha1
kind: SeldonRuntime
metadata: {name: seldon, labels: {select: `+f.namespace+`}}
spec:
  seldonConfig: default
  servers:
    - {name: mlserver, serverConfig: mlserver, replicas: 1}
`, f.namespace))
		f.settle()
	})

	requestSpecs(func() *fixture { return f })
	permissionSpecs(func() *fixture { return f })
	exitCodeSpecs(func() *fixture { return f })

	It("reconcile changes no child object", func() {
		before, pods := f.versions(), f.podUIDs("")
		mustSeldon("reconcile", "seldonruntime/seldon", "-n", f.namespace, "--wait")
		mustSeldon("reconcile", "server/mlserver", "-n", f.namespace, "--wait")
		Expect(get(&v1alpha1.SeldonRuntime{}, f.namespace, "seldon").Annotations).To(HaveKey(v1alpha1.ReconcileRequestedAtAnnotation))
		f.settle()
		after := f.versions()
		// The Server is a child of the runtime, and the command annotated it.
		delete(before, "Server/mlserver")
		delete(after, "Server/mlserver")
		Expect(after).To(Equal(before))
		Expect(f.podUIDs("")).To(Equal(pods))
		for name, child := range f.children() {
			if child.GetKind() != "Server" {
				text, err := child.MarshalJSON()
				Expect(err).NotTo(HaveOccurred())
				Expect(string(text)).NotTo(ContainSubstring("reconcile-requested-at"), name)
			}
		}
	})

	It("pause and resume change the selected objects only", func() {
		name := "SeldonRuntime " + f.namespace + "/seldon"
		paused := func() map[string]string {
			list := &v1alpha1.SeldonRuntimeList{}
			Expect(environment.Client.List(ctx, list)).To(Succeed())
			found := map[string]string{}
			for _, each := range list.Items {
				if value, set := each.Annotations[inputs.EngineOptions.PausedAnnotation()]; set {
					found[each.Namespace] = value
				}
			}
			return found
		}
		selected := []string{"-A", "-l", "select=" + f.namespace}
		Expect(seldon(append([]string{"pause"}, selected...)...)).To(Equal(output{name + ": set annotation mlops.seldon.io/paused=true\n", "Paused 1 object.\n", 0}))
		Expect(paused()).To(Equal(map[string]string{f.namespace: "true"}))
		Expect(seldon("pause", "seldon", "-n", f.namespace)).To(Equal(output{name + ": is paused already\n", "Paused 0 objects.\n", 0}))
		Expect(seldon(append([]string{"resume"}, selected...)...)).To(Equal(output{name + ": removed annotation mlops.seldon.io/paused\n", "Resumed 1 object.\n", 0}))
		Expect(paused()).To(BeEmpty())
		Expect(seldon("resume", "seldon", "-n", f.namespace)).To(Equal(output{name + ": is not paused\n", "Resumed 0 objects.\n", 0}))
		f.settle()
	})

	It("pause suspends writes until resume", func() {
		mustSeldon("pause", "seldon", "-n", f.namespace, "--wait")
		environment.Kubectl("delete", "deployment", "seldon-envoy", "-n", f.namespace)
		deleted := func() bool {
			err := environment.Client.Get(ctx, client.ObjectKey{Namespace: f.namespace, Name: "seldon-envoy"}, &appsv1.Deployment{})
			return client.IgnoreNotFound(err) == nil && err != nil
		}
		Consistently(deleted).WithTimeout(time.Second).Should(BeTrue())
		tree := mustSeldon("tree", "-n", f.namespace)
		Expect(tree).To(ContainSubstring("Condition/Paused"))
		resumed := mustSeldon("resume", "seldon", "-n", f.namespace, "--wait")
		Expect(resumed).To(ContainSubstring("SeldonRuntime " + f.namespace + "/seldon  True"))
		Expect(deleted()).To(BeFalse())
		f.settle()
	})

	It("restart restarts the pods once", func() {
		before, others := f.podUIDs("mlserver-0"), f.podUIDs("seldon-scheduler-0")
		mustSeldon("restart", "server/mlserver", "-n", f.namespace, "--wait")
		Expect(f.podUIDs("mlserver-0")).NotTo(Equal(before))
		Expect(f.podUIDs("seldon-scheduler-0")).To(Equal(others))
		_, offset := writesAfter(0)
		restarted := f.podUIDs("mlserver-0")
		f.settle()
		writes, _ := writesAfter(offset)
		for _, write := range writes {
			if ref := write.ObjectRef; ref.Namespace == f.namespace && ref.Subresource == "" {
				Expect(childKinds).NotTo(HaveKey(ref.Resource), "the operator does not revert the annotation of the pods")
			}
		}
		Expect(f.podUIDs("mlserver-0")).To(Equal(restarted))
	})

	It("restart applies pending metadata, and later metadata waits again", func() {
		isPending := func(g Gomega) {
			server := get(&v1alpha1.Server{}, f.namespace, "mlserver")
			g.Expect(meta.IsStatusConditionTrue(server.Status.Conditions, "MetadataPending")).To(BeTrue(), "%+v", server.Status.Conditions)
		}
		environment.Kubectl("label", "server", "mlserver", "-n", f.namespace, "cost=1")
		Eventually(isPending).Should(Succeed())
		set := get(&appsv1.StatefulSet{}, f.namespace, "mlserver")
		before := f.podUIDs("mlserver-0")
		printed := mustSeldon("restart", "server/mlserver", "-n", f.namespace, "--wait")
		Expect(printed).To(ContainSubstring("StatefulSet " + f.namespace + "/mlserver: restarts with the pending metadata\n"))
		Expect(get(&corev1.Pod{}, f.namespace, "mlserver-0").Labels).To(HaveKeyWithValue("cost", "1"))
		Expect(f.podUIDs("mlserver-0")).NotTo(Equal(before))
		Expect(get(&appsv1.StatefulSet{}, f.namespace, "mlserver").Generation).To(Equal(set.Generation+1), "one change, one restart")
		Expect(get(&v1alpha1.Server{}, f.namespace, "mlserver").Annotations).NotTo(HaveKey(v1alpha1.ApplyMetadataAnnotation))

		before = f.podUIDs("mlserver-0")
		environment.Kubectl("label", "server", "mlserver", "-n", f.namespace, "cost=2", "--overwrite")
		Eventually(isPending).Should(Succeed())
		Expect(f.podUIDs("mlserver-0")).To(Equal(before))
	})

	It("tree is useful to an account that may read only custom resources", func() {
		user := "reader-of-" + f.namespace
		environment.Kubectl("create", "role", "reader", "-n", f.namespace, "--verb=get,list,watch",
			"--resource=seldonruntimes.mlops.seldon.io,servers.mlops.seldon.io,models.mlops.seldon.io,pipelines.mlops.seldon.io,experiments.mlops.seldon.io")
		environment.Kubectl("create", "rolebinding", "reader", "-n", f.namespace, "--role=reader", "--user="+user)
		var limited output
		Eventually(func() int {
			limited = seldon("tree", "-n", f.namespace, "--as", user)
			return limited.code
		}).Should(BeZero())
		Expect(limited.stdout).To(And(ContainSubstring("SeldonRuntime/seldon"), ContainSubstring("Server/mlserver"), ContainSubstring("? pods ")))
		Expect(limited.stderr).To(ContainSubstring("(list in namespace " + f.namespace + ": forbidden)"))

		start := time.Now()
		all := mustSeldon("tree", "seldon", "-n", f.namespace, "--all")
		Expect(time.Since(start)).To(BeNumerically("<", time.Second))
		Expect(all).To(MatchRegexp(`Deployment/seldon-envoy .*\n[|│]  .*Pod/seldon-envoy-`))
	})

	It("version warns of another version", func() {
		shown := seldon("version", "-n", f.namespace)
		Expect(shown.code).To(BeZero())
		Expect(shown.stdout).To(MatchRegexp(`(?m)^operator: 0\.1\.0, Deployment seldon-system/seldon-v2-controller-manager, watches all namespaces$`))
		Expect(shown.stderr).To(Equal("warning: the operator in namespace seldon-system is 0.1.0, and this plugin renders as dev.\n"))
	})
})

// versions returns the resource versions of the children, by kind and name.
func (f *fixture) versions() map[string]string {
	GinkgoHelper()
	versions := map[string]string{}
	for name, child := range f.children() {
		versions[strings.TrimPrefix(name, f.namespace+" ")] = child.GetResourceVersion()
	}
	return versions
}

// podUIDs returns the UIDs of the pods, or of one.
func (f *fixture) podUIDs(name string) map[string]types.UID {
	GinkgoHelper()
	pods := &corev1.PodList{}
	Expect(environment.Client.List(ctx, pods, client.InNamespace(f.namespace))).To(Succeed())
	uids := map[string]types.UID{}
	for _, pod := range pods.Items {
		if name == "" || name == pod.Name {
			uids[pod.Name] = pod.UID
		}
	}
	return uids
}

// lockedBuffer is a buffer that is safe for concurrent use.
type lockedBuffer struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

// Write implements [io.Writer].
func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.text.String()
}
