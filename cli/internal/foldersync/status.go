package foldersync

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/seldon-operator/seldon-operator/composition/reconciler"
	"github.com/seldon-operator/seldon-operator/relay"
)

// settlePeriod is how long a status waits for the scheduler's state to become stable, so that
// what is completed quickly is reported once.
const settlePeriod = time.Second

// Reasons of [Event], beside those of the relay.
const (
	// ReasonWaiting: the scheduler has not reported anything about the object yet.
	ReasonWaiting = "WaitingForScheduler"
	// ReasonUnreachable: the reported state has expired.
	ReasonUnreachable = "SchedulerUnreachable"
	// ReasonUnloaded: the scheduler has accepted to unload the object.
	ReasonUnloaded = "Unloaded"
	// ReasonKept: no file has the object, and it is not unloaded.
	ReasonKept = "Kept"
	// ReasonScaling: the scheduler requests a number of replicas.
	ReasonScaling = "ScalingRequested"
	// ReasonNotified: the scheduler was notified of the Server.
	ReasonNotified = "Notified"
	// ReasonInvalid: the files were read, and some of them are unreadable or invalid.
	ReasonInvalid = "Invalid"
	// ReasonEmpty: the files have no objects, for which nothing is unloaded.
	ReasonEmpty = "Empty"
	// ReasonRead: the files were read, and are valid.
	ReasonRead = "Read"
)

// Kinds of [Event], beside those of objects.
const (
	KindScheduler = "Scheduler"
	KindFiles     = "Files"
)

// Event is a change of what is known about an object, the scheduler or the files.
type Event struct {
	Time       time.Time `json:"time"`
	Kind       string    `json:"kind"`
	Name       string    `json:"name,omitempty"`
	Generation int64     `json:"generation,omitempty"`
	// Ready is True, False or Unknown.
	Ready   metav1.ConditionStatus `json:"ready"`
	Reason  string                 `json:"reason"`
	Message string                 `json:"message,omitempty"`
	// Replicas of a Model that are available, or of a Server in its file.
	Replicas *int64 `json:"replicas,omitempty"`
	// RequestedReplicas of a Server, by the scheduler's last scaling request.
	RequestedReplicas *int64 `json:"requestedReplicas,omitempty"`
}

// same reports whether two events say the same.
func (e *Event) same(other *Event) bool {
	equal := func(a, b *int64) bool { return a == b || a != nil && b != nil && *a == *b }
	return e.Generation == other.Generation && e.Ready == other.Ready && e.Reason == other.Reason && e.Message == other.Message &&
		equal(e.Replicas, other.Replicas) && equal(e.RequestedReplicas, other.RequestedReplicas)
}

// result of what is observed about an object.
type result int

const (
	pending result = iota
	succeeded
	failed
)

// observe sets what is observed about an object in an event, and returns its result. after,
// if above 0, is when to observe it again: the state may change soon.
func (e *Event) observe(observation relay.Observation, now time.Time) (_ result, after time.Duration) {
	e.Ready = metav1.ConditionUnknown
	failure := observation.Failure
	switch {
	case failure != nil && failure.Terminal:
		e.Ready, e.Reason, e.Message = metav1.ConditionFalse, failure.Reason, failure.Message
		return failed, 0
	case !observation.ProgressingSince.IsZero() && now.Sub(observation.ProgressingSince) < settlePeriod:
		return pending, settlePeriod - now.Sub(observation.ProgressingSince)
	case observation.State != nil:
		return e.setState(observation.State), 0
	case failure != nil:
		e.Reason, e.Message = failure.Reason, failure.Message
	case observation.Stale:
		e.Reason, e.Message = ReasonUnreachable, "there was no stable connection to the scheduler for a minute"
	default:
		e.Reason, e.Message = ReasonWaiting, "the scheduler has not reported anything about it yet"
	}
	return pending, 0
}

// setState sets the state that the scheduler reports.
func (e *Event) setState(state *relay.State) result {
	if state.Model != nil {
		e.Replicas = &state.Model.AvailableReplicas
	}
	reason, messages := state.Problems()
	if reason == "" {
		e.Ready, e.Reason, e.Message = metav1.ConditionTrue, reconciler.ReasonReady, ""
		return succeeded
	}
	e.Ready, e.Reason, e.Message = metav1.ConditionFalse, reason, reconciler.JoinMessages(messages)
	if state.Stable {
		return failed
	}
	return pending
}
