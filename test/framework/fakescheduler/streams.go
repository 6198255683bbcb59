package fakescheduler

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// subscribe serves a subscription: once the gate is open, if it waits for that, it
// sends every object as it is, and then every event.
func subscribe[T any](
	i *instance, stream grpc.ServerStreamingServer[T], gated bool, events *topic[T], objects func() []*T,
) error {
	ctx := stream.Context()
	if gated {
		select {
		case <-i.state.gate.opened:
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
	}
	var q *queue[T]
	i.locked(func() {
		q = newQueue(objects()...)
		events.add(q)
	})
	defer i.locked(func() { events.remove(q) })
	for {
		select {
		case <-q.wake:
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
		for _, message := range q.take() {
			if ctx.Err() != nil {
				break
			}
			if err := stream.Send(message); err != nil {
				return err
			}
		}
	}
}

// SubscribeModelStatus serves the events of models.
func (i *instance) SubscribeModelStatus(_ *pb.ModelSubscriptionRequest, stream grpc.ServerStreamingServer[pb.ModelStatusResponse]) error {
	return subscribe(i, stream, true, &i.state.modelEvents, func() []*pb.ModelStatusResponse {
		return messages(i.state.models, latestModel)
	})
}

// SubscribePipelineStatus serves the events of pipelines.
func (i *instance) SubscribePipelineStatus(_ *pb.PipelineSubscriptionRequest, stream grpc.ServerStreamingServer[pb.PipelineStatusResponse]) error {
	return subscribe(i, stream, true, &i.state.pipelineEvents, func() []*pb.PipelineStatusResponse {
		return messages(i.state.pipelines, latestPipeline)
	})
}

// SubscribeExperimentStatus serves the events of experiments.
func (i *instance) SubscribeExperimentStatus(_ *pb.ExperimentSubscriptionRequest, stream grpc.ServerStreamingServer[pb.ExperimentStatusResponse]) error {
	return subscribe(i, stream, true, &i.state.experimentEvents, func() []*pb.ExperimentStatusResponse {
		return messages(i.state.experiments, i.state.experimentMessage)
	})
}

// SubscribeServerStatus serves the events of servers.
func (i *instance) SubscribeServerStatus(_ *pb.ServerSubscriptionRequest, stream grpc.ServerStreamingServer[pb.ServerStatusResponse]) error {
	return subscribe(i, stream, false, &i.state.serverEvents, func() []*pb.ServerStatusResponse {
		return messages(i.state.servers, (*server).message)
	})
}

// SubscribeControlPlane requests the servers at once, and everything else when the
// gate is open.
func (i *instance) SubscribeControlPlane(_ *pb.ControlPlaneSubscriptionRequest, stream grpc.ServerStreamingServer[pb.ControlPlaneResponse]) error {
	if err := stream.Send(&pb.ControlPlaneResponse{Event: pb.ControlPlaneResponse_SEND_SERVERS}); err != nil {
		return err
	}
	return subscribe(i, stream, true, &i.state.markers, func() []*pb.ControlPlaneResponse {
		return []*pb.ControlPlaneResponse{
			{Event: pb.ControlPlaneResponse_SEND_EXPERIMENTS},
			{Event: pb.ControlPlaneResponse_SEND_MODELS},
			{Event: pb.ControlPlaneResponse_SEND_PIPELINES},
		}
	})
}

// list serves a finite stream: one object if it is named, or all of them. Errors: the
// named object is unknown.
func list[V, T any](
	i *instance, stream grpc.ServerStreamingServer[T], objects map[string]V, kind string, name *string, message func(V) *T,
) error {
	var found []*T
	i.locked(func() {
		if name == nil {
			found = messages(objects, message)
		} else if object, known := objects[*name]; known {
			found = []*T{message(object)}
		}
	})
	if name != nil && found == nil {
		return failedPrecondition("%s %s is unknown", kind, *name)
	}
	for _, each := range found {
		if err := stream.Send(each); err != nil {
			return err
		}
	}
	return nil
}

// ModelStatus lists the latest or all versions of models, deleted ones included.
func (i *instance) ModelStatus(request *pb.ModelStatusRequest, stream grpc.ServerStreamingServer[pb.ModelStatusResponse]) error {
	var name *string
	if request.GetModel() != nil {
		name = new(request.GetModel().GetName())
	}
	message := latestModel
	if request.GetAllVersions() {
		message = func(m *model) *pb.ModelStatusResponse { return m.message(m.versions...) }
	}
	return list(i, stream, i.state.models, "model", name, message)
}

// PipelineStatus lists the latest or all versions of pipelines, deleted ones included.
func (i *instance) PipelineStatus(request *pb.PipelineStatusRequest, stream grpc.ServerStreamingServer[pb.PipelineStatusResponse]) error {
	message := latestPipeline
	if request.GetAllVersions() {
		message = func(p *pipeline) *pb.PipelineStatusResponse { return p.message(p.versions...) }
	}
	return list(i, stream, i.state.pipelines, "pipeline", request.Name, message)
}

// ExperimentStatus lists experiments, deleted ones included.
func (i *instance) ExperimentStatus(request *pb.ExperimentStatusRequest, stream grpc.ServerStreamingServer[pb.ExperimentStatusResponse]) error {
	return list(i, stream, i.state.experiments, "experiment", request.Name, i.state.experimentMessage)
}

// ServerStatus lists servers.
func (i *instance) ServerStatus(request *pb.ServerStatusRequest, stream grpc.ServerStreamingServer[pb.ServerStatusResponse]) error {
	return list(i, stream, i.state.servers, "server", request.Name, (*server).message)
}

func latestModel(m *model) *pb.ModelStatusResponse          { return m.message(m.latest()) }
func latestPipeline(p *pipeline) *pb.PipelineStatusResponse { return p.message(p.latest()) }

// messages are in random order, as those of the real scheduler.
func messages[V, T any](objects map[string]V, message func(V) *T) []*T {
	all := make([]*T, 0, len(objects))
	for _, object := range objects {
		all = append(all, message(object))
	}
	return all
}
