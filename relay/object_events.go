package relay

import "time"

// eventResult is what follows from an event or a reply about an object.
type eventResult struct {
	// observed: the observation of the object has changed, so its controller is enqueued.
	observed bool
	// reconcile: the session has to reconcile the object.
	reconcile bool
	// dropped is the reason why an event was not used; empty if it was.
	dropped string
}

// handleEvent applies an event of the object's kind.
func (o *objectState) handleEvent(event statusEvent, now time.Time) eventResult {
	if o.unload.phase != unloadNotRequested {
		return o.handleEventWhileUnloading(event, now)
	}
	generation := event.state.Generation
	ending := event.isEnding()
	current := o.remote != nil && o.remote.verified && o.remote.generation == generation ||
		o.load.inFlight && o.load.generation == generation
	result := eventResult{}
	switch {
	case current && !ending:
		o.polling.lastEventAt, o.polling.count = now, 0
		return eventResult{observed: o.setState(event.state, now)}
	case o.load.inFlight:
		// The event is about the object that the load replaces.
		return eventResult{dropped: "generation"}
	case o.remote != nil && !o.remote.verified:
		o.bufferedEvent = &event
		return eventResult{}
	case ending && (o.remote == nil || generation < o.remote.generation):
		// Each earlier version of a pipeline ends with a generation of its own.
		return eventResult{dropped: "generation"}
	case o.remote == nil:
		o.bufferedEvent = &event
	case !current:
		result.dropped = "generation"
	}
	// Another client unloaded it, or a call was carried out after its deadline.
	o.polling.required = true
	result.reconcile = true
	return result
}

// handleEventWhileUnloading applies an event while the object is being unloaded.
func (o *objectState) handleEventWhileUnloading(event statusEvent, now time.Time) eventResult {
	o.polling.lastEventAt, o.polling.count = now, 0
	switch event.phase {
	case phaseActive:
		if o.unload.phase != unloadConfirmed {
			return eventResult{dropped: "early"}
		}
		// The event is late, or a load was carried out after its deadline.
		o.unload.phase = unloadRequested
		return eventResult{reconcile: true}
	case phaseTerminating:
		return eventResult{observed: o.setTerminating(event.state, now)}
	case phaseInactive, phaseTerminated:
	}
	// Each earlier version of a pipeline ends with a generation of its own.
	current := o.remote != nil && event.state.Generation >= o.remote.generation
	switch {
	case o.unload.phase == unloadConfirmed:
		return eventResult{}
	case o.unload.phase == unloadAcknowledged && current:
		o.confirmUnload()
		return eventResult{observed: true, reconcile: true}
	case event.phase == phaseTerminated && o.remote != nil && event.state.Generation > o.remote.generation && event.state.Generation == o.generation:
		// The deletion of a custom resource increments the generation, and the unload of a
		// Model contains it.
		o.unload.terminatedEarly = true
		return eventResult{}
	default:
		o.polling.required = true
		return eventResult{reconcile: o.unload.phase == unloadAcknowledged, dropped: "early"}
	}
}

// setTerminating applies the state of an object that is being unloaded, and reports
// whether the observation has changed: by the end of a deletion, not by its progress, nor
// by what happens to another definition of the object.
func (o *objectState) setTerminating(state State, now time.Time) bool {
	return o.deleting && o.setState(state, now) && state.Stable
}

// handleReply applies the state that a status call or a listing reported, unless it is
// outdated (newerThan). trusted: a reported object of the current generation is of this
// incarnation.
func (o *objectState) handleReply(reply statusEvent, trusted bool, now time.Time) eventResult {
	o.polling.required = false
	switch {
	case o.unload.phase == unloadNotRequested && reply.isEnding():
		return o.handleAbsence(true, now)
	case o.unload.phase == unloadNotRequested:
		return o.handleRemote(reply, trusted, now)
	case o.unload.phase == unloadConfirmed && reply.phase != phaseActive:
		return eventResult{}
	case reply.phase == phaseTerminated || reply.phase == phaseInactive && o.unload.phase == unloadAcknowledged:
		o.confirmUnload()
		return eventResult{observed: true, reconcile: true}
	}
	o.remote = &remoteObject{reply.state.Generation, reply.definition, false}
	switch reply.phase {
	case phaseActive:
		// It was loaded again, or the scheduler lost the unload.
		changed := o.unload.phase != unloadRequested
		o.unload.phase = unloadRequested
		return eventResult{reconcile: changed}
	case phaseTerminating:
		return eventResult{observed: o.setTerminating(reply.state, now)}
	default:
		return eventResult{}
	}
}

// handleRemote applies the reported state of an object that is not being unloaded.
func (o *objectState) handleRemote(reply statusEvent, trusted bool, now time.Time) eventResult {
	generation := reply.state.Generation
	verified := trusted && generation == o.generation
	if o.remote != nil && o.remote.generation == generation {
		verified = verified || o.remote.verified
	} else {
		// The scheduler did not have this generation when it was sent. Where it reports
		// definitions, they decide.
		verified = verified || generation == o.load.generation && reply.definition == digest{}
	}
	event := &reply
	if buffered := o.bufferedEvent; buffered != nil && buffered.state.Generation == generation && !buffered.isEnding() {
		event = buffered // it is newer, or is followed by one that is
	}
	o.remote, o.bufferedEvent = &remoteObject{generation, reply.definition, verified}, nil
	if o.load.inFlight {
		return eventResult{}
	}
	if o.observed.state != nil && o.observed.state.Generation != generation {
		o.observed.state = nil
	}
	if !verified {
		o.bufferedEvent = event
		return eventResult{reconcile: true}
	}
	return eventResult{observed: o.setState(event.state, now), reconcile: generation != o.generation}
}

// handleAbsence applies a report that the scheduler does not have the object. complete:
// it is from a listing, or about an object that ends; the error of a status call may have
// other causes, and does not confirm an unload.
func (o *objectState) handleAbsence(complete bool, now time.Time) (result eventResult) {
	o.polling.required = false
	switch {
	case o.unload.phase == unloadNotRequested:
		o.remote, o.bufferedEvent = nil, nil
		if o.load.inFlight {
			return eventResult{}
		}
		o.observed.state = nil
		if o.load.accepted > 1 {
			result.observed, _ = o.fail(Failure{
				Generation: o.generation, Reason: ReasonCallFailed,
				Message: "the scheduler accepted the object several times, and reports each time that it does not have it: check whether several schedulers listen at the address, or another client unloads the object",
			}, exponential{}, now)
		}
		result.reconcile = true
		return result
	case o.unload.phase == unloadAcknowledged && complete:
		o.confirmUnload()
		return eventResult{observed: true, reconcile: true}
	default:
		return eventResult{}
	}
}

// verify marks what the scheduler has as verified if it is what is desired, and then
// applies the buffered event. It reports whether the observation has changed.
func (o *objectState) verify(desired desiredObject, now time.Time) (changed bool) {
	if o.remote == nil || o.remote.verified || !o.upToDate(desired) {
		return false
	}
	o.remote.verified = true
	buffered := o.bufferedEvent
	o.bufferedEvent = nil
	if buffered == nil || o.unload.phase != unloadNotRequested {
		return false
	}
	return o.handleEvent(*buffered, now).observed
}

// newerThan reports whether an event arrived, or a call returned, after a status was
// requested.
func (o *objectState) newerThan(requestedAt time.Time) bool {
	return o.polling.lastReplyAt.After(requestedAt) || o.polling.lastEventAt.After(requestedAt)
}

// expire drops the reported state.
func (o *objectState) expire() { o.observed.state, o.observed.stale = nil, true }

// setState sets the reported state of this incarnation, and reports whether the
// observation has changed.
func (o *objectState) setState(state State, now time.Time) (changed bool) {
	observed := &o.observed
	changed, observed.stale = observed.stale, false
	if state.Stable {
		observed.progressingSince = time.Time{}
	} else if observed.progressingSince.IsZero() {
		observed.progressingSince = now
	}
	if observed.failure != nil && observed.failure.Generation == state.Generation {
		observed.failure = nil
	} else if observed.state.equal(&state) {
		return changed
	}
	observed.state = &state
	return true
}
