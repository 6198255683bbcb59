package relay

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"sigs.k8s.io/controller-runtime/pkg/client"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// Client calls the scheduler of a namespace without a session: nothing is subscribed to, and
// nothing is repeated. It is safe for concurrent use. Calls end with their context, or after
// 10 seconds, listings after 2 minutes. Errors have the cause, and what to check.
type Client struct {
	relay     *Relay
	namespace string
	transport *transport
	conn      *grpc.ClientConn
	scheduler pb.SchedulerClient
}

// ListedServer is a Server that a scheduler has.
type ListedServer struct {
	Name string
	// Namespace is empty if the scheduler was not notified of the Server.
	Namespace  string
	Generation int64
	// ExpectedReplicas is the number that the scheduler was notified of; -1 if it was not.
	ExpectedReplicas int64
	// AvailableReplicas is the number of replicas that are connected.
	AvailableReplicas int64
	// LoadedModels is the number of replicas of Models that are loaded.
	LoadedModels int64
}

// Client returns a client of the scheduler of a namespace. It connects at the first call. The
// caller closes it.
func (r *Relay) Client(namespace string) (*Client, error) {
	t := r.newTransport(namespace)
	conn, err := t.connect()
	if err != nil {
		return nil, err
	}
	return &Client{relay: r, namespace: namespace, transport: t, conn: conn, scheduler: pb.NewSchedulerClient(conn)}, nil
}

// Close closes the connection.
func (c *Client) Close() error { return c.conn.Close() }

// List returns the Models, Pipelines or Experiments that the scheduler has; those of one
// name, if it is not empty. Objects that were unloaded are among them.
func (c *Client) List(ctx context.Context, kind Kind, name string) ([]Listed, error) {
	ctx, cancel := context.WithTimeout(ctx, listDeadline)
	defer cancel()
	var objects []Listed
	err := kind.resource().list(ctx, c.scheduler, name, func(event statusEvent) {
		if name == "" || event.name == name {
			objects = append(objects, event.listed())
		}
	})
	if name != "" && (isRejection(err) || status.Code(err) == codes.NotFound) {
		return nil, nil // it has no object of that name
	}
	return objects, c.explain(err)
}

// ListServers returns the Servers that the scheduler has; that of one name, if it is not
// empty.
func (c *Client) ListServers(ctx context.Context, name string) ([]ListedServer, error) {
	ctx, cancel := context.WithTimeout(ctx, listDeadline)
	defer cancel()
	var servers []ListedServer
	stream, err := c.scheduler.ServerStatus(ctx, &pb.ServerStatusRequest{SubscriberName: subscriber, Name: optional(name)})
	err = receive(stream, err, func(message *pb.ServerStatusResponse) {
		if name != "" && message.GetServerName() != name {
			return
		}
		servers = append(servers, ListedServer{
			Name: message.GetServerName(), Namespace: message.GetKubernetesMeta().GetNamespace(), Generation: message.GetKubernetesMeta().GetGeneration(),
			ExpectedReplicas: int64(message.GetExpectedReplicas()), AvailableReplicas: int64(message.GetAvailableReplicas()),
			LoadedModels: int64(message.GetNumLoadedModelReplicas()),
		})
	})
	if name != "" && (isRejection(err) || status.Code(err) == codes.NotFound) {
		return nil, nil
	}
	return servers, c.explain(err)
}

// Load loads a Model, Pipeline or Experiment.
func (c *Client) Load(ctx context.Context, kind Kind, object client.Object) error {
	message, _, err := kind.resource().translate(object)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	return c.explain(kind.resource().load(ctx, c.scheduler, message))
}

// Unload unloads the generation of a Model, Pipeline or Experiment. It returns when the
// scheduler has accepted that; one that it does not have is no error.
func (c *Client) Unload(ctx context.Context, kind Kind, name string, generation int64) error {
	ctx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	err := kind.resource().unload(ctx, c.scheduler, client.ObjectKey{Namespace: c.namespace, Name: name}, generation)
	if status.Code(err) == codes.NotFound {
		return nil
	}
	return c.explain(err)
}

// explain returns the error of a call with its cause and what to check.
func (c *Client) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case isRejection(err) || status.Code(err) == codes.NotFound:
		return fmt.Errorf("the scheduler rejects it: %s", conditionMessage(err))
	}
	_, message := classifyDisconnect(err, c.transport.lastError())
	return fmt.Errorf("scheduler %s: %s", c.relay.target(c.namespace), message)
}
