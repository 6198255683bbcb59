package relay

import "time"

// orphanDelay is how long after an event the session checks whether the event is about
// an orphan. The cache may be outdated, and a scheduler that does not unload an object
// repeats such events.
const orphanDelay = 2 * time.Second

// handleEvent handles an event from the stream of a kind. Events about objects of other
// namespaces, and about objects without an origin, are dropped.
func (c *connection) handleEvent(kind Kind, event statusEvent) {
	s := c.session
	if !event.hasOrigin {
		c.countDropped("no_metadata")
		return
	}
	if event.namespace != s.namespace {
		c.countDropped("other_namespace")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := objectKey{kind, event.name}
	o, known := s.objects[key]
	resynced := s.kinds[kind].sync.resynced
	switch {
	case known && o.uid != "" && (resynced || o.unload.phase != unloadNotRequested):
		result := o.handleEvent(event, time.Now())
		if result.dropped != "" {
			c.countDropped(result.dropped)
		}
		c.applyResult(key, o, result)
	case known && o.uid != "":
		o.bufferedEvent = &event
	case event.phase != phaseActive:
		c.countDropped("unknown_object")
	case resynced:
		// The scheduler carried out a load late, or an experiment was started.
		o = s.object(key)
		o.remote = &remoteObject{event.state.Generation, event.definition, true}
		c.queue.addAfter(key, priorityChange, jitter(orphanDelay))
	default:
		// The resync decides, with a listing that may be older than the event.
		o = s.object(key)
		o.bufferedEvent, o.polling.lastEventAt = &event, time.Now()
	}
}

// applyResult enqueues an object as an event or reply requires, under the session's lock.
func (c *connection) applyResult(key objectKey, o *objectState, result eventResult) {
	if result.observed {
		c.session.enqueueObserved(key)
	}
	if result.reconcile {
		c.queue.add(key, c.session.priorityOf(key.kind, o.deleting))
	}
}

// handleStatusReply handles the reply to a status call about an object; nil if it does
// not contain the object.
func (c *connection) handleStatusReply(key objectKey, found *statusEvent, requestedAt time.Time) {
	s := c.session
	s.mu.Lock()
	defer s.mu.Unlock()
	o, known := s.objects[key]
	if !known || o.newerThan(requestedAt) {
		return
	}
	if found != nil && found.belongsTo(s.namespace) {
		c.applyResult(key, o, o.handleReply(*found, false, time.Now()))
		return
	}
	result := o.handleAbsence(false, time.Now())
	if o.unload.phase == unloadAcknowledged {
		c.requestListing(key.kind)
	}
	c.applyResult(key, o, result)
}

// requestListing resyncs a kind after a delay. Only a listing proves that the scheduler
// does not have an object, and one is enough for many objects. It is called under the
// session's lock.
func (c *connection) requestListing(kind Kind) {
	if c.session.kinds[kind].sync.listError == nil { // else it is retried anyway
		c.queue.addAfter(objectKey{kind: kind}, priorityDeletion, statusPollDelay)
	}
}
