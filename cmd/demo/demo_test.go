package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// These tests run the demonstration as people do: as a process of its own, on a
// real control plane, with the operator's own program.

// asProgram makes the tests' program behave as the demo.
const asProgram = "DEMO_AS_PROGRAM"

// built is a directory for the operator's program.
var built string

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	var err error
	if built, err = os.MkdirTemp("", "demo-test-"); err != nil {
		panic(err)
	}
	status := m.Run()
	_ = os.RemoveAll(built)
	os.Exit(status)
}

// buildManager builds the operator once.
var buildManager = sync.OnceValue(func() error {
	output, err := exec.Command("go", "build", "-o", built, "../manager").CombinedOutput()
	if err != nil {
		return errors.Join(err, errors.New(string(output)))
	}
	return nil
})

// demonstration is a running demo.
type demonstration struct {
	command *exec.Cmd
	// temporary is the directory for temporary files that it was given.
	temporary string
	mu        sync.Mutex
	output    bytes.Buffer
}

// Write receives the demo's output.
func (d *demonstration) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.output.Write(p)
}

func (d *demonstration) written() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.output.String()
}

// start starts the demo in the root of the repository.
func start(t *testing.T, arguments ...string) *demonstration {
	t.Helper()
	g := NewWithT(t)
	g.Expect(buildManager()).To(Succeed())
	program, err := os.Executable()
	g.Expect(err).NotTo(HaveOccurred())
	d := &demonstration{temporary: t.TempDir()}
	d.command = exec.Command(program, append([]string{"--manager", filepath.Join(built, "manager")}, arguments...)...)
	d.command.Dir = filepath.Join("..", "..")
	d.command.Env = append(os.Environ(), asProgram+"=true", "TMPDIR="+d.temporary)
	d.command.Stdout, d.command.Stderr = d, d
	g.Expect(d.command.Start()).To(Succeed())
	t.Cleanup(func() {
		// Only a test that failed leaves it running.
		_ = d.command.Process.Kill()
		if t.Failed() {
			t.Log(d.written())
		}
	})
	return d
}

// until waits until the demo has written a text.
func (d *demonstration) until(t *testing.T, text string) {
	t.Helper()
	NewWithT(t).Eventually(d.written).WithTimeout(2 * time.Minute).WithPolling(20 * time.Millisecond).Should(ContainSubstring(text))
}

// status waits for the end and returns the exit status. Nothing may run then.
func (d *demonstration) status(t *testing.T) int {
	t.Helper()
	g := NewWithT(t)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = d.command.Wait() // the status says it
	}()
	g.Eventually(ended).WithTimeout(3 * time.Minute).Should(BeClosed())
	// All that it starts is told about files in its directory. Where there is no
	// /proc this finds nothing.
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	g.Expect(err).NotTo(HaveOccurred())
	for _, file := range commands {
		command, _ := os.ReadFile(file) // or it has ended meanwhile
		g.Expect(string(command)).NotTo(ContainSubstring(d.temporary))
	}
	return d.command.ProcessState.ExitCode()
}

// leftovers are the names in its directory for temporary files.
func (d *demonstration) leftovers(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(d.temporary, "*"))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return found
}

func TestOnceEndsWhenReady(t *testing.T) {
	g := NewWithT(t)
	d := start(t, "--once")
	g.Expect(d.status(t)).To(Equal(exitReady))
	_, tree, found := strings.Cut(d.written(), "\n\n")
	g.Expect(found).To(BeTrue(), "the tree is drawn at the end")
	for _, drawn := range []string{
		"✓ SeldonRuntime seldon\n├─ ✓ accounts\n",
		"✓ ServiceAccount hodometer, seldon-scheduler, seldon-server\n",
		"✓ Role agent-role, hodometer-role, seldon-scheduler-role\n",
		"✓ RoleBinding agent-rolebinding, hodometer-rolebinding, seldon-scheduler-rolebinding\n",
		"✓ ConfigMap seldon-agent, seldon-kafka, seldon-scaling, seldon-tracing\n",
		"✓ Service seldon-mesh, seldon-scheduler\n",
		"├─ ✓ StatefulSet seldon-scheduler  1/1\n│  │  └─ ✓ Pod seldon-scheduler-0  Running\n",
		"✓ Deployment hodometer  1/1\n",
		"✓ Deployment seldon-dataflow-engine  1/1\n",
		"✓ Deployment seldon-envoy  1/1\n│  │  └─ ✓ Pod seldon-envoy-",
		"✓ Deployment seldon-modelgateway  1/1\n",
		"✓ Deployment seldon-pipelinegateway  1/1\n",
		"├─ ✓ Server mlserver\n│  │  ├─ ✓ Service mlserver-0\n│  │  └─ ✓ StatefulSet mlserver  1/1\n│  │     └─ ✓ Pod mlserver-0  Running\n",
		"└─ ✓ Server triton\n",
	} {
		g.Expect(tree).To(ContainSubstring(drawn))
	}
	g.Expect(tree).NotTo(ContainSubstring("○ Server"), "all of it is ready")
	g.Expect(d.leftovers(t)).To(BeEmpty())
}

func TestOnceFailsWithTheReason(t *testing.T) {
	g := NewWithT(t)
	file := filepath.Join(t.TempDir(), "runtime.yaml")
	manifest := "apiVersion: mlops.seldon.io/v1alpha1\nkind: SeldonRuntime\nmetadata: {name: lost}\nspec: {seldonConfig: nowhere}\n"
	g.Expect(os.WriteFile(file, []byte(manifest), 0o600)).To(Succeed())
	d := start(t, "--once", "--timeout=5s", "--runtime", file)
	g.Expect(d.status(t)).To(Equal(exitFailed))
	_, complaint, found := strings.Cut(d.written(), "\ndemo: ")
	g.Expect(found).To(BeTrue())
	g.Expect(complaint).To(And(
		HavePrefix("SeldonRuntime lost is not ready after 5s: ConfigNotFound: "), ContainSubstring(`"nowhere"`),
		MatchRegexp(`The last lines of the operator's log, .*operator.log:\n\t\{"level"`),
	))
	g.Expect(d.leftovers(t)).To(HaveLen(1))
	kept := d.leftovers(t)[0]
	g.Expect(complaint).To(ContainSubstring("The logs are kept in " + kept))
	g.Expect(filepath.Join(kept, "operator.log")).To(BeARegularFile())
}

func TestOnceFailsWhenTheOperatorEnds(t *testing.T) {
	g := NewWithT(t)
	program, err := exec.LookPath("false")
	g.Expect(err).NotTo(HaveOccurred())
	d := start(t, "--once", "--manager", program)
	g.Expect(d.status(t)).To(Equal(exitFailed))
	g.Expect(d.written()).To(And(
		ContainSubstring("demo: the operator ended by itself: exit status 1"), ContainSubstring("The operator's log is empty"),
	))
}

func TestMissingProgramsAreTold(t *testing.T) {
	g := NewWithT(t)
	d := start(t, "--manager", "bin/none")
	g.Expect(d.status(t)).To(Equal(exitFailed))
	g.Expect(d.written()).To(MatchRegexp("^demo: find the operator: .*bin/none.*make build"), "before anything is started")
	g.Expect(d.leftovers(t)).To(BeEmpty())
}

func TestLookAroundAndCtrlC(t *testing.T) {
	g := NewWithT(t)
	d := start(t)
	d.until(t, "○ Run until Ctrl-C")
	_, said, _ := strings.Cut(d.written(), "Look around from another terminal:\n")
	for _, test := range []struct{ line, shows string }{
		{said, "server.mlops.seldon.io/mlserver"},
		{said[strings.Index(said, "put right:\n")+len("put right:\n"):], `deployment.apps "seldon-envoy" deleted`},
	} {
		line, _, _ := strings.Cut(strings.TrimSpace(test.line), "\n")
		output, err := exec.Command("sh", "-c", line).CombinedOutput()
		g.Expect(err).NotTo(HaveOccurred(), "%s: %s", line, output)
		g.Expect(string(output)).To(ContainSubstring(test.shows), line)
	}
	until := func(text string) {
		t.Helper()
		g.Eventually(func() string { _, after, _ := strings.Cut(d.written(), "Ctrl-C"); return after }).
			WithTimeout(time.Minute).Should(ContainSubstring(text))
	}
	until("○ SeldonRuntime seldon  Progressing: ")
	until("✓ SeldonRuntime seldon")

	g.Expect(d.command.Process.Signal(os.Interrupt)).To(Succeed())
	g.Expect(d.status(t)).To(Equal(exitReady))
	g.Expect(d.written()).To(HaveSuffix(" s\n"), "the last is that everything was stopped")
	g.Expect(d.leftovers(t)).To(BeEmpty())
}

func TestCtrlCBeforeItIsReady(t *testing.T) {
	for _, stage := range []string{"Start the control plane", "Install the custom resource definitions"} {
		t.Run(stage, func(t *testing.T) {
			g := NewWithT(t)
			d := start(t, "--once")
			d.until(t, "○ "+stage)
			g.Expect(d.command.Process.Signal(os.Interrupt)).To(Succeed())
			d.until(t, "○ Stop everything")
			// Impatience makes no difference. It may have ended by now.
			_ = d.command.Process.Signal(os.Interrupt)
			g.Expect(d.status(t)).To(Equal(exitInterrupted))
			g.Expect(d.written()).To(MatchRegexp("✗ " + stage + ".*\n(.*\n)*.*✓ Stop everything"))
			g.Expect(d.leftovers(t)).To(BeEmpty())
		})
	}
}
