package fakescheduler

import (
	"context"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// maxStreams is the real scheduler's setting.
const maxStreams = 1_000_000

// gracePeriod is how long a graceful stop waits for clients.
const gracePeriod = 5 * time.Second

// instance is one life of a scheduler, from a start to a stop. It serves the RPCs.
type instance struct {
	pb.UnimplementedSchedulerServer

	scheduler *Scheduler
	state     *state
	loop      *eventLoop
	server    *grpc.Server
	// ctx ends when a graceful stop begins.
	ctx context.Context
	end context.CancelFunc
	// background has the goroutines that are not gRPC's.
	background sync.WaitGroup
	// saving is whether the state file is about to be written.
	saving bool
}

// newInstance serves on a listener, with the state on the volume. Errors: the volume has
// something that cannot be read.
func newInstance(s *Scheduler, listener net.Listener, stored persistentState) (*instance, error) {
	i := &instance{scheduler: s, loop: newEventLoop(&s.mu)}
	i.ctx, i.end = context.WithCancel(context.Background())
	options := []grpc.ServerOption{
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: s.options.KeepaliveMinTime}),
		grpc.UnaryInterceptor(i.unary),
		grpc.StreamInterceptor(i.stream),
		grpc.StatsHandler(s.calls),
		// Stop waits for them, so that nothing is left of an instance.
		grpc.WaitForHandlers(true),
	}
	if s.options.TLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(s.options.TLS)))
	}
	i.server = grpc.NewServer(options...)
	pb.RegisterSchedulerServer(i.server, i)

	s.mu.Lock()
	defer s.mu.Unlock()
	i.state = newState(s.options, i.loop, s.actors)
	if err := i.state.restore(stored); err != nil {
		return nil, err
	}
	i.state.markDirty = func() { s.saveLater(i) }
	i.state.start()
	i.background.Go(i.loop.run)
	i.background.Go(func() {
		// It returns when the server stops.
		_ = i.server.Serve(listener)
	})
	return i, nil
}

// locked calls a function with the scheduler's mutex held.
func (i *instance) locked(do func()) {
	i.scheduler.mu.Lock()
	defer i.scheduler.mu.Unlock()
	do()
}

// stop ends the instance. If it is graceful, streams end with EOF and unary calls are
// completed; otherwise connections are closed. It returns when no goroutine is left.
func (i *instance) stop(graceful bool) {
	if graceful {
		i.end()
		late := time.AfterFunc(gracePeriod, i.server.Stop)
		i.server.GracefulStop()
		late.Stop()
	}
	i.server.Stop()
	i.end()
	i.locked(i.loop.close)
	i.background.Wait()
}
