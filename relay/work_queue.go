package relay

import (
	"container/heap"
	"sync"
	"time"
)

// priority of work on an object; higher goes first.
type priority int

const (
	// priorityResync is for what a comparison of a whole kind found: there may be
	// tens of thousands of them.
	priorityResync priority = iota
	// priorityChange is for one object that changed, or that an event is about.
	priorityChange
	// priorityDeletion is for objects that are being deleted.
	priorityDeletion
	// priorityServer is for Servers: the scheduler places Models by their replicas.
	priorityServer
)

const (
	// maxConcurrentCalls of a session.
	maxConcurrentCalls = 8
	// maxConcurrentLoads of those may be for neither Servers nor deletions, so that a
	// backlog of loads that time out does not occupy all of them.
	maxConcurrentLoads = maxConcurrentCalls - 2
)

// workQueue runs the work on the objects of one connection: an object's never twice
// at a time, at most [maxConcurrentCalls] in all, by priority and then in order. A
// goroutine lives as long as there is work for it, so that an idle session has none.
// Its methods are safe for concurrent use, and process may call them.
type workQueue struct {
	process func(objectKey, priority)
	workers sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	waiting workHeap
	queued  map[objectKey]*work
	running map[objectKey]*work
	delayed map[objectKey]*delayedWork
	// active goroutines, and how many of them are for neither Servers nor deletions.
	active, loads int
	sequence      uint64
}

// work on one object.
type work struct {
	key      objectKey
	priority priority
	sequence uint64
	index    int // in the heap
	// again: it was added while it was running, with this priority.
	again         bool
	againPriority priority
}

func (w *work) isLoad() bool { return w.priority < priorityDeletion }

type delayedWork struct {
	timer *time.Timer
	at    time.Time
}

func newWorkQueue(process func(objectKey, priority)) *workQueue {
	return &workQueue{
		process: process,
		queued:  map[objectKey]*work{}, running: map[objectKey]*work{}, delayed: map[objectKey]*delayedWork{},
	}
}

// add has an object looked at. It never blocks.
func (q *workQueue) add(key objectKey, p priority) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	q.stopDelay(key)
	if current := q.running[key]; current != nil {
		current.againPriority = max(p, current.againPriority)
		current.again = true
		return
	}
	q.push(key, p)
	q.start()
}

// addAfter has an object looked at after a while, unless that happens before. Of
// several delays the shortest counts.
func (q *workQueue) addAfter(key objectKey, p priority, after time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	at := time.Now().Add(after)
	if before := q.delayed[key]; q.closed || q.queued[key] != nil || before != nil && before.at.Before(at) {
		return
	}
	q.stopDelay(key)
	q.delayed[key] = &delayedWork{time.AfterFunc(after, func() { q.add(key, p) }), at}
}

func (q *workQueue) stopDelay(key objectKey) {
	if before := q.delayed[key]; before != nil {
		before.timer.Stop()
		delete(q.delayed, key)
	}
}

func (q *workQueue) push(key objectKey, p priority) {
	if before := q.queued[key]; before != nil {
		if p > before.priority {
			before.priority = p
			heap.Fix(&q.waiting, before.index)
		}
		return
	}
	q.sequence++
	item := &work{key: key, priority: p, sequence: q.sequence}
	q.queued[key] = item
	heap.Push(&q.waiting, item)
}

// start has goroutines for what waits.
func (q *workQueue) start() {
	for q.active < maxConcurrentCalls {
		item := q.next()
		if item == nil {
			return
		}
		q.active++
		q.workers.Go(func() { q.run(item) })
	}
}

// next takes what is to be done next; nil if there is nothing that may run now.
func (q *workQueue) next() *work {
	if len(q.waiting) == 0 || q.waiting[0].isLoad() && q.loads >= maxConcurrentLoads {
		return nil
	}
	item := heap.Pop(&q.waiting).(*work)
	delete(q.queued, item.key)
	q.running[item.key] = item
	if item.isLoad() {
		q.loads++
	}
	return item
}

func (q *workQueue) run(item *work) {
	for item != nil {
		q.process(item.key, item.priority)
		item = q.done(item)
	}
}

// done takes what is to be done next by the same goroutine, nil to end it.
func (q *workQueue) done(item *work) *work {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.running, item.key)
	if item.isLoad() {
		q.loads--
	}
	if item.again && !q.closed {
		q.push(item.key, item.againPriority)
	}
	next := q.next()
	if next == nil {
		q.active--
	}
	// The end of a load may let another one run.
	q.start()
	return next
}

// depth is the number of objects that wait, those that wait for a delay included. A kind
// that waits for its next comparison is none.
func (q *workQueue) depth() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	depth := len(q.waiting)
	for key := range q.delayed {
		if key.name != "" {
			depth++
		}
	}
	return depth
}

// close drops what waits. What runs ends by its context; wait for it with
// [workQueue.wait].
func (q *workQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, each := range q.delayed {
		each.timer.Stop()
	}
	q.waiting, q.queued, q.delayed = nil, nil, nil
}

// wait returns when nothing runs any more; only after close.
func (q *workQueue) wait() { q.workers.Wait() }

// workHeap has the highest priority on top, and of one priority what came first.
type workHeap []*work

func (h workHeap) Len() int { return len(h) }
func (h workHeap) Less(i, j int) bool {
	if h[i].priority != h[j].priority {
		return h[i].priority > h[j].priority
	}
	return h[i].sequence < h[j].sequence
}
func (h workHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *workHeap) Push(item any) {
	added := item.(*work)
	added.index = len(*h)
	*h = append(*h, added)
}
func (h *workHeap) Pop() any {
	last := len(*h) - 1
	item := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return item
}
