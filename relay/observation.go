package relay

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Observation is what a session knows about a Model, Pipeline or Experiment. Its
// pointers are to values that do not change.
type Observation struct {
	// Session: the namespace has a session, which is the case while it has a
	// SeldonRuntime. Without one, all other fields are zero.
	Session bool
	// Connected: the session has a stable connection.
	Connected bool
	// Stale: the reported state has expired, because the kind was not in sync for
	// [Options.UnreachableTimeout], and nothing was observed since.
	Stale bool
	// State is the last state that the scheduler reported of the object's generation;
	// nil for none.
	State *State
	// ProgressingSince is when the scheduler started to work on the object; zero if it
	// does not, see [State.Stable].
	ProgressingSince time.Time
	// Failure is the last error of loading or unloading the object's generation; nil if
	// it succeeded.
	Failure *Failure
	// Unloaded: the scheduler has confirmed that it does not have the object.
	Unloaded bool
}

// ServerObservation is what a session knows about a Server; nil fields are unknown.
type ServerObservation struct {
	State *ServerState
	// Scaling is the last request of the scheduler, until [Relay.AckScaling].
	Scaling *ScalingRequest
}

// Sync registers the current version of a Model, Pipeline or Experiment, also of one
// that is being deleted, with the session of its namespace, and returns what is known
// about it. The session loads or unloads the object in the background. It loads only
// registered objects: the caller must have added the finalizer of the kind.
func (r *Relay) Sync(kind Kind, object client.Object) Observation {
	s := r.session(object.GetNamespace())
	if s == nil {
		return Observation{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := objectKey{kind, object.GetName()}
	o := s.object(key)
	changed := o.setIncarnation(object.GetUID(), object.GetGeneration(), time.Now())
	deleting := object.GetDeletionTimestamp() != nil
	changed = changed || !o.registered || o.deleting != deleting
	o.registered, o.deleting = true, deleting
	observed := &o.observed
	// An unchanged object with a state or failure is already scheduled, maybe with a
	// backoff.
	if s.connection != nil && (changed || observed.state == nil && observed.failure == nil) {
		s.connection.queue.add(key, s.priorityOf(kind, deleting))
	}
	// While the kind is not in sync, states that arrive on a stable connection count.
	expired := s.kinds[kind].stale && !s.status.Connected
	result := Observation{
		Session: true, Connected: s.status.Connected, Stale: expired || observed.stale,
		ProgressingSince: observed.progressingSince, Unloaded: o.unload.phase == unloadConfirmed,
	}
	if observed.state != nil && !expired && observed.state.Generation == object.GetGeneration() {
		result.State = observed.state
	}
	if observed.failure != nil && observed.failure.Generation == object.GetGeneration() {
		result.Failure = new(*observed.failure)
	}
	return result
}

// SyncServer registers a Server whose workload was applied with the session of its
// namespace, and returns what is known about it.
func (r *Relay) SyncServer(key types.NamespacedName) ServerObservation {
	s := r.session(key.Namespace)
	if s == nil {
		return ServerObservation{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	server := s.server(key.Name)
	if s.connection != nil {
		s.connection.enqueueServer(key.Name)
	}
	return ServerObservation{State: server.state, Scaling: server.scaling}
}

// AckScaling ends a scaling request of [ServerObservation], unless the scheduler has
// sent another one since.
func (r *Relay) AckScaling(key types.NamespacedName, request *ScalingRequest) {
	s := r.session(key.Namespace)
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if server := s.server(key.Name); server.scaling == request {
		server.scaling = nil
	}
}

// ObjectDeleted ends the registration of an object that does not exist any more. What
// the scheduler still has of it is unloaded.
func (r *Relay) ObjectDeleted(kind Kind, key types.NamespacedName) {
	s := r.session(key.Namespace)
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	deleted := objectKey{kind, key.Name}
	switch {
	case s.connection != nil:
		s.connection.queue.add(deleted, priorityDeletion)
	case kind == Server:
		delete(s.servers, key.Name)
	default:
		s.forgetBeforeListing(deleted)
	}
}
