package relay

import (
	"context"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// An orphan is an object that the scheduler has, with the session's namespace as its
// origin, and that does not exist in the cluster.

// unloadOrphan unloads an object that does not exist in the cluster, and removes its state.
// uid is the UID of its last incarnation.
func (c *connection) unloadOrphan(ctx context.Context, resource *resource, key objectKey, uid types.UID) error {
	s := c.session
	var remote *remoteObject
	s.updateObject(key, func(o *objectState) bool {
		if o.uid == uid && o.unload.phase < unloadAcknowledged {
			remote = o.remote
		}
		return false
	})
	if remote == nil {
		s.forget(key, uid)
		return nil
	}
	if !s.relay.mayUnload(key.kind, key.name) {
		return nil
	}
	// The cache may be outdated.
	object := resource.newObject()
	err := s.relay.options.APIReader.Get(ctx, s.clientKey(key), object)
	switch {
	case client.IgnoreNotFound(err) != nil:
		return err
	case err == nil && (object.GetDeletionTimestamp() == nil || slices.Contains(object.GetFinalizers(), resource.finalizer)):
		return nil // its controller syncs it
	}
	err = c.call(ctx, func(ctx context.Context) error {
		return resource.unload(ctx, c.client, s.clientKey(key), remote.generation)
	})
	if err != nil && !isRejection(err) && status.Code(err) != codes.NotFound {
		return err
	}
	s.log.Info("unloaded an object that has no custom resource", "kind", key.kind, "name", key.name)
	if source := s.relay.options.Source; source != nil {
		source.Unloaded(key.kind, key.name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch o := s.objects[key]; {
	case o == nil:
	case o.uid == uid && o.remote == remote:
		delete(s.objects, key)
	case o.uid != uid:
		// It was created again meanwhile.
		o.remote = nil
		c.queue.add(key, priorityChange)
	}
	return nil
}

// forget removes the state of an object that does not exist in the cluster, unless it
// was created again. uid is the UID of its last incarnation.
func (s *session) forget(key objectKey, uid types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.objects[key]; o != nil && o.uid == uid {
		delete(s.objects, key)
	}
}

// forgetBeforeListing removes the state of an object that does not exist in the cluster
// before the next listing reports what the scheduler has of it. Of an Experiment whose
// stop was not confirmed, mayRemain is kept until then: the scheduler does not report
// whether one that is inactive was stopped. It is called under the session's lock.
func (s *session) forgetBeforeListing(key objectKey) {
	o := s.objects[key]
	if o != nil && key.kind == Experiment && (o.mayRemain || o.uid != "" && o.unload.phase != unloadConfirmed) {
		s.objects[key] = &objectState{mayRemain: true}
		return
	}
	delete(s.objects, key)
}
