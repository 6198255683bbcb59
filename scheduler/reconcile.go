package scheduler

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
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// drive brings the scheduler one step closer to what an object wants, and says
// when to look again: after a while if it gives one, after a backoff on an error.
func (c *connection) drive(ctx context.Context, key objectKey) (time.Duration, error) {
	open := c.isOpen(key.kind)
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
		// Somebody waits for it.
		return c.ensureUnloaded(ctx, kind, key, object)
	case !open:
		return 0, nil
	case err == nil && object.GetDeletionTimestamp() == nil:
		return c.ensureLoaded(ctx, kind, key, object)
	default:
		return 0, c.unloadOrphan(ctx, kind, key)
	}
}

// ensureLoaded sends an object that is wanted, if the scheduler lacks it.
func (c *connection) ensureLoaded(ctx context.Context, kind *relayed, key objectKey, object client.Object) (time.Duration, error) {
	message, definition, err := kind.translate(object)
	want := desired{uid: object.GetUID(), generation: object.GetGeneration(), definition: definition}
	next, again := actionNone, time.Duration(0)
	c.locked(key, func(it *objectState) bool {
		now := time.Now()
		it.setIncarnation(want.uid, want.generation, now)
		if !it.registered {
			return false
		}
		if it.unload == unloadConfirmed {
			// Another definition was in the way, and is not any more.
			it.unload = unloadNotRequested
		}
		if err != nil {
			return it.fail(Failure{Generation: want.generation, Terminal: true, Reason: ReasonInvalidSpec, Message: err.Error()})
		}
		news := it.verify(want, now)
		next, again = it.decide(want, kind.replaces, now)
		if next == actionLoad {
			it.inFlightGeneration = want.generation
		}
		return news
	})
	switch next {
	case actionLoad:
		return c.send(ctx, kind, key, want, func(ctx context.Context) error { return kind.load(ctx, c.client, message) })
	case actionUnload:
		return c.unload(ctx, kind, key, object)
	case actionPollStatus:
		return c.pollStatus(ctx, kind, key)
	default:
		return again, nil
	}
}

// send calls the scheduler to load an object.
func (c *connection) send(ctx context.Context, kind *relayed, key objectKey, want desired, load func(context.Context) error) (time.Duration, error) {
	begun := time.Now()
	err := c.call(ctx, load)
	going := false
	if refused(err) {
		// It may be for the time of a termination only, which has no code of its own.
		found, askErr := c.getStatus(ctx, kind, key.name)
		switch {
		case askErr != nil:
			err = askErr
		case found != nil && found.phase == gone:
			err = c.call(ctx, load) // it may have ended in between
		case found != nil:
			going = found.phase == terminating
		}
	}
	if ctx.Err() != nil {
		return 0, err
	}
	what := classify(err, going)
	c.locked(key, func(it *objectState) bool {
		if it.uid != want.uid {
			return false // another one has come, and has its own turn
		}
		it.inFlightGeneration = 0
		if err == nil {
			it.lastReplyAt, it.remote = time.Now(), &remoteObject{want.generation, want.definition, true}
			if !it.reloadRequestedAt.After(begun) {
				it.reloadRequestedAt = time.Time{}
			}
			if it.failure != nil && it.failure.Terminal {
				it.failure = nil
			}
			return false
		}
		failure := Failure{Generation: want.generation, Reason: ReasonCallFailed, Message: text(err), at: time.Now()}
		switch what {
		case classTerminal:
			failure.Terminal, failure.Reason = true, ReasonRefused
		case classWait:
			failure.Reason = ReasonTerminating
		case classRetry:
		}
		return it.fail(failure)
	})
	switch {
	case err == nil:
		return statusPollDelay, nil // should no word come of it
	case what == classTerminal:
		return rejectedRetryInterval, nil
	default:
		return 0, err
	}
}

// ensureUnloaded unloads an object that is being deleted.
func (c *connection) ensureUnloaded(ctx context.Context, kind *relayed, key objectKey, object client.Object) (time.Duration, error) {
	next, again := actionNone, time.Duration(0)
	c.locked(key, func(it *objectState) bool {
		it.setIncarnation(object.GetUID(), object.GetGeneration(), time.Now())
		it.deleting = true
		next, again = it.decideDeletion(time.Now())
		return false
	})
	switch next {
	case actionUnload:
		return c.unload(ctx, kind, key, object)
	case actionPollStatus:
		return c.pollStatus(ctx, kind, key)
	default:
		return again, nil
	}
}

// unload calls the scheduler to unload an object.
func (c *connection) unload(ctx context.Context, kind *relayed, key objectKey, object client.Object) (time.Duration, error) {
	uid, generation := object.GetUID(), object.GetGeneration()
	c.locked(key, func(it *objectState) bool {
		if it.uid == uid {
			it.unload = unloadRequested
		}
		return false
	})
	err := c.call(ctx, func(ctx context.Context) error {
		return kind.unload(ctx, c.client, client.ObjectKey{Namespace: c.namespace, Name: key.name}, generation)
	})
	asked := time.Now()
	if refused(err) {
		// It is not there, or on its way down already.
		found, askErr := c.getStatus(ctx, kind, key.name)
		if askErr != nil {
			return 0, askErr
		}
		if found == nil || found.phase != live {
			err = nil
			defer c.handleStatusReply(kind, key, found, asked)
		}
	}
	hint := false
	c.locked(key, func(it *objectState) bool {
		if it.uid != uid {
			return false // another one has come, and has its own turn
		}
		if err != nil {
			return it.fail(Failure{Generation: generation, Reason: ReasonCallFailed, Message: text(err)})
		}
		it.failure = nil
		it.acknowledgeUnload(time.Now())
		hint = it.recheckAfterUnload
		return it.unload == unloadConfirmed
	})
	if err != nil {
		return 0, err
	}
	if hint {
		return c.pollStatus(ctx, kind, key)
	}
	return statusPollInterval, nil
}

// pollStatus asks for the state of an object, and takes the answer for certain.
func (c *connection) pollStatus(ctx context.Context, kind *relayed, key objectKey) (time.Duration, error) {
	begun := time.Now()
	found, err := c.getStatus(ctx, kind, key.name)
	if err != nil {
		return 0, err
	}
	c.handleStatusReply(kind, key, found, begun)
	again := statusPollInterval
	c.locked(key, func(it *objectState) bool {
		it.lastReplyAt, it.recheckAfterUnload = time.Now(), false
		if it.unload == unloadConfirmed || it.unload == unloadNotRequested && it.state != nil {
			again = 0
		}
		return false
	})
	return again, nil
}

// getStatus asks for the state of one object; nil if the scheduler does not know it.
func (c *connection) getStatus(ctx context.Context, kind *relayed, name string) (*word, error) {
	var found *word
	err := c.call(ctx, func(ctx context.Context) error {
		return kind.list(ctx, c.client, name, func(w word) { found = &w })
	})
	switch status.Code(err) {
	case codes.OK:
		return found, nil
	case codes.FailedPrecondition, codes.NotFound:
		return nil, nil
	default:
		return nil, fmt.Errorf("ask for the state: %w", err)
	}
}

// unloadOrphan deals with an object that the cluster does not have, and that the
// scheduler may have.
func (c *connection) unloadOrphan(ctx context.Context, kind *relayed, key objectKey) error {
	has, uid, generation := false, types.UID(""), int64(0)
	c.mu.Lock()
	if it, known := c.items[key]; known {
		switch {
		case it.remote != nil && it.unload < unloadAcknowledged:
			has, uid, generation = true, it.uid, it.remote.generation
		case it.uid != "":
			delete(c.items, key)
		}
	}
	c.mu.Unlock()
	if !has {
		return nil
	}
	// Taking down what somebody uses would be bad: the cache does not decide alone.
	object := kind.newObject()
	err := c.Live.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: key.name}, object)
	if err == nil && (object.GetDeletionTimestamp() == nil || slices.Contains(object.GetFinalizers(), kind.finalizer)) {
		return nil // the cache will tell of it
	}
	if client.IgnoreNotFound(err) != nil {
		return err
	}
	err = c.call(ctx, func(ctx context.Context) error {
		return kind.unload(ctx, c.client, client.ObjectKey{Namespace: c.namespace, Name: key.name}, generation)
	})
	if err != nil && !refused(err) {
		return err
	}
	c.log.Info("unloaded what no custom resource asks for", "kind", key.kind, "name", key.name)
	c.mu.Lock()
	defer c.mu.Unlock()
	if it := c.item(key); it.uid != uid {
		it.remote = nil // another one has come meanwhile
		c.queue.add(key, priorityChange)
		return nil
	}
	// Remembered, for an experiment is listed long after it was stopped.
	c.items[key] = &objectState{unload: unloadConfirmed}
	return nil
}

// handleEvent takes in a word that came on a stream.
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
	if !known || it.uid == "" {
		c.drop("unknown_object")
		return
	}
	c.applyEvent(key, it, w, false)
}

// applyEvent gives a word to an item, under the session's lock.
func (c *connection) applyEvent(key objectKey, it *objectState, w word, certain bool) {
	news, work, dropped := it.handleEvent(w, certain, time.Now())
	if dropped != "" {
		c.drop(dropped)
	}
	if news {
		c.wakeNews(key)
	}
	if work {
		c.queue.add(key, priorityChange)
	}
}

// handleStatusReply takes in the answer to a question: a word, or nil for an object that
// the scheduler does not know. A word that came on the stream since the question
// was asked is newer.
func (c *connection) handleStatusReply(kind *relayed, key objectKey, found *word, begun time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	it := c.item(key)
	switch {
	case it.lastEventAt.After(begun):
	case found != nil && found.ours(c.namespace):
		c.applyEvent(key, it, *found, true)
	case it.unload != unloadNotRequested:
		it.confirmUnload()
		c.wake(kind.kind, c.namespace, key.name)
	default:
		it.remote = nil
		c.queue.add(key, priorityChange)
	}
}

// call makes a call with a deadline.
func (c *connection) call(ctx context.Context, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	return call(ctx)
}

// locked changes an item under the session's lock, and wakes the object's
// controller if that is news.
func (c *connection) locked(key objectKey, change func(*objectState) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if change(c.item(key)) {
		c.wake(key.kind, c.namespace, key.name)
	}
}

// drop counts a message that says nothing to us.
func (c *connection) drop(why string) { c.metrics.dropped.WithLabelValues(why).Inc() }

// confirmed tells whether an object's status holds the scheduler's word about its
// generation. The existing operator writes no generation, and only such words.
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
	case ready == nil || ready.Reason == ReasonRefused || ready.Reason == ReasonInvalidSpec:
		return false
	case reported.GetObservedGeneration() == 0:
		return ready.ObservedGeneration == 0
	default:
		return reported.GetObservedGeneration() == object.GetGeneration()
	}
}
