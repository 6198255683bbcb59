package fakescheduler

import (
	"sync"
	"time"
)

// loop is the work in the background of one run of the simulated scheduler: tasks
// that run one after another, in the order they were posted, each under the
// scheduler's mutex. All methods but run want that mutex held.
type loop struct {
	mu     *sync.Mutex
	wake   *sync.Cond
	queue  []func()
	timers map[*time.Timer]struct{}
	// working is how many tasks are queued, running or waiting for a delay.
	working int
	// idle are told when working falls to zero.
	idle   []chan struct{}
	closed bool
}

func newLoop(mu *sync.Mutex) *loop {
	return &loop{mu: mu, wake: sync.NewCond(mu), timers: map[*time.Timer]struct{}{}}
}

// run works until close.
func (l *loop) run() {
	for l.step(true) {
	}
}

// step runs one task. With wait, it waits for one, and false means closed.
func (l *loop) step(wait bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for wait && len(l.queue) == 0 && !l.closed {
		l.wake.Wait()
	}
	if len(l.queue) == 0 || l.closed {
		return false
	}
	task := l.queue[0]
	l.queue[0] = nil
	l.queue = l.queue[1:]
	task()
	l.done()
	return true
}

// done counts one task less.
func (l *loop) done() {
	l.working--
	if l.working > 0 {
		return
	}
	for _, told := range l.idle {
		close(told)
	}
	l.idle = nil
}

// post has a task run as soon as those before it have.
func (l *loop) post(task func()) {
	if l.closed {
		return
	}
	l.working++
	l.enqueue(task)
}

// after has a task run after a delay; with none, it is posted.
func (l *loop) after(delay time.Duration, task func()) {
	if l.closed {
		return
	}
	if delay <= 0 {
		l.post(task)
		return
	}
	l.working++
	l.timer(delay, func() { l.enqueue(task) })
}

// alarm has a task run after a delay that nobody waits for: it does not count as work.
func (l *loop) alarm(delay time.Duration, task func()) {
	if !l.closed {
		l.timer(delay, func() { l.post(task) })
	}
}

// whenIdle returns a channel that is closed when there is no work, delayed work
// included.
func (l *loop) whenIdle() <-chan struct{} {
	told := make(chan struct{})
	if l.working == 0 || l.closed {
		close(told)
	} else {
		l.idle = append(l.idle, told)
	}
	return told
}

// close drops what is queued and stops the timers.
func (l *loop) close() {
	if l.closed {
		return
	}
	l.closed = true
	for timer := range l.timers {
		timer.Stop()
	}
	l.queue, l.timers, l.working = nil, nil, 0
	for _, told := range l.idle {
		close(told)
	}
	l.idle = nil
	l.wake.Broadcast()
}

func (l *loop) enqueue(task func()) {
	l.queue = append(l.queue, task)
	l.wake.Signal()
}

func (l *loop) timer(delay time.Duration, due func()) {
	var timer *time.Timer
	timer = time.AfterFunc(delay, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.closed {
			return
		}
		delete(l.timers, timer)
		due()
	})
	l.timers[timer] = struct{}{}
}
