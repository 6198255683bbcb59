package scheduler

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
	// A scheduler that cannot list is told everything.
	err := kind.list(listing, c.client, "", func(w word) { listed[w.name] = w })
	if err != nil && !refused(err) {
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

// compare takes in what the scheduler listed, opens the kind, and names what has to
// be looked at: what the cluster has, and what only the scheduler has of ours.
// begun is when the listing was asked for: what was answered later is newer.
func (c *connection) compare(kind *relayed, present map[string]incarnation, listed map[string]word, begun time.Time) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for name, object := range present {
		names = append(names, name)
		key := objectKey{kind.kind, name}
		it := c.item(key)
		it.setIncarnation(object.uid, object.generation, begun)
		if it.lastReplyAt.After(begun) {
			continue
		}
		if it.failure != nil && it.failure.Reason != ReasonInvalidSpec {
			it.failure = nil
		}
		it.remote = nil
		w, found := listed[name]
		if !found || !w.ours(c.namespace) {
			it.state = nil
			continue
		}
		if w.phase == live || w.phase == idle {
			it.remote = &remoteObject{w.state.Generation, w.definition, object.confirmed && w.state.Generation == object.generation}
		}
		if w.state.scheduleFailed() {
			// The scheduler places a Model when it is loaded, and a replica may have come
			// since.
			it.reloadRequestedAt = begun
		}
		// What came on the stream is newer, or is followed by what is.
		if early := it.bufferedEvent; early != nil {
			it.bufferedEvent = nil
			c.applyEvent(key, it, *early, false)
			continue
		}
		c.applyEvent(key, it, w, true)
	}
	for name, w := range listed {
		if _, found := present[name]; found || !w.ours(c.namespace) {
			continue
		}
		key := objectKey{kind.kind, name}
		it, known := c.items[key]
		// Of an idle one nobody can tell whether it was stopped: once is enough.
		if w.phase == live || w.phase == idle && (!known || it.unload != unloadConfirmed) {
			it = c.item(key)
			it.remote, it.unload = &remoteObject{w.state.Generation, w.definition, true}, unloadNotRequested
			names = append(names, name)
		}
	}
	return names
}

// ours tells a word about an object that an operator loaded for a namespace.
func (w *word) ours(namespace string) bool { return w.addressed && w.namespace == namespace }
