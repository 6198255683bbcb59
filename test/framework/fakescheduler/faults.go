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

// faults are what is to go wrong with RPCs, by method. They outlive restarts.
type faults struct {
	mu     sync.Mutex
	before map[string]*failing
	after  map[string]*failing
	delays map[string]time.Duration
	hangs  map[string]chan struct{}
}

// failing is an error for the next calls; negative is all of them.
type failing struct {
	times int
	code  codes.Code
}

func newFaults() *faults {
	return &faults{
		before: map[string]*failing{},
		after:  map[string]*failing{},
		delays: map[string]time.Duration{},
		hangs:  map[string]chan struct{}{},
	}
}

// methodOf is the name of an RPC without its service.
func methodOf(fullMethod string) string { return path.Base(fullMethod) }

// mustKnow panics on a method that does not exist: a fault on it would be none.
func mustKnow(method string) {
	if slices.Contains(Methods(), method) {
		return
	}
	panic(fmt.Sprintf("fakescheduler: the scheduler has no RPC %q", method))
}

// take is the error of the next call, if it is to fail.
func (f *faults) take(from map[string]*failing, method string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	next := from[method]
	if next == nil {
		return nil
	}
	if next.times--; next.times == 0 {
		delete(from, method)
	}
	return status.Errorf(next.code, "%s is made to fail", method)
}

func (f *faults) set(in map[string]*failing, method string, times int, code codes.Code) {
	mustKnow(method)
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(in, method)
	if times != 0 {
		in[method] = &failing{times: times, code: code}
	}
}

// obstruct hangs, delays and fails a call before it has any effect.
func (f *faults) obstruct(ctx context.Context, ending <-chan struct{}, method string, delay time.Duration) error {
	f.mu.Lock()
	hang := f.hangs[method]
	delay += f.delays[method]
	f.mu.Unlock()
	if hang != nil {
		if err := pause(ctx, ending, hang); err != nil {
			return err
		}
	}
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		if err := pause(ctx, ending, timer.C); err != nil {
			return err
		}
	}
	return f.take(f.before, method)
}

// pause waits for an event, unless the call or the run ends before.
func pause[T any](ctx context.Context, ending <-chan struct{}, event <-chan T) error {
	select {
	case <-event:
		return nil
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	case <-ending:
		return status.Error(codes.Unavailable, "the scheduler is stopping")
	}
}

// FailCalls makes the next calls of a method fail with a code, without effect. A
// negative number is all of them, 0 ends it. The method is the RPC's name, such as
// "LoadModel"; an unknown one panics, here and in the methods below.
func (s *Scheduler) FailCalls(method string, times int, code codes.Code) {
	s.faults.set(s.faults.before, method, times, code)
}

// LoseAnswers lets the next unary calls of a method have their effect and then
// fail with a code, as if the answer had got lost.
func (s *Scheduler) LoseAnswers(method string, times int, code codes.Code) {
	s.faults.set(s.faults.after, method, times, code)
}

// DelayCalls delays every call of a method before its effect; 0 ends it.
func (s *Scheduler) DelayCalls(method string, delay time.Duration) {
	mustKnow(method)
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.delays[method] = delay
}

// HangCalls makes calls of a method hang before their effect until release is
// called, their context ends or the scheduler stops. Release may be called again.
func (s *Scheduler) HangCalls(method string) (release func()) {
	mustKnow(method)
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

// EndStreams ends all streams that are open, with EOF.
func (s *Scheduler) EndStreams() {
	if r := s.current(); r != nil {
		r.endStreams()
	}
}

// RefuseConnections closes the next connections as soon as they are accepted. For
// connections that the system refuses, see Kill.
func (s *Scheduler) RefuseConnections(times int) {
	s.traffic.mu.Lock()
	defer s.traffic.mu.Unlock()
	s.traffic.refuse = times
}

// Freeze makes every connection half-open: it stays, new ones are accepted, and
// nothing is read or written any more, until Thaw.
func (s *Scheduler) Freeze() { s.traffic.freeze() }

// Thaw ends Freeze; what was held back goes on.
func (s *Scheduler) Thaw() { s.traffic.thaw() }

// FailModel makes agents fail to load a model so many times; negative is always, 0
// ends it.
func (s *Scheduler) FailModel(name string, times int) { s.fail(failLoad, name, times) }

// FailModelUnload makes agents fail to unload a model.
func (s *Scheduler) FailModelUnload(name string, times int) { s.fail(failUnload, name, times) }

// FailModelGateway makes model gateways fail at a model, creating or deleting.
func (s *Scheduler) FailModelGateway(name string, times int) {
	s.fail(string(modelGateways), name, times)
}

// FailPipelineGateway makes pipeline gateways fail at a pipeline.
func (s *Scheduler) FailPipelineGateway(name string, times int) {
	s.fail(string(pipelineGateways), name, times)
}

// FailDataflowEngine makes dataflow engines fail at a pipeline.
func (s *Scheduler) FailDataflowEngine(name string, times int) {
	s.fail(string(dataflowEngines), name, times)
}

func (s *Scheduler) fail(what, item string, times int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fleet.failures[failure{what, item}] = times
}

// Methods are the names of the service's RPCs, sorted.
func Methods() []string {
	var names []string
	for _, m := range pb.Scheduler_ServiceDesc.Methods {
		names = append(names, m.MethodName)
	}
	for _, s := range pb.Scheduler_ServiceDesc.Streams {
		names = append(names, s.StreamName)
	}
	slices.Sort(names)
	return names
}
