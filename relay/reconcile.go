package relay

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// drive brings the scheduler one step closer to what an object's custom resource asks
// for, and returns when to do so again: after a while, if it is not zero, or after the
// queue's backoff on an error.
func (c *connection) drive(ctx context.Context, key objectKey) (time.Duration, error) {
	again, err := c.reconcileObject(ctx, key)
	if again > 0 && key.kind != Server {
		again = wait.Jitter(again, retryJitter)
	}
	return again, err
}

func (c *connection) reconcileObject(ctx context.Context, key objectKey) (time.Duration, error) {
	c.mu.Lock()
	open := c.syncs[key.kind].compared
	known := types.UID("")
	if it := c.items[key]; it != nil {
		known = it.uid
	}
	c.mu.Unlock()
	if key.kind == Server {
		if !open {
			return 0, nil // its turn comes when the scheduler asks for the kind
		}
		return c.reconcileServer(ctx, key.name)
	}
	kind := key.kind.relayed()
	object := kind.newObject()
	err := c.Reader.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: key.name}, object)
	held := slices.Contains(object.GetFinalizers(), kind.finalizer)
	switch {
	case client.IgnoreNotFound(err) != nil:
		return 0, err
	case err == nil && object.GetDeletionTimestamp() != nil && held:
		// Its controller waits, and the scheduler need not have asked for the kind.
		return c.ensureUnloaded(ctx, kind, key, object)
	case err != nil && !open:
		// What the scheduler has of it, the comparison of the kind finds.
		c.mu.Lock()
		defer c.mu.Unlock()
		if it := c.items[key]; it != nil && it.uid == known {
			c.forgetBeforeListing(key)
		}
		return 0, nil
	case !open:
		return 0, nil
	case err == nil && object.GetDeletionTimestamp() == nil:
		return c.ensureLoaded(ctx, kind, key, object)
	default:
		return 0, c.unloadOrphan(ctx, kind, key, known)
	}
}

// ensureLoaded sends an object that is desired, if the scheduler does not have it.
func (c *connection) ensureLoaded(ctx context.Context, kind *relayed, key objectKey, object client.Object) (time.Duration, error) {
	message, definition, err := kind.translate(object)
	want := desired{uid: object.GetUID(), generation: object.GetGeneration(), definition: definition}
	next, again := actionNone, time.Duration(0)
	c.locked(key, func(it *objectState) bool {
		if !it.isAt(object) {
			return false
		}
		now := time.Now()
		it.setIncarnation(want.uid, want.generation, now)
		if it.unload == unloadConfirmed {
			// Another definition had to be unloaded first.
			it.unload = unloadNotRequested
		}
		if err != nil {
			return it.fail(Failure{Generation: want.generation, Terminal: true, Reason: ReasonInvalidSpec, Message: err.Error()})
		}
		news := it.verify(want, now)
		next, again = it.decide(want, kind.replaces, now)
		if next == actionLoad {
			it.startLoad(want.generation)
		}
		return news
	})
	switch next {
	case actionLoad:
		return c.load(ctx, kind, key, want, func(ctx context.Context) error { return kind.load(ctx, c.client, message) })
	case actionUnload:
		return c.unload(ctx, kind, key, object)
	case actionPollStatus:
		return 0, c.pollStatus(ctx, kind, key)
	default:
		return again, nil
	}
}

// load calls the scheduler to load an object.
func (c *connection) load(ctx context.Context, kind *relayed, key objectKey, want desired, send func(context.Context) error) (time.Duration, error) {
	err := c.call(ctx, send)
	isTerminating := false
	if rejected(err) {
		// It may be for the time of a termination only, which has no code of its own.
		found, pollErr := c.getStatus(ctx, kind, key.name)
		switch {
		case pollErr != nil && !refused(pollErr):
			err = pollErr
		case found != nil && found.phase == gone:
			err = c.call(ctx, send) // it may have ended in between
		case found != nil:
			isTerminating = found.phase == terminating
		}
	}
	if ctx.Err() != nil {
		return 0, err
	}
	again := statusPollDelay // should no event come of it
	c.locked(key, func(it *objectState) bool {
		now := time.Now()
		if it.uid != want.uid {
			// Another incarnation has its own turn.
			it.answerEarlierLoad(want, err == nil, err != nil && classify(err, false) == classRetry)
			return false
		}
		if err == nil {
			it.acceptLoad(want, now)
			if it.settled() {
				again = 0
			}
			return false
		}
		failure := Failure{Generation: want.generation, Reason: ReasonCallFailed, Message: text(err)}
		class := classify(err, isTerminating)
		switch class {
		case classTerminal:
			failure.Terminal, failure.Reason = true, ReasonRejected
		case classWait:
			failure.Reason = ReasonWaitingForPreviousDeletion
		case classRetry, classDenied:
		}
		// Every answer may have been lost on its way.
		news := it.failLoad(failure, class == classRetry)
		switch class {
		case classTerminal:
			again, err = it.retryLater(rejectedRetryInterval, now), nil
		case classDenied:
			again, err = it.retryLater(deniedRetryInterval, now), nil
		case classRetry, classWait:
		}
		return news
	})
	return again, err
}

// ensureUnloaded unloads an object that is being deleted.
func (c *connection) ensureUnloaded(ctx context.Context, kind *relayed, key objectKey, object client.Object) (time.Duration, error) {
	next, again := actionNone, time.Duration(0)
	c.locked(key, func(it *objectState) bool {
		if it.isAt(object) {
			now := time.Now()
			it.setIncarnation(object.GetUID(), object.GetGeneration(), now)
			it.deleting = true
			next, again = it.decideDeletion(now)
		}
		return false
	})
	switch next {
	case actionUnload:
		return c.unload(ctx, kind, key, object)
	case actionPollStatus:
		return 0, c.pollStatus(ctx, kind, key)
	default:
		return again, nil
	}
}

// unload calls the scheduler to unload an object.
func (c *connection) unload(ctx context.Context, kind *relayed, key objectKey, object client.Object) (time.Duration, error) {
	uid, generation := object.GetUID(), object.GetGeneration()
	c.locked(key, func(it *objectState) bool {
		if it.uid == uid {
			it.requestUnload()
		}
		return false
	})
	err := c.call(ctx, func(ctx context.Context) error {
		return kind.unload(ctx, c.client, client.ObjectKey{Namespace: c.namespace, Name: key.name}, generation)
	})
	replied := time.Now()
	reply := func() {}
	if rejected(err) || status.Code(err) == codes.NotFound {
		// The scheduler does not have it, or is unloading it already.
		found, pollErr := c.getStatus(ctx, kind, key.name)
		switch {
		case pollErr != nil && !refused(pollErr):
			err = pollErr
		case found == nil || found.phase == terminating || found.phase == gone:
			err = nil
			reply = func() { c.handleStatusReply(kind, key, found, replied) }
		}
	}
	if ctx.Err() != nil {
		return 0, err
	}
	again := statusPollInterval
	c.locked(key, func(it *objectState) bool {
		now := time.Now()
		if it.uid != uid {
			return false // another incarnation has its own turn
		}
		if err == nil {
			it.acknowledgeUnload(replied)
			if it.recheck {
				c.queue.add(key, c.priorityOf(key.kind, it.deleting))
			}
			return it.unload == unloadConfirmed
		}
		news := it.fail(Failure{Generation: generation, Reason: ReasonCallFailed, Message: text(err)})
		if class := classify(err, false); class == classTerminal || class == classDenied {
			again, err = it.retryLater(deniedRetryInterval, now), nil
		}
		return news
	})
	reply()
	return again, err
}

// pollStatus asks for the state of an object, and then has it decided on again.
func (c *connection) pollStatus(ctx context.Context, kind *relayed, key objectKey) error {
	begun := time.Now()
	found, err := c.getStatus(ctx, kind, key.name)
	if err == nil {
		c.handleStatusReply(kind, key, found, begun)
	}
	c.locked(key, func(it *objectState) bool {
		it.polls++
		if err != nil {
			it.failPoll()
			if refused(err) && it.unload == unloadAcknowledged {
				c.requestListing(kind.kind)
			}
			return false
		}
		it.lastReplyAt = time.Now()
		c.queue.add(key, c.priorityOf(key.kind, it.deleting))
		return false
	})
	return err
}

// getStatus asks for the state of one object; nil if the scheduler does not report it,
// which does not prove that it does not have it.
func (c *connection) getStatus(ctx context.Context, kind *relayed, name string) (*word, error) {
	var found *word
	err := c.call(ctx, func(ctx context.Context) error {
		return kind.list(ctx, c.client, name, func(w word) {
			// A scheduler may report others as well.
			if w.name == name {
				found = &w
			}
		})
	})
	switch {
	case err == nil:
		return found, nil
	case rejected(err) || status.Code(err) == codes.NotFound:
		return nil, nil
	default:
		return nil, fmt.Errorf("status of %s %s: %w", kind.kind, name, err)
	}
}

// unloadOrphan unloads what the scheduler has of an object that does not exist in the
// cluster, and forgets it. known is the UID of its last incarnation.
func (c *connection) unloadOrphan(ctx context.Context, kind *relayed, key objectKey, known types.UID) error {
	var remote *remoteObject
	c.locked(key, func(it *objectState) bool {
		if it.uid == known && it.unload < unloadAcknowledged {
			remote = it.remote
		}
		return false
	})
	if remote == nil {
		c.forget(key, known)
		return nil
	}
	// The cache may be late.
	object := kind.newObject()
	err := c.APIReader.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: key.name}, object)
	switch {
	case client.IgnoreNotFound(err) != nil:
		return err
	case err == nil && (object.GetDeletionTimestamp() == nil || slices.Contains(object.GetFinalizers(), kind.finalizer)):
		return nil // its controller syncs it
	}
	err = c.call(ctx, func(ctx context.Context) error {
		return kind.unload(ctx, c.client, client.ObjectKey{Namespace: c.namespace, Name: key.name}, remote.generation)
	})
	if err != nil && !rejected(err) && status.Code(err) != codes.NotFound {
		return err
	}
	c.log.Info("unloaded an object that has no custom resource", "kind", key.kind, "name", key.name)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch it := c.items[key]; {
	case it == nil:
	case it.uid == known && it.remote == remote:
		delete(c.items, key)
	case it.uid != known:
		// It was created again meanwhile.
		it.remote = nil
		c.queue.add(key, priorityChange)
	}
	return nil
}

// forgetBeforeListing removes the state of an object that does not exist in the cluster,
// under the session's lock, while the next listing has yet to show what the scheduler
// has of it. Of an Experiment whose stop was not confirmed a mark is kept until then:
// the scheduler does not report whether one that is inactive was stopped.
func (s *session) forgetBeforeListing(key objectKey) {
	it := s.items[key]
	if it != nil && key.kind == Experiment && (it.mayRemain || it.uid != "" && it.unload != unloadConfirmed) {
		s.items[key] = &objectState{mayRemain: true}
		return
	}
	delete(s.items, key)
}

// forget removes the state of an object that does not exist in the cluster, unless it
// was created again.
func (c *connection) forget(key objectKey, known types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if it := c.items[key]; it != nil && it.uid == known {
		delete(c.items, key)
	}
}

// call makes a call with a deadline.
func (c *connection) call(ctx context.Context, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	return call(ctx)
}

// locked changes the state of an object under the session's lock, unless it was
// forgotten, and wakes the object's controller if that is news.
func (c *connection) locked(key objectKey, change func(*objectState) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if it := c.items[key]; it != nil && change(it) {
		c.wakeNews(key)
	}
}

// drop counts a message that says nothing to us.
func (c *connection) drop(why string) { c.metrics.dropped.WithLabelValues(why).Inc() }

// confirmed tells whether an object's status holds the scheduler's word about its
// generation. The upstream operator writes no generation, and only such words.
func confirmed(object client.Object) bool {
	reported, is := object.(interface {
		GetConditions() []metav1.Condition
		GetObservedGeneration() int64
	})
	if !is {
		return false
	}
	ready := meta.FindStatusCondition(reported.GetConditions(), v1alpha1.ConditionReady)
	switch {
	case ready == nil || ready.Reason == ReasonRejected || ready.Reason == ReasonInvalidSpec:
		return false
	case reported.GetObservedGeneration() == 0:
		return ready.ObservedGeneration == 0
	default:
		return reported.GetObservedGeneration() == object.GetGeneration()
	}
}
