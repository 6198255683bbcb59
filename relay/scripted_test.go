package relay

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// scripted is a scheduler with the responses about Models that a test specifies, for what the
// fake one, which follows the real one, does not do. It has no other objects.
type scripted struct {
	pb.UnimplementedSchedulerServer

	mu    sync.Mutex
	calls map[string]int
	// load and unload return the results of the calls; nil accepts them.
	load, unload func(name string) error
	// status returns the status of one object, or of all for an empty name.
	status func(name string) ([]*pb.ModelStatusResponse, error)
	// closed: the scheduler does not request Models.
	closed bool
	events chan *pb.ModelStatusResponse
}

// script connects the session to a scripted scheduler instead of the fake one.
func (h *harness) script(s *scripted) *scripted {
	h.Helper()
	s.calls, s.events = map[string]int{}, make(chan *pb.ModelStatusResponse, 10_000)
	listener, err := h.network.listen()
	if err != nil {
		h.Fatal(err)
	}
	server := grpc.NewServer(grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second}))
	pb.RegisterSchedulerServer(server, s)
	go func() { _ = server.Serve(listener) }()
	h.Cleanup(server.Stop)
	return s
}

// change changes its responses while it runs.
func (s *scripted) change(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// modelStatus returns the status of a Model of the test's namespace.
func modelStatus(name string, generation int64, state pb.ModelStatus_ModelState) *pb.ModelStatusResponse {
	gateway := pb.ModelStatus_ModelAvailable
	if state == pb.ModelStatus_ModelTerminated || state == pb.ModelStatus_ModelTerminating {
		gateway = state
	}
	return &pb.ModelStatusResponse{ModelName: name, Versions: []*pb.ModelVersionStatus{{
		KubernetesMeta: &pb.KubernetesMeta{Namespace: testNamespace, Generation: generation},
		State:          &pb.ModelStatus{State: state, ModelGwState: gateway},
	}}}
}

var errUnknownModel = status.Error(codes.FailedPrecondition, "the model is unknown")

// count counts a call.
func (s *scripted) count(method, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[method+" "+name]++
	s.calls[method]++
}

// called returns the number of calls of a method, with "method name" for one name.
func (s *scripted) called(method string) int {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[method]
}

func (s *scripted) LoadModel(_ context.Context, request *pb.LoadModelRequest) (*pb.LoadModelResponse, error) {
	name := request.GetModel().GetMeta().GetName()
	s.count("load", name)
	s.mu.Lock()
	load := s.load
	s.mu.Unlock()
	if load != nil {
		return &pb.LoadModelResponse{}, load(name)
	}
	return &pb.LoadModelResponse{}, nil
}

func (s *scripted) UnloadModel(_ context.Context, request *pb.UnloadModelRequest) (*pb.UnloadModelResponse, error) {
	name := request.GetModel().GetName()
	s.count("unload", name)
	if s.unload != nil {
		return &pb.UnloadModelResponse{}, s.unload(name)
	}
	return &pb.UnloadModelResponse{}, nil
}

func (s *scripted) ModelStatus(request *pb.ModelStatusRequest, stream grpc.ServerStreamingServer[pb.ModelStatusResponse]) error {
	name := request.GetModel().GetName()
	if name == "" {
		s.count("list", "")
	} else {
		s.count("poll", name)
	}
	s.mu.Lock()
	status := s.status
	s.mu.Unlock()
	all, err := status(name)
	for _, each := range all {
		if err := stream.Send(each); err != nil {
			return err
		}
	}
	return err
}

func (s *scripted) SubscribeModelStatus(_ *pb.ModelSubscriptionRequest, stream grpc.ServerStreamingServer[pb.ModelStatusResponse]) error {
	for {
		select {
		case <-stream.Context().Done():
			return nil
		case event := <-s.events:
			if err := stream.Send(event); err != nil {
				return err
			}
		}
	}
}

func (s *scripted) SubscribeControlPlane(_ *pb.ControlPlaneSubscriptionRequest, stream grpc.ServerStreamingServer[pb.ControlPlaneResponse]) error {
	for marker := range pb.ControlPlaneResponse_Event_name {
		if event := pb.ControlPlaneResponse_Event(marker); !s.closed || event != pb.ControlPlaneResponse_SEND_MODELS {
			if err := stream.Send(&pb.ControlPlaneResponse{Event: event}); err != nil {
				return err
			}
		}
	}
	<-stream.Context().Done()
	return nil
}

func (s *scripted) ServerNotify(context.Context, *pb.ServerNotifyRequest) (*pb.ServerNotifyResponse, error) {
	return &pb.ServerNotifyResponse{}, nil
}

func (s *scripted) SchedulerStatus(context.Context, *pb.SchedulerStatusRequest) (*pb.SchedulerStatusResponse, error) {
	return &pb.SchedulerStatusResponse{}, nil
}

func (s *scripted) PipelineStatus(*pb.PipelineStatusRequest, grpc.ServerStreamingServer[pb.PipelineStatusResponse]) error {
	return nil
}

func (s *scripted) ExperimentStatus(*pb.ExperimentStatusRequest, grpc.ServerStreamingServer[pb.ExperimentStatusResponse]) error {
	return nil
}

func (s *scripted) SubscribePipelineStatus(_ *pb.PipelineSubscriptionRequest, stream grpc.ServerStreamingServer[pb.PipelineStatusResponse]) error {
	<-stream.Context().Done()
	return nil
}

func (s *scripted) SubscribeExperimentStatus(_ *pb.ExperimentSubscriptionRequest, stream grpc.ServerStreamingServer[pb.ExperimentStatusResponse]) error {
	<-stream.Context().Done()
	return nil
}

func (s *scripted) SubscribeServerStatus(_ *pb.ServerSubscriptionRequest, stream grpc.ServerStreamingServer[pb.ServerStatusResponse]) error {
	<-stream.Context().Done()
	return nil
}

// modelStates has the Models of a scripted scheduler. Its methods are safe for
// concurrent use.
type modelStates struct {
	mu     sync.Mutex
	byName map[string]*pb.ModelStatusResponse
}

func newStates(all ...*pb.ModelStatusResponse) *modelStates {
	states := &modelStates{byName: map[string]*pb.ModelStatusResponse{}}
	for _, each := range all {
		states.set(each)
	}
	return states
}

// set sets the state of a Model, and returns it for use as an event.
func (s *modelStates) set(state *pb.ModelStatusResponse) *pb.ModelStatusResponse {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byName[state.GetModelName()] = state
	return state
}

func (s *modelStates) remove(names ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		delete(s.byName, name)
	}
}

// reply returns the reply to a status call, as the real scheduler does.
func (s *modelStates) reply(name string) ([]*pb.ModelStatusResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if name == "" {
		return slices.Collect(maps.Values(s.byName)), nil
	}
	if state := s.byName[name]; state != nil {
		return []*pb.ModelStatusResponse{state}, nil
	}
	return nil, errUnknownModel
}
