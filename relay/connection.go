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
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/workqueue"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

const (
	// callDeadline bounds a call about one object, notifyDeadline one about Servers.
	callDeadline   = 10 * time.Second
	notifyDeadline = 30 * time.Second
	// listDeadline bounds the listing of all objects of a kind.
	listDeadline = 2 * time.Minute
	// handshakeTimeout is how long a scheduler may take to send the first message: it
	// does so at once.
	handshakeTimeout = 10 * time.Second
	// streamEndDelay is how long the connection must last after the end of a stream for
	// that to be reported. It is the shortest backoff of [newBackoff].
	streamEndDelay = 500 * time.Millisecond
)

// connection is one set of streams of a session, and the calls that are made
// meanwhile. It lasts as long as the control-plane stream, by which the scheduler
// asks for kinds; the other streams are opened again when they end.
type connection struct {
	*session
	client pb.SchedulerClient
	// queue of the objects to look at, and how often each failed in a row.
	queue    *workQueue
	failures workqueue.TypedRateLimiter[objectKey]

	// What follows belongs to the session's lock.

	// establishedAt is when the scheduler sent its first message.
	establishedAt time.Time
	syncs         map[Kind]*kindSync
	firstSync     firstSync
}

func newConnection(s *session, conn *grpc.ClientConn) *connection {
	c := &connection{
		session: s,
		client:  pb.NewSchedulerClient(conn),
		failures: workqueue.NewTypedItemExponentialFailureRateLimiter[objectKey](
			200*time.Millisecond, 30*time.Second),
		syncs: map[Kind]*kindSync{},
	}
	for _, kind := range syncedKinds() {
		c.syncs[kind] = &kindSync{}
	}
	return c
}

// errEnded is the end of a stream that should never end.
var errEnded = errors.New("the scheduler ended a stream")

// run works on the connection until it is lost, and says why. It was healthy if it
// lasted.
func (c *connection) run(ctx context.Context) (healthy bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	c.queue = newWorkQueue(func(key objectKey, p priority) { c.work(ctx, cancel, key, p) })
	var streams sync.WaitGroup
	defer func() {
		cancel(nil)
		c.queue.close()
		streams.Wait()
		c.queue.wait()
	}()
	silent := time.AfterFunc(handshakeTimeout, func() {
		cancel(&disconnectError{ReasonNoResponse, errors.New("the scheduler accepts the stream and sends nothing: check its log")})
	})
	defer silent.Stop()
	var stable *time.Timer
	defer func() {
		if stable != nil {
			stable.Stop()
		}
	}()

	established := false
	stream, err := c.client.SubscribeControlPlane(ctx, &pb.ControlPlaneSubscriptionRequest{SubscriberName: subscriber})
	err = receive(stream, err, func(message *pb.ControlPlaneResponse) {
		if !established {
			established = true
			silent.Stop()
			period := c.onEstablished(c)
			stable = time.AfterFunc(period, func() { c.onStable(c) })
			for _, kind := range syncedKinds() {
				streams.Go(func() { c.follow(ctx, kind) })
			}
		}
		c.handleMarker(message.GetEvent())
	})
	if err == nil {
		err = errEnded
	}
	if lost, is := errors.AsType[*disconnectError](context.Cause(ctx)); is {
		return c.wasHealthy(), lost
	}
	return c.wasHealthy(), err
}

func (c *connection) wasHealthy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.establishedAt.IsZero() && time.Since(c.establishedAt) >= backoffResetAfter
}

// handleMarker takes a marker by which the scheduler asks for a kind.
func (c *connection) handleMarker(marker pb.ControlPlaneResponse_Event) {
	if marker == pb.ControlPlaneResponse_SEND_SERVERS {
		c.mark(Server)
		return
	}
	for _, kind := range kinds {
		if kind.marker == marker {
			c.mark(kind.kind)
			return
		}
	}
	c.drop("unknown_marker")
}

// follow keeps the stream of a kind's events open. When it ends while the connection
// lasts, it is opened again and the kind is listed, for events may be missing.
func (c *connection) follow(ctx context.Context, kind Kind) {
	backoff := newBackoff()
	for {
		begun := time.Now()
		works := time.AfterFunc(stableAfter, func() { c.setStreamError(kind, nil) })
		err := c.subscribe(ctx, kind)
		works.Stop()
		if err == nil {
			err = errEnded
		}
		if time.Since(begun) > backoffResetAfter {
			backoff = newBackoff()
		}
		// The end of the connection ends this stream as well, and is reported once.
		if !sleep(ctx, streamEndDelay) {
			return
		}
		c.setStreamError(kind, err)
		if !sleep(ctx, backoff.Step()-streamEndDelay) {
			return
		}
		c.relist(kind)
	}
}

// subscribe follows a kind's events to the end of the stream.
func (c *connection) subscribe(ctx context.Context, kind Kind) error {
	if kind == Server {
		return c.followServers(ctx)
	}
	resource := kind.relayed()
	return resource.subscribe(ctx, c.client, func(w word) { c.handleEvent(resource, w) })
}

// work looks at one object, or compares one kind, and plans when to look again.
func (c *connection) work(ctx context.Context, lose context.CancelCauseFunc, key objectKey, p priority) {
	var again time.Duration
	var err error
	if key.name == "" {
		again, err = c.resync(ctx, key.kind)
	} else {
		again, err = c.drive(ctx, key)
	}
	switch {
	case ctx.Err() != nil:
	case err == nil:
		c.failures.Forget(key)
		if again > 0 {
			c.queue.addAfter(key, p, again)
		}
	default:
		if status.Code(err) == codes.DeadlineExceeded {
			// Slow, or a connection that is there on one side only.
			if err := c.probe(ctx); err != nil {
				lose(err)
				return
			}
		}
		c.queue.addAfter(key, p, wait.Jitter(c.failures.When(key), 0.5))
	}
}

// probe tells a slow scheduler from a connection that is lost.
func (c *connection) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	if _, err := c.client.SchedulerStatus(ctx, &pb.SchedulerStatusRequest{SubscriberName: subscriber}); err != nil && !refused(err) {
		return &disconnectError{ReasonNoResponse, fmt.Errorf("the scheduler answers neither a call nor SchedulerStatus: %s", text(err))}
	}
	return nil
}
