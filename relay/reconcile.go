package relay

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// reconcileObject makes at most one step towards the state that an object's custom
// resource specifies. It returns when to reconcile it again; 0 if nothing is due. After an
// error the backoff of the queue applies.
func (c *connection) reconcileObject(ctx context.Context, key objectKey) (time.Duration, error) {
	s := c.session
	s.mu.Lock()
	resynced := s.kinds[key.kind].sync.resynced
	uid := types.UID("")
	if o := s.objects[key]; o != nil {
		uid = o.uid
	}
	s.mu.Unlock()
	resource := key.kind.resource()
	object := resource.newObject()
	err := s.relay.options.Reader.Get(ctx, s.clientKey(key), object)
	if client.IgnoreNotFound(err) != nil {
		return 0, err
	}
	exists, deleting := err == nil, object.GetDeletionTimestamp() != nil
	switch {
	case exists && deleting && slices.Contains(object.GetFinalizers(), resource.finalizer):
		// The controller waits for it, whether or not the scheduler has requested the kind.
		return c.ensureUnloaded(ctx, resource, key, object)
	case !exists && !resynced:
		// The resync finds what the scheduler has of it.
		s.mu.Lock()
		defer s.mu.Unlock()
		if o := s.objects[key]; o != nil && o.uid == uid {
			s.forgetBeforeListing(key)
		}
		return 0, nil
	case !resynced:
		return 0, nil
	case exists && !deleting:
		return c.ensureLoaded(ctx, resource, key, object)
	default:
		return 0, c.unloadOrphan(ctx, resource, key, uid)
	}
}

// ensureLoaded loads an object, unless the scheduler has it.
func (c *connection) ensureLoaded(ctx context.Context, resource *resource, key objectKey, object client.Object) (time.Duration, error) {
	message, definition, err := resource.translate(object)
	desired := desiredObject{uid: object.GetUID(), generation: object.GetGeneration(), definition: definition}
	next, after := actionNone, time.Duration(0)
	c.session.updateObject(key, func(o *objectState) (changed bool) {
		if !o.isAt(object) {
			return false
		}
		now := time.Now()
		o.setIncarnation(desired.uid, desired.generation, now)
		if o.unload.phase == unloadConfirmed {
			// Another definition had to be unloaded first.
			o.unload.phase = unloadNotRequested
		}
		if err != nil {
			changed, _ = o.fail(Failure{Generation: desired.generation, Terminal: true, Reason: ReasonInvalidSpec, Message: err.Error()}, exponential{}, now)
			return changed
		}
		changed = o.verify(desired, now)
		next, after = o.decide(desired, resource.replaces, now)
		if next == actionLoad {
			o.startLoad(desired.generation)
		}
		return changed
	})
	switch next {
	case actionLoad:
		return c.load(ctx, resource, key, desired, func(ctx context.Context) error { return resource.load(ctx, c.client, message) })
	case actionUnload:
		return c.unload(ctx, resource, key, object)
	case actionPollStatus:
		return 0, c.pollStatus(ctx, resource, key)
	default:
		return after, nil
	}
}

// ensureUnloaded unloads an object that is being deleted, until that is confirmed.
func (c *connection) ensureUnloaded(ctx context.Context, resource *resource, key objectKey, object client.Object) (time.Duration, error) {
	next, after := actionNone, time.Duration(0)
	c.session.updateObject(key, func(o *objectState) bool {
		if o.isAt(object) {
			now := time.Now()
			o.setIncarnation(object.GetUID(), object.GetGeneration(), now)
			o.deleting = true
			next, after = o.decideDeletion(now)
		}
		return false
	})
	switch next {
	case actionUnload:
		return c.unload(ctx, resource, key, object)
	case actionPollStatus:
		return 0, c.pollStatus(ctx, resource, key)
	default:
		return after, nil
	}
}

// load calls the scheduler to load an object.
func (c *connection) load(ctx context.Context, resource *resource, key objectKey, desired desiredObject, send func(context.Context) error) (time.Duration, error) {
	err := c.call(ctx, send)
	isTerminating := false
	if isRejection(err) {
		// The rejection may be due to a termination, which has no code of its own.
		found, pollErr := c.getStatus(ctx, resource, key.name)
		switch {
		case pollErr != nil && !isPermanent(pollErr):
			err = pollErr
		case found != nil && found.phase == phaseTerminated:
			err = c.call(ctx, send) // it may have been terminated meanwhile
		case found != nil:
			isTerminating = found.phase == phaseTerminating
		}
	}
	if ctx.Err() != nil {
		return 0, err
	}
	after := statusPollDelay // in case that no event follows
	c.session.updateObject(key, func(o *objectState) (changed bool) {
		class := classifyError(err, isTerminating)
		if o.uid != desired.uid {
			// The current incarnation is in the queue.
			o.finishEarlierLoad(desired, err == nil, err != nil && class == errorClassRetry)
			return false
		}
		now := time.Now()
		if err == nil {
			o.acceptLoad(desired, now)
			if o.isSynced() {
				after = 0
			}
			return false
		}
		changed, after = o.failLoad(loadFailure(desired.generation, err, class), class, now)
		if after > 0 {
			err = nil
		}
		return changed
	})
	return after, err
}

// loadFailure returns the failure of a load with an error of a class.
func loadFailure(generation int64, err error, class errorClass) Failure {
	failure := Failure{Generation: generation, Reason: ReasonCallFailed, Message: conditionMessage(err)}
	switch class {
	case errorClassTerminal:
		failure.Terminal, failure.Reason = true, ReasonRejected
	case errorClassWait:
		failure.Reason = ReasonWaitingForPreviousDeletion
	case errorClassRetry, errorClassDenied:
	}
	return failure
}

// unload calls the scheduler to unload an object.
func (c *connection) unload(ctx context.Context, resource *resource, key objectKey, object client.Object) (time.Duration, error) {
	uid, generation := object.GetUID(), object.GetGeneration()
	c.session.updateObject(key, func(o *objectState) bool {
		if o.uid == uid {
			o.requestUnload()
		}
		return false
	})
	err := c.call(ctx, func(ctx context.Context) error {
		return resource.unload(ctx, c.client, c.session.clientKey(key), generation)
	})
	repliedAt := time.Now()
	applyStatus := func() {}
	if isRejection(err) || status.Code(err) == codes.NotFound {
		// The scheduler does not have it, or is unloading it already.
		found, pollErr := c.getStatus(ctx, resource, key.name)
		switch {
		case pollErr != nil && !isPermanent(pollErr):
			err = pollErr
		case found == nil || found.isEnding():
			err = nil
			applyStatus = func() { c.handleStatusReply(key, found, repliedAt) }
		}
	}
	if ctx.Err() != nil {
		return 0, err
	}
	after := statusPollInterval
	c.session.updateObject(key, func(o *objectState) (changed bool) {
		if o.uid != uid {
			return false // the current incarnation is in the queue
		}
		if err == nil {
			o.acknowledgeUnload(repliedAt)
			if o.polling.required {
				c.queue.add(key, c.session.priorityOf(key.kind, o.deleting))
			}
			return o.unload.phase == unloadConfirmed
		}
		backoff := exponential{}
		if isPermanent(err) {
			backoff = deniedBackoff
		}
		changed, after = o.fail(Failure{Generation: generation, Reason: ReasonCallFailed, Message: conditionMessage(err)}, backoff, time.Now())
		if after > 0 {
			err = nil
		}
		return changed
	})
	applyStatus()
	return after, err
}

// pollStatus requests the status of an object, and enqueues the object to be reconciled
// after the reply.
func (c *connection) pollStatus(ctx context.Context, resource *resource, key objectKey) error {
	requestedAt := time.Now()
	found, err := c.getStatus(ctx, resource, key.name)
	if err == nil {
		c.handleStatusReply(key, found, requestedAt)
	}
	c.session.updateObject(key, func(o *objectState) bool {
		o.polling.count++
		if err != nil {
			o.failPoll(time.Now())
			if isPermanent(err) && o.unload.phase == unloadAcknowledged {
				c.requestListing(key.kind)
			}
			return false
		}
		o.polling.lastReplyAt = time.Now()
		c.queue.add(key, c.session.priorityOf(key.kind, o.deleting))
		return false
	})
	return err
}

// getStatus returns the status of an object; nil if the scheduler does not report it,
// which does not prove that it does not have it.
func (c *connection) getStatus(ctx context.Context, resource *resource, name string) (*statusEvent, error) {
	var found *statusEvent
	err := c.call(ctx, func(ctx context.Context) error {
		return resource.list(ctx, c.client, name, func(event statusEvent) {
			// A scheduler may report others as well.
			if event.name == name {
				found = &event
			}
		})
	})
	switch {
	case err == nil:
		return found, nil
	case isRejection(err) || status.Code(err) == codes.NotFound:
		return nil, nil
	default:
		return nil, fmt.Errorf("status of %s %s: %w", resource.kind, name, err)
	}
}

// updateObject changes the state of an object under the session's lock, unless there is
// none, and enqueues the object for its controller if change returns true: the observation
// has changed.
func (s *session) updateObject(key objectKey, change func(*objectState) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.objects[key]; o != nil && change(o) {
		s.enqueueObserved(key)
	}
}

// clientKey returns the key of an object for a Kubernetes client.
func (s *session) clientKey(key objectKey) client.ObjectKey {
	return client.ObjectKey{Namespace: s.namespace, Name: key.name}
}
