package controlplane_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/seldon-operator/seldon-operator/test/framework/controlplane"
)

// childVariable is the environment variable that makes this test binary start a control
// plane in a directory, print the path of its kubeconfig, and stop it at the
// end of standard input.
const childVariable = "CONTROLPLANE_TEST_DIRECTORY"

func TestMain(m *testing.M) {
	// controller-runtime logs a warning without a logger.
	log.SetLogger(logr.Discard())
	if directory := os.Getenv(childVariable); directory != "" {
		cp, err := controlplane.Start(context.Background(), controlplane.Options{Directory: directory, APIServerOnly: true})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(cp.KubeconfigPath())
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = cp.Stop()
		os.Exit(0)
	}
	os.Exit(runTests(m))
}

// runTests runs the tests with temporary directories whose names test the quoting of
// arguments.
func runTests(m *testing.M) int {
	directory, err := os.MkdirTemp("", `a, "b": #c`)
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(directory) }()
	if err := os.Setenv("TMPDIR", directory); err != nil {
		panic(err)
	}
	return m.Run()
}

const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
rules: [{level: Metadata}]
`

const widgets = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  names: {kind: Widget, plural: widgets}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object}}
`

func TestSeveralAPIServers(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	crds := t.TempDir()
	g.Expect(os.WriteFile(filepath.Join(crds, "widgets.yaml"), []byte(widgets), 0o600)).To(Succeed())
	directory := filepath.Join(t.TempDir(), "kept")
	audit, policy := filepath.Join(t.TempDir(), "audit.log"), filepath.Join(t.TempDir(), "policy.yaml")
	g.Expect(os.WriteFile(policy, []byte(auditPolicy), 0o600)).To(Succeed())

	one, err := controlplane.Start(t.Context(), controlplane.Options{
		Directory: directory, APIServerOnly: true, CRDs: []string{crds},
		APIServerFlags: []string{"--audit-log-path=" + audit, "--audit-policy-file=" + policy},
	})
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { g.Expect(one.Stop()).To(Succeed()) }()
	two := startInProcess(t)

	// The CRDs are served when Start returns, and only by the first API server.
	widget := &unstructured.Unstructured{}
	widget.SetAPIVersion("example.com/v1")
	widget.SetKind("Widget")
	widget.SetNamespace(metav1.NamespaceDefault)
	widget.SetName("mine")
	g.Expect(clientOf(t, one.Config()).Create(t.Context(), widget)).To(Succeed())
	g.Expect(clientOf(t, two.config).Get(t.Context(), client.ObjectKeyFromObject(widget), widget)).NotTo(Succeed())
	g.Eventually(func() (string, error) {
		content, err := os.ReadFile(audit)
		return string(content), err
	}).WithTimeout(timeout).Should(ContainSubstring("widgets"), "additional flags are passed to the API server")
	two.killAndExpectNoProcess(t)

	_, err = controlplane.Start(t.Context(), controlplane.Options{Directory: directory, APIServerOnly: true})
	g.Expect(err).To(MatchError(ContainSubstring("another control plane runs in " + directory)))
	g.Expect(one.Stop()).To(Succeed())
	g.Expect(filepath.Join(directory, "kube-apiserver.log")).To(BeARegularFile())
	g.Expect(one.KubeconfigPath()).To(BeARegularFile())

	again, err := controlplane.Start(t.Context(), controlplane.Options{Directory: directory, APIServerOnly: true})
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = again.Stop() }()
	g.Expect(clientOf(t, again.Config()).Get(t.Context(), client.ObjectKeyFromObject(widget), widget)).
		NotTo(Succeed(), "each start is a new cluster")
	expectExitIsReported(t, again)
}

// child is a control plane that another process has started.
type child struct {
	directory string
	config    *rest.Config
	command   *exec.Cmd
	// input is the process' standard input. The control plane stops when it is closed.
	input io.Closer
}

// startInProcess starts an API server by another process.
func startInProcess(t *testing.T) child {
	t.Helper()
	g := NewWithT(t)
	c := child{directory: t.TempDir(), command: exec.CommandContext(t.Context(), os.Args[0])}
	c.command.Env = append(os.Environ(), childVariable+"="+c.directory)
	output, err := c.command.StdoutPipe()
	g.Expect(err).NotTo(HaveOccurred())
	c.input, err = c.command.StdinPipe()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(c.command.Start()).To(Succeed())
	line, err := bufio.NewReader(output).ReadString('\n')
	g.Expect(err).NotTo(HaveOccurred())
	c.config, err = clientcmd.BuildConfigFromFlags("", strings.TrimSpace(line))
	g.Expect(err).NotTo(HaveOccurred(), line)
	return c
}

func TestStartErrors(t *testing.T) {
	t.Run("missing programs", func(t *testing.T) {
		t.Setenv("KUBEBUILDER_ASSETS", t.TempDir())
		_, err := controlplane.Start(t.Context(), controlplane.Options{})
		NewWithT(t).Expect(err).To(MatchError(And(ContainSubstring("make controlplane"), ContainSubstring("KUBEBUILDER_ASSETS"))))
	})
	t.Run("a program that exits", func(t *testing.T) {
		g := NewWithT(t)
		directory := t.TempDir()
		_, err := controlplane.Start(t.Context(), controlplane.Options{
			Directory: directory, APIServerFlags: []string{"--no-such-flag"},
		})
		g.Expect(err).To(MatchError(And(
			ContainSubstring("kube-apiserver exited by itself"),
			ContainSubstring("unknown flag: --no-such-flag"),
			ContainSubstring(filepath.Join(directory, "kube-apiserver.log")),
		)))
	})
	t.Run("a cancelled context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := controlplane.Start(ctx, controlplane.Options{Directory: t.TempDir(), APIServerOnly: true})
		NewWithT(t).Expect(err).To(And(MatchError(context.Canceled), MatchError(ContainSubstring("the API server to be ready"))))
	})
	t.Run("missing CRDs", func(t *testing.T) {
		_, err := controlplane.Start(t.Context(), controlplane.Options{APIServerOnly: true, CRDs: []string{"no-such-directory"}})
		NewWithT(t).Expect(err).To(And(MatchError(fs.ErrNotExist), MatchError(ContainSubstring("no-such-directory"))))
	})
}

func clientOf(t *testing.T, config *rest.Config) client.Client {
	t.Helper()
	c, err := client.New(config, client.Options{})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return c
}
