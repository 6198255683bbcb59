package fakescheduler

import (
	"context"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// ServerNotify sets how many replicas servers expect.
func (i *instance) ServerNotify(_ context.Context, request *pb.ServerNotifyRequest) (*pb.ServerNotifyResponse, error) {
	return reply(i, &pb.ServerNotifyResponse{}, func(s *state) error {
		s.notify(request)
		return nil
	})
}

// LoadModel stores a model, and schedules it in the background.
func (i *instance) LoadModel(_ context.Context, request *pb.LoadModelRequest) (*pb.LoadModelResponse, error) {
	return reply(i, &pb.LoadModelResponse{}, func(s *state) error { return s.loadModel(request.GetModel()) })
}

// UnloadModel marks a model as deleted, and unloads it in the background.
func (i *instance) UnloadModel(_ context.Context, request *pb.UnloadModelRequest) (*pb.UnloadModelResponse, error) {
	return reply(i, &pb.UnloadModelResponse{}, func(s *state) error {
		return s.unloadModel(request.GetModel().GetName(), request.GetKubernetesMeta())
	})
}

// LoadPipeline stores a pipeline, unless it has that generation of it.
func (i *instance) LoadPipeline(_ context.Context, request *pb.LoadPipelineRequest) (*pb.LoadPipelineResponse, error) {
	return reply(i, &pb.LoadPipelineResponse{}, func(s *state) error { return s.loadPipeline(request.GetPipeline()) })
}

// UnloadPipeline terminates a pipeline.
func (i *instance) UnloadPipeline(_ context.Context, request *pb.UnloadPipelineRequest) (*pb.UnloadPipelineResponse, error) {
	return reply(i, &pb.UnloadPipelineResponse{}, func(s *state) error { return s.unloadPipeline(request.GetName()) })
}

// StartExperiment starts an experiment, also one that is started already.
func (i *instance) StartExperiment(_ context.Context, request *pb.StartExperimentRequest) (*pb.StartExperimentResponse, error) {
	return reply(i, &pb.StartExperimentResponse{}, func(s *state) error { return s.startExperiment(request.GetExperiment()) })
}

// StopExperiment stops an experiment.
func (i *instance) StopExperiment(_ context.Context, request *pb.StopExperimentRequest) (*pb.StopExperimentResponse, error) {
	return reply(i, &pb.StopExperimentResponse{}, func(s *state) error { return s.stopExperiment(request.GetName()) })
}

// SchedulerStatus is constant.
func (i *instance) SchedulerStatus(context.Context, *pb.SchedulerStatusRequest) (*pb.SchedulerStatusResponse, error) {
	return &pb.SchedulerStatusResponse{ApplicationVersion: "0.0.1"}, nil
}

// reply calls a function with the state, and returns the response unless it fails.
func reply[T any](i *instance, response *T, do func(s *state) error) (*T, error) {
	var err error
	i.locked(func() { err = do(i.state) })
	if err != nil {
		return nil, err
	}
	return response, nil
}
