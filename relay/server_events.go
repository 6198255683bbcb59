package relay

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// loadedWait is how long changes of the number of loaded models are collected: models
// load by the thousand.
const loadedWait = time.Second

const (
	// serverListDelay is how long after a notification the Servers are listed.
	serverListDelay = time.Second
	// serverListRetry is how long after a failed listing of Servers the next one is.
	serverListRetry = 30 * time.Second
)

// ServerState is what the scheduler reported about a Server.
type ServerState struct {
	// Generation of the Server that the scheduler has.
	Generation int64
	// LoadedModels is the number of replicas of Models that are loaded, at least 0.
	LoadedModels int64
}

// ScalingRequest is a number of replicas that the scheduler requests.
type ScalingRequest struct {
	// Generation of the Server that the scheduler had.
	Generation int64
	// Replicas requested, from 0 to 2147483647.
	Replicas int64
	// At is when the request arrived.
	At time.Time
}

// followServers handles the scheduler's events about Servers until the stream ends.
func (c *connection) followServers(ctx context.Context) error {
	stream, err := c.client.SubscribeServerStatus(ctx, &pb.ServerSubscriptionRequest{SubscriberName: subscriber})
	return c.receiveServers(ctx, stream, err, false)
}

// listServers has the scheduler report what it has of all Servers, and returns when to
// do so again. It sends no event when it is notified of a Server, nor between what it
// reports when a stream begins and the stream's first event.
func (c *connection) listServers(ctx context.Context) time.Duration {
	listing, cancel := context.WithTimeout(ctx, listDeadline)
	defer cancel()
	stream, err := c.client.ServerStatus(listing, &pb.ServerStatusRequest{SubscriberName: subscriber})
	if err := c.receiveServers(listing, stream, err, true); err != nil && !refused(err) {
		c.log.V(1).Info("list Servers", "error", err.Error())
		return wait.Jitter(serverListRetry, retryJitter)
	}
	return wait.Jitter(relistInterval, relistJitter)
}

func (c *connection) receiveServers(ctx context.Context, stream grpc.ServerStreamingClient[pb.ServerStatusResponse], err error, listed bool) error {
	return receive(stream, err, func(message *pb.ServerStatusResponse) {
		if why := c.handleServerEvent(message, c.hasServer(ctx, message.GetServerName()), listed); why != "" {
			c.drop(why)
		}
	})
}

// hasServer reports whether a Server of that name was synced, or is in the cache: the
// scheduler reports all Servers when a stream begins, which may be before their
// controller has synced them. Nothing is kept of other names.
func (c *connection) hasServer(ctx context.Context, name string) bool {
	c.mu.Lock()
	known := c.servers[name] != nil
	c.mu.Unlock()
	return known || name != "" && c.Reader.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: name}, &v1alpha1.Server{}) == nil
}

// handleServerEvent records an event about a Server, and returns why it was dropped,
// empty if it was not. exists is the answer of hasServer; listed events are part of a
// listing.
func (c *connection) handleServerEvent(message *pb.ServerStatusResponse, exists, listed bool) (dropped string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	name, meta := message.GetServerName(), message.GetKubernetesMeta()
	isUpdate := message.GetType() == pb.ServerStatusResponse_StatusUpdate
	switch {
	case meta != nil && meta.GetNamespace() != c.namespace:
		return "other_namespace"
	case !exists:
		return "unknown_object"
	}
	it := c.server(name)
	if meta == nil || message.GetExpectedReplicas() < 0 && isUpdate {
		// The scheduler forgets a Server when its last replica disconnects, and knows it by
		// its replicas alone when they connect again.
		if !it.unconfirmed {
			it.unconfirmed = true
			c.queue.add(objectKey{Server, name}, priorityServer)
		}
		return "no_metadata"
	}
	switch message.GetType() {
	case pb.ServerStatusResponse_StatusUpdate:
		if !listed && it.rejection == "" {
			it.retries = 0 // a listing follows each notification
		}
		state := ServerState{Generation: meta.GetGeneration(), LoadedModels: max(0, int64(message.GetNumLoadedModelReplicas()))}
		if it.state == nil || *it.state != state {
			it.state = &state
			c.wakeLater(Server, c.namespace, name, loadedWait)
		}
	case pb.ServerStatusResponse_ScalingRequest:
		if message.GetExpectedReplicas() < 0 {
			return "negative_replicas"
		}
		it.scaling = &ScalingRequest{Generation: meta.GetGeneration(), Replicas: int64(message.GetExpectedReplicas()), At: time.Now()}
		c.wake(Server, c.namespace, name)
	default:
		return "unknown_type"
	}
	return ""
}
