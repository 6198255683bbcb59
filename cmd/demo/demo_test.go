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

// These tests run the demonstration as users do: as a process of its own, on a real
// control plane, with the programs of the operator and of the simulated scheduler.

// asProgram is the environment variable that makes the test binary run the demo.
const asProgram = "DEMO_AS_PROGRAM"

// built is a directory with the programs that the demo starts.
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

// buildPrograms builds the programs once.
var buildPrograms = sync.OnceValue(func() error {
	output, err := exec.Command("go", "build", "-o", built, "../manager", "../fakescheduler").CombinedOutput()
	if err != nil {
		return errors.Join(err, errors.New(string(output)))
	}
	return nil
})

// demonstration is a running demo.
type demonstration struct {
	command *exec.Cmd
	// temporary is its directory for temporary files.
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
	g.Expect(buildPrograms()).To(Succeed())
	program, err := os.Executable()
	g.Expect(err).NotTo(HaveOccurred())
	d := &demonstration{temporary: t.TempDir()}
	d.command = exec.Command(program, append([]string{
		"--manager-binary", filepath.Join(built, "manager"), "--scheduler-binary", filepath.Join(built, "fakescheduler"),
	}, arguments...)...)
	d.command.Dir = filepath.Join("..", "..")
	d.command.Env = append(os.Environ(), asProgram+"=true", "TMPDIR="+d.temporary)
	d.command.Stdout, d.command.Stderr = d, d
	g.Expect(d.command.Start()).To(Succeed())
	t.Cleanup(func() {
		// It is still running only if the test failed.
		_ = d.command.Process.Kill()
		if t.Failed() {
			t.Log(d.written())
		}
	})
	return d
}

// awaitOutput waits until the demo has written a text.
func (d *demonstration) awaitOutput(t *testing.T, text string) {
	t.Helper()
	NewWithT(t).Eventually(d.written).WithTimeout(2 * time.Minute).WithPolling(20 * time.Millisecond).Should(ContainSubstring(text))
}

// status waits for the exit and returns the exit status. It checks that no process is
// left.
func (d *demonstration) status(t *testing.T) int {
	t.Helper()
	g := NewWithT(t)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = d.command.Wait() // the exit status is checked
	}()
	g.Eventually(ended).WithTimeout(3 * time.Minute).Should(BeClosed())
	g.Expect(d.processes(t)).To(BeEmpty())
	return d.command.ProcessState.ExitCode()
}

// processes returns the command lines of the processes with its directory for temporary
// files, which all its children inherit. Without /proc it returns none.
func (d *demonstration) processes(t *testing.T) []string {
	t.Helper()
	directories, err := filepath.Glob("/proc/[0-9]*")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	var found []string
	for _, directory := range directories {
		// Processes that have exited, or of other users, cannot be read.
		environment, _ := os.ReadFile(filepath.Join(directory, "environ"))
		if bytes.Contains(environment, []byte("TMPDIR="+d.temporary)) {
			command, _ := os.ReadFile(filepath.Join(directory, "cmdline"))
			found = append(found, strings.ReplaceAll(string(command), "\x00", " "))
		}
	}
	return found
}

// remainingFiles returns the paths in its directory for temporary files.
func (d *demonstration) remainingFiles(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(d.temporary, "*"))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return found
}

func TestNonInteractiveRunsAllSteps(t *testing.T) {
	g := NewWithT(t)
	d := start(t, "--non-interactive")
	if _, err := os.Stat("/proc/self/environ"); err == nil {
		d.awaitOutput(t, "✓ Create Models")
		g.Expect(d.processes(t)).To(ContainElements(ContainSubstring("/manager "), ContainSubstring("/fakescheduler "), ContainSubstring("/etcd ")),
			"processes finds the programs while they run")
	}
	g.Expect(d.status(t)).To(Equal(exitReady))
	shown, tree, found := strings.Cut(d.written(), "\n\n")
	g.Expect(found).To(BeTrue(), "the tree is drawn at the end")
	for _, s := range steps {
		_, during, _ := strings.Cut(shown, "○ "+s.name+"\n")
		during, _, found = strings.Cut(during, "✓ "+s.name+"  ")
		g.Expect(found).To(BeTrue(), s.name)
		for _, expected := range expectedOutput[s.name] {
			g.Expect(withoutTimes(during)).To(MatchRegexp(expected), s.name)
		}
	}
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
		`└─ ✓ scheduler
   ├─ ✓ SchedulerReachable  connected to unix:team-a.sock
   ├─ ✓ Model iris  ✓ ModelReady
   ├─ ✓ Model iris-challenger  ✓ ModelReady
   ├─ ✓ Model iris-features  ✓ ModelReady
   ├─ ✓ Pipeline iris-pipeline  ✓ ModelsReady, ✓ PipelineGwReady, ✓ PipelineReady
   └─ ✓ Experiment iris-experiment  ✓ CandidatesReady, ✓ ExperimentReady, ✓ MirrorReady
`,
	} {
		g.Expect(tree).To(ContainSubstring(drawn))
	}
	tree, _, _ = strings.Cut(tree, "○ Stop everything")
	g.Expect(tree).NotTo(Or(ContainSubstring("○"), ContainSubstring("✗")), "all of it is ready")
	g.Expect(d.remainingFiles(t)).To(BeEmpty())
}

// expectedOutput has patterns of the output of steps, by their names.
var expectedOutput = map[string][]string{
	"Wait until it is ready and connected to its scheduler": {"○ SeldonRuntime seldon  Progressing: ", "✓ SchedulerReachable  connected to "},
	"Create Models, a Pipeline and an Experiment": {
		"✓ Model iris ", "✓ Model iris-features ", "✓ Pipeline iris-pipeline ", "✓ Experiment iris-experiment ",
	},
	"Update Model iris":                    {"(?s)○ Model iris .*✓ Model iris "},
	"Delete Model iris-challenger":         {"- Model iris-challenger  is deleted", "○ Experiment iris-experiment "},
	"Create Model iris-challenger again":   {"(?s)○ Model iris-challenger .*✓ Model iris-challenger ", "✓ Experiment iris-experiment "},
	"Kill the scheduler":                   {"✗ SchedulerReachable  ConnectionLost: "},
	"Wait until everything is ready again": {"(?s)✓ SchedulerReachable .*✓ Model iris-features |✓ Model iris-features .*✓ SchedulerReachable "},
}

func TestExpectedOutputIsOfSteps(t *testing.T) {
	g := NewWithT(t)
	names := make([]string, len(steps))
	for i, s := range steps {
		names[i] = s.name
	}
	for name := range expectedOutput {
		g.Expect(names).To(ContainElement(name))
	}
}

func TestNonInteractiveFailsWithReason(t *testing.T) {
	g := NewWithT(t)
	file := filepath.Join(t.TempDir(), "runtime.yaml")
	manifest := "apiVersion: mlops.seldon.io/v1alpha1\nkind: SeldonRuntime\nmetadata: {name: lost}\nspec: {seldonConfig: nowhere}\n"
	g.Expect(os.WriteFile(file, []byte(manifest), 0o600)).To(Succeed())
	d := start(t, "--non-interactive", "--timeout=5s", "--runtime-file", file)
	g.Expect(d.status(t)).To(Equal(exitFailed))
	_, message, found := strings.Cut(d.written(), "\ndemo: ")
	g.Expect(found).To(BeTrue())
	g.Expect(message).To(And(
		HavePrefix("timed out after 5s: SeldonRuntime lost is not ready: ConfigNotFound: "), ContainSubstring(`"nowhere"`),
		ContainSubstring("Run it without --non-interactive"), ContainSubstring("The last lines of the scheduler's log"),
		MatchRegexp(`The last lines of the operator's log, .*operator.log:\n\t\{"level"`),
	))
	g.Expect(d.remainingFiles(t)).To(HaveLen(1))
	kept := d.remainingFiles(t)[0]
	g.Expect(message).To(ContainSubstring("The logs are kept in " + kept))
	g.Expect(filepath.Join(kept, "operator.log")).To(BeARegularFile())
}

func TestNonInteractiveFailsIfOperatorExits(t *testing.T) {
	g := NewWithT(t)
	program, err := exec.LookPath("false")
	g.Expect(err).NotTo(HaveOccurred())
	d := start(t, "--non-interactive", "--manager-binary", program)
	g.Expect(d.status(t)).To(Equal(exitFailed))
	g.Expect(d.written()).To(And(
		ContainSubstring("demo: the operator exited by itself: exit status 1"), ContainSubstring("The operator's log is empty"),
	))
}

func TestNonInteractiveFailsIfSchedulerExits(t *testing.T) {
	g := NewWithT(t)
	program, err := exec.LookPath("false")
	g.Expect(err).NotTo(HaveOccurred())
	d := start(t, "--non-interactive", "--scheduler-binary", program)
	g.Expect(d.status(t)).To(Equal(exitFailed))
	g.Expect(d.written()).To(And(
		ContainSubstring("demo: the scheduler exited by itself: exit status 1"), ContainSubstring("The scheduler's log is empty"),
	))
}

func TestMissingPrograms(t *testing.T) {
	for flag, message := range map[string]string{
		"--manager-binary":   "^demo: find the operator: .*bin/none.*make build",
		"--scheduler-binary": "^demo: find the simulated scheduler: .*bin/none.*make demo",
	} {
		t.Run(flag, func(t *testing.T) {
			g := NewWithT(t)
			d := start(t, flag, "bin/none")
			g.Expect(d.status(t)).To(Equal(exitFailed))
			g.Expect(d.written()).To(MatchRegexp(message), "before anything is started")
			g.Expect(d.remainingFiles(t)).To(BeEmpty())
		})
	}
}

func TestUsageHintsAndCtrlC(t *testing.T) {
	g := NewWithT(t)
	d := start(t)
	d.awaitOutput(t, "○ Run until Ctrl-C")
	_, hints, _ := strings.Cut(d.written(), "Inspect it from another terminal:\n")
	var output strings.Builder
	for line := range strings.Lines(hints) {
		if !strings.HasPrefix(line, "  ") {
			continue
		}
		printed, err := exec.Command("sh", "-c", line).CombinedOutput()
		g.Expect(err).NotTo(HaveOccurred(), "%s: %s", line, printed)
		output.Write(printed)
	}
	for _, shown := range []string{
		"server.mlops.seldon.io/mlserver", "model.mlops.seldon.io/iris", "pipeline.mlops.seldon.io/iris-pipeline", "experiment.mlops.seldon.io/iris-experiment",
		`deployment.apps "seldon-envoy" deleted`, `model.mlops.seldon.io "iris" deleted`, "model.mlops.seldon.io/iris serverside-applied",
	} {
		g.Expect(output.String()).To(ContainSubstring(shown))
	}
	g.Expect(output.String()).NotTo(ContainSubstring("Warning"))
	since := func() string { _, after, _ := strings.Cut(d.written(), "○ Run until Ctrl-C"); return after }
	for _, shown := range []string{
		"○ SeldonRuntime seldon  Progressing: ", "✓ SeldonRuntime seldon", "○ Model iris  is being deleted", "✓ Model iris  ✓ ModelReady",
		"(?s)○ Pipeline iris-pipeline  .*✓ Pipeline iris-pipeline  ",
	} {
		g.Eventually(since).WithTimeout(time.Minute).Should(MatchRegexp(shown))
	}

	g.Expect(d.command.Process.Signal(os.Interrupt)).To(Succeed())
	g.Expect(d.status(t)).To(Equal(exitReady))
	g.Expect(d.written()).To(HaveSuffix(" s\n"), "the last line is that everything was stopped")
	g.Expect(d.remainingFiles(t)).To(BeEmpty())
}

func TestCtrlCBeforeTheEnd(t *testing.T) {
	for _, step := range []string{
		"Start the control plane",
		"Install the custom resource definitions",
		"Create Models, a Pipeline and an Experiment",
		"Wait until everything is ready again",
	} {
		// kwok parses a comma in the path of its configuration as a separator.
		t.Run(strings.ReplaceAll(step, ",", ""), func(t *testing.T) {
			g := NewWithT(t)
			d := start(t, "--non-interactive")
			d.awaitOutput(t, "○ "+step)
			g.Expect(d.command.Process.Signal(os.Interrupt)).To(Succeed())
			d.awaitOutput(t, "○ Stop everything")
			// A second interrupt has no effect. The demo may have exited already.
			_ = d.command.Process.Signal(os.Interrupt)
			g.Expect(d.status(t)).To(Equal(exitInterrupted))
			g.Expect(d.written()).To(MatchRegexp("✗ " + step + ".*\n(.*\n)*.*✓ Stop everything"))
			g.Expect(d.remainingFiles(t)).To(BeEmpty())
		})
	}
}
