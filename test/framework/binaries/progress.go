package binaries

import (
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	// terminalInterval is how often the line on a terminal is rewritten.
	terminalInterval = 200 * time.Millisecond
	// logInterval is how often a line is added to a log.
	logInterval = 15 * time.Second
)

// progress prints the progress of a build.
type progress struct {
	out      io.Writer
	terminal bool

	mu      sync.Mutex
	started time.Time
	// binaries is the number of binaries to build, binary the number of the current one,
	// from 1, and name its name.
	binaries, binary int
	name             string
	// modules is the number of downloaded modules.
	modules int
	// remaining are the packages that are not compiled yet, of total.
	remaining map[string]bool
	total     int

	stop chan struct{}
	done sync.WaitGroup
}

func newProgress(out io.Writer, terminal bool) *progress {
	return &progress{out: out, terminal: terminal}
}

// start prints that a build starts, and then the progress until finish.
func (p *progress) start(binaries int, into string) {
	p.started, p.binaries, p.stop = time.Now(), binaries, make(chan struct{})
	p.line(fmt.Sprintf("building %d binaries into %s; the first time this takes minutes", binaries, into))
	interval := logInterval
	if p.terminal {
		interval = terminalInterval
	}
	p.done.Go(func() {
		ticks := time.NewTicker(interval)
		defer ticks.Stop()
		for {
			select {
			case <-ticks.C:
				p.report()
			case <-p.stop:
				return
			}
		}
	})
}

// finish prints the end of the build, which may have failed with an error.
func (p *progress) finish(err error) {
	close(p.stop)
	p.done.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.line("failed after " + p.elapsed())
		return
	}
	p.line("done in " + p.elapsed())
}

// fetched counts a module that is being downloaded.
func (p *progress) fetched() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.modules++
}

// expect sets the packages to compile.
func (p *progress) expect(packages []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.remaining = make(map[string]bool, len(packages))
	for _, name := range packages {
		p.remaining[name] = true
	}
	p.total = len(p.remaining)
}

// compiled counts a compiled package, and returns whether it was expected.
func (p *progress) compiled(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	expected := p.remaining[name]
	delete(p.remaining, name)
	return expected
}

// begin sets the binary that is being built.
func (p *progress) begin(t target) {
	p.mu.Lock()
	p.binary++
	p.name = t.name
	p.mu.Unlock()
	p.report()
}

// end counts the main package of a finished binary, which the go command does not print
// if it is in the build cache.
func (p *progress) end(t target) { p.compiled(t.pkg) }

// report prints the progress.
func (p *progress) report() {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := fmt.Sprintf("downloading modules, %d so far", p.modules)
	if p.binary > 0 {
		text = fmt.Sprintf("%d of %d, %s: %d of %d packages compiled",
			p.binary, p.binaries, p.name, p.total-len(p.remaining), p.total)
	}
	text += ", " + p.elapsed()
	if !p.terminal {
		p.line(text)
		return
	}
	p.print("\r\x1b[Kcontrolplane: " + text)
}

// line prints a line that is not rewritten.
func (p *progress) line(text string) {
	if p.terminal {
		// Replace the line of report.
		p.print("\r\x1b[K")
	}
	p.print("controlplane: " + text + "\n")
}

// print writes text and ignores errors, so that they do not stop the build.
func (p *progress) print(text string) { _, _ = io.WriteString(p.out, text) }

func (p *progress) elapsed() string {
	elapsed := time.Since(p.started).Truncate(time.Second)
	return fmt.Sprintf("%d:%02d", int(elapsed.Minutes()), int(elapsed.Seconds())%60)
}
