package cli

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
	"github.com/seldon-operator/seldon-operator/test/framework/process"
)

var _ = Describe("the commands for objects of a scheduler", Ordered, func() {
	var f *fixture
	var scheduler *fakescheduler.Scheduler
	var models string

	BeforeAll(func() {
		f = &fixture{namespace: newNamespace(), applied: map[string]*unstructured.Unstructured{}, folder: GinkgoT().TempDir()}
		scheduler = environment.StartScheduler(f.namespace)
		f.apply(f.read(`
apiVersion: mlops.seldon.io/v1alpha1
kind: SeldonRuntime
metadata: {name: seldon}
spec:
  seldonConfig: default
  servers:
    - {name: mlserver, serverConfig: mlserver, replicas: 1}
`, f.namespace))
		f.settle()
		models = filepath.Join(f.folder, "models.yaml")
		Expect(os.WriteFile(models, []byte(`
apiVersion: mlops.seldon.io/v1alpha1
kind: Pipeline
metadata: {name: pipe}
spec: {steps: [{name: iris}], output: {steps: [iris]}}
---
apiVersion: mlops.seldon.io/v1alpha1
kind: Experiment
metadata: {name: ab}
spec: {default: iris, candidates: [{name: iris, weight: 100}]}
---
apiVersion: mlops.seldon.io/v1alpha1
kind: Model
metadata: {name: iris}
spec: {storageUri: gs://iris, requirements: [sklearn]}
---
apiVersion: mlops.seldon.io/v1alpha1
kind: Model
metadata: {name: absent}
spec: {storageUri: gs://absent, requirements: [absent]}
`), 0o600)).To(Succeed())
	})

	It("show the same rows of the API server and of the scheduler", func() {
		loaded := seldon("load", "-f", models, "-n", f.namespace)
		Expect(loaded).To(Equal(output{"model/iris loaded\nmodel/absent loaded\npipeline/pipe loaded\nexperiment/ab loaded\n", "4 objects were loaded, 0 unchanged.\n", 0}))
		Expect(mustSeldon("load", "-f", models, "-n", f.namespace)).To(ContainSubstring("model/iris unchanged\n"))
		for _, args := range [][]string{{"model", "wait", "iris"}, {"pipeline", "wait", "pipe"}, {"experiment", "wait", "ab"}, {"server", "wait", "mlserver"}} {
			mustSeldon(append(args, "-n", f.namespace)...)
		}
		for _, args := range [][]string{{"model", "list"}, {"pipeline", "status", "pipe"}, {"experiment", "list"}, {"server", "list"}, {"model", "status", "none"}, {"model", "wait", "absent", "--timeout", "1ms", "-o", "name"}} {
			args = append(args, "-n", f.namespace)
			Eventually(func(g Gomega) {
				cluster := seldon(args...)
				g.Expect(seldon(append(args, "--scheduler", scheduler.Address())...)).To(Equal(cluster))
				g.Expect(cluster.stdout).NotTo(ContainSubstring("Unknown"))
			}).Should(Succeed())
		}
	})

	It("do not interfere with the operator", func() {
		for _, args := range [][]string{{"sync"}, {"load"}, {"unload"}} {
			done := seldon(append(args, "-f", models, "-n", f.namespace, "--scheduler", scheduler.Address())...)
			Expect(done.code).To(Equal(1))
			Expect(done.stderr).To(ContainSubstring("the operator of Deployment seldon-system/seldon-v2-controller-manager serves namespace " + f.namespace))
		}
	})

	It("sync follows a folder until it is stopped", func() {
		program, err := process.Program(ctx, f.folder, "kubectl-seldon")
		Expect(err).NotTo(HaveOccurred())
		// Without Kubernetes: another scheduler, and no kubeconfig.
		alone, err := fakescheduler.Start(ctx, fakescheduler.Options{})
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(alone.Kill)
		available := func(g Gomega) {
			g.Expect(alone.Models()).To(ContainElement(And(HaveField("Name", "iris"), HaveField("State", pb.ModelStatus_ModelAvailable))))
		}
		folder := GinkgoT().TempDir()
		Expect(os.WriteFile(filepath.Join(folder, "server.yaml"), []byte("{apiVersion: mlops.seldon.io/v1alpha1, kind: Server, metadata: {name: mlserver}, spec: {serverConfig: mlserver}}"), 0o600)).To(Succeed())
		command := exec.CommandContext(ctx, program, "sync", "-f", folder, "--scheduler", alone.Address(), "--watch")
		command.Env = []string{"KUBECONFIG=" + filepath.Join(folder, "absent"), "HOME=" + folder}
		var stdout, stderr bytes.Buffer
		command.Stdout, command.Stderr = &stdout, &stderr
		Expect(command.Start()).To(Succeed())
		Expect(os.WriteFile(filepath.Join(folder, "model.yaml"), []byte("{apiVersion: mlops.seldon.io/v1alpha1, kind: Model, metadata: {name: iris}, spec: {storageUri: gs://iris, requirements: [sklearn]}}"), 0o600)).To(Succeed())
		Eventually(available).Should(Succeed())
		Expect(alone.Restart(fakescheduler.RestartOptions{LoseVolume: true, LoseAgents: true})).To(Succeed())
		Eventually(available).Should(Succeed())
		Expect(command.Process.Signal(syscall.SIGTERM)).To(Succeed())
		Expect(command.Wait()).To(Succeed(), stderr.String())
		Expect(stdout.String()).To(ContainSubstring("Model/iris                   True    Ready\n"))
	})

	It("unload deletes the custom resources", func() {
		Expect(seldon("unload", "-f", models, "-n", f.namespace)).To(Equal(output{"experiment/ab unloaded\npipeline/pipe unloaded\nmodel/iris unloaded\nmodel/absent unloaded\n", "4 objects were unloaded.\n", 0}))
		Expect(seldon("unload", "model/iris", "-n", f.namespace)).To(Equal(output{"", "error: not found: Model iris\n", 1}))
		Expect(mustSeldon("model", "list", "-n", f.namespace, "--scheduler", scheduler.Address())).To(BeEmpty())
	})
})
