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

const startPage = "tutorials/getting-started.md"

// Info strings of blocks of commands.
const (
	commands        = "console"          // run, and print the lines that are shown below them
	failingCommands = "console fails"    // the same, but they fail
	terminals       = "console terminal" // keep running in a terminal of their own, or set variables for all that follow
	onClusters      = "console cluster"  // need a cluster that runs containers; not run
)

// commandTimeout is how long a command may take, or the output in a terminal.
const commandTimeout = 3 * time.Minute

// The commands of the first page work unmodified, one after the other, and leave
// nothing running.
func TestFirstStepsWork(t *testing.T) {
	// An interrupt ends the test and the commands in terminals.
	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt)
	defer stop()
	folder := t.TempDir()
	// Other ports and directories than those of the page, which may be in use.
	page := strings.NewReplacer(
		"$PWD/dist/controlplane", filepath.Join(folder, "controlplane"),
		"dist/controlplane", filepath.Join(folder, "controlplane"),
		"127.0.0.1:9004", "unix:"+filepath.Join(folder, "s"),
		"make run ARGS='", "make run ARGS='--metrics-bind-address=0 --health-probe-bind-address=0 ",
	).Replace(read(t, startPage))
	w := &docRunner{t: t, ctx: ctx, folder: folder}
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

// command is the text after a $, and the lines of output below it.
type command struct {
	text  string
	shown []string
}

// parseCommands returns the commands of a block.
func parseCommands(text string) []command {
	var found []command
	continued := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		rest, isCommand := strings.CutPrefix(line, "$ ")
		switch {
		case isCommand:
			found = append(found, command{text: rest})
		case continued:
			found[len(found)-1].text += "\n" + line
		case strings.TrimSpace(line) != "" && len(found) > 0:
			found[len(found)-1].shown = append(found[len(found)-1].shown, line)
		}
		continued = (isCommand || continued) && strings.HasSuffix(line, `\`)
	}
	return found
}

// docRunner runs the commands of a page.
type docRunner struct {
	t      *testing.T
	ctx    context.Context
	folder string
	// exports are export commands, which apply to all commands after them.
	exports string
}

// shell returns a command in the root of the repository, as a user would run it. It has
// a process group of its own, so that its children also get the signal when the context
// is cancelled.
func (w *docRunner) shell(ctx context.Context, c command, signal syscall.Signal) *exec.Cmd {
	shell := exec.CommandContext(ctx, "bash", "-c", w.exports+c.text)
	shell.Dir = ".."
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	shell.Cancel = func() error { return syscall.Kill(-shell.Process.Pid, signal) }
	return shell
}

// open starts a command that runs until the end of the test, as in a terminal, and
// waits for the output that the page shows.
func (w *docRunner) open(c command) {
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
	output := func() string {
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
			w.t.Errorf("%s: %s: does not exit on Ctrl-C", startPage, c.text)
			_ = syscall.Kill(-terminal.Process.Pid, syscall.SIGKILL)
		}
		if text := output(); w.t.Failed() {
			w.t.Logf("%s: %s: output:\n%s", startPage, c.text, text[max(0, len(text)-1<<13):])
		}
	})
	deadline := time.After(commandTimeout)
	for missing(c, output()) != "" {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ended:
			w.t.Fatalf("%s: %s: exited", startPage, c.text)
		case <-w.ctx.Done():
			w.t.Fatal(w.ctx.Err())
		case <-deadline:
			w.t.Fatalf("%s: %s: does not print %q", startPage, c.text, missing(c, output()))
		}
	}
}

// run runs a command to its end.
func (w *docRunner) run(c command, fails bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, commandTimeout)
	defer cancel()
	start := time.Now()
	output, err := w.shell(ctx, c, syscall.SIGKILL).CombinedOutput()
	w.t.Logf("%s: %s", time.Since(start).Round(time.Millisecond), c.text)
	if (err != nil) != fails {
		w.t.Fatalf("%s: %s: %v\n%s", startPage, c.text, err, output)
	}
	if line := missing(c, string(output)); line != "" {
		w.t.Errorf("%s: %s: does not print %q; output:\n%s", startPage, c.text, line, output)
	}
}

// missing returns a line that the page shows and the output does not have, or "" if
// the output has them all.
func missing(c command, output string) string {
	for _, line := range c.shown {
		if !strings.Contains(output, line) {
			return line
		}
	}
	return ""
}
