package relay

import (
	"context"
	"fmt"
	"slices"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// firstSyncTimeout is how long the first notification on a connection waits for the
// workloads of Servers.
const firstSyncTimeout = 10 * time.Second

// firstSync is the state of the first notification on a connection, which has all
// Servers: the scheduler starts to place Models when as many replicas have connected,
// with 0 immediately. It is guarded by the session's lock.
type firstSync struct {
	// requestedAt is when the scheduler first requested the Servers.
	requestedAt time.Time
	// due: the scheduler has requested the Servers, and was not notified since.
	due bool
	// waiting for the workloads of Servers. Other kinds do not wait for it.
	waiting bool
}

// enqueueServer reconciles a Server, and the first notification if that may wait for the
// Server. It is called under the session's lock.
func (c *connection) enqueueServer(name string) {
	c.queue.add(objectKey{Server, name}, priorityServer)
	if c.firstSync.due {
		c.enqueueResync(Server)
	}
}

// resyncServers notifies the scheduler of all Servers if it has requested them, and
// otherwise lists what it has of them. It returns when to call it again; 0 when it has
// notified the scheduler, after which a listing is scheduled.
func (c *connection) resyncServers(ctx context.Context) (time.Duration, error) {
	s := c.session
	s.mu.Lock()
	due := c.firstSync.due
	s.mu.Unlock()
	if !due {
		return c.listServers(ctx), nil
	}
	request, missing, err := s.firstSyncRequest(ctx)
	if err != nil {
		return 0, err
	}
	if remaining := c.firstSyncDelay(len(missing) > 0); remaining > 0 {
		return remaining, nil
	}
	if len(missing) > 0 {
		s.log.Info("the first notification omits Servers without a workload", "servers", missing)
	}
	err = c.notify(ctx, request)
	if rejectsServer(err) && len(request.Servers) > 0 {
		if request.Servers, err = c.acceptedServers(ctx, request.Servers); err == nil {
			err = c.notify(ctx, request)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		c.firstSync.due = true
		return 0, err
	}
	s.setResynced(Server)
	// Servers that were created, changed or deleted meanwhile.
	for name := range s.servers {
		c.queue.add(objectKey{Server, name}, priorityServer)
	}
	return 0, nil
}

// firstSyncDelay returns how long to delay the first notification; 0 if it must be sent.
// missing: some Servers do not have a workload.
func (c *connection) firstSyncDelay(missing bool) time.Duration {
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	if c.firstSync.requestedAt.IsZero() {
		c.firstSync.requestedAt = time.Now()
	}
	remaining := firstSyncTimeout - time.Since(c.firstSync.requestedAt)
	c.firstSync.waiting = missing && remaining > 0
	c.firstSync.due = c.firstSync.waiting
	if !c.firstSync.waiting {
		return 0
	}
	return remaining
}

// firstSyncRequest returns the notification about the Servers that have a workload, and
// the names of those that may get one soon: Servers without one, and Servers of
// SeldonRuntimes that do not exist yet. A Server that is being deleted is in neither.
func (s *session) firstSyncRequest(ctx context.Context) (request *pb.ServerNotifyRequest, missing []string, err error) {
	reader := s.relay.options.Reader
	servers := &v1alpha1.ServerList{}
	if err := reader.List(ctx, servers, client.InNamespace(s.namespace)); err != nil {
		return nil, nil, fmt.Errorf("list Servers: %w", err)
	}
	runtimes := &v1alpha1.SeldonRuntimeList{}
	if err := reader.List(ctx, runtimes, client.InNamespace(s.namespace)); err != nil {
		return nil, nil, fmt.Errorf("list SeldonRuntimes: %w", err)
	}
	request = &pb.ServerNotifyRequest{IsFirstSync: true}
	exist := map[string]bool{}
	for i := range servers.Items {
		object := &servers.Items[i]
		exist[object.Name] = true
		if object.DeletionTimestamp != nil {
			continue
		}
		message, err := s.serverMessage(ctx, object)
		switch {
		case err != nil:
			return nil, nil, err
		case message != nil:
			request.Servers = append(request.Servers, message)
		case isExpanded(object):
			missing = append(missing, object.Name)
		}
	}
	for i := range runtimes.Items {
		if !isExpanded(&runtimes.Items[i]) {
			continue
		}
		for _, each := range runtimes.Items[i].Spec.Servers {
			if !exist[each.Name] {
				missing = append(missing, each.Name)
			}
		}
	}
	slices.Sort(missing)
	return request, slices.Compact(missing), nil
}

// isExpanded reports whether the operator creates the child objects of an object.
func isExpanded(object client.Object) bool {
	return object.GetDeletionTimestamp() == nil && object.GetAnnotations()[v1alpha1.PausedAnnotation] != "true"
}

// acceptedServers notifies the scheduler of each Server of a notification that it
// rejected as a whole, and returns those that it accepts. These notifications are not marked
// as the first one: the scheduler only counts the replicas of a single first notification.
func (c *connection) acceptedServers(ctx context.Context, servers []*pb.ServerNotify) (accepted []*pb.ServerNotify, err error) {
	for _, message := range servers {
		_, err := c.notifyOne(ctx, message)
		if err != nil {
			return nil, err
		}
		c.session.mu.Lock()
		if c.session.server(message.Name).rejection == "" {
			accepted = append(accepted, message)
		}
		c.session.mu.Unlock()
	}
	return accepted, nil
}
