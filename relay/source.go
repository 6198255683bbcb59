package relay

import (
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Source decides about the objects of a [Relay] whose Reader does not read from an API
// server, such as one that reads files. Its objects have no finalizers: one that does not
// exist any more is an orphan. Its methods are called concurrently, must not block, and may
// call methods of the relay.
type Source interface {
	// Listed is called with all objects of a kind that the scheduler has, before they are
	// compared with those of the Reader. The source may change the generations of its
	// objects, and must call [Relay.Sync] then: a generation counts only if it is not below
	// that of the scheduler, and an equal one means an equal definition.
	Listed(kind Kind, objects []Listed)
	// MayUnload reports whether an object may be unloaded that the scheduler has and the
	// Reader does not. For a Server, it reports whether the scheduler may be notified that
	// it has no replicas.
	MayUnload(kind Kind, name string) bool
	// Unloaded is called when the scheduler has accepted to unload such an object.
	Unloaded(kind Kind, name string)
}

// Listed is an object that a scheduler has, as it lists it.
type Listed struct {
	Name string
	// Namespace that the object was loaded for. It is empty, and the generation 0, for an
	// object that was loaded by another program than an operator or kubectl seldon.
	Namespace string
	// State as the scheduler reports it, with the generation that it has.
	State State
	// Inactive: an Experiment that does not run, because it was stopped, or cannot be started
	// yet. Terminating: the scheduler is unloading the object. Terminated: it has unloaded it.
	Inactive, Terminating, Terminated bool
	// Replicas is the desired number of a Model's replicas.
	Replicas int64

	definition digest
}

// listed converts an event of a listing.
func (e *statusEvent) listed() Listed {
	object := Listed{
		Name: e.name, State: e.state, Replicas: e.replicas, definition: e.definition,
		Inactive: e.phase == phaseInactive, Terminating: e.phase == phaseTerminating, Terminated: e.phase == phaseTerminated,
	}
	if e.hasOrigin {
		object.Namespace = e.namespace
	}
	return object
}

// HasDefinition reports whether the scheduler has the definition that object specifies. It
// is false if that is not known: the scheduler does not report the definitions of
// Experiments, and an invalid object has none.
func (l *Listed) HasDefinition(kind Kind, object client.Object) bool {
	_, definition, err := kind.resource().translate(object)
	return err == nil && definition == l.definition
}

// mayUnload reports whether an orphan may be unloaded.
func (r *Relay) mayUnload(kind Kind, name string) bool {
	return r.options.Source == nil || r.options.Source.MayUnload(kind, name)
}
