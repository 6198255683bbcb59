package docs_test

import (
	"context"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const startPage = "getting-started.md"

// Info strings of blocks of commands.
const (
	commands        = "console"          // run, and what is shown of their output is there
	failingCommands = "console fails"    // the same, and they fail
	terminals       = "console terminal" // go on in a terminal of their own, or are for all that follow
	onClusters      = "console cluster"  // need a cluster that runs containers
)

// patience is how long a command may take, or what a terminal is to show.
const patience = 3 * time.Minute

// The commands of the first page work as they stand there, one after the other, from
// nothing to nothing.
func TestFirstStepsWork(t *testing.T) {
	// An interrupt ends the test, and with it what runs in terminals.
	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt)
	defer stop()
	folder := t.TempDir()
	// Other ports and folders than those of the page, to disturb nobody.
	page := strings.NewReplacer(
		"$PWD/dist/controlplane", filepath.Join(folder, "controlplane"),
		"dist/controlplane", filepath.Join(folder, "controlplane"),
		"127.0.0.1:9004", "unix:"+filepath.Join(folder, "s"),
		"make run ARGS='", "make run ARGS='--metrics-bind-address=0 --health-probe-bind-address=0 ",
	).Replace(read(t, startPage))
	w := &walk{t: t, ctx: ctx, folder: folder}
	ran := 0
	for _, b := range blocks(page) {
		for _, c := range parseCommands(b.text) {
			switch b.info {
			case terminals:
				w.open(c)
			case commands, failingCommands:
				w.run(c, b.info == failingCommands)
			case onClusters:
				continue
			default:
				t.Errorf("%s: commands are in a block with the info string %q", startPage, b.info)
			}
			ran++
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
	t      *testing.T
	ctx    context.Context
	folder string
	// exports are what was set for all terminals.
	exports string
}

// shell is a command in the root of the repository, as a user would run it. It is in
// a group of its own: what it starts gets the signal, too, when the context ends.
func (w *walk) shell(ctx context.Context, c command, signal syscall.Signal) *exec.Cmd {
	shell := exec.CommandContext(ctx, "bash", "-c", w.exports+c.text)
	shell.Dir = ".."
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	shell.Cancel = func() error { return syscall.Kill(-shell.Process.Pid, signal) }
	return shell
}

// open leaves a command running, as in a terminal, until the test is at its end, and
// waits for what the page shows of its output.
func (w *walk) open(c command) {
	w.t.Helper()
	if strings.HasPrefix(c.text, "export ") {
		w.exports += c.text + "\n"
		return
	}
	log, err := os.CreateTemp(w.folder, "terminal")
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.WithoutCancel(w.ctx))
	terminal := w.shell(ctx, c, syscall.SIGINT) // Ctrl-C
	terminal.Stdout, terminal.Stderr = log, log
	if err := terminal.Start(); err != nil {
		end()
		w.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = terminal.Wait()
		close(ended)
	}()
	said := func() string {
		text, err := os.ReadFile(log.Name())
		if err != nil {
			w.t.Fatal(err)
		}
		return string(text)
	}
	w.t.Cleanup(func() {
		end()
		select {
		case <-ended:
		case <-time.After(time.Minute):
			w.t.Errorf("%s: %s: does not end by Ctrl-C", startPage, c.text)
			_ = syscall.Kill(-terminal.Process.Pid, syscall.SIGKILL)
		}
		if text := said(); w.t.Failed() {
			w.t.Logf("%s: %s: says\n%s", startPage, c.text, text[max(0, len(text)-1<<13):])
		}
	})
	deadline := time.After(patience)
	for missing(c, said()) != "" {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ended:
			w.t.Fatalf("%s: %s: ends by itself", startPage, c.text)
		case <-w.ctx.Done():
			w.t.Fatal(w.ctx.Err())
		case <-deadline:
			w.t.Fatalf("%s: %s: does not print %q", startPage, c.text, missing(c, said()))
		}
	}
}

// run runs a command to its end.
func (w *walk) run(c command, fails bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	begun := time.Now()
	output, err := w.shell(ctx, c, syscall.SIGKILL).CombinedOutput()
	w.t.Logf("%s: %s", time.Since(begun).Round(time.Millisecond), c.text)
	if (err != nil) != fails {
		w.t.Fatalf("%s: %s: %v\n%s", startPage, c.text, err, output)
	}
	if line := missing(c, string(output)); line != "" {
		w.t.Errorf("%s: %s: does not print %q but\n%s", startPage, c.text, line, output)
	}
}

// missing is a line that the page shows and the output does not have; empty if it
// has them all.
func missing(c command, output string) string {
	for _, line := range c.shown {
		if !strings.Contains(output, line) {
			return line
		}
	}
	return ""
}
