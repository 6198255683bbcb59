package fakescheduler

import (
	"slices"
	"sync"
)

// queue has the messages that a subscriber has yet to be sent. It has no bound.
type queue[T any] struct {
	mu       sync.Mutex
	messages []*T
	// wake has a value when there may be messages.
	wake chan struct{}
}

func newQueue[T any](messages ...*T) *queue[T] {
	q := &queue[T]{wake: make(chan struct{}, 1)}
	q.push(messages...)
	return q
}

func (q *queue[T]) push(messages ...*T) {
	q.mu.Lock()
	q.messages = append(q.messages, messages...)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue[T]) take() []*T {
	q.mu.Lock()
	defer q.mu.Unlock()
	taken := q.messages
	q.messages = nil
	return taken
}

// topic is the subscribers to one kind of event.
type topic[T any] struct {
	queues []*queue[T]
}

func (t *topic[T]) add(q *queue[T]) { t.queues = append(t.queues, q) }

func (t *topic[T]) remove(q *queue[T]) {
	t.queues = slices.DeleteFunc(t.queues, func(each *queue[T]) bool { return each == q })
}

// publish sends a message, which is built only if there are subscribers.
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
