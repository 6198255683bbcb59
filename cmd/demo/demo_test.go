package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/seldon-operator/seldon-operator/test/framework/process"
)

// asProgram is the environment variable that makes the test binary run the demo.
const asProgram = "DEMO_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// demonstration is a running demo.
type demonstration struct {
	*WithT
	command *exec.Cmd
	// temporary is its directory for temporary files, and output the file with its output.
	temporary, output string
}

// start starts the demo in the root of the repository.
func start(t *testing.T, arguments ...string) *demonstration {
	t.Helper()
	d := &demonstration{WithT: NewWithT(t), temporary: t.TempDir(), output: filepath.Join(t.TempDir(), "output")}
	output, err := os.Create(d.output)
	d.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = output.Close() })
	d.command = exec.CommandContext(t.Context(), os.Args[0], arguments...)
	d.command.Dir = filepath.Join("..", "..")
	d.command.Env = append(os.Environ(), asProgram+"=true", "TMPDIR="+d.temporary)
	d.command.Stdout, d.command.Stderr = output, output
	d.Expect(d.command.Start()).To(Succeed())
	return d
}

func (d *demonstration) printed() string {
	content, err := os.ReadFile(d.output)
	d.Expect(err).NotTo(HaveOccurred())
	return string(content)
}

// status waits for the exit and returns the exit status. No process and no file is left.
func (d *demonstration) status() int {
	_ = d.command.Wait() // the exit status is checked
	d.Expect(d.processes()).To(BeEmpty())
	d.Expect(os.ReadDir(d.temporary)).To(BeEmpty())
	return d.command.ProcessState.ExitCode()
}

// processes returns the command lines with the path of its directory for temporary files,
// which those of all programs that it starts have. Without /proc it returns none.
func (d *demonstration) processes() (found []string) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	d.Expect(err).NotTo(HaveOccurred())
	for _, file := range files {
		command, _ := os.ReadFile(file) // a process that has exited has no command line
		if text := strings.ReplaceAll(string(command), "\x00", " "); strings.Contains(text, d.temporary) {
			found = append(found, text)
		}
	}
	return found
}

// TestDemo runs the demo as a process of its own, on a real control plane.
func TestDemo(t *testing.T) {
	folder := t.TempDir()
	var arguments []string
	for flag, name := range map[string]string{"--manager-binary": "manager", "--scheduler-binary": "fakescheduler"} {
		path, err := process.Program(t.Context(), folder, name)
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		arguments = append(arguments, flag, path)
	}
	t.Run("NonInteractive", func(t *testing.T) { testNonInteractive(start(t, append(arguments, "--non-interactive")...)) })
	t.Run("CtrlC", func(t *testing.T) { testCtrlC(start(t, arguments...)) })
}

func testNonInteractive(d *demonstration) {
	status := d.status()
	steps, objects, _ := strings.Cut(d.printed(), "All objects:\n")
	d.Expect(status).To(Equal(exitReady), steps)
	for _, effect := range []string{
		`\[4/11\].*SeldonRuntime/seldon  False .*SeldonRuntime/seldon  True.*\[5`,
		`\[4/11\].*Condition/SchedulerReachable(, SchedulerSynced)?  True .*\[5`,
		`\[5/11\].*Model/iris, .*  False .*Experiments \(1\) +True +1 of 1 ready\nDone`,
		`\[6/11\].*Model/iris  False .*Model/iris  True.*\[7`,
		`\[7/11\].*Model/iris-challenger  - Deleted.*Experiment/iris-experiment  False .*\[8`,
		`\[8/11\].*Model/iris-challenger  False .*Models \(3\) +True +3 of 3 ready\n.*\[9`,
		`\[9/11\].*Condition/SchedulerReachable  False .*Models \(3\) +True +3 of 3 ready\n.*\[10`,
		`\[10/11\].*Model/iris-features  False .*\[11`,
		`\[11/11\].*Model/iris-features  True`,
	} {
		d.Expect(steps).To(MatchRegexp("(?s)" + effect))
	}
	for _, drawn := range []string{
		"├─ ServiceAccount/hodometer ", "├─ StatefulSet/seldon-scheduler .*\n│  └─ Pod/seldon-scheduler-0 ",
		"├─ Server/mlserver .*\n│  ├─ Service/mlserver-0 .*\n│  └─ StatefulSet/mlserver .*\n│     └─ Pod/mlserver-0 ",
		"├─ Models \\(3\\) .*\n│  ├─ Model/iris .*\n│  ├─ Model/iris-challenger .*\n│  └─ Model/iris-features .*\n├─ Pipelines \\(1\\) .*\n│  └─ Pipeline/iris-pipeline .*\n└─ Experiments \\(1\\) .*\n   └─ Experiment/iris-experiment ",
	} {
		d.Expect(objects).To(MatchRegexp(drawn))
	}
	d.Expect(objects).NotTo(ContainSubstring("  False  "), "all of it is ready")
}

func testCtrlC(d *demonstration) {
	d.Eventually(d.printed).WithTimeout(2 * time.Minute).Should(ContainSubstring("SeldonRuntime/seldon  False"))
	if _, err := os.Stat("/proc/self/cmdline"); err == nil {
		d.Expect(d.processes()).To(ContainElements(ContainSubstring("/manager "), ContainSubstring("/fakescheduler "), ContainSubstring("/etcd ")))
	}
	for range 2 { // shells and make send some signals twice
		d.Expect(d.command.Process.Signal(os.Interrupt)).To(Succeed())
	}
	d.Expect(d.status()).To(Equal(exitInterrupted), d.printed())
	d.Expect(d.printed()).To(HaveSuffix("Stopping everything\nDone.\n"))
}

func TestMissingProgram(t *testing.T) {
	d := start(t, "--manager-binary", "bin/none")
	d.Expect(d.status()).To(Equal(exitFailed))
	d.Expect(d.printed()).To(Equal("demo: stat bin/none: no such file or directory; `make demo` builds it\n"))
}
