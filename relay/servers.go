package relay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// Servers are sent to the scheduler with the replicas that their workloads have, so
// that it never waits for a replica that will not start.

const (
	// serverDeletionDelay is how long a Server must have been deleted before the
	// scheduler is notified of 0 replicas. On that notification the scheduler fails the
	// Models of the Server, and places them again only when an agent connects. The
	// agents of a Server that is recreated may stay connected.
	serverDeletionDelay = 10 * time.Second
	// serverMemory is how long a deleted Server is remembered after the scheduler has
	// accepted 0 replicas.
	serverMemory = 10 * time.Minute
	// maxServerRetryInterval bounds the time between equal notifications.
	maxServerRetryInterval = 30 * time.Second
	// maxServersInMessage bounds the Servers that a message names.
	maxServersInMessage = 5
)

// server is what a session knows of one Server.
type server struct {
	// lastNotified is the last notification that the scheduler answered on this
	// connection, zero if there is none; generation is that of the Server in it.
	lastNotified digest
	generation   int64
	notifiedAt   time.Time
	// unconfirmed: the scheduler does not have what it was notified of last, or may not.
	// It rejected the notification, the call failed, or it reported the Server without
	// it. retries counts the equal notifications that followed, since the last event
	// with a number of replicas if they are not rejected.
	unconfirmed bool
	retries     int
	// rejection is the scheduler's error about the last notification, empty if accepted.
	rejection string
	// zero: the scheduler was notified of 0 replicas last, on this connection.
	zero bool
	// deletedSince is when the Server was first seen deleted, or being deleted.
	deletedSince time.Time

	// state and scaling are the latest that the scheduler reported; nil for nothing.
	state   *ServerState
	scaling *ScalingRequest
}

// reset forgets what was sent on an earlier connection.
func (s *server) reset() {
	s.lastNotified, s.unconfirmed, s.retries, s.rejection, s.zero = digest{}, false, 0, "", false
}

// startNotify records that a notification is about to be sent. An event that the
// scheduler sends from now on may follow it.
func (s *server) startNotify(message *pb.ServerNotify) {
	if s.unconfirmed {
		s.unconfirmed = false
		s.retries++
	}
	if message.GetExpectedReplicas() == 0 {
		s.zero = true
	}
}

// finishNotify records the answer to a notification, in which the Server was alone or
// not: the scheduler does not tell which of several it rejects. It returns whether the
// scheduler can place Models on the Server from now on, and whether it certainly could
// not before.
func (s *server) finishNotify(message *pb.ServerNotify, alone bool, err error) (usable, wasZero bool) {
	s.notifiedAt = time.Now()
	if err != nil {
		s.unconfirmed = true
		if alone && rejectsServer(err) {
			s.lastNotified, s.retries, s.rejection = digestOf(message), max(1, s.retries), text(err)
		}
		return false, false
	}
	isNew := s.lastNotified == (digest{}) || s.rejection != ""
	if s.rejection != "" {
		s.rejection, s.retries = "", 0
	}
	s.lastNotified, s.generation = digestOf(message), message.GetKubernetesMeta().GetGeneration()
	wasZero, s.zero = s.zero, message.GetExpectedReplicas() == 0
	return !s.zero && (isNew || wasZero), wasZero
}

// due returns whether a notification has to be sent, and if not yet, after how long.
func (s *server) due(message *pb.ServerNotify) (bool, time.Duration) {
	switch {
	case s.lastNotified != digestOf(message):
		return true, 0
	case !s.unconfirmed:
		return false, 0
	}
	rest := s.retryInterval() - time.Since(s.notifiedAt)
	return rest <= 0, max(0, rest)
}

// retryInterval is the least time between equal notifications: 0, then 1 s, doubled
// each time. A scheduler that loses them all is not notified as fast as it answers.
func (s *server) retryInterval() time.Duration {
	if s.retries == 0 {
		return 0
	}
	return min(time.Second<<min(s.retries-1, 10), maxServerRetryInterval)
}

// reconcileServer notifies the scheduler of a Server, unless it has the same already.
// It returns when to reconcile the Server again, 0 for not at all.
func (c *connection) reconcileServer(ctx context.Context, name string) (time.Duration, error) {
	object := &v1alpha1.Server{}
	err := c.Reader.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: name}, object)
	if client.IgnoreNotFound(err) != nil {
		return 0, err
	}
	if err != nil || object.DeletionTimestamp != nil {
		return c.reconcileDeletedServer(ctx, name, object.Generation, err != nil)
	}
	message, err := c.serverMessage(ctx, object)
	if err != nil {
		return 0, err
	}
	c.mu.Lock()
	it := c.server(name)
	it.deletedSince = time.Time{}
	due, rest := false, time.Duration(0)
	if message != nil {
		due, rest = it.due(message)
	} else if it.rejection != "" {
		// Nothing more is sent about it.
		it.lastNotified, it.rejection, it.retries = digest{}, "", 0
		c.wakeRuntimes(c.namespace)
	}
	c.mu.Unlock()
	if !due {
		return rest, nil
	}
	return c.notifyOne(ctx, message)
}

// reconcileDeletedServer notifies the scheduler of 0 replicas, so that it moves the
// Models while the pods terminate, once the Server has been deleted for a while.
// generation is that of the deletion, 0 if the Server is absent.
func (c *connection) reconcileDeletedServer(ctx context.Context, name string, generation int64, absent bool) (time.Duration, error) {
	c.mu.Lock()
	it := c.server(name)
	message := &pb.ServerNotify{Name: name, KubernetesMeta: &pb.KubernetesMeta{Namespace: c.namespace, Generation: max(it.generation, generation)}}
	if absent && (it.lastNotified == (digest{}) || it.lastNotified == digestOf(message) && it.rejection != "") {
		delete(c.servers, name)
		if it.rejection != "" {
			c.wakeRuntimes(c.namespace)
		}
		c.mu.Unlock()
		return 0, nil
	}
	due, rest := it.due(message)
	if absent && !due && !it.unconfirmed {
		// A Server that is created again soon has its Models loaded again.
		if rest = serverMemory - time.Since(it.notifiedAt); rest <= 0 {
			delete(c.servers, name)
		}
	}
	if due {
		if it.deletedSince.IsZero() {
			it.deletedSince = time.Now()
		}
		rest = serverDeletionDelay - time.Since(it.deletedSince)
		due = rest <= 0
	}
	if due {
		it.state, it.scaling = nil, nil
	}
	c.mu.Unlock()
	if !due {
		return max(0, rest), nil
	}
	return c.notifyOne(ctx, message)
}

// notifyOne notifies the scheduler of one Server. A rejection is logged and retried.
func (c *connection) notifyOne(ctx context.Context, message *pb.ServerNotify) (time.Duration, error) {
	err := c.notify(ctx, &pb.ServerNotifyRequest{Servers: []*pb.ServerNotify{message}})
	if !rejectsServer(err) {
		return 0, err
	}
	c.metrics.syncFailures.WithLabelValues(c.namespace, string(Server), ReasonNotifyFailed).Inc()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.server(message.Name).retryInterval(), nil
}

// notify sends a notification about Servers, and records the answer. Models for which
// there may be a place now are loaded again.
func (c *connection) notify(ctx context.Context, request *pb.ServerNotifyRequest) error {
	c.mu.Lock()
	for _, message := range request.Servers {
		c.server(message.Name).startNotify(message)
	}
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, notifyDeadline)
	defer cancel()
	_, err := c.client.ServerNotify(ctx, request)
	c.mu.Lock()
	defer c.mu.Unlock()
	reload, restored, rejected := false, map[string]bool{}, c.rejectedServers()
	for _, message := range request.Servers {
		it := c.server(message.Name)
		usable, wasZero := it.finishNotify(message, len(request.Servers) == 1, err)
		reload = reload || usable
		restored[message.Name] = usable && wasZero
		if it.state != nil && it.state.Generation != it.generation {
			// The scheduler sends no event when only the generation changes.
			it.state = &ServerState{Generation: it.generation, LoadedModels: it.state.LoadedModels}
			c.wakeLater(Server, c.namespace, message.Name, loadedWait)
		}
	}
	if reload {
		c.reloadModels(restored)
	}
	if now := c.rejectedServers(); now != rejected {
		c.log.Info("the Servers that the scheduler rejects have changed", "rejected", now)
		c.wakeRuntimes(c.namespace)
	}
	if err != nil {
		return fmt.Errorf("ServerNotify: %w", err)
	}
	c.queue.addAfter(objectKey{kind: Server}, priorityServer, serverListDelay)
	return nil
}

// reloadModels loads the Models again that the scheduler found no place for, under the
// session's lock: it places a Model when it is loaded, even if nothing changes, and not
// when a Server has replicas again. For those on a restored Server, which had 0, the
// event that the scheduler found no place may be on its way.
func (c *connection) reloadModels(restored map[string]bool) {
	for key, it := range c.items {
		if key.kind == Model && it.state != nil && it.state.Model != nil && (restored[it.state.Model.Server] || it.state.scheduleFailed()) {
			it.reload = true
			c.queue.add(key, priorityResync)
		}
	}
}

// scheduleFailed reports whether the scheduler found no place for a Model.
func (s *State) scheduleFailed() bool {
	return s.Model != nil && slices.ContainsFunc(s.Conditions, func(condition Condition) bool {
		return condition.Reason == pb.ModelStatus_ScheduleFailed.String()
	})
}

// rejectsServer reports whether an error of ServerNotify may be about one Server, and
// not about the call.
func rejectsServer(err error) bool {
	switch status.Code(err) {
	case codes.InvalidArgument, codes.FailedPrecondition, codes.OutOfRange, codes.AlreadyExists, codes.NotFound:
		return true
	default:
		return false
	}
}

// rejectedServers describes the Servers that the scheduler rejects, under the
// session's lock; empty if there are none.
func (s *session) rejectedServers() string {
	var rejected []string
	for _, name := range slices.Sorted(maps.Keys(s.servers)) {
		if it := s.servers[name]; it.rejection != "" {
			rejected = append(rejected, fmt.Sprintf("Server %s: %s", name, it.rejection))
		}
	}
	if more := len(rejected) - maxServersInMessage; more > 0 {
		rejected = append(rejected[:maxServersInMessage], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(rejected, "; ")
}

// serverMessage is the notification about a Server that is not being deleted: nil
// without a workload, and for one whose spec contradicts itself, which its controller
// reports.
func (c *connection) serverMessage(ctx context.Context, object *v1alpha1.Server) (*pb.ServerNotify, error) {
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
