package relay

import (
	"container/heap"
	"sync"
	"time"
)

// priority of an item in the queue; the highest is processed first.
type priority int

const (
	// priorityResync is for objects that the resync of a kind has found: there may be tens
	// of thousands of them.
	priorityResync priority = iota
	// priorityChange is for one object that was changed, or that an event is about.
	priorityChange
	// priorityDeletion is for objects that are being deleted.
	priorityDeletion
	// priorityServer is for Servers: the scheduler places Models by their replicas.
	priorityServer
)

const (
	// maxConcurrentCalls of a session.
	maxConcurrentCalls = 8
	// maxConcurrentLoads of those may be for neither Servers nor deletions, so that a backlog
	// of loads that time out does not occupy all of them.
	maxConcurrentLoads = maxConcurrentCalls - 2
)

// workQueue processes the objects of one connection: one object never twice at a time, at
// most [maxConcurrentCalls] in total, by priority and then in order. A goroutine exists as
// long as there are items for it, so that an idle session has none. Its methods are safe
// for concurrent use, and process may call them.
type workQueue struct {
	process func(objectKey, priority)
	workers sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	waiting workHeap
	queued  map[objectKey]*queueItem
	running map[objectKey]*queueItem
	delayed map[objectKey]*delayedItem
	// active is the number of goroutines, loads of those for neither Servers nor deletions.
	active, loads int
	sequence      uint64
}

// queueItem is one object in the queue.
type queueItem struct {
	key      objectKey
	priority priority
	sequence uint64
	index    int // in the heap
	// readded: it was added while it was processed, with readdedPriority.
	readded         bool
	readdedPriority priority
}

// isLoad reports whether the item is for neither a Server nor a deletion.
func (i *queueItem) isLoad() bool { return i.priority < priorityDeletion }

type delayedItem struct {
	timer *time.Timer
	at    time.Time
}

func newWorkQueue(process func(objectKey, priority)) *workQueue {
	return &workQueue{
		process: process,
		queued:  map[objectKey]*queueItem{}, running: map[objectKey]*queueItem{}, delayed: map[objectKey]*delayedItem{},
	}
}

// add adds an object to be processed. It never blocks.
func (q *workQueue) add(key objectKey, p priority) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	q.stopDelay(key)
	if current := q.running[key]; current != nil {
		current.readdedPriority = max(p, current.readdedPriority)
		current.readded = true
		return
	}
	q.push(key, p)
	q.start()
}

// addAfter adds an object after a delay, unless it is added before. Of several delays the
// shortest counts.
func (q *workQueue) addAfter(key objectKey, p priority, after time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	at := time.Now().Add(after)
	if before := q.delayed[key]; q.closed || q.queued[key] != nil || before != nil && before.at.Before(at) {
		return
	}
	q.stopDelay(key)
	q.delayed[key] = &delayedItem{time.AfterFunc(after, func() { q.add(key, p) }), at}
}

// stopDelay ends the delay of an object.
func (q *workQueue) stopDelay(key objectKey) {
	if before := q.delayed[key]; before != nil {
		before.timer.Stop()
		delete(q.delayed, key)
	}
}

// push adds an item, or raises its priority.
func (q *workQueue) push(key objectKey, p priority) {
	if before := q.queued[key]; before != nil {
		if p > before.priority {
			before.priority = p
			heap.Fix(&q.waiting, before.index)
		}
		return
	}
	q.sequence++
	item := &queueItem{key: key, priority: p, sequence: q.sequence}
	q.queued[key] = item
	heap.Push(&q.waiting, item)
}

// start starts goroutines for items that may be processed now.
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

// next removes the item to process next; nil if none may be processed now.
func (q *workQueue) next() *queueItem {
	if len(q.waiting) == 0 || q.waiting[0].isLoad() && q.loads >= maxConcurrentLoads {
		return nil
	}
	item := heap.Pop(&q.waiting).(*queueItem)
	delete(q.queued, item.key)
	q.running[item.key] = item
	if item.isLoad() {
		q.loads++
	}
	return item
}

func (q *workQueue) run(item *queueItem) {
	for item != nil {
		q.process(item.key, item.priority)
		item = q.done(item)
	}
}

// done ends the processing of an item, and returns the next one for the same goroutine;
// nil to end that.
func (q *workQueue) done(item *queueItem) *queueItem {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.running, item.key)
	if item.isLoad() {
		q.loads--
	}
	if item.readded && !q.closed {
		q.push(item.key, item.readdedPriority)
	}
	next := q.next()
	if next == nil {
		q.active--
	}
	// After the end of a load, another one may be processed.
	q.start()
	return next
}

// depth returns the number of objects that wait, including for a delay, without kinds
// that wait for their next resync.
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

// close drops the items that wait. Those being processed end by their context; see wait.
func (q *workQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, each := range q.delayed {
		each.timer.Stop()
	}
	q.waiting, q.queued, q.delayed = nil, nil, nil
}

// wait returns when no item is being processed. It must be called after close.
func (q *workQueue) wait() { q.workers.Wait() }

// workHeap has the item of the highest priority on top, of one priority the first added.
type workHeap []*queueItem

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
	added := item.(*queueItem)
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
