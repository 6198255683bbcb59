package relay

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// Each kind is synchronized on its own: the scheduler requests it, the session compares
// what the scheduler has with the custom resources (a resync), and from then on handles
// the events of the kind. A kind whose listing or stream fails is retried with its
// own backoff, and does not delay other kinds.

// relistInterval is how often a kind is resynced on a lasting connection, to repair what
// was missed: once an hour on average.
const (
	relistInterval = 48 * time.Minute
	relistJitter   = 0.5
)

// kindState is what a session knows about a kind as a whole. It is guarded by the
// session's lock.
type kindState struct {
	kind Kind
	sync kindSync
	// staleTimer runs while the kind is not in sync on a stable connection, until its
	// observations expire; nil if it does not run. stale: they have expired.
	staleTimer *time.Timer
	stale      bool
}

// kindSync is the progress of a kind's synchronization on one connection; zero while
// there is none.
type kindSync struct {
	// requested by the scheduler.
	requested bool
	// afterServers: the resync starts when the first attempt for Servers has ended.
	afterServers bool
	// resynced at least once since the scheduler requested it: its objects may be sent.
	resynced bool
	// listError of the last resync and streamError of the last stream; nil for none.
	listError, streamError error
}

// inSync reports whether the kind was resynced and its events arrive.
func (k *kindSync) inSync() bool {
	return k.resynced && k.listError == nil && k.streamError == nil
}

// requestResync resyncs a kind at the scheduler's request. The other kinds follow the
// first attempt for Servers, which determine the placement of Models.
func (c *connection) requestResync(kind Kind) {
	s := c.session
	s.mu.Lock()
	defer s.mu.Unlock()
	sync, servers := &s.kinds[kind].sync, &s.kinds[Server].sync
	sync.requested = true
	c.firstSync.due = c.firstSync.due || kind == Server
	if kind == Server || !servers.requested || servers.resynced || servers.listError != nil || c.firstSync.waiting {
		c.enqueueResync(kind)
	} else {
		sync.afterServers = true
	}
}

// relist repeats the resync of a kind, if there was one.
func (c *connection) relist(kind Kind) {
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	if c.session.kinds[kind].sync.resynced {
		c.enqueueResync(kind)
	}
}

func (c *connection) enqueueResync(kind Kind) {
	p := priorityDeletion
	if kind == Server {
		p = priorityServer
	}
	c.queue.add(objectKey{kind: kind}, p)
}

// resync resyncs a kind, and returns when to call it again; 0 if that is scheduled.
func (c *connection) resync(ctx context.Context, kind Kind) (time.Duration, error) {
	var after time.Duration
	var err error
	if kind == Server {
		after, err = c.resyncServers(ctx)
	} else if err = c.resyncObjects(ctx, kind.resource()); err == nil {
		c.queue.addAfter(objectKey{kind: kind}, priorityResync, wait.Jitter(relistInterval, relistJitter))
	}
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	s := c.session
	if err == nil && after == 0 {
		s.relay.metrics.resyncs.WithLabelValues(s.namespace, string(kind)).Inc()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.updateSync(kind, func(sync *kindSync) { sync.listError = err })
	}
	if kind == Server {
		for _, other := range resources {
			if sync := &s.kinds[other.kind].sync; sync.afterServers {
				sync.afterServers = false
				c.enqueueResync(other.kind)
			}
		}
	}
	return after, err
}

// setResynced records that a kind was resynced, before any of its objects is
// reconciled. A kind that the scheduler has not requested may be listed too, but its
// objects are not sent. It is called under the session's lock.
func (s *session) setResynced(kind Kind) {
	s.updateSync(kind, func(sync *kindSync) { sync.resynced, sync.listError = sync.requested, nil })
}

// setStreamError records why the stream of a kind's events ended; nil while it is open.
func (c *connection) setStreamError(kind Kind, err error) {
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	if c.session.connection == c {
		c.session.updateSync(kind, func(sync *kindSync) { sync.streamError = err })
	}
}

// updateSync changes the progress of a kind's synchronization, and logs and reports the
// difference. It is called under the session's lock.
func (s *session) updateSync(kind Kind, change func(*kindSync)) {
	state := s.kinds[kind]
	sync := &state.sync
	wasInSync := sync.inSync()
	_, before := sync.problem(kind)
	change(sync)
	reason, problem := sync.problem(kind)
	if sync.listError != nil || sync.streamError != nil {
		s.relay.metrics.syncFailures.WithLabelValues(s.namespace, string(kind), reason).Inc()
		log := s.log
		if problem == before {
			log = log.V(1)
		}
		log.Info("not in sync", "kind", kind, "reason", reason, "error", problem)
	}
	if !s.status.Connected {
		return
	}
	switch inSync := sync.inSync(); {
	case inSync && !wasInSync:
		s.refreshStates(state)
	case !inSync && wasInSync:
		s.startStaleTimer(state)
	}
	if problem != before {
		s.relay.enqueueRuntimes(s.namespace)
	}
}

// priorityOf returns the priority of a registered object, under the session's lock.
// Before its kind was resynced, it is one of many.
func (s *session) priorityOf(kind Kind, deleting bool) priority {
	switch {
	case deleting:
		return priorityDeletion
	case s.kinds[kind].sync.resynced:
		return priorityChange
	default:
		return priorityResync
	}
}

// enqueueObserved enqueues an object whose observation has changed in the queue of its
// controller, under the session's lock; with low priority while its whole kind is read.
func (s *session) enqueueObserved(key objectKey) {
	if s.status.Connected && s.kinds[key.kind].sync.inSync() {
		s.relay.enqueue(key.kind, s.namespace, key.name)
	} else {
		s.relay.enqueueLow(key.kind, s.namespace, key.name)
	}
}

// startStaleTimers starts the timers of all kinds, under the session's lock.
func (s *session) startStaleTimers() {
	for _, state := range s.kinds {
		s.startStaleTimer(state)
	}
}

// startStaleTimer starts the timer that expires the observations of a kind after the
// timeout, unless the kind is in sync by then. A timer that runs is not restarted. It is called under the session's
// lock.
func (s *session) startStaleTimer(state *kindState) {
	if state.staleTimer == nil && !state.stale {
		state.staleTimer = time.AfterFunc(s.relay.options.UnreachableTimeout, func() { s.expireStates(state) })
	}
}

// refreshStates stops that timer: the kind is in sync on a stable connection. Objects
// whose observations had expired are enqueued with low priority. It is called under the
// session's lock.
func (s *session) refreshStates(state *kindState) {
	if state.staleTimer != nil {
		state.staleTimer.Stop()
		state.staleTimer = nil
	}
	if !state.stale {
		return
	}
	state.stale = false
	for key, o := range s.objects {
		if key.kind == state.kind && !o.observed.stale {
			s.relay.enqueueLow(key.kind, s.namespace, key.name)
		}
	}
}

// expireStates drops the reported states of a kind that was not in sync for too long.
func (s *session) expireStates(state *kindState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if state.staleTimer == nil {
		return // it was stopped when it had fired already
	}
	state.staleTimer = nil
	if s.status.Connected && state.sync.resynced && state.sync.listError == nil {
		// Only the stream fails, and each attempt to open it lists the kind.
		s.startStaleTimer(state)
		return
	}
	state.stale = true
	for key, o := range s.objects {
		if key.kind == state.kind {
			o.expire()
			s.relay.enqueueLow(key.kind, s.namespace, key.name)
		}
	}
}

func (s *session) stopStaleTimers() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, state := range s.kinds {
		if state.staleTimer != nil {
			state.staleTimer.Stop()
			state.staleTimer = nil
		}
	}
}
