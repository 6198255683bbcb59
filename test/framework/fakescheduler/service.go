package fakescheduler

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/seldon-operator/seldon-operator/api/scheduler/mlops/chainer"
	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// applicationVersion is what SchedulerStatus always answers.
const applicationVersion = "0.0.1"

// ServerNotify tells how many replicas are expected of servers.
func (r *run) ServerNotify(_ context.Context, request *pb.ServerNotifyRequest) (*pb.ServerNotifyResponse, error) {
	r.locked(func() { r.world.notify(request) })
	return &pb.ServerNotifyResponse{}, nil
}

// LoadModel stores a model and schedules it in the background.
func (r *run) LoadModel(_ context.Context, request *pb.LoadModelRequest) (*pb.LoadModelResponse, error) {
	return answer(r, &pb.LoadModelResponse{}, func() error { return r.world.loadModel(request.GetModel()) })
}

// UnloadModel marks a model as deleted and takes it down in the background.
func (r *run) UnloadModel(_ context.Context, request *pb.UnloadModelRequest) (*pb.UnloadModelResponse, error) {
	return answer(r, &pb.UnloadModelResponse{}, func() error {
		return r.world.unloadModel(request.GetModel().GetName(), request.GetKubernetesMeta())
	})
}

// LoadPipeline stores a pipeline, unless it has it at that generation.
func (r *run) LoadPipeline(_ context.Context, request *pb.LoadPipelineRequest) (*pb.LoadPipelineResponse, error) {
	return answer(r, &pb.LoadPipelineResponse{}, func() error { return r.world.loadPipeline(request.GetPipeline()) })
}

// UnloadPipeline begins to take a pipeline down.
func (r *run) UnloadPipeline(_ context.Context, request *pb.UnloadPipelineRequest) (*pb.UnloadPipelineResponse, error) {
	return answer(r, &pb.UnloadPipelineResponse{}, func() error { return r.world.unloadPipeline(request.GetName()) })
}

// StartExperiment starts an experiment anew.
func (r *run) StartExperiment(_ context.Context, request *pb.StartExperimentRequest) (*pb.StartExperimentResponse, error) {
	return answer(r, &pb.StartExperimentResponse{}, func() error { return r.world.startExperiment(request.GetExperiment()) })
}

// StopExperiment stops an experiment.
func (r *run) StopExperiment(_ context.Context, request *pb.StopExperimentRequest) (*pb.StopExperimentResponse, error) {
	return answer(r, &pb.StopExperimentResponse{}, func() error { return r.world.stopExperiment(request.GetName()) })
}

// SchedulerStatus is constant.
func (r *run) SchedulerStatus(context.Context, *pb.SchedulerStatusRequest) (*pb.SchedulerStatusResponse, error) {
	return &pb.SchedulerStatusResponse{ApplicationVersion: applicationVersion}, nil
}

// ModelStatusEvent is the answer of a model gateway outside of this package.
func (r *run) ModelStatusEvent(_ context.Context, request *pb.ModelUpdateStatusMessage) (*pb.ModelUpdateStatusResponse, error) {
	return answer(r, &pb.ModelUpdateStatusResponse{}, func() error {
		update := request.GetUpdate()
		m := r.world.models[update.GetModel()]
		if m == nil {
			return status.Errorf(codes.Unknown, "model %s is unknown", update.GetModel())
		}
		if v := m.version(update.GetVersion()); v != nil {
			r.world.modelAnswer(m, v, update.GetTimestamp(), request.GetSuccess(), request.GetReason())
		}
		return nil
	})
}

// PipelineStatusEvent is the answer of a pipeline gateway outside of this package.
func (r *run) PipelineStatusEvent(
	_ context.Context, request *chainer.PipelineUpdateStatusMessage,
) (*chainer.PipelineUpdateStatusResponse, error) {
	return answer(r, &chainer.PipelineUpdateStatusResponse{}, func() error {
		update := request.GetUpdate()
		p := r.world.pipelines[update.GetPipeline()]
		if p == nil {
			return status.Errorf(codes.Internal, "pipeline %s is unknown", update.GetPipeline())
		}
		for _, v := range p.versions {
			if v.defn.GetVersion() == update.GetVersion() {
				r.world.pipelineAnswer(p, v, pipelineGateways, update.GetTimestamp(), request.GetSuccess(), request.GetReason())
			}
		}
		return nil
	})
}

// answer does something with the state, and is the response unless that fails.
func answer[T any](r *run, response *T, do func() error) (*T, error) {
	var err error
	r.locked(func() { err = do() })
	if err != nil {
		return nil, err
	}
	return response, nil
}
