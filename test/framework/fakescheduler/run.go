package fakescheduler

import (
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// The real scheduler's settings of its gRPC server.
const (
	mostStreams     = 1_000_000
	shortestPinging = 60 * time.Second
)

// gracePeriod is how long a graceful stop waits for clients.
const gracePeriod = 5 * time.Second

// run is one life of the simulated scheduler, from its start to its stop. It is
// what serves the RPCs.
type run struct {
	pb.UnimplementedSchedulerServer

	sim    *Scheduler
	world  *world
	loop   *loop
	server *grpc.Server
	// controlPlane are the streams of that kind.
	controlPlane topic[pb.ControlPlaneResponse]
	// ending is closed when the run ends, streamsEnd when the streams open now are to.
	ending     chan struct{}
	streamsEnd chan struct{}
	// background are the goroutines that are not gRPC's.
	background sync.WaitGroup
}

// newRun begins to serve on a listener, with what the volume holds.
func newRun(s *Scheduler, on *listener, stored volume) *run {
	r := &run{
		sim:        s,
		loop:       newLoop(&s.mu),
		ending:     make(chan struct{}),
		streamsEnd: make(chan struct{}),
	}
	options := []grpc.ServerOption{
		grpc.MaxConcurrentStreams(mostStreams),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: shortestPinging}),
		grpc.UnaryInterceptor(r.unary),
		grpc.StreamInterceptor(r.stream),
		// What Stop waits for, so that nothing of a run outlives it.
		grpc.WaitForHandlers(true),
	}
	if s.options.TLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(s.options.TLS)))
	}
	r.server = grpc.NewServer(options...)
	pb.RegisterSchedulerServer(r.server, r)

	s.mu.Lock()
	defer s.mu.Unlock()
	r.world = newWorld(s.options, r.loop, s.fleet)
	r.world.changed = func() { s.touched(r.world) }
	r.world.restore(stored)
	r.world.start()
	r.background.Go(r.loop.run)
	r.background.Go(func() {
		// It returns when the server stops, and has nothing else to tell.
		_ = r.server.Serve(on)
	})
	return r
}

// locked does something with the state.
func (r *run) locked(do func()) {
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	do()
}

// endOfStreams is closed when the streams that are open now are to end.
func (r *run) endOfStreams() <-chan struct{} {
	r.sim.mu.Lock()
	defer r.sim.mu.Unlock()
	return r.streamsEnd
}

// endStreams ends the streams that are open with EOF.
func (r *run) endStreams() {
	r.locked(func() {
		close(r.streamsEnd)
		r.streamsEnd = make(chan struct{})
	})
}

// stop ends the run: gracefully, streams get EOF and unary calls their answer; else
// connections break. It returns when nothing of it is left.
func (r *run) stop(graceful bool) {
	close(r.ending)
	if graceful {
		// New streams may still come in until the server refuses them.
		r.endStreams()
		late := time.AfterFunc(gracePeriod, r.server.Stop)
		again := time.NewTicker(gracePeriod / 100)
		stopped := make(chan struct{})
		go func() {
			r.server.GracefulStop()
			close(stopped)
		}()
		for waiting := true; waiting; {
			select {
			case <-stopped:
				waiting = false
			case <-again.C:
				r.endStreams()
			}
		}
		again.Stop()
		late.Stop()
	}
	r.server.Stop()
	r.locked(r.loop.close)
	r.background.Wait()
}
