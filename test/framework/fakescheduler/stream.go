package fakescheduler

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// outlet sends the messages of one stream. A goroutine of its own does, because
// only the return of the handler interrupts a Send whose client does not read.
type outlet[T any] struct {
	run *run
	ctx context.Context
	// end is closed when the stream is to end, which clients see as EOF.
	end   <-chan struct{}
	ready chan *T
	sent  chan error
	timer *time.Timer
}

// newOutlet is closed by whoever made it.
func newOutlet[T any](r *run, stream grpc.ServerStreamingServer[T]) *outlet[T] {
	o := &outlet[T]{
		run: r, ctx: stream.Context(), end: r.endOfStreams(),
		ready: make(chan *T), sent: make(chan error, 1),
		timer: time.NewTimer(r.sim.options.SendTimeout),
	}
	r.background.Go(func() {
		for message := range o.ready {
			o.sent <- stream.Send(message)
		}
	})
	return o
}

// wait waits for an event. It returns false if the stream is over; err is what to
// end it with.
func (o *outlet[T]) wait(event <-chan struct{}) (bool, error) {
	select {
	case <-event:
		return true, nil
	case <-o.end:
		return false, nil
	case <-o.ctx.Done():
		return false, status.FromContextError(o.ctx.Err()).Err()
	}
}

// send sends messages. It returns false if the stream is over.
func (o *outlet[T]) send(messages ...*T) (bool, error) {
	for _, message := range messages {
		if delay := o.run.sim.delays().Send; delay > 0 {
			select {
			case <-time.After(delay):
			case <-o.end:
				return false, nil
			case <-o.ctx.Done():
			}
		}
		o.timer.Reset(o.run.sim.options.SendTimeout)
		o.ready <- message
		select {
		case err := <-o.sent:
			if err != nil {
				return false, err
			}
		case <-o.timer.C:
			return false, nil
		case <-o.end:
			return false, o.settle()
		}
	}
	return true, nil
}

// settle gives a Send that is on its way a moment, as only one that blocks may be
// cut off.
func (o *outlet[T]) settle() error {
	o.timer.Reset(100 * time.Millisecond)
	select {
	case err := <-o.sent:
		return err
	case <-o.timer.C:
		return nil
	}
}

func (o *outlet[T]) close() {
	o.timer.Stop()
	close(o.ready)
}

// relay sends what comes into a queue until the stream is over.
func (o *outlet[T]) relay(q *queue[T]) error {
	for {
		if more, err := o.wait(q.wake); !more {
			return err
		}
		if more, err := o.send(q.take()...); !more {
			return err
		}
	}
}

// subscription is what differs between the subscriptions.
type subscription[T any] struct {
	// gated ones do nothing before the gate is open.
	gated bool
	// begin adds the queue, and puts the state as it is into it.
	begin func(q *queue[T])
	end   func(q *queue[T])
}

// subscribe serves a subscription.
func subscribe[T any](r *run, stream grpc.ServerStreamingServer[T], s subscription[T]) error {
	o := newOutlet(r, stream)
	defer o.close()
	if s.gated {
		if more, err := o.wait(r.world.gate.opened); !more {
			return err
		}
	}
	q := newQueue[T]()
	r.locked(func() { s.begin(q) })
	defer r.locked(func() { s.end(q) })
	return o.relay(q)
}

// SubscribeModelStatus waits for the gate, then sends every model as it is and
// every event. A model gateway gets only what it is to do.
func (r *run) SubscribeModelStatus(
	request *pb.ModelSubscriptionRequest, stream grpc.ServerStreamingServer[pb.ModelStatusResponse],
) error {
	w, name := r.world, request.GetSubscriberName()
	s := subscription[pb.ModelStatusResponse]{
		gated: true,
		begin: func(q *queue[pb.ModelStatusResponse]) {
			for _, m := range shuffled(w.models) {
				q.push(m.message(m.latest()))
			}
			w.modelEvents.add(q)
		},
		end: w.modelEvents.remove,
	}
	if request.GetIsModelGateway() {
		s.begin = func(q *queue[pb.ModelStatusResponse]) { w.join(modelGateways, name, q) }
		s.end = func(q *queue[pb.ModelStatusResponse]) { w.quit(modelGateways, name, q) }
	}
	return subscribe(r, stream, s)
}

// SubscribePipelineStatus does so for pipelines.
func (r *run) SubscribePipelineStatus(
	request *pb.PipelineSubscriptionRequest, stream grpc.ServerStreamingServer[pb.PipelineStatusResponse],
) error {
	w, name := r.world, request.GetSubscriberName()
	s := subscription[pb.PipelineStatusResponse]{
		gated: true,
		begin: func(q *queue[pb.PipelineStatusResponse]) {
			for _, p := range shuffled(w.pipelines) {
				q.push(p.message(p.latest()))
			}
			w.pipelineEvents.add(q)
		},
		end: w.pipelineEvents.remove,
	}
	if request.GetIsPipelineGateway() {
		s.begin = func(q *queue[pb.PipelineStatusResponse]) { w.join(pipelineGateways, name, q) }
		s.end = func(q *queue[pb.PipelineStatusResponse]) { w.quit(pipelineGateways, name, q) }
	}
	return subscribe(r, stream, s)
}

// SubscribeExperimentStatus does so for experiments.
func (r *run) SubscribeExperimentStatus(
	_ *pb.ExperimentSubscriptionRequest, stream grpc.ServerStreamingServer[pb.ExperimentStatusResponse],
) error {
	w := r.world
	return subscribe(r, stream, subscription[pb.ExperimentStatusResponse]{
		gated: true,
		begin: func(q *queue[pb.ExperimentStatusResponse]) {
			for _, e := range shuffled(w.experiments) {
				q.push(w.experimentMessage(e))
			}
			w.experimentEvents.add(q)
		},
		end: w.experimentEvents.remove,
	})
}

// SubscribeServerStatus does so for servers, and does not wait for the gate.
func (r *run) SubscribeServerStatus(
	_ *pb.ServerSubscriptionRequest, stream grpc.ServerStreamingServer[pb.ServerStatusResponse],
) error {
	w := r.world
	return subscribe(r, stream, subscription[pb.ServerStatusResponse]{
		begin: func(q *queue[pb.ServerStatusResponse]) {
			for _, s := range shuffled(w.servers) {
				q.push(s.message())
			}
			w.serverEvents.add(q)
		},
		end: w.serverEvents.remove,
	})
}

// SubscribeControlPlane asks for the servers at once, for all else when the gate is
// open, and then is silent.
func (r *run) SubscribeControlPlane(
	_ *pb.ControlPlaneSubscriptionRequest, stream grpc.ServerStreamingServer[pb.ControlPlaneResponse],
) error {
	o := newOutlet(r, stream)
	defer o.close()
	if more, err := o.send(&pb.ControlPlaneResponse{Event: pb.ControlPlaneResponse_SEND_SERVERS}); !more {
		return err
	}
	if more, err := o.wait(r.world.gate.opened); !more {
		return err
	}
	q := newQueue[pb.ControlPlaneResponse]()
	q.push(
		&pb.ControlPlaneResponse{Event: pb.ControlPlaneResponse_SEND_EXPERIMENTS},
		&pb.ControlPlaneResponse{Event: pb.ControlPlaneResponse_SEND_MODELS},
		&pb.ControlPlaneResponse{Event: pb.ControlPlaneResponse_SEND_PIPELINES},
	)
	r.locked(func() { r.controlPlane.add(q) })
	defer r.locked(func() { r.controlPlane.remove(q) })
	return o.relay(q)
}

// finite sends some messages and ends.
func finite[T any](r *run, stream grpc.ServerStreamingServer[T], now func() ([]*T, error)) error {
	var messages []*T
	var err error
	r.locked(func() { messages, err = now() })
	if err != nil {
		return err
	}
	o := newOutlet(r, stream)
	defer o.close()
	_, err = o.send(messages...)
	return err
}

// ModelStatus sends the latest or all versions of one model or all, deleted ones
// included.
func (r *run) ModelStatus(
	request *pb.ModelStatusRequest, stream grpc.ServerStreamingServer[pb.ModelStatusResponse],
) error {
	return finite(r, stream, func() ([]*pb.ModelStatusResponse, error) {
		name := request.GetModel().GetName()
		return collect(r.world.models, "model", name, request.GetModel() != nil, func(m *model) *pb.ModelStatusResponse {
			if request.GetAllVersions() {
				return m.message(m.versions...)
			}
			return m.message(m.latest())
		})
	})
}

// PipelineStatus does so for pipelines.
func (r *run) PipelineStatus(
	request *pb.PipelineStatusRequest, stream grpc.ServerStreamingServer[pb.PipelineStatusResponse],
) error {
	return finite(r, stream, func() ([]*pb.PipelineStatusResponse, error) {
		return collect(r.world.pipelines, "pipeline", request.GetName(), request.Name != nil, func(p *pipeline) *pb.PipelineStatusResponse {
			if request.GetAllVersions() {
				return p.message(p.versions...)
			}
			return p.message(p.latest())
		})
	})
}

// ExperimentStatus does so for experiments.
func (r *run) ExperimentStatus(
	request *pb.ExperimentStatusRequest, stream grpc.ServerStreamingServer[pb.ExperimentStatusResponse],
) error {
	return finite(r, stream, func() ([]*pb.ExperimentStatusResponse, error) {
		return collect(r.world.experiments, "experiment", request.GetName(), request.Name != nil, r.world.experimentMessage)
	})
}

// ServerStatus does so for servers.
func (r *run) ServerStatus(
	request *pb.ServerStatusRequest, stream grpc.ServerStreamingServer[pb.ServerStatusResponse],
) error {
	return finite(r, stream, func() ([]*pb.ServerStatusResponse, error) {
		return collect(r.world.servers, "server", request.GetName(), request.Name != nil, (*server).message)
	})
}

// collect is the messages of one item, or of all in random order.
func collect[V, T any](items map[string]V, kind, name string, named bool, message func(V) *T) ([]*T, error) {
	if named {
		item, known := items[name]
		if !known {
			return nil, refuse("%s %s is unknown", kind, name)
		}
		return []*T{message(item)}, nil
	}
	messages := make([]*T, 0, len(items))
	for _, item := range items {
		messages = append(messages, message(item))
	}
	return messages, nil
}
