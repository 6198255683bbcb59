package relay

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// sleep waits, and tells whether ctx goes on.
func sleep(ctx context.Context, duration time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(duration):
		return true
	}
}

// resyncObjects finds out what the scheduler has of a kind, and has every object
// looked at: those in the cluster, and those that only the scheduler has.
func (c *connection) resyncObjects(ctx context.Context, kind *relayed) error {
	begun := time.Now()
	listed := map[string]word{}
	listing, cancel := context.WithTimeout(ctx, listDeadline)
	defer cancel()
	err := kind.list(listing, c.client, "", func(w word) { listed[w.name] = w })
	if refused(err) {
		// Everything is sent to a scheduler that cannot list.
		listed = nil
	} else if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	present, err := c.present(ctx, kind)
	if err != nil {
		return err
	}
	for _, name := range c.compare(kind, present, listed, begun) {
		c.queue.add(objectKey{kind.kind, name}, priorityResync)
	}
	return nil
}

// incarnation tells objects of one name apart.
type incarnation struct {
	uid        types.UID
	generation int64
	// confirmed: its status holds the scheduler's word about this generation.
	confirmed bool
}

// present are the objects of a kind in the session's namespace, by name.
func (c *connection) present(ctx context.Context, kind *relayed) (map[string]incarnation, error) {
	list := kind.newList()
	if err := c.Reader.List(ctx, list, client.InNamespace(c.namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list %ss: %w", kind.kind, err)
	}
	present := map[string]incarnation{}
	err := meta.EachListItem(list, func(item runtime.Object) error {
		object := item.(client.Object)
		present[object.GetName()] = incarnation{object.GetUID(), object.GetGeneration(), confirmed(object)}
		return nil
	})
	return present, err
}

// compare takes what the scheduler listed, and returns the names of the objects to
// reconcile: those of which it does not have what is desired, as far as is known here,
// and those that only the scheduler has. listed is nil if the scheduler cannot list.
// begun is when the listing was asked for: events and replies since then are newer.
func (c *connection) compare(kind *relayed, present map[string]incarnation, listed map[string]word, begun time.Time) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setCompared(kind.kind)
	var names []string
	for name, object := range present {
		key := objectKey{kind.kind, name}
		it := c.item(key)
		if !it.registered {
			// Otherwise its controller has synced it, maybe a newer incarnation.
			it.setIncarnation(object.uid, object.generation, begun)
		}
		if !it.newerThan(begun) {
			var news bool
			if w, found := listed[name]; found && w.ours(c.namespace) {
				news, _ = it.handleReply(w, object.confirmed && it.uid == object.uid, time.Now())
				// The scheduler places a Model when it is loaded, and a Server may be usable since.
				it.reload = it.reload || w.state.scheduleFailed()
			} else {
				news, _ = it.handleAbsence(listed != nil)
			}
			if news {
				c.wakeNews(key)
			}
		}
		if !it.settled() {
			names = append(names, name)
		}
	}
	for name, w := range listed {
		// An experiment that is inactive may have been stopped: it is not stopped again,
		// which would prolong how long the scheduler remembers it. An event reports it if
		// it becomes active.
		key := objectKey{kind.kind, name}
		remains := w.phase == live || w.phase == idle && c.items[key] != nil && c.items[key].mayRemain
		if _, found := present[name]; found || !w.ours(c.namespace) || !remains {
			continue
		}
		it := c.item(key)
		it.remote, it.unload = &remoteObject{w.state.Generation, w.definition, true}, unloadNotRequested
	}
	for key, it := range c.items {
		if _, found := present[key.name]; found || key.kind != kind.kind {
			continue
		}
		if early := it.bufferedEvent; it.remote == nil && early != nil && it.lastEventAt.After(begun) {
			it.remote = &remoteObject{early.state.Generation, early.definition, true}
		}
		names = append(names, key.name)
	}
	return names
}

// ours tells a word about an object that an operator loaded for a namespace.
func (w *word) ours(namespace string) bool { return w.addressed && w.namespace == namespace }
