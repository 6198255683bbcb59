package relay

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// Each kind is brought in sync on its own: the scheduler asks for it, the session
// compares what the scheduler has with the custom resources, and from then on follows
// the kind's events. A kind whose listing fails, or whose stream is refused, is tried
// again with a backoff of its own and delays no other kind.

// relistInterval is how often a kind is compared again on a connection that lasts, for
// whatever was missed: an hour on average.
const (
	relistInterval = 48 * time.Minute
	relistJitter   = 0.5
)

// Reasons why a namespace's kinds are in sync or not.
const (
	ReasonSynced = "Synced"
	// ReasonNotConnected: see [ConnectionStatus.Reason].
	ReasonNotConnected = "NotConnected"
	// ReasonWaitingForScheduler: the scheduler has not asked for a kind yet. It waits
	// for the replicas of Servers after it has started.
	ReasonWaitingForScheduler = "WaitingForScheduler"
	// ReasonSyncing: a kind is being compared.
	ReasonSyncing = "Syncing"
	// ReasonListFailed: the scheduler does not list what it has.
	ReasonListFailed = "ListFailed"
	// ReasonNotifyFailed: the scheduler does not accept the Servers.
	ReasonNotifyFailed = "NotifyFailed"
	// ReasonSubscriptionFailed: the stream of a kind's events ends again and again.
	ReasonSubscriptionFailed = "SubscriptionFailed"
)

// kindSync is how far a kind is on one connection.
type kindSync struct {
	// requested by the scheduler.
	requested bool
	// afterServers: it is compared when the first attempt for Servers has ended.
	afterServers bool
	// compared at least once, so that its objects may be sent.
	compared bool
	// listError of the last comparison, streamError of the last stream; nil for none.
	listError, streamError error
}

// syncedKinds are all kinds, Servers first.
func syncedKinds() []Kind {
	all := []Kind{Server}
	for _, kind := range kinds {
		all = append(all, kind.kind)
	}
	return all
}

// mark has a kind compared, at the scheduler's request. The other kinds follow the
// first attempt for Servers, which decide where Models go.
func (c *connection) mark(kind Kind) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.syncs[kind].requested = true
	c.firstSync.due = c.firstSync.due || kind == Server
	servers := c.syncs[Server]
	if kind == Server || !servers.requested || servers.compared || servers.listError != nil || c.firstSync.waiting {
		c.enqueueResync(kind)
	} else {
		c.syncs[kind].afterServers = true
	}
}

// relist has a kind listed again, if it was compared before.
func (c *connection) relist(kind Kind) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.syncs[kind].compared {
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

// resync compares a kind, and returns when to do so again.
func (c *connection) resync(ctx context.Context, kind Kind) (time.Duration, error) {
	again, err := c.compareKind(ctx, kind)
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if err == nil && again == 0 {
		c.metrics.resyncs.WithLabelValues(c.namespace, string(kind)).Inc()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.update(kind, func(sync *kindSync) { sync.listError = err })
	}
	if kind == Server {
		for _, other := range kinds {
			if sync := c.syncs[other.kind]; sync.afterServers {
				sync.afterServers = false
				c.enqueueResync(other.kind)
			}
		}
	}
	return again, err
}

// compareKind compares a kind. It returns when to do so again, unless that is planned.
func (c *connection) compareKind(ctx context.Context, kind Kind) (time.Duration, error) {
	if kind == Server {
		return c.resyncServers(ctx)
	}
	if err := c.resyncObjects(ctx, kind.relayed()); err != nil {
		return 0, err
	}
	c.queue.addAfter(objectKey{kind: kind}, priorityResync, wait.Jitter(relistInterval, relistJitter))
	return 0, nil
}

// setCompared says that a kind was compared, before any of its objects is looked at. A
// kind that the scheduler has not asked for may be listed too, but stays closed. It is
// called under the session's lock.
func (c *connection) setCompared(kind Kind) {
	c.update(kind, func(sync *kindSync) { sync.compared, sync.listError = sync.requested, nil })
}

// setStreamError says how the stream of a kind's events ended, or with nil that it
// works.
func (c *connection) setStreamError(kind Kind, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.update(kind, func(sync *kindSync) { sync.streamError = err })
}

// update changes how far a kind is, and reports what that changes. It is called under
// the session's lock.
func (c *connection) update(kind Kind, change func(*kindSync)) {
	sync := c.syncs[kind]
	wasInSync := c.inSync(kind)
	_, before := sync.problem(kind)
	change(sync)
	reason, problem := sync.problem(kind)
	if sync.listError != nil || sync.streamError != nil {
		c.metrics.syncFailures.WithLabelValues(c.namespace, string(kind), reason).Inc()
		log := c.log
		if problem == before {
			log = log.V(1)
		}
		log.Info("not in sync", "kind", kind, "reason", reason, "error", problem)
	}
	if c.connection == c && c.reach.Connected {
		switch inSync := c.inSync(kind); {
		case inSync && !wasInSync:
			c.refresh(kind)
		case !inSync && wasInSync:
			c.expireLater(kind)
		}
		if problem != before {
			c.wakeRuntimes(c.namespace)
		}
	}
}

// inSync reports whether a kind was compared and its events arrive, under the
// session's lock.
func (c *connection) inSync(kind Kind) bool {
	sync := c.syncs[kind]
	return sync.compared && sync.listError == nil && sync.streamError == nil
}

// priorityOf work on an object that was synced, under the session's lock. While its kind
// is not compared, it is one of many.
func (c *connection) priorityOf(kind Kind, deleted bool) priority {
	switch {
	case deleted:
		return priorityDeletion
	case c.syncs[kind].compared:
		return priorityChange
	default:
		return priorityResync
	}
}

// wakeNews wakes an object about which there is news, under the session's lock; with
// low priority while its whole kind is read.
func (c *connection) wakeNews(key objectKey) {
	if c.reach.Connected && c.inSync(key.kind) {
		c.wake(key.kind, c.namespace, key.name)
	} else {
		c.wakeLow(key.kind, c.namespace, key.name)
	}
}

// problem says why a kind is not in sync: a reason in CamelCase and a sentence; both
// are empty if it is.
func (k *kindSync) problem(kind Kind) (reason, message string) {
	switch {
	case k.listError != nil && kind == Server:
		return ReasonNotifyFailed, fmt.Sprintf("%s: %s", kind, text(k.listError))
	case k.listError != nil:
		return ReasonListFailed, fmt.Sprintf("%s: %s", kind, text(k.listError))
	case k.streamError != nil:
		return ReasonSubscriptionFailed, fmt.Sprintf("%s: the stream of its events ends: %s", kind, text(k.streamError))
	case !k.requested:
		return ReasonWaitingForScheduler, string(kind) + ": the scheduler has not asked for it yet, and waits for the replicas of Servers after it has started"
	case !k.compared:
		return ReasonSyncing, string(kind) + ": is being compared with what the scheduler has"
	}
	return "", ""
}

// syncStatus fills in how far all kinds are, under the session's lock. What failed
// goes before what waits.
func (s *session) syncStatus(status *ConnectionStatus) {
	if s.connection == nil || !s.reach.Connected {
		status.SyncReason, status.SyncMessage = ReasonNotConnected, "there is no connection to the scheduler"
		return
	}
	order := []string{ReasonNotifyFailed, ReasonListFailed, ReasonSubscriptionFailed, ReasonWaitingForScheduler, ReasonSyncing}
	var problems []string
	for _, kind := range syncedKinds() {
		reason, message := s.connection.syncs[kind].problem(kind)
		if reason == "" {
			continue
		}
		if status.SyncReason == "" || slices.Index(order, reason) < slices.Index(order, status.SyncReason) {
			status.SyncReason = reason
		}
		problems = append(problems, message)
	}
	if rejected := s.rejectedServers(); rejected != "" {
		status.SyncReason = ReasonNotifyFailed
		problems = append(problems, rejected)
	}
	if problems == nil {
		status.Synced, status.SyncReason = true, ReasonSynced
		return
	}
	status.SyncMessage = strings.Join(problems, "; ")
}
