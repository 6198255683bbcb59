package scheduler

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
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
	// firstWord is how long a scheduler may take to speak: it does so at once.
	firstWord = 10 * time.Second
	// workers is how many calls of a session are on their way side by side.
	workers = 8
)

// connection is one connection of a session: five streams, and the work that is
// sent. All of it ends when any of it is lost.
type connection struct {
	*session
	client pb.SchedulerClient
	// queue of the objects to look at, and how often each failed in a row.
	queue    workqueue.TypedDelayingInterface[objectKey]
	failures workqueue.TypedRateLimiter[objectKey]

	// open kinds are those that the scheduler has asked for on this connection, and
	// that were compared with what it has; marked are those still to compare. Both
	// belong to the session's lock.
	open, marked map[Kind]bool
	// marking tells that a kind was marked.
	marking chan struct{}
}

func newConnection(s *session, conn *grpc.ClientConn) *connection {
	return &connection{
		session: s,
		client:  pb.NewSchedulerClient(conn),
		queue:   workqueue.NewTypedDelayingQueue[objectKey](),
		failures: workqueue.NewTypedItemExponentialFailureRateLimiter[objectKey](
			200*time.Millisecond, 30*time.Second),
		open: map[Kind]bool{}, marked: map[Kind]bool{},
		marking: make(chan struct{}, 1),
	}
}

// errEnded is the end of a stream that should never end.
var errEnded = errors.New("the scheduler ended a stream")

// run works on the connection until it is lost, and says why.
func (c *connection) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(firstWord, func() {
		cancel(&disconnectError{ReasonNotAnswering, fmt.Errorf("no word within %s", firstWord)})
	})
	defer silent.Stop()

	group, ctx := errgroup.WithContext(ctx)
	stream := func(name string, follow func(context.Context) error) {
		group.Go(func() error {
			if err := follow(ctx); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return fmt.Errorf("%w: %s", errEnded, name)
		})
	}
	stream("SubscribeControlPlane", func(ctx context.Context) error {
		return c.followControlPlane(ctx, func() {
			silent.Stop()
		})
	})
	stream("SubscribeServerStatus", c.followServers)
	for _, kind := range kinds {
		stream(fmt.Sprintf("Subscribe%sStatus", kind.kind), func(ctx context.Context) error {
			return kind.subscribe(ctx, c.client, func(w word) { c.hear(kind, w) })
		})
	}
	group.Go(func() error { return c.resyncs(ctx) })
	for range workers {
		group.Go(func() error { return c.work(ctx) })
	}
	group.Go(func() error {
		<-ctx.Done()
		c.queue.ShutDown()
		return nil
	})
	err := group.Wait()
	if lost, is := errors.AsType[*disconnectError](context.Cause(ctx)); is {
		return lost
	}
	return err
}

// followControlPlane takes the markers by which the scheduler asks for kinds.
func (c *connection) followControlPlane(ctx context.Context, spoke func()) error {
	stream, err := c.client.SubscribeControlPlane(ctx, &pb.ControlPlaneSubscriptionRequest{SubscriberName: subscriber})
	var steady *time.Timer
	defer func() {
		if steady != nil {
			steady.Stop()
		}
	}()
	return receive(stream, err, func(message *pb.ControlPlaneResponse) {
		if steady == nil {
			spoke()
			c.speaks(c)
			steady = time.AfterFunc(steadyAfter, func() { c.steady(c) })
		}
		if message.GetEvent() == pb.ControlPlaneResponse_SEND_SERVERS {
			c.mark(Server)
			return
		}
		for _, kind := range kinds {
			if kind.marker == message.GetEvent() {
				c.mark(kind.kind)
				return
			}
		}
		c.drop("unknown_marker")
	})
}

// mark asks for a kind to be compared with what the scheduler has.
func (c *connection) mark(kind Kind) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.marked[kind] = true
	select {
	case c.marking <- struct{}{}:
	default:
	}
}

// work looks at objects, one after the other.
func (c *connection) work(ctx context.Context) error {
	for {
		key, end := c.queue.Get()
		if end {
			return nil
		}
		again, err := c.drive(ctx, key)
		c.queue.Done(key)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		switch {
		case err == nil:
			c.failures.Forget(key)
			if again > 0 {
				c.queue.AddAfter(key, again)
			}
		default:
			if status.Code(err) == codes.DeadlineExceeded {
				// Slow, or a connection that is there on one side only.
				if err := c.probe(ctx); err != nil {
					return err
				}
			}
			c.queue.AddAfter(key, wait.Jitter(c.failures.When(key), 0.5))
		}
	}
}

// probe tells a slow scheduler from a connection that is lost.
func (c *connection) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	if _, err := c.client.SchedulerStatus(ctx, &pb.SchedulerStatusRequest{SubscriberName: subscriber}); err != nil && !refused(err) {
		return &disconnectError{ReasonNotAnswering, fmt.Errorf("SchedulerStatus: %w", err)}
	}
	return nil
}
