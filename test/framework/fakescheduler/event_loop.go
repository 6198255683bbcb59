package fakescheduler

import (
	"sync"
	"time"
)

// eventLoop runs the background tasks of an instance: tasks that run one after
// another, in the order in which they were posted, each under the scheduler's mutex.
// The mutex is held when its methods are called, except for run.
type eventLoop struct {
	mu     *sync.Mutex
	wake   *sync.Cond
	queue  []func()
	closed bool
}

func newEventLoop(mu *sync.Mutex) *eventLoop {
	return &eventLoop{mu: mu, wake: sync.NewCond(mu)}
}

// run runs tasks until close.
func (l *eventLoop) run() {
	for l.step() {
	}
}

// step waits for a task and runs it. It returns false after close.
func (l *eventLoop) step() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.queue) == 0 && !l.closed {
		l.wake.Wait()
	}
	if l.closed {
		return false
	}
	task := l.queue[0]
	l.queue[0] = nil
	l.queue = l.queue[1:]
	task()
	return true
}

// post runs a task after those that were posted before.
func (l *eventLoop) post(task func()) {
	if !l.closed {
		l.queue = append(l.queue, task)
		l.wake.Signal()
	}
}

// afterFunc posts a task after a delay, at once if there is none.
func (l *eventLoop) afterFunc(delay time.Duration, task func()) {
	if delay <= 0 {
		l.post(task)
		return
	}
	time.AfterFunc(delay, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.post(task)
	})
}

// close drops all tasks, those that are delayed included.
func (l *eventLoop) close() {
	l.closed, l.queue = true, nil
	l.wake.Broadcast()
}
