package fakescheduler

import (
	"context"
	"maps"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// calls counts RPCs and connections.
type calls struct {
	mu       sync.Mutex
	byMethod map[string]int
	byKey    map[CallKey]int
	// unary is how many unary calls are in progress, most the maximum of it.
	unary, most int
	streams     map[*openStream]struct{}
	// accepted is how many connections there were, open how many there are.
	accepted, open int
}

func newCalls() *calls {
	return &calls{byMethod: map[string]int{}, byKey: map[CallKey]int{}, streams: map[*openStream]struct{}{}}
}

func (c *calls) count(method string, keys []CallKey) {
	c.byMethod[method]++
	for _, key := range keys {
		c.byKey[key]++
	}
}

// keysOf returns the keys of the objects in a request.
func keysOf(method string, request any) []CallKey {
	key := func(name string, meta *pb.KubernetesMeta) []CallKey {
		return []CallKey{{Method: method, Name: name, Generation: meta.GetGeneration()}}
	}
	switch r := request.(type) {
	case *pb.LoadModelRequest:
		return key(r.GetModel().GetMeta().GetName(), r.GetModel().GetMeta().GetKubernetesMeta())
	case *pb.UnloadModelRequest:
		return key(r.GetModel().GetName(), r.GetKubernetesMeta())
	case *pb.LoadPipelineRequest:
		return key(r.GetPipeline().GetName(), r.GetPipeline().GetKubernetesMeta())
	case *pb.StartExperimentRequest:
		return key(r.GetExperiment().GetName(), r.GetExperiment().GetKubernetesMeta())
	case *pb.ModelStatusRequest:
		return key(r.GetModel().GetName(), nil)
	case *pb.ServerNotifyRequest:
		var keys []CallKey
		for _, n := range r.GetServers() {
			keys = append(keys, key(n.GetName(), n.GetKubernetesMeta())...)
		}
		return keys
	case interface{ GetName() string }:
		// UnloadPipeline, StopExperiment and the finite statuses.
		return key(r.GetName(), nil)
	case interface{ GetSubscriberName() string }:
		return key(r.GetSubscriberName(), nil)
	}
	return nil
}

// unary intercepts unary calls.
func (i *instance) unary(
	ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler,
) (any, error) {
	method, begun, c := methodOf(info.FullMethod), time.Now(), i.scheduler.calls
	keys := keysOf(method, request)
	c.mu.Lock()
	c.count(method, keys)
	c.unary++
	c.most = max(c.most, c.unary)
	c.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(i.ctx, cancel)()

	var response any
	err := i.scheduler.faults.apply(ctx, method)
	if err == nil {
		response, err = handler(ctx, request)
	}
	if err == nil {
		err = i.scheduler.faults.next(i.scheduler.faults.after, method)
	}
	c.mu.Lock()
	c.unary--
	c.mu.Unlock()
	i.scheduler.report(method, keys, request, false, err, begun)
	return response, err
}

// openStream is a stream, counted as open from its request to its end.
type openStream struct {
	grpc.ServerStream

	instance *instance
	method   string
	begun    time.Time
	request  any
	keys     []CallKey
	ctx      context.Context
	// end ends the stream with EOF.
	end context.CancelFunc
}

// Context ends with the call, or when the stream is to end.
func (o *openStream) Context() context.Context { return o.ctx }

// stream intercepts streams.
func (i *instance) stream(
	server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler,
) error {
	o := &openStream{ServerStream: stream, instance: i, method: methodOf(info.FullMethod), begun: time.Now()}
	o.ctx, o.end = context.WithCancel(stream.Context())
	defer o.end()
	defer context.AfterFunc(i.ctx, o.end)()
	err := handler(server, o)
	if o.ctx.Err() != nil && stream.Context().Err() == nil {
		err = nil
	}
	c := i.scheduler.calls
	c.mu.Lock()
	_, counted := c.streams[o]
	delete(c.streams, o)
	c.mu.Unlock()
	if counted {
		i.scheduler.report(o.method, o.keys, o.request, false, err, o.begun)
	}
	return err
}

// RecvMsg receives the request.
func (o *openStream) RecvMsg(message any) error {
	if err := o.ServerStream.RecvMsg(message); err != nil {
		return err
	}
	o.request, o.keys = message, keysOf(o.method, message)
	s := o.instance.scheduler
	s.calls.mu.Lock()
	s.calls.count(o.method, o.keys)
	s.calls.streams[o] = struct{}{}
	s.calls.mu.Unlock()
	s.report(o.method, o.keys, message, true, nil, o.begun)
	return s.faults.apply(o.ctx, o.method)
}

// SendMsg sends a message after the method's delay.
func (o *openStream) SendMsg(message any) error {
	if err := o.instance.scheduler.faults.delay(o.ctx, o.method); err != nil {
		return err
	}
	return o.ServerStream.SendMsg(message)
}

// report calls OnCall.
func (s *Scheduler) report(method string, keys []CallKey, request any, opened bool, err error, begun time.Time) {
	if s.options.OnCall == nil {
		return
	}
	call := Call{CallKey: CallKey{Method: method}, Opened: opened, Code: status.Code(err), Duration: time.Since(begun)}
	call.Request, _ = request.(proto.Message)
	if len(keys) == 1 {
		call.CallKey = keys[0]
	}
	s.options.OnCall(call)
}

// TagRPC does nothing.
func (c *calls) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC does nothing.
func (c *calls) HandleRPC(context.Context, stats.RPCStats) {}

// TagConn does nothing.
func (c *calls) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn counts connections.
func (c *calls) HandleConn(_ context.Context, event stats.ConnStats) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch event.(type) {
	case *stats.ConnBegin:
		c.accepted++
		c.open++
	case *stats.ConnEnd:
		c.open--
	}
}

// Calls returns how many calls of a method were received since the start or the last
// ResetCounters, streams and calls that failed included. It panics if there is no
// such method.
func (s *Scheduler) Calls(method string) int {
	mustExist(method)
	s.calls.mu.Lock()
	defer s.calls.mu.Unlock()
	return s.calls.byMethod[method]
}

// CallsBy returns the number of received calls by key.
func (s *Scheduler) CallsBy() map[CallKey]int {
	s.calls.mu.Lock()
	defer s.calls.mu.Unlock()
	return maps.Clone(s.calls.byKey)
}

// MostConcurrentCalls returns the maximum of unary calls that were in progress at once.
func (s *Scheduler) MostConcurrentCalls() int {
	s.calls.mu.Lock()
	defer s.calls.mu.Unlock()
	return s.calls.most
}

// Subscribers returns how many streams of a method are open, by the name of the
// subscriber. It panics if there is no such method.
func (s *Scheduler) Subscribers(method string) map[string]int {
	mustExist(method)
	s.calls.mu.Lock()
	defer s.calls.mu.Unlock()
	found := map[string]int{}
	for o := range s.calls.streams {
		if o.method == method {
			found[o.keys[0].Name]++
		}
	}
	return found
}

// Connections returns how many connections were accepted since the last
// ResetCounters, and how many are open.
func (s *Scheduler) Connections() (accepted, open int) {
	s.calls.mu.Lock()
	defer s.calls.mu.Unlock()
	return s.calls.accepted, s.calls.open
}

// ResetCounters sets the counts to zero, and the maximum to the calls in progress.
func (s *Scheduler) ResetCounters() {
	s.calls.mu.Lock()
	defer s.calls.mu.Unlock()
	clear(s.calls.byMethod)
	clear(s.calls.byKey)
	s.calls.most, s.calls.accepted = s.calls.unary, 0
}
