package relay

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A Server, a deletion and a change overtake 10,000 objects of a resync, also when all
// of those hang until their deadline.
func TestPriorities(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var order []objectKey
		start := time.Now()
		after := map[objectKey]time.Duration{}
		queue := newWorkQueue(func(key objectKey, p priority) {
			mu.Lock()
			order = append(order, key)
			after[key] = time.Since(start)
			mu.Unlock()
			if p == priorityResync {
				time.Sleep(callDeadline)
			} else {
				time.Sleep(time.Second)
			}
		})
		for i := range 10_000 {
			queue.add(objectKey{Model, fmt.Sprint(i)}, priorityResync)
		}
		synctest.Wait()
		start = time.Now()
		change, deletion, server := objectKey{Model, "change"}, objectKey{Model, "deletion"}, objectKey{Server, "server"}
		queue.add(change, priorityChange)
		queue.add(objectKey{Model, "9999"}, priorityChange)
		queue.add(deletion, priorityDeletion)
		queue.add(server, priorityServer)
		synctest.Wait()
		mu.Lock()
		if got := len(order); got != maxConcurrentCalls {
			t.Errorf("%d run at a time, want %d", got, maxConcurrentCalls)
		}
		mu.Unlock()
		time.Sleep(callDeadline + time.Second)
		synctest.Wait()
		mu.Lock()
		for key, most := range map[objectKey]time.Duration{
			deletion: 0, server: 0, change: callDeadline, {Model, "9999"}: callDeadline,
		} {
			if took, done := after[key]; !done || took > most {
				t.Errorf("%v ran after %s (%t)", key, took, done)
			}
		}
		mu.Unlock()
		queue.close()
		queue.wait()
	})
}

// Waiting items are processed by priority, of one priority in the order of adding; one that
// is added again with a higher priority moves up, and never down.
func TestOrder(t *testing.T) {
	queue := newWorkQueue(nil)
	push := func(name string, p priority) { queue.push(objectKey{Model, name}, p) }
	push("resync", priorityResync)
	push("first", priorityChange)
	push("second", priorityChange)
	push("deletion", priorityDeletion)
	push("server", priorityServer)
	push("moves up", priorityResync)
	push("moves up", priorityDeletion)
	push("moves up", priorityResync)
	var order []string
	for item := queue.next(); item != nil; item = queue.next() {
		order = append(order, item.key.name)
	}
	want := []string{"server", "deletion", "moves up", "first", "second", "resync"}
	if !slices.Equal(order, want) {
		t.Errorf("%q, want %q", order, want)
	}
}

// An object is never processed twice at a time. If it is added meanwhile, it is processed again,
// once.
func TestOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		runs, running := 0, 0
		key := objectKey{Model, "iris"}
		queue := newWorkQueue(func(objectKey, priority) {
			mu.Lock()
			runs++
			if running++; running > 1 {
				t.Error("twice at a time")
			}
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			running--
			mu.Unlock()
		})
		for range 3 {
			queue.add(key, priorityResync)
			synctest.Wait()
		}
		time.Sleep(time.Minute)
		queue.close()
		queue.wait()
		if runs != 2 {
			t.Errorf("it ran %d times, want 2", runs)
		}
	})
}

// Of several delays the shortest counts, and an object that is added without one is not
// processed again after an earlier delay. Items with a delay when the queue is closed
// are never processed.
func TestDelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var mu sync.Mutex
		var runs []string
		queue := newWorkQueue(func(key objectKey, _ priority) {
			mu.Lock()
			defer mu.Unlock()
			runs = append(runs, fmt.Sprint(key.name, " ", time.Since(start)))
		})
		queue.addAfter(objectKey{Model, "a"}, priorityChange, 3*time.Second)
		queue.addAfter(objectKey{Model, "a"}, priorityChange, time.Second)
		queue.addAfter(objectKey{Model, "a"}, priorityChange, 2*time.Second)
		queue.addAfter(objectKey{Model, "b"}, priorityChange, 2*time.Second)
		queue.add(objectKey{Model, "b"}, priorityChange)
		if depth := queue.depth(); depth != 1 {
			t.Errorf("depth %d with one that is delayed and one that runs", depth)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if want := []string{"b 0s", "a 1s"}; !slices.Equal(runs, want) {
			t.Errorf("ran %q, want %q", runs, want)
		}
		queue.addAfter(objectKey{Model, "c"}, priorityChange, time.Second)
		queue.close()
		time.Sleep(time.Minute)
		queue.wait()
		if len(runs) != 2 {
			t.Errorf("ran %q after close", runs)
		}
	})
}
