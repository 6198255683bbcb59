package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/seldon-operator/seldon-operator/cli/tree"
)

const treeObjects = "testdata/tree/objects.yaml"

func TestTreeGolden(t *testing.T) {
	for name, c := range map[string]struct {
		args    []string
		columns string
		ascii   bool
	}{
		"default":         {},
		"width-80":        {columns: "80"},
		"width-200":       {columns: "200"},
		"ascii":           {ascii: true, columns: "80"},
		"all":             {args: []string{"--all"}},
		"wide":            {args: []string{"--all", "-o", "wide"}},
		"server":          {args: []string{"server/mlserver"}},
		"deployment":      {args: []string{"deploy", "seldon-envoy"}},
		"model":           {args: []string{"model/iris", "--no-headers"}},
		"all-namespaces":  {args: []string{"-A"}},
		"dot":             {args: []string{"-o", "dot"}},
		"mermaid":         {args: []string{"-o", "mermaid"}},
		"color":           {args: []string{"--color=always"}, columns: "80"},
		"empty-namespace": {args: []string{"-n", "team-z"}},
	} {
		t.Run(name, func(t *testing.T) {
			isolate(t)
			t.Setenv("COLUMNS", c.columns)
			if c.ascii {
				t.Setenv("LC_ALL", "C")
			}
			server := newFakeServer(t, treeObjects)
			got := runCommand(t.Context(), t, server, &buffer{}, append([]string{"tree", "-n", "team-a"}, c.args...)...)
			NewWithT(t).Expect(got.code).To(Equal(0), got.err)
			expectGolden(t, "tree/"+name+".txt", got.out+"--- stderr\n"+got.err)
		})
	}
}

func TestTreeRequests(t *testing.T) {
	isolate(t)
	g := NewWithT(t)
	server := newFakeServer(t, treeObjects)
	g.Expect(runCommand(t.Context(), t, server, &buffer{}, "tree", "seldon", "-n", "team-a").code).To(Equal(0))
	g.Expect(server.sent()).To(Equal([]string{
		"list team-a/configmaps", "list team-a/deployments.apps", "list team-a/experiments.mlops.seldon.io", "list team-a/models.mlops.seldon.io",
		"list team-a/pipelines.mlops.seldon.io", "list team-a/pods", "list team-a/rolebindings.rbac.authorization.k8s.io",
		"list team-a/roles.rbac.authorization.k8s.io", "list team-a/seldonruntimes.mlops.seldon.io", "list team-a/servers.mlops.seldon.io",
		"list team-a/serviceaccounts", "list team-a/services", "list team-a/statefulsets.apps",
	}))
	server = newFakeServer(t, treeObjects)
	g.Expect(runCommand(t.Context(), t, server, &buffer{}, "tree", "pod/mlserver-0", "-n", "team-a").code).To(Equal(0))
	g.Expect(server.sent()).To(Equal([]string{"list team-a/pods"}))
}

func TestTreeForbidden(t *testing.T) {
	isolate(t)
	t.Run("all but custom resources", func(t *testing.T) {
		server := newFakeServer(t, treeObjects)
		server.status = onlyCustomResources
		got := runCommand(t.Context(), t, server, &buffer{}, "tree", "-n", "team-a")
		NewWithT(t).Expect(got.code).To(Equal(0))
		expectGolden(t, "tree/forbidden.txt", got.out+"--- stderr\n"+got.err)
	})
	t.Run("the list of the root", func(t *testing.T) {
		g := NewWithT(t)
		server := newFakeServer(t, treeObjects)
		server.status = func(verb, resource, _ string) int {
			if verb == "list" && resource == "seldonruntimes.mlops.seldon.io" {
				return http.StatusForbidden
			}
			return 0
		}
		got := runCommand(t.Context(), t, server, &buffer{}, "tree", "-n", "team-a")
		g.Expect(got).To(Equal(result{"", "error: list seldonruntimes.mlops.seldon.io: forbidden\n", 1}))
		got = runCommand(t.Context(), t, server, &buffer{}, "tree", "seldon", "-n", "team-a")
		g.Expect(got.code).To(Equal(0), got.err)
		g.Expect(got.out).To(ContainSubstring("SeldonRuntime/seldon"))
	})
	t.Run("without CRDs", func(t *testing.T) {
		server := newFakeServer(t, treeObjects)
		server.status = func(_, resource, _ string) int {
			if onlyCustomResources("", resource, "") == 0 {
				return http.StatusNotFound
			}
			return 0
		}
		NewWithT(t).Expect(runCommand(t.Context(), t, server, &buffer{}, "tree", "-n", "team-a")).To(Equal(
			result{"", "error: list seldonruntimes.mlops.seldon.io: the API server does not have this resource; install the CRDs\n", 1}))
	})
}

// onlyCustomResources is the status of requests of an account that may read only these.
func onlyCustomResources(_, resource, _ string) int {
	if strings.HasSuffix(resource, ".mlops.seldon.io") {
		return 0
	}
	return http.StatusForbidden
}

// TestTreePage runs the commands on the page about tree that are followed by their output.
func TestTreePage(t *testing.T) {
	isolate(t)
	page, err := os.ReadFile(filepath.Join("..", "docs", "reference", "cli", "tree.md"))
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, block := range consoleBlocks.FindAllStringSubmatch(string(page), -1) {
		command, shown, _ := strings.Cut(strings.TrimPrefix(block[1], "$ kubectl seldon "), "\n")
		if shown == "" {
			continue
		}
		ran++
		server := newFakeServer(t, treeObjects)
		if strings.Contains(command, "--as=") {
			server.status = onlyCustomResources
		}
		got := runCommand(t.Context(), t, server, &buffer{}, strings.Fields(command)...)
		comparePage(t, "tree.md", command, shown, got.out+got.err)
	}
	if ran < 3 {
		t.Errorf("ran %d commands", ran)
	}
}

func TestTreeJSON(t *testing.T) {
	isolate(t)
	g := NewWithT(t)
	server := newFakeServer(t, treeObjects)
	server.status = func(_, resource, _ string) int {
		if resource == "pods" {
			return http.StatusForbidden
		}
		return 0
	}
	type node struct {
		Kind, Name, Ready, Status, Revision string
		Served, Terminating                 bool
		CreatedAt                           string
		Children                            []node
	}
	var printed struct {
		APIVersion, Kind string
		Roots            []node
		Problems         []map[string]string
	}
	got := runCommand(t.Context(), t, server, &buffer{}, "tree", "-n", "team-a", "-o", "json")
	g.Expect(got.code).To(Equal(0))
	g.Expect(json.Unmarshal([]byte(got.out), &printed)).To(Succeed())
	g.Expect(printed.APIVersion + " " + printed.Kind).To(Equal("tree.mlops.seldon.io/v1 Tree"))
	g.Expect(printed.Problems).To(Equal([]map[string]string{{"verb": "list", "resource": "pods", "namespace": "team-a", "message": "forbidden"}}))
	g.Expect(printed.Roots).To(HaveLen(1))
	served := map[string]bool{}
	for _, child := range printed.Roots[0].Children {
		served[child.Kind+"/"+child.Name] = child.Served
	}
	g.Expect(served).To(And(HaveKeyWithValue("Server/mlserver", false), HaveKeyWithValue("Server/triton", true), HaveKeyWithValue("Model/iris", true)))
	empty := runCommand(t.Context(), t, server, &buffer{}, "tree", "-n", "team-z", "-o", "json")
	g.Expect(empty.out).To(ContainSubstring(`"roots": []`))
}

func TestTreeErrors(t *testing.T) {
	isolate(t)
	for args, want := range map[string]result{
		"tree nothing -n team-a":              {"", "error: SeldonRuntime nothing does not exist in namespace team-a\n", 1},
		"tree server/x -A":                    {"", "error: a name cannot be combined with --all-namespaces; set --namespace\n", 2},
		"tree -o xml":                         {"", "error: --output=xml: must be wide, json, yaml, dot or mermaid\n", 2},
		"tree -w -o json":                     {"", "error: --watch cannot be combined with --output=json\n", 2},
		"tree widget/x":                       {"", `error: "widget" is not a kind that this command knows; use for example seldonruntime, server, model or deployment` + "\n", 2},
		"tree --color=blue":                   {"", "error: --color=blue: must be auto, always or never\n", 2},
		"tree a b c":                          {"", "error: accepts at most 2 arg(s), received 3\n", 2},
		"tree --nothing":                      {"", "error: unknown flag: --nothing\n", 2},
		"__complete tree -n team-a ser":       {"server/\nserverconfig/\nservice/\nserviceaccount/\n:6\n", "Completion ended with directive: ShellCompDirectiveNoSpace, ShellCompDirectiveNoFileComp\n", 0},
		"__complete pause -n team-a s":        {"seldon\nseldonruntime/\nserver/\n:6\n", "Completion ended with directive: ShellCompDirectiveNoSpace, ShellCompDirectiveNoFileComp\n", 0},
		"__complete plan -n team-a s":         {"seldon\nseldonruntime/\nserver/\n:6\n", "Completion ended with directive: ShellCompDirectiveNoSpace, ShellCompDirectiveNoFileComp\n", 0},
		"__complete tree -n team-a server/m":  {"server/mlserver\n:4\n", "Completion ended with directive: ShellCompDirectiveNoFileComp\n", 0},
		"__complete tree -n team-a server tr": {"triton\n:4\n", "Completion ended with directive: ShellCompDirectiveNoFileComp\n", 0},
		"__complete tree -o m":                {"wide\njson\nyaml\ndot\nmermaid\n:4\n", "Completion ended with directive: ShellCompDirectiveNoFileComp\n", 0},
	} {
		t.Run(args, func(t *testing.T) {
			server := newFakeServer(t, treeObjects)
			NewWithT(t).Expect(runCommand(t.Context(), t, server, &buffer{}, strings.Fields(args)...)).To(Equal(want))
		})
	}
}

// TestTreeWatch follows changes on a stream that is no terminal.
func TestTreeWatch(t *testing.T) {
	isolate(t)
	g := NewWithT(t)
	server := newFakeServer(t, treeObjects)
	ctx, cancel := context.WithCancel(t.Context())
	out, done := &buffer{}, make(chan result)
	go func() {
		done <- runCommand(ctx, t, server, out, "tree", "deployment/seldon-envoy", "-n", "team-a", "-w")
	}()
	g.Eventually(out.String).Should(ContainSubstring("Pod/seldon-envoy-7b6c4-2wqpm"))
	before := out.String()

	pod := server.get("Pod", "team-a", "seldon-envoy-5d8f7-x7kzq")
	now := metav1.Now()
	pod.SetDeletionTimestamp(&now)
	event := func(kind string) {
		server.events <- metav1.WatchEvent{Type: kind, Object: runtime.RawExtension{Object: pod}}
	}
	event("MODIFIED")
	g.Eventually(out.String).WithTimeout(5 * time.Second).Should(ContainSubstring("Pod/seldon-envoy-5d8f7-x7kzq     False  Terminating"))
	event("DELETED")
	g.Eventually(out.String).WithTimeout(5 * time.Second).Should(MatchRegexp(`Pod/seldon-envoy-5d8f7-x7kzq +- +Deleted`))
	g.Expect(strings.Count(strings.TrimPrefix(out.String(), before), "\n")).To(Equal(2), "one line for each change")
	g.Expect(server.sent()).To(ContainElements("watch team-a/deployments.apps", "watch team-a/pods"))
	g.Expect(server.sent()).To(HaveLen(4), "no polling")
	cancel()
	g.Expect((<-done).code).To(Equal(0))
}

// TestTreeWatchExpired lists again if the resource version of a watch is too old. A watch that is
// forbidden ends.
func TestTreeWatchExpired(t *testing.T) {
	isolate(t)
	g := NewWithT(t)
	server := newFakeServer(t, treeObjects)
	expired := make(chan struct{}, 1)
	expired <- struct{}{}
	server.status = func(verb, resource, _ string) int {
		switch {
		case verb == "watch" && resource == "configmaps":
			return http.StatusForbidden
		case verb == "watch" && resource == "pods":
			select {
			case <-expired:
				server.mutex.Lock()
				server.objects = server.objects[:len(server.objects)-1]
				server.mutex.Unlock()
				return http.StatusGone
			default:
			}
		}
		return 0
	}
	pod := server.get("Pod", "team-a", "seldon-scheduler-0")
	pod.SetName("another")
	server.objects = append(server.objects, pod)
	ctx, cancel := context.WithCancel(t.Context())
	out, done := &buffer{}, make(chan result)
	go func() { done <- runCommand(ctx, t, server, out, "tree", "seldon", "-n", "team-a", "-w") }()
	g.Eventually(out.String).WithTimeout(5 * time.Second).Should(MatchRegexp(`Pod/another +- +Deleted`))
	cancel()
	g.Expect((<-done).err).To(Equal("Incomplete: configmaps (watch in namespace team-a: forbidden).\n"))
	lists := 0
	for _, request := range server.sent() {
		if request == "list team-a/pods" {
			lists++
		}
	}
	g.Expect(lists).To(Equal(2))
}

// TestTreeRedraw draws over what was drawn before, and cuts lines at the width.
func TestTreeRedraw(t *testing.T) {
	isolate(t)
	g := NewWithT(t)
	server := newFakeServer(t, treeObjects)
	t.Setenv("KUBECONFIG", server.kubeconfig)
	out := &buffer{}
	f := newFactory(Config{Streams: genericiooptions.IOStreams{Out: out, ErrOut: out}})
	c, err := f.client()
	g.Expect(err).NotTo(HaveOccurred())
	objects, err := tree.Read(t.Context(), c, tree.Scope{Namespace: "team-a"})
	g.Expect(err).NotTo(HaveOccurred())
	redraw := (&treeCommand{factory: f}).redrawer(terminal{interactive: true, width: 80}, objects)
	g.Expect(redraw()).To(Succeed())
	first := out.String()
	g.Expect(redraw()).To(Succeed())
	lines := strings.Count(first, "\n")
	g.Expect(out.String()).To(Equal(first + fmt.Sprintf("\x1b[%dA\x1b[J", lines) + first))
	for line := range strings.Lines(first) {
		g.Expect(utf8.RuneCountInString(line)).To(BeNumerically("<=", 81), line)
	}
}
