package cli

import (
	"bytes"
	"context"
	gojson "encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/json"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/cli/internal/manifest"
)

// panicTransport fails the test at the first request.
type panicTransport struct{}

func (panicTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	panic("a request was sent to " + request.URL.String())
}

// offline runs a command with a cluster in the kubeconfig that fails the test if it is
// contacted.
func offline(t *testing.T, input string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	standard := http.DefaultTransport
	http.DefaultTransport = panicTransport{}
	t.Cleanup(func() { http.DefaultTransport = standard })
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		t.Errorf("a request was sent to the cluster: %s %s", request.Method, request.URL)
	}))
	t.Cleanup(server.Close)
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	content := "{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c}}], clusters: [{name: c, cluster: {server: '" + server.URL + "'}}]}"
	if err := os.WriteFile(kubeconfig, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", kubeconfig)
	out, errOut := &bytes.Buffer{}, &bytes.Buffer{}
	config := Config{Name: "kubectl seldon", Version: "1.2.3", Streams: genericiooptions.IOStreams{In: strings.NewReader(input), Out: out, ErrOut: errOut}}
	code = Run(t.Context(), config, args)
	return code, out.String(), errOut.String()
}

func TestRender(t *testing.T) {
	for name, args := range map[string][]string{
		"yaml": nil, "json": {"-o", "json"}, "name": {"-o", "name"}, "explain": {"--explain"}, "deployments": {"-o", "name", "--use-deployments-for-servers"},
	} {
		code, stdout, stderr := offline(t, "", append([]string{"render", "-f", "testdata/render/input.yaml"}, args...)...)
		if code != exitDone {
			t.Fatalf("%s: exit code %d: %s", name, code, stderr)
		}
		expectGolden(t, "render/"+name+".stdout", stdout)
		if name == "yaml" {
			expectGolden(t, "render/stderr", stderr)
		}
	}
}

// The comments of --explain change nothing of the objects.
func TestExplainedObjectsAreTheSame(t *testing.T) {
	_, plain, _ := offline(t, "", "render", "-f", "testdata/render/input.yaml")
	_, explained, _ := offline(t, "", "render", "-f", "testdata/render/input.yaml", "--explain")
	want, got := parsed(t, plain), parsed(t, explained)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// parsed returns the objects of a command's output.
func parsed(t *testing.T, text string) []map[string]any {
	t.Helper()
	objects, err := manifest.Parse("output", strings.NewReader(text), "")
	if err != nil {
		t.Fatal(err)
	}
	contents := make([]map[string]any, len(objects))
	for i, object := range objects {
		contents[i] = object.Object
	}
	return contents
}

// Every sample is rendered, with the built-in configurations, to objects that Kubernetes
// knows all fields of.
func TestSamples(t *testing.T) {
	known := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(known); err != nil {
		t.Fatal(err)
	}
	samples, err := filepath.Glob("../config/samples/mlops*.yaml")
	if err != nil || len(samples) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	commands := [][]string{{"-k", "../config/samples"}, {"-k", "../config/samples", "--use-deployments-for-servers"}}
	for _, sample := range samples {
		commands = append(commands, []string{"-f", sample})
	}
	for _, args := range commands {
		code, stdout, stderr := offline(t, "", append([]string{"render", "-n", "team-a"}, args...)...)
		if code != exitDone {
			t.Errorf("%v: exit code %d: %s", args, code, stderr)
			continue
		}
		objects := parsed(t, stdout)
		if hasOwners := strings.Contains(strings.Join(args, " "), "server") || strings.Contains(strings.Join(args, " "), "runtime"); hasOwners && len(objects) < 3 {
			t.Errorf("%v: %d objects", args, len(objects))
		}
		for _, content := range objects {
			metadata, _ := content["metadata"].(map[string]any)
			kind := schema.FromAPIVersionAndKind(content["apiVersion"].(string), content["kind"].(string))
			if kind.Group == v1alpha1.GroupVersion.Group || metadata["ownerReferences"] != nil || metadata["namespace"] != "team-a" {
				t.Errorf("%v: %v is in the output", args, content)
			}
			typed, err := known.New(kind)
			if err != nil {
				t.Errorf("%v: %v", args, err)
				continue
			}
			text, err := gojson.Marshal(content)
			if err != nil {
				t.Fatal(err)
			}
			if unknown, err := json.UnmarshalStrict(text, typed); err != nil || len(unknown) > 0 {
				t.Errorf("%v: %s %v: %v, %v", args, kind.Kind, metadata["name"], unknown, err)
			}
		}
	}
}

// The output depends on nothing that only a cluster sets, and the order of the files is of no
// importance.
func TestRenderDependsOnTheDesiredStateOnly(t *testing.T) {
	text, err := os.ReadFile("testdata/render/input.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, want, _ := offline(t, string(text), "render", "-f", "-")
	documents := strings.Split(string(text), "---\n")
	slices.Reverse(documents)
	changed := strings.NewReplacer("  uid: 7f4b7c3e-0000-4000-8000-000000000000\n", "", "resourceVersion: \"17\"", "generation: 3").Replace(strings.Join(documents, "\n---\n"))
	code, got, stderr := offline(t, changed, "render", "-f", "-")
	if diff := cmp.Diff(want, got); code != exitDone || diff != "" {
		t.Errorf("exit code %d, %s\n%s", code, stderr, diff)
	}
}

// Configurations that the files do not have are read from the cluster.
func TestRenderFromCluster(t *testing.T) {
	isolate(t)
	file := filepath.Join(t.TempDir(), "runtime.yaml")
	content := "{apiVersion: mlops.seldon.io/v1alpha1, kind: SeldonRuntime, metadata: {name: seldon, namespace: team-a}, spec: {seldonConfig: default}}"
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	got := runWith(t, func(f *factory) (*cobra.Command, func(context.Context, []string) error) {
		o := &renderOptions{factory: f}
		return o.command(), func(ctx context.Context, _ []string) error {
			files, err := o.load()
			if err != nil {
				return err
			}
			return o.render(ctx, files, readerOf(objectsOf(t, explainObjects)))
		}
	}, "-f", file, "--explain")
	if got.code != exitDone || !strings.Contains(got.out, "image: example.com/envoy:1") || !strings.Contains(got.out, "# SeldonConfig seldon-system/default spec.components[1].podSpec") ||
		strings.Contains(got.err, "built-in") || strings.Contains(got.err, "?") {
		t.Errorf("exit code %d: %s\n%s", got.code, got.err, got.out)
	}
}

func TestRenderErrors(t *testing.T) {
	const runtime = "{apiVersion: mlops.seldon.io/v1alpha1, kind: SeldonRuntime, metadata: {name: NAME, namespace: team-a}, spec: {seldonConfig: CONFIG}}\n"
	valid := strings.NewReplacer("NAME", "seldon", "CONFIG", "default").Replace(runtime)
	other := strings.NewReplacer("NAME", "other", "CONFIG", "default").Replace(runtime)
	withServer := strings.Replace(valid, "default}", "default, servers: [{name: a, serverConfig: mlserver}]}", 1)
	for name, test := range map[string]struct {
		input string
		args  []string
		want  string
	}{
		"no files":           {"", nil, "no files are given; use --filename or --kustomize"},
		"output":             {valid, []string{"-f", "-", "-o", "text"}, "--output=text: must be yaml, json, name or compose"},
		"explain":            {valid, []string{"-f", "-", "-o", "json", "--explain"}, "--explain adds comments, which --output=json does not have; use --output=yaml"},
		"positional":         {valid, []string{"-f", "-", "name"}, "unknown command"},
		"flag":               {valid, []string{"--no-such-flag"}, "unknown flag"},
		"namespace":          {strings.Replace(valid, ", namespace: team-a", "", 1), []string{"-f", "-"}, "standard input: SeldonRuntime seldon: metadata.namespace: is missing; set it, or use --namespace or a context with a namespace"},
		"unknown config":     {strings.Replace(valid, "default}", "absent}", 1), []string{"-f", "-"}, `SeldonRuntime team-a/seldon: spec.seldonConfig: there is no SeldonConfig "absent" in the files; add it, or use --from-cluster`},
		"no config":          {strings.Replace(valid, "seldonConfig: default", "", 1), []string{"-f", "-"}, "SeldonRuntime team-a/seldon: spec.seldonConfig: Required value"},
		"duplicate":          {valid + "---\n" + valid, []string{"-f", "-"}, "is also in standard input, object 1; keep one of the two"},
		"two runtimes":       {valid + "---\n" + other, []string{"-f", "-"}, "namespace team-a also has seldon, and the operator serves one SeldonRuntime of a namespace; remove one"},
		"a rendered object":  {valid + "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: seldon-kafka, namespace: team-a}}", []string{"-f", "-"}, "SeldonRuntime team-a/seldon: it has ConfigMap team-a/seldon-kafka, which the files or another owner have as well; remove or rename one"},
		"a rendered Server":  {withServer + "---\n{apiVersion: mlops.seldon.io/v1alpha1, kind: Server, metadata: {name: a, namespace: team-a}, spec: {serverConfig: mlserver}}", []string{"-f", "-"}, "Server team-a/a of SeldonRuntime seldon: the files also have a Server of that name; remove one"},
		"an invalid patch":   {strings.Replace(valid, "default}", "default, patches: [{patch: '{}'}]}", 1), []string{"-f", "-"}, "SeldonRuntime team-a/seldon: spec.patches[0]: "},
		"unknown server":     {strings.Replace(withServer, "mlserver}", "absent}", 1), []string{"-f", "-"}, `Server team-a/a: spec.serverConfig: there is no ServerConfig "absent" in the files; add it, or use --from-cluster`},
		"a field of the API": {strings.Replace(valid, "default}", "default, server: []}", 1), []string{"-f", "-"}, "spec.server: is not a known field; correct or remove it"},
	} {
		code, stdout, stderr := offline(t, test.input, append([]string{"render"}, test.args...)...)
		if code != exitUsage || stdout != "" || !strings.Contains(stderr, test.want) {
			t.Errorf("%s: exit code %d, %q, %s\nwant %s", name, code, stdout, stderr, test.want)
		}
	}
}
