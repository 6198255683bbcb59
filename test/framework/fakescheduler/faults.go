package fakescheduler

import (
	"context"
	"fmt"
	"path"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// faults are the injected failures of RPCs, by method.
type faults struct {
	mu sync.Mutex
	// before and after are the errors of the next calls, instead of their effect and
	// after it.
	before, after map[string]*errorOfCalls
	delays        map[string]time.Duration
	hangs         map[string]chan struct{}
}

// errorOfCalls is an error of the next calls; negative is all of them.
type errorOfCalls struct {
	times int
	code  codes.Code
}

func newFaults() *faults {
	return &faults{
		before: map[string]*errorOfCalls{}, after: map[string]*errorOfCalls{},
		delays: map[string]time.Duration{}, hangs: map[string]chan struct{}{},
	}
}

// methodOf returns an RPC's name without its service.
func methodOf(fullMethod string) string { return path.Base(fullMethod) }

// Methods returns the names of the service's RPCs.
func Methods() []string {
	var names []string
	for _, m := range pb.Scheduler_ServiceDesc.Methods {
		names = append(names, m.MethodName)
	}
	for _, s := range pb.Scheduler_ServiceDesc.Streams {
		names = append(names, s.StreamName)
	}
	return names
}

// mustExist panics if there is no such method: a fault of it would never occur.
func mustExist(method string) {
	if !slices.Contains(Methods(), method) {
		panic(fmt.Sprintf("fakescheduler: the scheduler has no RPC %q", method))
	}
}

// next returns the error of the next call, nil if it is not to fail.
func (f *faults) next(from map[string]*errorOfCalls, method string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	next := from[method]
	if next == nil {
		return nil
	}
	if next.times--; next.times == 0 {
		delete(from, method)
	}
	return status.Errorf(next.code, "%s fails on request", method)
}

func (f *faults) set(in map[string]*errorOfCalls, method string, times int, code codes.Code) {
	mustExist(method)
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(in, method)
	if times != 0 {
		in[method] = &errorOfCalls{times, code}
	}
}

// apply hangs, delays and fails a call before it has any effect.
func (f *faults) apply(ctx context.Context, method string) error {
	f.mu.Lock()
	hang := f.hangs[method]
	f.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
	}
	if err := f.delay(ctx, method); err != nil {
		return err
	}
	return f.next(f.before, method)
}

func (f *faults) delay(ctx context.Context, method string) error {
	f.mu.Lock()
	delay := f.delays[method]
	f.mu.Unlock()
	if delay == 0 {
		return nil
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}

// FailCalls fails the next calls of a method with a code, without effect. A negative
// number fails all of them, 0 ends it. The method is the RPC's name, such as
// "LoadModel"; this and the methods below panic if there is no such method.
func (s *Scheduler) FailCalls(method string, times int, code codes.Code) {
	s.faults.set(s.faults.before, method, times, code)
}

// LoseReplies fails the next unary calls of a method with a code after they had
// their effect, as if the response had been lost.
func (s *Scheduler) LoseReplies(method string, times int, code codes.Code) {
	s.faults.set(s.faults.after, method, times, code)
}

// DelayCalls delays every call of a method before its effect, and every message of
// its streams; 0 ends it.
func (s *Scheduler) DelayCalls(method string, delay time.Duration) {
	mustExist(method)
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.delays[method] = delay
}

// HangCalls makes the calls of a method hang before their effect until release is
// called, their context ends or the scheduler stops. Release may be called again.
func (s *Scheduler) HangCalls(method string) (release func()) {
	mustExist(method)
	hang := make(chan struct{})
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.hangs[method] = hang
	return sync.OnceFunc(func() {
		s.faults.mu.Lock()
		defer s.faults.mu.Unlock()
		if s.faults.hangs[method] == hang {
			delete(s.faults.hangs, method)
		}
		close(hang)
	})
}

// EndStreams ends the open streams of these methods, of all without one, with EOF.
func (s *Scheduler) EndStreams(methods ...string) {
	for _, method := range methods {
		mustExist(method)
	}
	s.calls.mu.Lock()
	defer s.calls.mu.Unlock()
	for o := range s.calls.streams {
		if len(methods) == 0 || slices.Contains(methods, o.method) {
			o.end()
		}
	}
}

// FailModel makes agents fail the next loads of a model. A negative number fails all
// of them, 0 ends it, as in the methods below.
func (s *Scheduler) FailModel(name string, times int) { s.fail(failLoad, name, times) }

// FailModelUnload makes agents fail the next unloads of a model.
func (s *Scheduler) FailModelUnload(name string, times int) { s.fail(failUnload, name, times) }

// FailPipelineGateway makes the pipeline gateway fail to create or delete a pipeline.
// It tries again after a minute.
func (s *Scheduler) FailPipelineGateway(name string, times int) {
	s.fail(failPipelineGateway, name, times)
}

func (s *Scheduler) fail(operation, name string, times int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.actors.failures[failure{operation, name}] = times
}

// The Inject methods send a message to all subscribers of its kind: with fields that
// are missing, values that do not exist, other namespaces, old generations, repeats.
// The message must not be changed any more. Errors: the scheduler is down.

// InjectModelStatus sends a message to the subscribers of models.
func (s *Scheduler) InjectModelStatus(message *pb.ModelStatusResponse) error {
	return s.withState(func(s *state) { s.modelEvents.send(message) })
}

// InjectPipelineStatus sends a message to the subscribers of pipelines.
func (s *Scheduler) InjectPipelineStatus(message *pb.PipelineStatusResponse) error {
	return s.withState(func(s *state) { s.pipelineEvents.send(message) })
}

// InjectExperimentStatus sends a message to the subscribers of experiments.
func (s *Scheduler) InjectExperimentStatus(message *pb.ExperimentStatusResponse) error {
	return s.withState(func(s *state) { s.experimentEvents.send(message) })
}

// InjectServerStatus sends a message to the subscribers of servers.
func (s *Scheduler) InjectServerStatus(message *pb.ServerStatusResponse) error {
	return s.withState(func(s *state) { s.serverEvents.send(message) })
}

// InjectControlPlane sends a marker to the control plane's streams that are past the
// gate.
func (s *Scheduler) InjectControlPlane(event pb.ControlPlaneResponse_Event) error {
	return s.withState(func(s *state) { s.markers.send(&pb.ControlPlaneResponse{Event: event}) })
}

// RequestScaling sends a scaling request for a server, with the metadata that it was
// notified with, or without any if it is unknown. Any number is sent, also -1. Errors:
// the scheduler is down.
func (s *Scheduler) RequestScaling(server string, replicas int32) error {
	return s.withState(func(s *state) { s.requestScaling(s.known(server), replicas) })
}

// RequestScalingAt does so with another generation.
func (s *Scheduler) RequestScalingAt(server string, replicas int32, generation int64) error {
	return s.withState(func(s *state) {
		at := *s.known(server)
		at.meta = &pb.KubernetesMeta{Namespace: at.meta.GetNamespace(), Generation: generation}
		s.requestScaling(&at, replicas)
	})
}

// known returns a server, without metadata if it is unknown.
func (s *state) known(name string) *server {
	if srv := s.servers[name]; srv != nil {
		return srv
	}
	return &server{name: name}
}
