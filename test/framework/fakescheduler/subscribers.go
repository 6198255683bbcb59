package fakescheduler

import (
	"maps"
	"slices"
	"sync"
)

// queue holds what one subscriber is still to be sent. It has no bound, so that
// nobody who adds to it ever waits.
type queue[T any] struct {
	mu    sync.Mutex
	items []*T
	// wake has a value when there may be items.
	wake chan struct{}
}

func newQueue[T any]() *queue[T] { return &queue[T]{wake: make(chan struct{}, 1)} }

// push adds messages, which must not be changed any more.
func (q *queue[T]) push(messages ...*T) {
	q.mu.Lock()
	q.items = append(q.items, messages...)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take returns all that is queued.
func (q *queue[T]) take() []*T {
	q.mu.Lock()
	defer q.mu.Unlock()
	taken := q.items
	q.items = nil
	return taken
}

// push adds to a queue whose type only its owner knows.
func push[T any](to any, message *T) {
	if q, ok := to.(*queue[T]); ok {
		q.push(message)
	}
}

// topic is the subscribers to one kind of event. All get everything.
type topic[T any] struct {
	queues []*queue[T]
}

func (t *topic[T]) add(q *queue[T]) { t.queues = append(t.queues, q) }

func (t *topic[T]) remove(q *queue[T]) {
	if at := slices.Index(t.queues, q); at >= 0 {
		t.queues = slices.Delete(t.queues, at, at+1)
	}
}

// publish sends a message that is built only if somebody wants it.
func (t *topic[T]) publish(build func() *T) {
	if len(t.queues) > 0 {
		t.send(build())
	}
}

func (t *topic[T]) send(message *T) {
	for _, q := range t.queues {
		q.push(message)
	}
}

// shuffled are the values of a map in an order that differs each time.
func shuffled[V any](items map[string]V) []V {
	return slices.Collect(maps.Values(items))
}
