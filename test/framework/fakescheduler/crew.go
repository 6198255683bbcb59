package fakescheduler

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// workerKind is a kind of worker that has duties.
type workerKind string

const (
	modelGateways    workerKind = "model gateway"
	pipelineGateways workerKind = "pipeline gateway"
	dataflowEngines  workerKind = "dataflow engine"
)

var workerKinds = []workerKind{modelGateways, pipelineGateways, dataflowEngines}

// none is the reason when there is no worker of the kind.
func (k workerKind) none() string { return fmt.Sprintf("no %s available", k) }

// task is one operation that a worker is asked for.
type task struct {
	item string
	// send passes it on to a worker outside of this package.
	send func(to any)
}

// crew is the workers of one kind that are connected. One of them owns all items.
type crew struct {
	kind  workerKind
	delay time.Duration
	// members by name; the value is the queue of a worker outside, nil for ours.
	members map[string]any
}

func newCrew(kind workerKind, delay time.Duration) *crew {
	return &crew{kind: kind, delay: delay, members: map[string]any{}}
}

// present is whether anyone is there.
func (c *crew) present() bool { return len(c.members) > 0 }

// owner is who gets the tasks.
func (c *crew) owner() string {
	return slices.Min(slices.Collect(maps.Keys(c.members)))
}

// assign hands a task to the owner. Ours answers after its delay; one outside
// answers by an RPC.
func (w *world) assign(c *crew, t task, answer func(ok bool)) {
	owner := c.owner()
	if queue := c.members[owner]; queue != nil {
		t.send(queue)
		return
	}
	w.loop.after(c.delay, func() { answer(!w.fleet.fails(string(c.kind), t.item)) })
}

// staff makes the connected workers of a kind as many as the fleet has.
func (w *world) staff(kind workerKind) {
	c := w.crews[kind]
	changed := false
	for i := range max(w.fleet.workers[kind], len(c.members)) {
		name := fmt.Sprintf("%s-%d", kind, i)
		queue, there := c.members[name]
		switch wanted := i < w.fleet.workers[kind]; {
		case wanted && !there:
			c.members[name] = nil
			changed = true
		case !wanted && there && queue == nil:
			delete(c.members, name)
			changed = true
		}
	}
	if changed {
		w.rebalance(kind)
	}
}

// join adds a worker from outside.
func (w *world) join(kind workerKind, name string, queue any) {
	w.crews[kind].members[name] = queue
	w.rebalance(kind)
}

// quit takes it away, unless another took its name.
func (w *world) quit(kind workerKind, name string, queue any) {
	if c := w.crews[kind]; c.members[name] == queue {
		delete(c.members, name)
		w.rebalance(kind)
	}
}

// rebalance shares out the work of a kind anew.
func (w *world) rebalance(kind workerKind) {
	if kind == modelGateways {
		w.rebalanceModels()
		return
	}
	w.rebalancePipelines(kind)
}

// retry tries again what failed, from now on at every interval.
func (w *world) retry() {
	w.loop.alarm(w.options.RetryInterval, func() {
		w.retryModels()
		w.retryPipelines()
		w.retry()
	})
}
