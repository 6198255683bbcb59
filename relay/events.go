package relay

import (
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// orphanDelay is how long after an event the session checks whether the event is about
// an object that only the scheduler has. The cache may be late, and a scheduler that
// does not unload an object sends such events again and again.
const orphanDelay = 2 * time.Second

// handleEvent takes an event that came on a stream.
func (c *connection) handleEvent(kind *relayed, w word) {
	if !w.addressed {
		c.drop("no_metadata")
		return
	}
	if w.namespace != c.namespace {
		c.drop("other_namespace")
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	key := objectKey{kind.kind, w.name}
	it, known := c.items[key]
	compared := c.syncs[kind.kind].compared
	switch {
	case known && it.uid != "" && (compared || it.unload != unloadNotRequested):
		news, work, dropped := it.handleEvent(w, time.Now())
		if dropped != "" {
			c.drop(dropped)
		}
		c.follows(key, it, news, work)
	case known && it.uid != "":
		it.bufferedEvent = &w
	case w.phase != live:
		c.drop("unknown_object")
	case compared:
		// A load that the scheduler carried out late, or an experiment that has started.
		it = c.item(key)
		it.remote = &remoteObject{w.state.Generation, w.definition, true}
		c.queue.addAfter(key, priorityChange, wait.Jitter(orphanDelay, retryJitter))
	default:
		// The comparison of the kind decides, with a listing that may be older.
		it = c.item(key)
		it.bufferedEvent, it.lastEventAt = &w, time.Now()
	}
}

// follows has done what an event or a reply asks for, under the session's lock.
func (c *connection) follows(key objectKey, it *objectState, news, work bool) {
	if news {
		c.wakeNews(key)
	}
	if work {
		c.queue.add(key, c.priorityOf(key.kind, it.deleting))
	}
}

// handleStatusReply takes the reply to a status call for an object; nil if it does not
// report the object.
func (c *connection) handleStatusReply(kind *relayed, key objectKey, found *word, begun time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	it, known := c.items[key]
	if !known || it.newerThan(begun) {
		return
	}
	var news, work bool
	if found != nil && found.ours(c.namespace) {
		news, work = it.handleReply(*found, false, time.Now())
	} else {
		news, work = it.handleAbsence(false)
		if it.unload == unloadAcknowledged {
			c.requestListing(kind.kind)
		}
	}
	c.follows(key, it, news, work)
}

// requestListing has a kind listed, which alone proves that an object does not exist in
// the scheduler. It waits for a moment, since one listing is enough for many objects.
// It is called under the session's lock.
func (c *connection) requestListing(kind Kind) {
	if c.syncs[kind].listError == nil { // else it is tried again anyway
		c.queue.addAfter(objectKey{kind: kind}, priorityDeletion, statusPollDelay)
	}
}
