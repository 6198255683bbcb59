package cli

import (
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
)

// iris is a Model that the simulated scheduler loads.
const iris = `apiVersion: mlops.seldon.io/v1alpha1
kind: Model
metadata: {name: iris}
spec: {storageUri: gs://iris, requirements: [sklearn]}
`

// stalled is a Server whose patch cannot be applied.
const stalled = `apiVersion: mlops.seldon.io/v1alpha1
kind: Server
metadata: {name: stalled}
spec:
  serverConfig: mlserver
  patches:
    - target: {kind: StatefulSet, name: stalled}
      patch: '[{"op": "replace", "path": "/spec/nope/x", "value": 1}]'
`

// exitCodeSpecs are about what scripts depend on: exit codes and rows.
func exitCodeSpecs(of func() *fixture) {
	It("exits with the documented codes", func() {
		f := of()
		runtime := f.applied["SeldonRuntime/seldon"].DeepCopy()
		Expect(unstructured.SetNestedSlice(runtime.Object, []any{map[string]any{"name": "seldon-envoy", "replicas": int64(2)}}, "spec", "overrides")).To(Succeed())
		changed := f.write(0, runtime)
		Expect(seldon("load", "-f", f.writeText("iris.yaml", iris), "-n", f.namespace, "--wait")).To(Equal(output{"model/iris loaded\n", "1 object was loaded, 0 unchanged.\n", 0}))

		const unreachable = "--server=http://127.0.0.1:1"
		type exit struct {
			code   int
			args   []string
			stderr string
		}
		expectExits := func(exits []exit) {
			GinkgoHelper()
			for _, each := range exits {
				done := seldon(append(each.args, "-n", f.namespace)...)
				Expect(done.code).To(Equal(each.code), "%v: %s%s", each.args, done.stdout, done.stderr)
				Expect(done.stderr).To(ContainSubstring(each.stderr), "%v", each.args)
			}
		}
		expectExits([]exit{
			{0, []string{"plan", "seldon"}, "Nothing would change."},
			{0, []string{"plan", "seldon", "--exit-code", "--fail-on", "NoOp"}, "Nothing would change."},
			{0, []string{"plan", "seldon", "-f", changed}, "1 object would be written."},
			{0, []string{"plan", "seldon", "-f", changed, "--fail-on", "Restart"}, "1 object would be written."},
			{1, []string{"plan", "seldon", unreachable}, "connection refused"},
			{2, []string{"plan", "seldon", "--fail-on", "much"}, "--fail-on=much: must be one of"},
			{2, []string{"plan", "model/iris"}, "Model has no child objects to plan"},
			{3, []string{"plan", "seldon", "-f", changed, "--exit-code"}, "1 object would be written."},
			{4, []string{"plan", "seldon", "-f", changed, "--exit-code", "--fail-on", "Live"}, "1 object would be written."},
			{124, []string{"plan", "seldon", "--request-timeout=1ns"}, "deadline exceeded"},

			{0, []string{"diff", "seldon"}, "Nothing would change."},
			{1, []string{"diff", "seldon", "-f", changed}, "1 object would be written."},
			{2, []string{"diff", "seldon", unreachable}, "connection refused"},
			{2, []string{"diff", "model/iris"}, "Model has no child objects to plan"},
			{2, []string{"diff", "seldon", "--request-timeout=1ns"}, "deadline exceeded"},

			{0, []string{"tree", "seldon"}, "objects"},
			{1, []string{"tree", "absent"}, "SeldonRuntime absent does not exist in namespace " + f.namespace},
			{1, []string{"tree", unreachable}, "connection refused"},
			{2, []string{"tree", "seldon", "-o", "xml"}, "--output=xml"},
			{124, []string{"tree", "seldon", "--request-timeout=1ns"}, "deadline exceeded"},

			{0, []string{"model", "wait", "iris"}, "1 of 1 Model is ready."},
			{0, []string{"model", "wait", "iris", "--for", "available"}, "1 of 1 Model is ready."},
			{1, []string{"model", "wait", "iris", "--context", "absent"}, `context "absent" does not exist`},
			{2, []string{"model", "wait", "iris", "--for", "x"}, "--for=x: must be ready or available"},
			{124, []string{"model", "wait", "absent", "--timeout", "100ms"}, "timeout after 100ms: not ready: absent"},
			{124, []string{"model", "wait", "iris", "--timeout", "100ms", unreachable}, "connection refused"},
			{0, []string{"model", "status", "iris"}, "1 of 1 Model is ready."},
			{1, []string{"model", "status", "absent"}, "Model not found: absent"},

			{0, []string{"reconcile", "server/mlserver", "--wait"}, "Requested a reconciliation of 1 object."},
			{1, []string{"pause", "absent"}, "get SeldonRuntime " + f.namespace + "/absent: "},
			{1, []string{"restart", "server", "-l", "x=y"}, "no Server is selected"},
			{2, []string{"reconcile", "server/mlserver", "--wait", "--timeout=0s"}, "--timeout=0s: must be greater than 0"},
			{124, []string{"reconcile", "server/mlserver", "--wait", "--timeout=1ns"}, "timed out after 1ns waiting until the objects are ready"},
		})
		Expect(mustSeldon("model", "list", "-n", f.namespace)).To(MatchRegexp(`(?m)^iris +True +Ready +1 +1 `))
		Expect(mustSeldon("model", "list", "-n", f.namespace, "-o", "name")).To(Equal("model/iris\n"))
		Expect(mustSeldon("server", "list", "-n", f.namespace)).To(MatchRegexp(`(?m)^mlserver +True +Ready +1 +1$`))
		Expect(mustSeldon("unload", "model/iris", "-n", f.namespace)).To(Equal("model/iris unloaded\n"))

		f.apply(f.read(stalled, f.namespace))
		expectExits([]exit{
			{124, []string{"server", "wait", "stalled", "--timeout", "100ms"}, "not ready: stalled"},
			{1, []string{"reconcile", "server/stalled", "--wait"}, "Server " + f.namespace + "/stalled: InvalidPatch: "},
			{1, []string{"restart", "server/stalled"}, "the selected objects have no Deployments and StatefulSets"},
		})
		Expect(environment.Client.Delete(ctx, get(&v1alpha1.Server{}, f.namespace, "stalled"))).To(Succeed())
		for _, object := range []string{"model/iris", "server/stalled"} {
			environment.Kubectl("wait", "--for=delete", object+".mlops.seldon.io", "-n", f.namespace, "--timeout=60s")
		}
		f.settle()
	})

	It("sync does not run beside an operator, unless it is forced to", func() {
		f := of()
		scheduler, err := fakescheduler.Start(ctx, fakescheduler.Options{})
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(scheduler.Kill)
		server := fmt.Sprintf("---\napiVersion: mlops.seldon.io/v1alpha1\nkind: Server\nmetadata: {name: mlserver, namespace: %s}\nspec: {serverConfig: mlserver}\n", f.namespace)
		file := f.writeText("models.yaml", iris+server)
		args := []string{"sync", "-f", file, "--scheduler", scheduler.Address(), "-n", f.namespace}
		rejected := seldon(args...)
		Expect(rejected.code).To(Equal(1))
		Expect(rejected.stderr).To(ContainSubstring("the operator of Deployment seldon-system/seldon-v2-controller-manager serves namespace " + f.namespace + ", and would load and unload the same objects"))
		Expect(scheduler.Calls("LoadModel")).To(BeZero())
		Expect(seldon(append(args, "--force")...).code).To(BeZero())
		Expect(scheduler.Calls("LoadModel")).To(Equal(1))
		unchecked := seldonAs(user("without-permissions"), args...)
		Expect(unchecked.code).To(BeZero(), unchecked.stderr)
		Expect(unchecked.stderr).To(ContainSubstring("warning: not checked whether an operator serves namespace " + f.namespace + ": find the operator: list deployments.apps in all namespaces is forbidden"))
	})
}
