package relay

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// objectVersion is an incarnation and generation of an object in the cluster.
type objectVersion struct {
	uid        types.UID
	generation int64
	// confirmed: its status contains the state that the scheduler reported of this
	// generation.
	confirmed bool
}

// resyncObjects lists what the scheduler has of a kind, and enqueues the objects that
// differ from the cluster.
func (c *connection) resyncObjects(ctx context.Context, resource *resource) error {
	requestedAt := time.Now()
	listed := map[string]statusEvent{}
	listing, cancel := context.WithTimeout(ctx, listDeadline)
	defer cancel()
	err := resource.list(listing, c.client, "", func(event statusEvent) { listed[event.name] = event })
	if isPermanent(err) {
		// All objects are sent to a scheduler that cannot list.
		listed = nil
	} else if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	if source := c.session.relay.options.Source; source != nil && listed != nil {
		objects := make([]Listed, 0, len(listed))
		for _, event := range listed {
			objects = append(objects, event.listed())
		}
		source.Listed(resource.kind, objects)
	}
	desired, err := c.session.listDesired(ctx, resource)
	if err != nil {
		return err
	}
	for _, name := range c.session.diff(resource.kind, desired, listed, requestedAt) {
		c.queue.add(objectKey{resource.kind, name}, priorityResync)
	}
	return nil
}

// listDesired returns the objects of a kind in the session's namespace, by name.
func (s *session) listDesired(ctx context.Context, resource *resource) (map[string]objectVersion, error) {
	list := resource.newList()
	if err := s.relay.options.Reader.List(ctx, list, client.InNamespace(s.namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list %ss: %w", resource.kind, err)
	}
	desired := map[string]objectVersion{}
	err := meta.EachListItem(list, func(item runtime.Object) error {
		object := item.(client.Object)
		desired[object.GetName()] = objectVersion{object.GetUID(), object.GetGeneration(), statusConfirmed(object)}
		return nil
	})
	return desired, err
}

// diff records what the scheduler has listed of a kind, and returns the names of the
// objects to reconcile: those that it does not have as desired, as far as that is known
// without their definition, and orphans. listed is nil if the scheduler cannot list.
// Events and replies that arrived after requestedAt are newer than the listing.
func (s *session) diff(kind Kind, desired map[string]objectVersion, listed map[string]statusEvent, requestedAt time.Time) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setResynced(kind)
	var names []string
	for name, version := range desired {
		key := objectKey{kind, name}
		o := s.object(key)
		if !o.registered {
			// Otherwise the controller has synced it, maybe a newer incarnation.
			o.setIncarnation(version.uid, version.generation, requestedAt)
		}
		if !o.newerThan(requestedAt) {
			var result eventResult
			if event, found := listed[name]; found && event.belongsTo(s.namespace) {
				result = o.handleReply(event, version.confirmed && o.uid == version.uid, time.Now())
				// The scheduler schedules a Model when it is loaded, and a Server may have become
				// usable since.
				o.load.forced = o.load.forced || event.state.scheduleFailed()
			} else {
				result = o.handleAbsence(listed != nil, time.Now())
			}
			if result.observed {
				s.enqueueObserved(key)
			}
		}
		if !o.isSynced() {
			names = append(names, name)
		}
	}
	for name, event := range listed {
		// An experiment that is inactive may have been stopped. It is not stopped again,
		// which would prolong the time for which the scheduler keeps it; if it becomes
		// active, an event reports it.
		key := objectKey{kind, name}
		remains := event.phase == phaseActive || event.phase == phaseInactive && s.objects[key] != nil && s.objects[key].mayRemain
		if _, found := desired[name]; found || !event.belongsTo(s.namespace) || !remains {
			continue
		}
		o := s.object(key)
		o.remote, o.unload.phase = &remoteObject{event.state.Generation, event.definition, true}, unloadNotRequested
	}
	for key, o := range s.objects {
		if _, found := desired[key.name]; found || key.kind != kind {
			continue
		}
		if buffered := o.bufferedEvent; o.remote == nil && buffered != nil && o.polling.lastEventAt.After(requestedAt) {
			o.remote = &remoteObject{buffered.state.Generation, buffered.definition, true}
		}
		names = append(names, key.name)
	}
	return names
}

// statusConfirmed reports whether an object's status contains the state that the
// scheduler reported of its generation. The upstream operator writes no generation, and
// only such states.
func statusConfirmed(object client.Object) bool {
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
