package cli

import (
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

func TestVersion(t *testing.T) {
	isolate(t)
	client := "kubectl seldon: 0.1.0, " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH + "\n"
	deployment, err := os.ReadFile(filepath.Join("..", "config", "manager", "manager.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	install := func(namespace, image string) string {
		return strings.NewReplacer("namespace: system", "namespace: "+namespace, "image: controller", "image: "+image).Replace(string(deployment))
	}
	for name, c := range map[string]struct {
		objects string
		args    string
		denied  bool
		want    result
	}{
		"equal versions": {install("team-a", "x/seldon-operator:v0.1.0"), "", false, result{
			client + "operator: v0.1.0, Deployment team-a/v2-controller-manager, watches team-a, not available\n", "The plugin renders as the operator does.\n", 0,
		}},
		"different versions": {install("team-a", "x/seldon-operator:0.2.0") + "---\n" + install("team-b", "x@sha256:00"), "", false, result{
			client + "operator: 0.2.0, Deployment team-a/v2-controller-manager, watches team-a, not available\noperator: unknown version, Deployment team-b/v2-controller-manager, watches team-b, not available\n",
			"warning: the operator in namespace team-a is 0.2.0, and this plugin renders as 0.1.0.\n", 0,
		}},
		"none": {"{apiVersion: v1, kind: Namespace, metadata: {name: x}}", "", false, result{client, "No operator was found.\n", 0}},
		"a request is forbidden": {install("team-a", "x:0.1.0"), "-n team-a", true, result{
			client + "operator: 0.1.0, Deployment team-a/v2-controller-manager, watches team-a, not available\n", "The plugin renders as the operator does.\n", 0,
		}},
		"the client":     {install("team-a", "x:0.2.0"), "--client", false, result{client, "", 0}},
		"invalid format": {install("team-a", "x:0.2.0"), "-o xml", false, result{"", "error: --output=xml: must be json or yaml\n", 2}},
		"as YAML, a named": {install("team-a", "x:0.1.0"), "-o yaml --operator-namespace=team-a", false, result{
			"client:\n  goVersion: " + runtime.Version() + "\n  platform: " + runtime.GOOS + "/" + runtime.GOARCH + "\n  version: 0.1.0\n" +
				"operators:\n- available: false\n  configurationNamespace: team-a\n  deployment: v2-controller-manager\n  image: x:0.1.0\n  namespace: team-a\n  version: 0.1.0\n  watchedNamespaces:\n  - team-a\n",
			"The plugin renders as the operator does.\n", 0,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			file := filepath.Join(t.TempDir(), "objects.yaml")
			g.Expect(os.WriteFile(file, []byte(c.objects), 0o600)).To(Succeed())
			server := newFakeServer(t, file)
			server.status = func(_, _, namespace string) int {
				if c.denied && namespace != "team-a" {
					return http.StatusForbidden
				}
				return 0
			}
			g.Expect(runCommand(t.Context(), t, server, &buffer{}, append([]string{"version"}, strings.Fields(c.args)...)...)).To(Equal(c.want))
			if strings.Contains(c.args, "--client") {
				g.Expect(server.sent()).To(BeEmpty())
			}
		})
	}
}
