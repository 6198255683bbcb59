package scheduler

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// Servers are told to the scheduler with the replicas that were really deployed,
// so that it never waits for one that nobody will start.

// server is what a session knows of one Server.
type server struct {
	// told is what the scheduler was told on this connection, if not zero.
	told digest
	// generation that it was told with.
	generation int64

	// state and scaling are what the scheduler said last; nil for nothing.
	state   *ServerState
	scaling *ScalingRequest
}

// loadedWait is how long the number of loaded models is gathered: they load by the
// thousand.
const loadedWait = time.Second

// ServerState is the scheduler's word about a Server.
type ServerState struct {
	// Generation of the Server that the word speaks of.
	Generation int64
	// LoadedModels is the number of replicas of Models that are loaded.
	LoadedModels int64
}

// ScalingRequest is the scheduler's wish for a number of replicas.
type ScalingRequest struct {
	// Generation of the Server that the scheduler knew.
	Generation int64
	Replicas   int64
	// At is when it asked.
	At time.Time
}

// resyncServers tells the scheduler of all Servers at once, and that these are all:
// it begins to schedule when their replicas have connected. With none it begins at
// once.
func (c *connection) resyncServers(ctx context.Context) error {
	list := &v1alpha1.ServerList{}
	if err := c.Reader.List(ctx, list, client.InNamespace(c.namespace)); err != nil {
		return fmt.Errorf("list Servers: %w", err)
	}
	request := &pb.ServerNotifyRequest{IsFirstSync: true}
	for i := range list.Items {
		message, err := c.deployed(ctx, &list.Items[i])
		if err != nil {
			return err
		}
		if message != nil {
			request.Servers = append(request.Servers, message)
		}
	}
	if err := c.notify(ctx, request); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setCompared(Server)
	// What came, changed and went meanwhile. Those that have come are known by now.
	for name := range c.servers {
		c.queue.add(objectKey{Server, name}, priorityServer)
	}
	return nil
}

// driveServer tells the scheduler of a Server, if it does not know.
func (c *connection) driveServer(ctx context.Context, name string) error {
	object := &v1alpha1.Server{}
	err := c.Reader.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: name}, object)
	if apierrors.IsNotFound(err) {
		return c.forgetServer(ctx, name)
	}
	if err != nil {
		return err
	}
	message, err := c.deployed(ctx, object)
	if err != nil || message == nil {
		return err
	}
	c.mu.Lock()
	known := c.server(name).told == digestOf(message)
	c.mu.Unlock()
	if known {
		return nil
	}
	return c.notify(ctx, &pb.ServerNotifyRequest{Servers: []*pb.ServerNotify{message}})
}

// forgetServer tells the scheduler that a Server is no more, so that it moves the
// Models while the pods drain.
func (c *connection) forgetServer(ctx context.Context, name string) error {
	c.mu.Lock()
	told, generation := digest{}, int64(0)
	if it, known := c.servers[name]; known {
		told, generation = it.told, it.generation
	}
	c.mu.Unlock()
	if told != (digest{}) {
		err := c.notify(ctx, &pb.ServerNotifyRequest{Servers: []*pb.ServerNotify{{
			Name: name, KubernetesMeta: &pb.KubernetesMeta{Namespace: c.namespace, Generation: generation},
		}}})
		if err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.servers, name)
	return nil
}

// notify tells the scheduler of Servers, and remembers it.
func (c *connection) notify(ctx context.Context, request *pb.ServerNotifyRequest) error {
	ctx, cancel := context.WithTimeout(ctx, notifyDeadline)
	defer cancel()
	if _, err := c.client.ServerNotify(ctx, request); err != nil {
		return fmt.Errorf("ServerNotify: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, message := range request.Servers {
		it := c.server(message.Name)
		it.told, it.generation = digestOf(message), message.GetKubernetesMeta().GetGeneration()
	}
	return nil
}

// deployed is what there is to tell of a Server: nil without a workload, and for
// one whose spec contradicts itself, which its controller tells.
func (c *connection) deployed(ctx context.Context, object *v1alpha1.Server) (*pb.ServerNotify, error) {
	if object.DeletionTimestamp != nil {
		return ServerMessage(object, nil)
	}
	var replicas *int32
	var err error
	if c.UseDeployments {
		workload := &appsv1.Deployment{}
		err = c.Reader.Get(ctx, client.ObjectKeyFromObject(object), workload)
		replicas = workload.Spec.Replicas
	} else {
		workload := &appsv1.StatefulSet{}
		err = c.Reader.Get(ctx, client.ObjectKeyFromObject(object), workload)
		replicas = workload.Spec.Replicas
	}
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get the workload of Server %s: %w", object.Name, err)
	}
	var number *int64
	if replicas != nil {
		number = new(int64(*replicas))
	}
	message, err := ServerMessage(object, number)
	if errors.Is(err, v1alpha1.ErrScaling) {
		return nil, nil
	}
	return message, err
}

// followServers takes what the scheduler says about Servers.
func (c *connection) followServers(ctx context.Context) error {
	stream, err := c.client.SubscribeServerStatus(ctx, &pb.ServerSubscriptionRequest{SubscriberName: subscriber})
	return receive(stream, err, c.hearServer)
}

func (c *connection) hearServer(message *pb.ServerStatusResponse) {
	c.mu.Lock()
	defer c.mu.Unlock()
	name, meta := message.GetServerName(), message.GetKubernetesMeta()
	it, known := c.servers[name]
	switch {
	case !known:
		c.drop("unknown_object")
		return
	case meta == nil || message.GetExpectedReplicas() < 0 && message.GetType() == pb.ServerStatusResponse_StatusUpdate:
		// It forgets a Server when the last replica leaves, and learns of it again by
		// the replicas alone.
		c.drop("no_metadata")
		it.told = digest{}
		c.queue.add(objectKey{Server, name}, priorityServer)
		return
	case meta.GetNamespace() != c.namespace:
		c.drop("other_namespace")
		return
	}
	switch message.GetType() {
	case pb.ServerStatusResponse_StatusUpdate:
		state := ServerState{Generation: meta.GetGeneration(), LoadedModels: max(0, int64(message.GetNumLoadedModelReplicas()))}
		if it.state != nil && *it.state == state {
			return
		}
		it.state = &state
		c.wakeLater(Server, c.namespace, name, loadedWait)
	case pb.ServerStatusResponse_ScalingRequest:
		if message.GetExpectedReplicas() < 0 {
			c.drop("negative_replicas")
			return
		}
		it.scaling = &ScalingRequest{Generation: meta.GetGeneration(), Replicas: int64(message.GetExpectedReplicas()), At: time.Now()}
		c.wake(Server, c.namespace, name)
	default:
		c.drop("unknown_type")
	}
}
