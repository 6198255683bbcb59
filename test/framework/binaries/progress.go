package binaries

import (
	"fmt"
	"io"
	"strings"
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
	// targets is the number of targets to build, and steps the finished steps and the
	// current one: the search for what is out of date, then a step for each target.
	targets int
	steps   []step
	// modules is the number of downloaded modules.
	modules int
	// remaining are the packages that are not compiled yet, of total.
	remaining map[string]bool
	total     int

	stop chan struct{}
	done sync.WaitGroup
}

// step is a part of a build.
type step struct {
	name    string
	started time.Time
}

func newProgress(out io.Writer, terminal bool) *progress {
	return &progress{out: out, terminal: terminal}
}

// start prints that a build starts, and then the progress until finish.
func (p *progress) start(targets int) {
	p.started, p.targets, p.stop = time.Now(), targets, make(chan struct{})
	p.remaining = map[string]bool{}
	p.steps = []step{{"modules", p.started}}
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

// finish prints the end of the build, which may have failed with an error, and the
// duration of each step that took a second or more.
func (p *progress) finish(err error) {
	close(p.stop)
	p.done.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.line("failed after " + clock(time.Since(p.started)))
		return
	}
	var durations []string
	for i, s := range p.steps {
		end := time.Now()
		if i+1 < len(p.steps) {
			end = p.steps[i+1].started
		}
		if duration := end.Sub(s.started); duration >= time.Second {
			durations = append(durations, s.name+" "+clock(duration))
		}
	}
	// Otherwise nothing was out of date.
	if len(durations) > 0 || p.total > 0 {
		p.line(fmt.Sprintf("done in %s (%s)", clock(time.Since(p.started)), strings.Join(durations, ", ")))
	} else if p.terminal {
		p.print("\r\x1b[K")
	}
}

// fetched counts a module that is being downloaded.
func (p *progress) fetched() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.modules++
}

// expect adds packages to compile.
func (p *progress) expect(packages []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
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

// begin starts the step of a target. It does not print it if nothing may be out of date.
func (p *progress) begin(t target) {
	p.mu.Lock()
	p.steps = append(p.steps, step{t.name, time.Now()})
	outOfDate := t.fingerprint != "" || p.total > 0
	p.mu.Unlock()
	if outOfDate {
		p.report()
	}
}

// report prints the progress.
func (p *progress) report() {
	p.mu.Lock()
	defer p.mu.Unlock()
	var text string
	switch target := len(p.steps) - 1; {
	case target > 0:
		text = fmt.Sprintf("%d of %d, %s: %d of %d packages compiled",
			target, p.targets, p.steps[target].name, p.total-len(p.remaining), p.total)
	case p.modules > 0:
		text = fmt.Sprintf("downloading modules, %d so far", p.modules)
	default:
		text = "finding what is out of date"
	}
	text += ", " + clock(time.Since(p.started))
	if !p.terminal {
		p.line(text)
		return
	}
	p.print("\r\x1b[Kbuild: " + text)
}

// line prints a line that is not rewritten.
func (p *progress) line(text string) {
	if p.terminal {
		// Replace the line of report.
		p.print("\r\x1b[K")
	}
	p.print("build: " + text + "\n")
}

// print writes text and ignores errors, so that they do not stop the build.
func (p *progress) print(text string) { _, _ = io.WriteString(p.out, text) }

// clock formats a duration as minutes:seconds.
func clock(duration time.Duration) string {
	seconds := int(duration.Round(time.Second).Seconds())
	return fmt.Sprintf("%d:%02d", seconds/60, seconds%60)
}
