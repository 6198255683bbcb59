package docs_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/seldon-operator/seldon-operator/test/controlplane"
	"github.com/seldon-operator/seldon-operator/test/controlplane/programs"
	"github.com/seldon-operator/seldon-operator/test/process"
)

const startPage = "getting-started.md"

// Info strings of blocks of commands.
const (
	commands        = "console"          // run, and what is shown of their output is there
	failingCommands = "console fails"    // the same, and they fail
	terminals       = "console terminal" // go on in a terminal of their own
	onClusters      = "console cluster"  // need a cluster that runs containers
)

// The commands of the first page work, one after the other, from nothing to nothing.
func TestFirstStepsWork(t *testing.T) {
	// What runs in terminals is ended when the test is, and not before.
	ctx, end := context.WithCancel(context.WithoutCancel(t.Context()))
	t.Cleanup(end)
	w := &walk{t: t, ctx: ctx, folder: t.TempDir()}
	ran := 0
	for _, b := range blocks(read(t, startPage)) {
		switch b.info {
		case terminals:
			w.open(b.text)
		case commands, failingCommands:
			for _, c := range parseCommands(b.text) {
				ran++
				w.run(c, b.info == failingCommands)
			}
		case onClusters, "yaml":
		default:
			t.Errorf("%s: a block has the info string %q", startPage, b.info)
		}
	}
	if ran < 20 {
		t.Errorf("%s: only %d commands ran", startPage, ran)
	}
}

// command is what stands behind a $, and what is shown below it.
type command struct {
	text  string
	shown []string
}

func parseCommands(text string) []command {
	var found []command
	continued := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		rest, begins := strings.CutPrefix(line, "$ ")
		switch {
		case begins:
			found = append(found, command{text: rest})
		case continued:
			found[len(found)-1].text += "\n" + line
		case strings.TrimSpace(line) != "" && len(found) > 0:
			found[len(found)-1].shown = append(found[len(found)-1].shown, line)
		}
		continued = (begins || continued) && strings.HasSuffix(line, `\`)
	}
	return found
}

// walk is the state of who follows the page.
type walk struct {
	t       *testing.T
	ctx     context.Context
	folder  string
	cluster *controlplane.ControlPlane
	socket  string
}

// open does what a terminal is opened for, in this test's own way: other ports and
// folders, so that it disturbs nobody.
func (w *walk) open(text string) {
	w.t.Helper()
	switch {
	case strings.HasPrefix(text, "$ make start ARGS=--dir="):
		cluster, err := controlplane.Start(w.ctx, controlplane.Options{Directory: filepath.Join(w.folder, "controlplane")})
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(func() { _ = cluster.Stop() })
		w.cluster = cluster
	case strings.HasPrefix(text, "$ export KUBECONFIG="):
		// As the page says, below the folder of --dir.
		name := regexp.MustCompile(`dist/controlplane/(\S+)`).FindStringSubmatch(text)
		if name == nil || filepath.Join(w.folder, "controlplane", name[1]) != w.cluster.KubeconfigPath() {
			w.t.Fatalf("%s: the kubeconfig is at %s", startPage, w.cluster.KubeconfigPath())
		}
	case strings.HasPrefix(text, "$ go run ./cmd/schedulersim --listen "):
		w.socket = "unix:" + filepath.Join(w.folder, "s")
		w.start("schedulersim", "--listen", w.socket)
	case strings.HasPrefix(text, "$ POD_NAMESPACE=seldon-system make run ARGS="):
		w.start("manager", "--namespace=team", "--scheduler-address="+w.socket, "--metrics-bind-address=0", "--health-probe-bind-address=0")
	default:
		w.t.Fatalf("%s: no terminal is known for %s", startPage, text)
	}
}

func (w *walk) start(name string, arguments ...string) {
	w.t.Helper()
	program, err := process.Build(w.ctx, w.folder, name)
	if err != nil {
		w.t.Fatal(err)
	}
	log := filepath.Join(w.folder, name+".log")
	running, err := process.New(w.ctx, log, program, []string{"KUBECONFIG=" + w.cluster.KubeconfigPath(), "POD_NAMESPACE=seldon-system"}, arguments...)
	if err == nil {
		err = running.Start()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		running.Kill()
		if text, err := os.ReadFile(log); w.t.Failed() && err == nil {
			w.t.Logf("%s says\n%s", name, text[max(0, len(text)-1<<13):])
		}
	})
}

// run runs a command in the root of the repository, as a user would in a shell.
func (w *walk) run(c command, fails bool) {
	w.t.Helper()
	kubectl, err := programs.Path(programs.Kubectl)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(w.ctx, 3*time.Minute)
	defer cancel()
	shell := exec.CommandContext(ctx, "bash", "-c", c.text)
	shell.Dir = ".."
	shell.Env = append(os.Environ(), "KUBECONFIG="+w.cluster.KubeconfigPath(), "PATH="+filepath.Dir(kubectl)+":"+os.Getenv("PATH"))
	begun := time.Now()
	output, err := shell.CombinedOutput()
	w.t.Logf("%s: %s", time.Since(begun).Round(time.Millisecond), c.text)
	if (err != nil) != fails {
		w.t.Fatalf("%s: %s: %v\n%s", startPage, c.text, err, output)
	}
	for _, line := range c.shown {
		if !strings.Contains(string(output), line) {
			w.t.Errorf("%s: %s: does not print %q but\n%s", startPage, c.text, line, output)
		}
	}
}
