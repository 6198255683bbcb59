package relay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/client-go/util/workqueue"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

const (
	// callDeadline is for calls about one object, notifyDeadline for calls about Servers.
	callDeadline   = 10 * time.Second
	notifyDeadline = 30 * time.Second
	// listDeadline is for listing all objects of a kind.
	listDeadline = 2 * time.Minute
	// handshakeTimeout is how long a scheduler may take to send the first message, which
	// it sends immediately.
	handshakeTimeout = 10 * time.Second
	// streamEndDelay is how long the connection must last after the end of a stream for
	// that to be reported. It is not above streamBackoff.first.
	streamEndDelay = 500 * time.Millisecond
)

// connection is one set of streams of a session, and the calls during that time. It lasts
// as long as the control-plane stream, by which the scheduler requests kinds; the other
// streams are opened again when they end.
type connection struct {
	session *session
	client  pb.SchedulerClient
	// queue of the objects to reconcile and kinds to resync, and the number of
	// consecutive failures of each.
	queue    *workQueue
	failures workqueue.TypedRateLimiter[objectKey]

	// The following fields are guarded by the session's lock.

	// establishedAt is when the scheduler sent its first message; zero before.
	establishedAt time.Time
	firstSync     firstSync
}

func newConnection(s *session, conn *grpc.ClientConn) *connection {
	return &connection{
		session:  s,
		client:   pb.NewSchedulerClient(conn),
		failures: workqueue.NewTypedItemExponentialFailureRateLimiter[objectKey](callBackoff.first, callBackoff.limit),
	}
}

// errEnded is the error of a stream that ended without one. Streams should never end.
var errEnded = errors.New("the scheduler ended a stream")

// run opens the streams and processes the queue until the control-plane stream ends, and
// returns why it ended. The connection was healthy if it lasted for backoffResetAfter.
// All goroutines of the connection have ended when it returns.
func (c *connection) run(ctx context.Context) (healthy bool, err error) {
	ctx, disconnect := context.WithCancelCause(ctx)
	c.queue = newWorkQueue(func(key objectKey, p priority) { c.process(ctx, disconnect, key, p) })
	var streams sync.WaitGroup
	defer func() {
		disconnect(nil)
		c.queue.close()
		streams.Wait()
		c.queue.wait()
	}()
	handshake := time.AfterFunc(handshakeTimeout, func() {
		disconnect(&disconnectError{ReasonNoResponse, errors.New("the scheduler accepts the stream and sends nothing: " + adviseLog)})
	})
	defer handshake.Stop()
	var stable *time.Timer
	defer func() {
		if stable != nil {
			stable.Stop()
		}
	}()

	stream, err := c.client.SubscribeControlPlane(ctx, &pb.ControlPlaneSubscriptionRequest{SubscriberName: subscriber})
	err = receive(stream, err, func(message *pb.ControlPlaneResponse) {
		if stable == nil {
			handshake.Stop()
			period := c.session.onEstablished(c)
			stable = time.AfterFunc(period, func() { c.session.onStable(c) })
			for _, kind := range syncedKinds {
				streams.Go(func() { c.keepSubscribed(ctx, kind) })
			}
		}
		c.handleControlPlaneEvent(message.GetEvent())
	})
	if err == nil {
		err = errEnded
	}
	if cause, is := errors.AsType[*disconnectError](context.Cause(ctx)); is {
		err = cause
	}
	return c.wasHealthy(), err
}

func (c *connection) wasHealthy() bool {
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	return !c.establishedAt.IsZero() && time.Since(c.establishedAt) >= backoffResetAfter
}

// handleControlPlaneEvent handles an event by which the scheduler requests a kind.
func (c *connection) handleControlPlaneEvent(event pb.ControlPlaneResponse_Event) {
	if event == pb.ControlPlaneResponse_SEND_SERVERS {
		c.requestResync(Server)
		return
	}
	for _, resource := range resources {
		if resource.controlPlaneEvent == event {
			c.requestResync(resource.kind)
			return
		}
	}
	c.countDropped("unknown_marker")
}

// keepSubscribed keeps the stream of a kind's events open. If it ends before the
// connection, it is opened again and the kind is resynced, since events may have been
// missed.
func (c *connection) keepSubscribed(ctx context.Context, kind Kind) {
	failures := 0
	for {
		openedAt := time.Now()
		works := time.AfterFunc(stableAfter, func() { c.setStreamError(kind, nil) })
		err := c.subscribe(ctx, kind)
		works.Stop()
		if err == nil {
			err = errEnded
		}
		if time.Since(openedAt) > backoffResetAfter {
			failures = 0
		}
		// The end of the connection ends this stream as well, and is reported once.
		if !sleep(ctx, streamEndDelay) {
			return
		}
		c.setStreamError(kind, err)
		if !sleep(ctx, jitter(streamBackoff.after(failures))-streamEndDelay) {
			return
		}
		failures++
		c.relist(kind)
	}
}

// subscribe handles the events of a kind until the stream ends.
func (c *connection) subscribe(ctx context.Context, kind Kind) error {
	if kind == Server {
		return c.subscribeServers(ctx)
	}
	resource := kind.resource()
	return resource.subscribe(ctx, c.client, func(event statusEvent) { c.handleEvent(kind, event) })
}

// process processes an item of the queue, and schedules when to process it again; after an
// error, with a backoff. disconnect ends the connection.
func (c *connection) process(ctx context.Context, disconnect context.CancelCauseFunc, key objectKey, p priority) {
	after, err := c.reconcile(ctx, key)
	switch {
	case ctx.Err() != nil:
	case err == nil:
		c.failures.Forget(key)
		if after > 0 {
			c.queue.addAfter(key, p, after)
		}
	default:
		if status.Code(err) == codes.DeadlineExceeded {
			// The scheduler is slow, or the connection is half-open.
			if err := c.healthCheck(ctx); err != nil {
				disconnect(err)
				return
			}
		}
		c.queue.addAfter(key, p, jitter(c.failures.When(key)))
	}
}

// reconcile resyncs a kind or reconciles an object. It returns when to do so again; 0 if
// nothing is due.
func (c *connection) reconcile(ctx context.Context, key objectKey) (time.Duration, error) {
	switch {
	case key.name == "":
		return c.resync(ctx, key.kind)
	case key.kind == Server:
		return c.reconcileServer(ctx, key.name)
	default:
		after, err := c.reconcileObject(ctx, key)
		return jitter(after), err
	}
}

// healthCheck calls SchedulerStatus, and returns an error if there is no response.
func (c *connection) healthCheck(ctx context.Context) error {
	err := c.call(ctx, func(ctx context.Context) error {
		return errorOf(c.client.SchedulerStatus(ctx, &pb.SchedulerStatusRequest{SubscriberName: subscriber}))
	})
	if err != nil && !isPermanent(err) {
		return &disconnectError{ReasonNoResponse, fmt.Errorf("the scheduler responds neither to a call nor to SchedulerStatus (%s): %s", conditionMessage(err), adviseLog)}
	}
	return nil
}

// call runs a call with a deadline.
func (c *connection) call(ctx context.Context, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	return call(ctx)
}

// countDropped counts a message of the scheduler that is not used, by reason.
func (c *connection) countDropped(reason string) {
	c.session.relay.metrics.dropped.WithLabelValues(reason).Inc()
}
