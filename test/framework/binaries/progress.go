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
	// logInterval is how often a line is added to a log while nothing else
	// happens: often enough to see that it goes on.
	logInterval = 15 * time.Second
)

// progress tells people how far a build is.
type progress struct {
	out      io.Writer
	terminal bool

	mu      sync.Mutex
	started time.Time
	// programs counts those to build; program is the one being built, by its
	// number from 1, and name is its name.
	programs, program int
	name              string
	// modules counts those that were fetched.
	modules int
	// remaining are the packages that are yet to be compiled, of total.
	remaining map[string]bool
	total     int

	stop chan struct{}
	done sync.WaitGroup
}

func newProgress(out io.Writer, terminal bool) *progress {
	return &progress{out: out, terminal: terminal}
}

// start announces a build of a number of programs.
func (p *progress) start(programs int, into string) {
	p.started, p.programs, p.stop = time.Now(), programs, make(chan struct{})
	p.line(fmt.Sprintf("building %d programs into %s; the first time this takes minutes", programs, into))
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
				p.tell()
			case <-p.stop:
				return
			}
		}
	})
}

// finish ends the telling; err is how the build ended.
func (p *progress) finish(err error) {
	close(p.stop)
	p.done.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.line("gave up after " + p.elapsed())
		return
	}
	p.line("done in " + p.elapsed())
}

// fetched counts a module that is being fetched.
func (p *progress) fetched() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.modules++
}

// expect says which packages are going to be compiled.
func (p *progress) expect(packages []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.remaining = make(map[string]bool, len(packages))
	for _, name := range packages {
		p.remaining[name] = true
	}
	p.total = len(p.remaining)
}

// compiled counts a package, and tells whether it was expected.
func (p *progress) compiled(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	expected := p.remaining[name]
	delete(p.remaining, name)
	return expected
}

// begin says that a program is being built now.
func (p *progress) begin(t target) {
	p.mu.Lock()
	p.program++
	p.name = t.name
	p.mu.Unlock()
	p.tell()
}

// end says that a program is finished: its main package is done even if the go
// command found it in the build cache and said nothing.
func (p *progress) end(t target) { p.compiled(t.pkg) }

// tell writes how far things are.
func (p *progress) tell() {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := fmt.Sprintf("fetching modules, %d so far", p.modules)
	if p.program > 0 {
		text = fmt.Sprintf("%d of %d, %s: %d of %d packages compiled",
			p.program, p.programs, p.name, p.total-len(p.remaining), p.total)
	}
	text += ", " + p.elapsed()
	if !p.terminal {
		p.line(text)
		return
	}
	p.print("\r\x1b[Kcontrolplane: " + text)
}

// line writes a line that stays.
func (p *progress) line(text string) {
	if p.terminal {
		// Over what tell has left there.
		p.print("\r\x1b[K")
	}
	p.print("controlplane: " + text + "\n")
}

// print writes text. That a progress line cannot be written is no reason to
// stop building.
func (p *progress) print(text string) { _, _ = io.WriteString(p.out, text) }

func (p *progress) elapsed() string {
	elapsed := time.Since(p.started).Truncate(time.Second)
	return fmt.Sprintf("%d:%02d", int(elapsed.Minutes()), int(elapsed.Seconds())%60)
}
