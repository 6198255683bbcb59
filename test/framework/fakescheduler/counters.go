package fakescheduler

import (
	"context"
	"maps"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/seldon-operator/seldon-operator/api/scheduler/mlops/chainer"
	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// CallKey is what calls are counted by: the RPC's name, and the name and generation
// of the resource that it is about. A ServerNotify counts for each of its servers,
// a subscription by its subscriber's name.
type CallKey struct {
	Method     string
	Name       string
	Generation int64
}

// counters count what was received; they outlive restarts.
type counters struct {
	mu      sync.Mutex
	calls   map[string]int
	keyed   map[CallKey]int
	unary   int
	most    int
	streams map[streamKey]int
}

// streamKey is a method and the name of a subscriber.
type streamKey struct{ method, subscriber string }

func newCounters() *counters {
	return &counters{calls: map[string]int{}, keyed: map[CallKey]int{}, streams: map[streamKey]int{}}
}

// received counts a call.
func (c *counters) received(method string, keys []CallKey) {
	c.calls[method]++
	for _, key := range keys {
		c.keyed[key]++
	}
}

// keysOf are what a request is about.
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
	case *pb.ModelUpdateStatusMessage:
		return key(r.GetUpdate().GetModel(), nil)
	case *chainer.PipelineUpdateStatusMessage:
		return key(r.GetUpdate().GetPipeline(), nil)
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

// unary is around every unary call.
func (r *run) unary(
	ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler,
) (any, error) {
	method := methodOf(info.FullMethod)
	keys := keysOf(method, request)
	began := time.Now()
	c := r.sim.counters
	c.mu.Lock()
	c.received(method, keys)
	c.unary++
	c.most = max(c.most, c.unary)
	c.mu.Unlock()

	var response any
	err := r.sim.faults.obstruct(ctx, r.ending, method, r.sim.delays().Answer)
	if err == nil {
		response, err = handler(ctx, request)
	}
	if err == nil {
		err = r.sim.faults.take(r.sim.faults.after, method)
	}

	c.mu.Lock()
	c.unary--
	c.mu.Unlock()
	r.sim.tell(method, keys, request, false, err, began)
	return response, err
}

// stream is around every stream.
func (r *run) stream(
	server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler,
) error {
	o := &observedStream{ServerStream: stream, run: r, method: methodOf(info.FullMethod), began: time.Now()}
	err := handler(server, o)
	o.ended(err)
	return err
}

// observedStream is a stream whose request is looked at when it comes, and which is
// counted as open from then until it ends.
type observedStream struct {
	grpc.ServerStream

	run     *run
	method  string
	began   time.Time
	request any
	keys    []CallKey
	counted streamKey
}

// RecvMsg receives the request.
func (o *observedStream) RecvMsg(message any) error {
	if err := o.ServerStream.RecvMsg(message); err != nil {
		return err
	}
	o.request, o.keys = message, keysOf(o.method, message)
	o.counted.method = o.method
	if m, ok := message.(interface{ GetSubscriberName() string }); ok {
		o.counted.subscriber = m.GetSubscriberName()
	}
	c := o.run.sim.counters
	c.mu.Lock()
	c.received(o.method, o.keys)
	c.streams[o.counted]++
	c.mu.Unlock()
	o.run.sim.tell(o.method, o.keys, message, true, nil, o.began)
	return o.run.sim.faults.obstruct(o.Context(), o.run.ending, o.method, 0)
}

func (o *observedStream) ended(err error) {
	if o.request == nil {
		return
	}
	c := o.run.sim.counters
	c.mu.Lock()
	if c.streams[o.counted]--; c.streams[o.counted] == 0 {
		delete(c.streams, o.counted)
	}
	c.mu.Unlock()
	o.run.sim.tell(o.method, o.keys, o.request, false, err, o.began)
}

// tell passes a call on to whoever wants to know.
func (s *Scheduler) tell(method string, keys []CallKey, request any, opened bool, err error, began time.Time) {
	if s.options.OnCall == nil {
		return
	}
	call := Call{Method: method, Opened: opened, Code: status.Code(err), Duration: time.Since(began)}
	call.Request, _ = request.(proto.Message)
	if len(keys) == 1 {
		call.Name, call.Generation = keys[0].Name, keys[0].Generation
	}
	s.options.OnCall(call)
}

// Calls is how many calls of a method were received since the start or the last
// ResetCounters, streams and refused calls included.
func (s *Scheduler) Calls(method string) int {
	mustKnow(method)
	s.counters.mu.Lock()
	defer s.counters.mu.Unlock()
	return s.counters.calls[method]
}

// CallsBy is how many calls were received, by what they are about.
func (s *Scheduler) CallsBy() map[CallKey]int {
	s.counters.mu.Lock()
	defer s.counters.mu.Unlock()
	return maps.Clone(s.counters.keyed)
}

// MostConcurrentCalls is how many unary calls were under way at once, at the most.
func (s *Scheduler) MostConcurrentCalls() int {
	s.counters.mu.Lock()
	defer s.counters.mu.Unlock()
	return s.counters.most
}

// OpenStreams is how many streams of a method are open.
func (s *Scheduler) OpenStreams(method string) int {
	mustKnow(method)
	n := 0
	for key, open := range s.openStreams() {
		if key.method == method {
			n += open
		}
	}
	return n
}

// Subscribers is how many streams of a method are open, by the subscriber's name.
func (s *Scheduler) Subscribers(method string) map[string]int {
	mustKnow(method)
	found := map[string]int{}
	for key, open := range s.openStreams() {
		if key.method == method {
			found[key.subscriber] = open
		}
	}
	return found
}

func (s *Scheduler) openStreams() map[streamKey]int {
	s.counters.mu.Lock()
	defer s.counters.mu.Unlock()
	return maps.Clone(s.counters.streams)
}

// Connections is how many connections came in, refused ones included, and how many
// are open.
func (s *Scheduler) Connections() (accepted, open int) {
	s.traffic.mu.Lock()
	defer s.traffic.mu.Unlock()
	return s.traffic.accepted, s.traffic.open
}

// ResetCounters sets the numbers of calls and connections to zero, and the most
// concurrent calls to those under way.
func (s *Scheduler) ResetCounters() {
	s.counters.mu.Lock()
	clear(s.counters.calls)
	clear(s.counters.keyed)
	s.counters.most = s.counters.unary
	s.counters.mu.Unlock()
	s.traffic.mu.Lock()
	s.traffic.accepted = 0
	s.traffic.mu.Unlock()
}
