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

const (
	// loadedModelsDebounce is how long changes of the number of loaded models are
	// collected: thousands may be loaded at the same time.
	loadedModelsDebounce = time.Second
	// serverListDelay is how long after a notification the Servers are listed.
	serverListDelay = time.Second
	// serverListRetry is how long after a failed listing of Servers the next one starts.
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

// subscribeServers handles the scheduler's events about Servers until the stream ends.
func (c *connection) subscribeServers(ctx context.Context) error {
	stream, err := c.client.SubscribeServerStatus(ctx, &pb.ServerSubscriptionRequest{SubscriberName: subscriber})
	return c.receiveServers(ctx, stream, err, false)
}

// listServers lists what the scheduler has of all Servers, and returns when to do so
// again. The scheduler sends no event when it is notified of a Server, nor between what it
// reports at the start of a stream and the first event.
func (c *connection) listServers(ctx context.Context) time.Duration {
	listing, cancel := context.WithTimeout(ctx, listDeadline)
	defer cancel()
	stream, err := c.client.ServerStatus(listing, &pb.ServerStatusRequest{SubscriberName: subscriber})
	if err := c.receiveServers(listing, stream, err, true); err != nil && !isPermanent(err) {
		c.session.log.V(1).Info("list Servers", "error", err.Error())
		return jitter(serverListRetry)
	}
	return wait.Jitter(relistInterval, relistJitter)
}

// receiveServers handles the messages of a stream about Servers until it ends. err is the
// error of opening it; listed: the stream is a listing.
func (c *connection) receiveServers(ctx context.Context, stream grpc.ServerStreamingClient[pb.ServerStatusResponse], err error, listed bool) error {
	return receive(stream, err, func(message *pb.ServerStatusResponse) {
		if reason := c.handleServerEvent(message, c.session.hasServer(ctx, message.GetServerName()), listed); reason != "" {
			c.countDropped(reason)
		}
	})
}

// hasServer reports whether a Server of that name was synced, or is in the cache: the
// scheduler reports all Servers at the start of a stream, possibly before their
// controller has synced them. Events about other names are dropped.
func (s *session) hasServer(ctx context.Context, name string) bool {
	s.mu.Lock()
	known := s.servers[name] != nil
	s.mu.Unlock()
	return known || name != "" && s.relay.options.Reader.Get(ctx, client.ObjectKey{Namespace: s.namespace, Name: name}, &v1alpha1.Server{}) == nil
}

// handleServerEvent records an event about a Server, and returns the reason why it was
// dropped, empty if it was not. exists is the result of hasServer; listed: the event is
// part of a listing.
func (c *connection) handleServerEvent(message *pb.ServerStatusResponse, exists, listed bool) (dropped string) {
	s := c.session
	s.mu.Lock()
	defer s.mu.Unlock()
	name, meta := message.GetServerName(), message.GetKubernetesMeta()
	isUpdate := message.GetType() == pb.ServerStatusResponse_StatusUpdate
	switch {
	case meta != nil && meta.GetNamespace() != s.namespace:
		return "other_namespace"
	case !exists:
		return "unknown_object"
	}
	known := s.server(name)
	if meta == nil || message.GetExpectedReplicas() < 0 && isUpdate {
		// The scheduler drops a Server when its last replica disconnects, and has only its
		// replicas when they connect again.
		if !known.unconfirmed {
			known.unconfirmed = true
			c.queue.add(objectKey{Server, name}, priorityServer)
		}
		return "no_metadata"
	}
	switch message.GetType() {
	case pb.ServerStatusResponse_StatusUpdate:
		if !listed && known.rejection == "" {
			known.retries = 0 // a listing follows each notification
		}
		state := ServerState{Generation: meta.GetGeneration(), LoadedModels: max(0, int64(message.GetNumLoadedModelReplicas()))}
		if known.state == nil || *known.state != state {
			known.state = &state
			s.relay.enqueueAfter(Server, s.namespace, name, loadedModelsDebounce)
		}
	case pb.ServerStatusResponse_ScalingRequest:
		if message.GetExpectedReplicas() < 0 {
			return "negative_replicas"
		}
		known.scaling = &ScalingRequest{Generation: meta.GetGeneration(), Replicas: int64(message.GetExpectedReplicas()), At: time.Now()}
		s.relay.enqueue(Server, s.namespace, name)
	default:
		return "unknown_type"
	}
	return ""
}
