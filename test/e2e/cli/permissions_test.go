package cli

import (
	"context"
	"net/http"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// readers are rules to read resources in all groups that child objects have.
func readers(customResources ...string) []rbacv1.PolicyRule {
	verbs := []string{"get", "list"}
	return []rbacv1.PolicyRule{
		{APIGroups: []string{"", "apps", rbacv1.GroupName}, Resources: []string{"*"}, Verbs: verbs},
		{APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: customResources, Verbs: verbs},
	}
}

// permissionSpecs are about accounts that may not send some of the requests.
func permissionSpecs(of func() *fixture) {
	It("tree needs to read its root only", func() {
		f := of()
		reader := user("getter", rbacv1.PolicyRule{APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"seldonruntimes"}, Verbs: []string{"get"}})
		Expect(seldonAs(reader, "tree", "-n", f.namespace)).To(Equal(output{"", "error: list seldonruntimes.mlops.seldon.io: forbidden\n", 1}))
		limited := seldonAs(reader, "tree", "seldon", "-n", f.namespace)
		Expect(limited.code).To(BeZero(), limited.stderr)
		Expect(limited.stdout).To(And(ContainSubstring("SeldonRuntime/seldon"), ContainSubstring("? servers.mlops.seldon.io")))
		Expect(limited.stderr).To(MatchRegexp(`(?s)Incomplete: configmaps, .* \(list in namespace ` + f.namespace + `: forbidden\)\..*The object is ready\.\n$`))

		paused := seldonAs(reader, "pause", "seldon", "-n", f.namespace)
		Expect(paused.code).To(Equal(1))
		Expect(paused.stderr).To(HavePrefix("error: annotate SeldonRuntime " + f.namespace + "/seldon: "))
		Expect(paused.stderr).To(ContainSubstring("forbidden"))
		version := seldonAs(reader, "version", "-n", f.namespace)
		Expect(version.code).To(BeZero())
		Expect(version.stderr).To(HaveSuffix("find the operator: list deployments.apps in all namespaces is forbidden; set --operator-namespace to a namespace in which it is allowed\nNo operator was found.\n"))
	})

	It("explain and render name the reads that are not permitted", func() {
		f := of()
		runtime := f.write(0, f.applied["SeldonRuntime/seldon"])
		withoutModels := user("without-models", readers("seldonruntimes", "servers", "seldonconfigs", "serverconfigs")...)
		withoutConfigs := user("without-configs", readers("seldonruntimes", "servers", "models")...)
		for _, args := range [][]string{
			{"explain", "deployment/seldon-envoy", "-n", f.namespace},
			{"render", "-f", runtime, "--from-cluster"},
		} {
			complete, limited := seldon(args...), seldonAs(withoutModels, args...)
			Expect(complete.code).To(BeZero(), complete.stderr)
			Expect(complete.stderr).NotTo(ContainSubstring("? "))
			Expect(limited.code).To(BeZero(), limited.stderr)
			Expect(limited.stdout).To(Equal(complete.stdout))
			Expect(limited.stderr).To(MatchRegexp(`(?m)^\? .*models`), "%v", args)
			failed := seldonAs(withoutConfigs, args...)
			Expect(failed.code).To(Equal(1), failed.stderr)
			Expect(failed.stderr).To(MatchRegexp("configs.*forbidden"))
		}
	})
}

// requestSpecs are about the number of requests.
func requestSpecs(of func() *fixture) {
	// paths returns requests in a namespace by their last elements: resource, name and watch.
	paths := func(f *fixture, requests []string) []string {
		GinkgoHelper()
		var last []string
		for _, line := range requests {
			_, path, found := strings.Cut(line, "/namespaces/"+f.namespace+"/")
			Expect(found && strings.HasPrefix(line, "GET ")).To(BeTrue(), line)
			last = append(last, path)
		}
		slices.Sort(last)
		return last
	}
	// follow runs tree -w until checks have passed.
	follow := func(kubeconfig string, checks func(printed *lockedBuffer), args ...string) output {
		GinkgoHelper()
		following, cancel := context.WithCancel(ctx)
		defer cancel()
		printed, ended := &lockedBuffer{}, make(chan output, 1)
		go func() {
			ended <- seldonInto(following, printed, kubeconfig, append([]string{"tree", "-w"}, args...)...)
		}()
		checks(printed)
		cancel()
		var done output
		Eventually(ended).Should(Receive(&done))
		Expect(done.code).To(BeZero(), done.stderr)
		return done
	}

	It("tree lists each kind once", func() {
		f := of()
		tree := func(root string) []string {
			return paths(f, requestsOf(func(kubeconfig string) {
				Expect(seldonAs(kubeconfig, "tree", root, "-n", f.namespace).code).To(BeZero())
			}))
		}
		Expect(tree("seldon")).To(Equal([]string{
			"configmaps", "deployments", "experiments", "models", "pipelines", "pods", "rolebindings", "roles", "seldonruntimes", "servers",
			"serviceaccounts", "services", "statefulsets",
		}))
		Expect(tree("pod/mlserver-0")).To(Equal([]string{"pods"}))
	})

	It("tree follows changes by one watch for each kind", func() {
		f := of()
		requests := requestsOf(func(kubeconfig string) {
			done := follow(kubeconfig, func(printed *lockedBuffer) {
				Eventually(printed.String).Should(ContainSubstring("Pod/mlserver-0"))
				initial := printed.String()
				environment.Kubectl("delete", "pod", "mlserver-0", "-n", f.namespace)
				Eventually(func() string { return strings.TrimPrefix(printed.String(), initial) }).Should(MatchRegexp(`Pod/mlserver-0 +True +Running`))
			}, "statefulset/mlserver", "-n", f.namespace)
			Expect(done.stderr).To(BeEmpty())
		})
		Expect(paths(f, requests)).To(Equal([]string{"pods", "pods watch", "statefulsets", "statefulsets watch"}))
		f.settle()
	})

	It("tree lists a kind again when its watch has expired", func() {
		f := of()
		expired := false
		expire := func(line string, request *http.Request) {
			if !expired && strings.HasSuffix(line, "/models watch") {
				expired = true
				query := request.URL.Query()
				query.Set("resourceVersion", "1")
				request.URL.RawQuery = query.Encode()
			}
		}
		requests := requestsOf(func(kubeconfig string) {
			follow(kubeconfig, func(printed *lockedBuffer) {
				Eventually(printed.String).Should(ContainSubstring("Server/mlserver"))
				mustSeldon("load", "-f", f.writeText("iris.yaml", iris), "-n", f.namespace)
				Eventually(printed.String).Should(MatchRegexp(`(?m)^Model/iris +True`))
				mustSeldon("unload", "model/iris", "-n", f.namespace)
				Eventually(printed.String).Should(MatchRegexp(`(?m)^Model/iris +- +Deleted`))
			}, "seldon", "-n", f.namespace)
		}, expire)
		models := slices.DeleteFunc(paths(f, requests), func(path string) bool { return !strings.HasPrefix(path, "models") })
		Expect(models).To(Equal([]string{"models", "models", "models watch", "models watch"}))
	})

	It("tree names the watches that are not permitted", func() {
		f := of()
		limited := follow(user("without-watch", readers("*")...), func(printed *lockedBuffer) {
			Eventually(printed.String).Should(ContainSubstring("Deployment/seldon-envoy"))
			Consistently(printed.String, "500ms").Should(ContainSubstring("Deployment/seldon-envoy"))
		}, "deployment/seldon-envoy", "-n", f.namespace)
		Expect(limited.stderr).To(ContainSubstring("Incomplete: deployments.apps, pods (watch in namespace " + f.namespace + ": forbidden).\n"))
	})

	It("completes the names of objects", func() {
		f := of()
		for words, want := range map[string]string{
			"pause s":         "seldon\nseldonruntime/\nserver/\n:6\n",
			"plan s":          "seldon\nseldonruntime/\nserver/\n:6\n",
			"tree ser":        "server/\nserverconfig/\nservice/\nserviceaccount/\n:6\n",
			"tree server/m":   "server/mlserver\n:4\n",
			"tree server m":   "mlserver\n:4\n",
			"model status no": ":4\n",
		} {
			command, prefix, _ := strings.Cut(words, " ")
			args := append([]string{"__complete", command, "--kubeconfig", kubeconfig, "-n", f.namespace}, strings.Fields(prefix)...)
			Expect(seldonAs(kubeconfig, args...).stdout).To(Equal(want), words)
		}
	})
}
