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

// firstSync is the first notification on a connection, which has all Servers: the
// scheduler begins to place Models when as many replicas have connected, with none at
// once. Its fields belong to the session's lock.
type firstSync struct {
	// requestedAt is when the scheduler first requested the Servers.
	requestedAt time.Time
	// due: the scheduler has requested it, and it was not sent since.
	due bool
	// waiting for the workloads of Servers: other kinds do not wait for it.
	waiting bool
}

// enqueueServer has a Server reconciled, under the session's lock, and the first
// notification if it may be that Server that it waits for.
func (c *connection) enqueueServer(name string) {
	c.queue.add(objectKey{Server, name}, priorityServer)
	if c.firstSync.due {
		c.enqueueResync(Server)
	}
}

// resyncServers notifies the scheduler of all Servers at once, if it requested that, and
// else lists what it has of them. It returns when to call it again; 0 when it has
// notified the scheduler, after which a listing is planned.
func (c *connection) resyncServers(ctx context.Context) (time.Duration, error) {
	c.mu.Lock()
	due := c.firstSync.due
	c.mu.Unlock()
	if !due {
		return c.listServers(ctx), nil
	}
	request, missing, err := c.firstSyncRequest(ctx)
	if err != nil {
		return 0, err
	}
	if rest := c.firstSyncRest(len(missing) > 0); rest > 0 {
		return rest, nil
	}
	if len(missing) > 0 {
		c.log.Info("the first notification leaves out Servers without a workload", "servers", missing)
	}
	err = c.notify(ctx, request)
	if rejectsServer(err) && len(request.Servers) > 0 {
		if request.Servers, err = c.acceptedServers(ctx, request.Servers); err == nil {
			err = c.notify(ctx, request)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.firstSync.due = true
		return 0, err
	}
	c.setCompared(Server)
	// Servers that were created, changed or deleted meanwhile.
	for name := range c.servers {
		c.queue.add(objectKey{Server, name}, priorityServer)
	}
	return 0, nil
}

// firstSyncRest is how long the first notification still waits. With 0, it is about to
// be sent.
func (c *connection) firstSyncRest(missing bool) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.firstSync.requestedAt.IsZero() {
		c.firstSync.requestedAt = time.Now()
	}
	rest := firstSyncTimeout - time.Since(c.firstSync.requestedAt)
	c.firstSync.waiting = missing && rest > 0
	c.firstSync.due = c.firstSync.waiting
	if !c.firstSync.waiting {
		return 0
	}
	return rest
}

// firstSyncRequest is the notification about the Servers that have a workload. Servers
// that may get one soon are missing in it: those without one, and those of
// SeldonRuntimes that do not exist yet. A Server that is being deleted counts for
// neither.
func (c *connection) firstSyncRequest(ctx context.Context) (request *pb.ServerNotifyRequest, missing []string, err error) {
	servers := &v1alpha1.ServerList{}
	if err := c.Reader.List(ctx, servers, client.InNamespace(c.namespace)); err != nil {
		return nil, nil, fmt.Errorf("list Servers: %w", err)
	}
	runtimes := &v1alpha1.SeldonRuntimeList{}
	if err := c.Reader.List(ctx, runtimes, client.InNamespace(c.namespace)); err != nil {
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
		message, err := c.serverMessage(ctx, object)
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
// rejected as a whole, and returns those that it accepts. None of these is a first
// notification, of which the scheduler counts the replicas of one only.
func (c *connection) acceptedServers(ctx context.Context, servers []*pb.ServerNotify) (accepted []*pb.ServerNotify, err error) {
	for _, message := range servers {
		_, err := c.notifyOne(ctx, message)
		if err != nil {
			return nil, err
		}
		c.mu.Lock()
		if c.server(message.Name).rejection == "" {
			accepted = append(accepted, message)
		}
		c.mu.Unlock()
	}
	return accepted, nil
}
