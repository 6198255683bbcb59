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

// The scheduler is notified of Servers with the replicas that their workloads have, so
// that it never waits for a replica that will not start.

const (
	// serverDeletionDelay is how long a Server must have been deleted before the
	// scheduler is notified of 0 replicas. On that notification the scheduler fails the
	// Models of the Server, and schedules them again only when an agent connects. The
	// agents of a Server that is recreated may stay connected.
	serverDeletionDelay = 10 * time.Second
	// deletedServerTTL is how long the state of a deleted Server is kept after the
	// scheduler has accepted 0 replicas.
	deletedServerTTL = 10 * time.Minute
	// maxServersInMessage is the number of Servers that a message names.
	maxServersInMessage = 5
)

// server is what a session knows about one Server. It is guarded by the session's lock.
type server struct {
	// lastNotified is the digest of the last notification that the scheduler responded to
	// on this connection, zero if there is none; generation is that of the Server in it.
	lastNotified digest
	generation   int64
	notifiedAt   time.Time
	// unconfirmed: the scheduler may not have the content of the last notification. It
	// rejected it, the call failed, or it reported the Server without it. retries is the
	// number of equal notifications that followed, since the last event with a number of
	// replicas if they are not rejected.
	unconfirmed bool
	retries     int
	// rejection is the scheduler's error about the last notification, empty if accepted.
	rejection string
	// zeroReplicas: the last notification on this connection had 0 replicas.
	zeroReplicas bool
	// deletedSince is when the Server was first seen as deleted or being deleted.
	deletedSince time.Time

	// state and scaling are the latest that the scheduler reported; nil for none.
	state   *ServerState
	scaling *ScalingRequest
}

// reset drops what was sent on an earlier connection.
func (s *server) reset() {
	s.lastNotified, s.unconfirmed, s.retries, s.rejection, s.zeroReplicas = digest{}, false, 0, "", false
}

// startNotify records that a notification is about to be sent. An event that the
// scheduler sends from now on may follow from it.
func (s *server) startNotify(message *pb.ServerNotify) {
	if s.unconfirmed {
		s.unconfirmed = false
		s.retries++
	}
	if message.GetExpectedReplicas() == 0 {
		s.zeroReplicas = true
	}
}

// finishNotify records the response to a notification. single: the Server was the only
// one in it; the scheduler does not report which of several it rejects. usable: the
// scheduler can place Models on the Server from now on. wasZero: it certainly could not
// before.
func (s *server) finishNotify(message *pb.ServerNotify, single bool, err error) (usable, wasZero bool) {
	s.notifiedAt = time.Now()
	if err != nil {
		s.unconfirmed = true
		if single && rejectsServer(err) {
			s.lastNotified, s.retries, s.rejection = digestOf(message), max(1, s.retries), conditionMessage(err)
		}
		return false, false
	}
	isNew := s.lastNotified == (digest{}) || s.rejection != ""
	if s.rejection != "" {
		s.rejection, s.retries = "", 0
	}
	s.lastNotified, s.generation = digestOf(message), message.GetKubernetesMeta().GetGeneration()
	wasZero, s.zeroReplicas = s.zeroReplicas, message.GetExpectedReplicas() == 0
	return !s.zeroReplicas && (isNew || wasZero), wasZero
}

// due reports whether a notification has to be sent now; if not, it returns when, 0 for
// not at all.
func (s *server) due(message *pb.ServerNotify) (bool, time.Duration) {
	switch {
	case s.lastNotified != digestOf(message):
		return true, 0
	case !s.unconfirmed:
		return false, 0
	}
	remaining := s.retryInterval() - time.Since(s.notifiedAt)
	return remaining <= 0, max(0, remaining)
}

// retryInterval is the least time between equal notifications. A scheduler that loses
// them all is not notified at the rate of its responses.
func (s *server) retryInterval() time.Duration {
	if s.retries == 0 {
		return 0
	}
	return serverBackoff.after(s.retries - 1)
}

// reconcileServer notifies the scheduler of a Server, unless it has the same already.
// It returns when to reconcile the Server again; 0 if nothing is due.
func (c *connection) reconcileServer(ctx context.Context, name string) (time.Duration, error) {
	s := c.session
	s.mu.Lock()
	resynced := s.kinds[Server].sync.resynced
	s.mu.Unlock()
	if !resynced {
		return 0, nil // the resync enqueues it
	}
	object := &v1alpha1.Server{}
	err := s.relay.options.Reader.Get(ctx, client.ObjectKey{Namespace: s.namespace, Name: name}, object)
	if client.IgnoreNotFound(err) != nil {
		return 0, err
	}
	if err != nil && !s.relay.mayUnload(Server, name) {
		return 0, nil
	}
	if err != nil || object.DeletionTimestamp != nil {
		return c.reconcileDeletedServer(ctx, name, object.Generation, err != nil)
	}
	message, err := s.serverMessage(ctx, object)
	if err != nil {
		return 0, err
	}
	due, remaining := s.isServerDue(name, message)
	if !due {
		return remaining, nil
	}
	return c.notifyOne(ctx, message)
}

// isServerDue reports whether the notification about an existing Server has to be sent
// now; if not, it returns when. Without a message, nothing is sent.
func (s *session) isServerDue(name string, message *pb.ServerNotify) (bool, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.server(name)
	known.deletedSince = time.Time{}
	if message != nil {
		return known.due(message)
	}
	if known.rejection != "" {
		known.lastNotified, known.rejection, known.retries = digest{}, "", 0
		s.relay.enqueueRuntimes(s.namespace)
	}
	return false, 0
}

// reconcileDeletedServer notifies the scheduler of 0 replicas, so that it moves the
// Models while the pods terminate, once the Server has been deleted for a while.
// generation is that of the deletion, 0 if the Server is absent.
func (c *connection) reconcileDeletedServer(ctx context.Context, name string, generation int64, absent bool) (time.Duration, error) {
	message, remaining := c.session.deletedServerMessage(name, generation, absent)
	if message == nil {
		return max(0, remaining), nil
	}
	return c.notifyOne(ctx, message)
}

// deletedServerMessage returns the notification about a deleted Server if it has to be
// sent now; if not, it returns when to reconcile the Server again. The state of an absent
// Server is removed when no more notifications about it are due.
func (s *session) deletedServerMessage(name string, generation int64, absent bool) (*pb.ServerNotify, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.server(name)
	message := &pb.ServerNotify{Name: name, KubernetesMeta: &pb.KubernetesMeta{Namespace: s.namespace, Generation: max(known.generation, generation)}}
	if absent && (known.lastNotified == (digest{}) || known.lastNotified == digestOf(message) && known.rejection != "") {
		delete(s.servers, name)
		if known.rejection != "" {
			s.relay.enqueueRuntimes(s.namespace)
		}
		return nil, 0
	}
	due, remaining := known.due(message)
	if absent && !due && !known.unconfirmed {
		// If it is recreated soon, its Models are loaded again.
		if remaining = deletedServerTTL - time.Since(known.notifiedAt); remaining <= 0 {
			delete(s.servers, name)
		}
	}
	if !due {
		return nil, remaining
	}
	if known.deletedSince.IsZero() {
		known.deletedSince = time.Now()
	}
	if remaining = serverDeletionDelay - time.Since(known.deletedSince); remaining > 0 {
		return nil, remaining
	}
	known.state, known.scaling = nil, nil
	return message, 0
}

// notifyOne notifies the scheduler of one Server. A rejection is counted and retried.
func (c *connection) notifyOne(ctx context.Context, message *pb.ServerNotify) (time.Duration, error) {
	s := c.session
	err := c.notify(ctx, &pb.ServerNotifyRequest{Servers: []*pb.ServerNotify{message}})
	if !rejectsServer(err) {
		return 0, err
	}
	s.relay.metrics.syncFailures.WithLabelValues(s.namespace, string(Server), ReasonNotifyFailed).Inc()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.server(message.Name).retryInterval(), nil
}

// notify sends a notification about Servers, and records the response. Models that may
// have a place now are loaded again.
func (c *connection) notify(ctx context.Context, request *pb.ServerNotifyRequest) error {
	s := c.session
	s.mu.Lock()
	for _, message := range request.Servers {
		s.server(message.Name).startNotify(message)
	}
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, notifyDeadline)
	defer cancel()
	_, err := c.client.ServerNotify(ctx, request)
	s.mu.Lock()
	defer s.mu.Unlock()
	reload, restored, rejected := false, map[string]bool{}, s.rejectedServers()
	for _, message := range request.Servers {
		known := s.server(message.Name)
		usable, wasZero := known.finishNotify(message, len(request.Servers) == 1, err)
		reload = reload || usable
		restored[message.Name] = usable && wasZero
		if known.state != nil && known.state.Generation != known.generation {
			// The scheduler sends no event when only the generation changes.
			known.state = &ServerState{Generation: known.generation, LoadedModels: known.state.LoadedModels}
			s.relay.enqueueAfter(Server, s.namespace, message.Name, loadedModelsDebounce)
		}
	}
	if reload {
		c.reloadModels(restored)
	}
	if now := s.rejectedServers(); now != rejected {
		s.log.Info("the Servers that the scheduler rejects have changed", "rejected", now)
		s.relay.enqueueRuntimes(s.namespace)
	}
	if err != nil {
		return fmt.Errorf("ServerNotify: %w", err)
	}
	c.queue.addAfter(objectKey{kind: Server}, priorityServer, serverListDelay)
	return nil
}

// reloadModels loads the Models again that the scheduler could not place: it places a
// Model when it is loaded, even if nothing changes, and not when a Server has replicas
// again. The event that it could not place a Model of a restored Server, which had 0
// replicas, may not have arrived yet. It is called under the session's lock.
func (c *connection) reloadModels(restored map[string]bool) {
	for key, o := range c.session.objects {
		state := o.observed.state
		if key.kind == Model && state != nil && state.Model != nil && (restored[state.Model.Server] || state.scheduleFailed()) {
			o.load.forced = true
			c.queue.add(key, priorityResync)
		}
	}
}

// scheduleFailed reports whether the scheduler could not place a Model.
func (s *State) scheduleFailed() bool {
	return s.Model != nil && slices.ContainsFunc(s.Conditions, func(condition Condition) bool {
		return condition.Reason == pb.ModelStatus_ScheduleFailed.String()
	})
}

// rejectsServer reports whether an error of ServerNotify may be about one Server, and
// not about the call.
func rejectsServer(err error) bool { return isRejection(err) || status.Code(err) == codes.NotFound }

// rejectedServers describes the Servers that the scheduler rejects, under the session's
// lock; empty if there are none.
func (s *session) rejectedServers() string {
	var rejected []string
	for _, name := range slices.Sorted(maps.Keys(s.servers)) {
		if rejection := s.servers[name].rejection; rejection != "" {
			rejected = append(rejected, fmt.Sprintf("Server %s is rejected: %s", name, rejection))
		}
	}
	if more := len(rejected) - maxServersInMessage; more > 0 {
		rejected = append(rejected[:maxServersInMessage], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(rejected, "; ")
}

// serverMessage returns the notification about a Server that is not being deleted: nil
// without a workload, and for a spec with contradictory replicas, which the Server's
// controller reports.
func (s *session) serverMessage(ctx context.Context, object *v1alpha1.Server) (*pb.ServerNotify, error) {
	var replicas *int32
	var err error
	options := &s.relay.options
	switch {
	case options.WithoutWorkloads:
	case options.UseDeployments:
		workload := &appsv1.Deployment{}
		err = options.Reader.Get(ctx, client.ObjectKeyFromObject(object), workload)
		replicas = workload.Spec.Replicas
	default:
		workload := &appsv1.StatefulSet{}
		err = options.Reader.Get(ctx, client.ObjectKeyFromObject(object), workload)
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
