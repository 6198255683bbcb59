package cli

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/spf13/cobra"
)

func TestVersion(t *testing.T) {
	isolate(t)
	deployment, err := os.ReadFile(filepath.Join("..", "config", "manager", "manager.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	install := func(namespace, image string) string {
		return strings.NewReplacer("namespace: system", "namespace: "+namespace, "image: controller", "image: "+image).Replace(string(deployment))
	}
	for name, c := range map[string]struct {
		objects string
		args    []string
		want    result
	}{
		"equal versions": {install("team-a", "x/seldon-operator:v0.1.0"), nil, result{
			"operator: v0.1.0, Deployment team-a/v2-controller-manager, watches team-a, not available\n", "The plugin renders as the operator does.\n", 0,
		}},
		"different versions": {install("team-a", "x/seldon-operator:0.2.0") + "---\n" + install("team-b", "x@sha256:00"), nil, result{
			"operator: 0.2.0, Deployment team-a/v2-controller-manager, watches team-a, not available\noperator: unknown version, Deployment team-b/v2-controller-manager, watches team-b, not available\n",
			"warning: the operator in namespace team-a is 0.2.0, and this plugin renders as 0.1.0.\n", 0,
		}},
		"none": {"{apiVersion: v1, kind: Namespace, metadata: {name: x}}", nil, result{"", "No operator was found.\n", 0}},
		"as YAML, a named": {install("team-a", "x:0.1.0") + "---\n" + install("team-b", "x:0.1.0"), []string{"-o", "yaml", "--operator-namespace=team-a"}, result{
			"client:\n  goVersion: " + runtime.Version() + "\n  platform: " + runtime.GOOS + "/" + runtime.GOARCH + "\n  version: 0.1.0\n" +
				"operators:\n- available: false\n  configurationNamespace: team-a\n  deployment: v2-controller-manager\n  image: x:0.1.0\n  namespace: team-a\n  version: 0.1.0\n  watchedNamespaces:\n  - team-a\n",
			"The plugin renders as the operator does.\n", 0,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got := runWith(t, func(f *factory) (*cobra.Command, func(context.Context, []string) error) {
				v := &versionCommand{factory: f}
				return v.command(), func(ctx context.Context, _ []string) error {
					found, err := v.find(ctx, readerOf(parseObjects(t, c.objects)))
					if err != nil {
						return err
					}
					return v.show(found)
				}
			}, c.args...)
			NewWithT(t).Expect(got).To(Equal(c.want))
		})
	}
}

// The version of this program is printed before a request, and without one.
func TestVersionOfClient(t *testing.T) {
	isolate(t)
	client := "kubectl seldon: 0.1.0, " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH + "\n"
	for args, want := range map[string]result{
		"version --client": {client, "", 0},
		"version -o xml":   {"", "error: --output=xml: must be json or yaml\n", 2},
	} {
		NewWithT(t).Expect(runLocal(t, "", strings.Fields(args)...)).To(Equal(want), args)
	}
	got := runLocal(t, "", "version", "--server=http://127.0.0.1:1")
	if got.out != client || got.code != exitFailed || !strings.Contains(got.err, "connection refused") {
		t.Errorf("got %+v", got)
	}
}
