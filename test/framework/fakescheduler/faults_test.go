package fakescheduler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// call is a harmless RPC.
func (h *harness) call(ctx context.Context) codes.Code {
	_, err := h.client.SchedulerStatus(ctx, &pb.SchedulerStatusRequest{})
	return status.Code(err)
}

func TestCallsFail(t *testing.T) {
	h := start(t, Options{})
	h.sim.FailCalls("SchedulerStatus", 2, codes.Unavailable)
	for _, want := range []codes.Code{codes.Unavailable, codes.Unavailable, codes.OK} {
		if got := h.call(h.ctx); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	h.sim.FailCalls("SchedulerStatus", -1, codes.DeadlineExceeded)
	for range 3 {
		if got := h.call(h.ctx); got != codes.DeadlineExceeded {
			t.Errorf("got %s", got)
		}
	}
	h.sim.FailCalls("SchedulerStatus", 0, codes.OK)
	if got := h.call(h.ctx); got != codes.OK {
		t.Errorf("got %s", got)
	}

	h.sim.FailCalls("LoadModel", 1, codes.Internal)
	if _, err := h.client.LoadModel(h.ctx, &pb.LoadModelRequest{Model: testModel("m", 1, nil)}); status.Code(err) != codes.Internal {
		t.Errorf("got %v", err)
	}
	if left := h.sim.Models(); len(left) != 0 {
		t.Errorf("a call that failed had the effect %v", left)
	}
	h.sim.LoseAnswers("LoadModel", 1, codes.Unavailable)
	if _, err := h.client.LoadModel(h.ctx, &pb.LoadModelRequest{Model: testModel("m", 1, nil)}); status.Code(err) != codes.Unavailable {
		t.Errorf("got %v", err)
	}
	if left := h.sim.Models(); len(left) != 1 {
		t.Errorf("a call whose answer was lost had the effect %v", left)
	}

	h.sim.FailCalls("SubscribeServerStatus", 1, codes.Unimplemented)
	stream, err := h.client.SubscribeServerStatus(h.ctx, &pb.ServerSubscriptionRequest{})
	h.must(stream, err)
	if _, err := stream.Recv(); status.Code(err) != codes.Unimplemented {
		t.Errorf("got %v", err)
	}

	defer func() {
		if recover() == nil {
			t.Error("a method that does not exist can be made to fail")
		}
	}()
	h.sim.FailCalls("LoadModels", 1, codes.Internal)
}

func TestCallsHangAndAreSlow(t *testing.T) {
	h := start(t, Options{})
	release := h.sim.HangCalls("SchedulerStatus")
	ctx, cancel := context.WithTimeout(h.ctx, 20*time.Millisecond)
	defer cancel()
	if got := h.call(ctx); got != codes.DeadlineExceeded {
		t.Errorf("got %s", got)
	}
	var calls sync.WaitGroup
	for range 5 {
		calls.Go(func() {
			if got := h.call(h.ctx); got != codes.OK {
				t.Errorf("got %s", got)
			}
		})
	}
	h.eventually("concurrent calls", func() bool { return h.sim.MostConcurrentCalls() >= 5 })
	release()
	release()
	calls.Wait()

	h.sim.DelayCalls("SchedulerStatus", 30*time.Millisecond)
	began := time.Now()
	h.call(h.ctx)
	h.sim.DelayCalls("SchedulerStatus", 0)
	h.sim.SetDelays(Delays{Answer: 30 * time.Millisecond})
	h.call(h.ctx)
	if took := time.Since(began); took < 60*time.Millisecond {
		t.Errorf("delayed by %s", took)
	}
}

func TestConnectionsAreRefused(t *testing.T) {
	h := start(t, Options{})
	h.sim.RefuseConnections(2)
	h.eventually("answer", func() bool {
		h.dial()
		return h.call(h.ctx) == codes.OK
	})
	if accepted, _ := h.sim.Connections(); accepted < 3 {
		t.Errorf("%d connections came in", accepted)
	}
	h.sim.Kill()
	if c, err := (&net.Dialer{}).DialContext(h.ctx, "tcp", h.sim.Address()); err == nil {
		_ = c.Close()
		t.Error("connected to what is down")
	}
	h.must(nil, h.sim.Restart(RestartOptions{}))
	h.dial()
	if got := h.call(h.ctx); got != codes.OK {
		t.Errorf("got %s", got)
	}
}

func TestFreeze(t *testing.T) {
	h := open(t, Options{}, 1)
	h.sim.Freeze()
	ctx, cancel := context.WithTimeout(h.ctx, 50*time.Millisecond)
	defer cancel()
	if got := h.call(ctx); got != codes.DeadlineExceeded {
		t.Errorf("got %s", got)
	}
	h.must(nil, h.sim.InjectModelStatus(&pb.ModelStatusResponse{ModelName: "late"}))
	ctx, cancel = context.WithTimeout(h.ctx, 50*time.Millisecond)
	defer cancel()
	if got := h.call(ctx); got != codes.DeadlineExceeded {
		t.Errorf("got %s", got)
	}
	if n := h.models.count(); n != 0 {
		t.Errorf("%d messages from a frozen connection", n)
	}
	h.sim.Thaw()
	if got := h.call(h.ctx); got != codes.OK {
		t.Errorf("got %s", got)
	}
	h.eventually("late message", func() bool { return h.models.count() == 1 })
}

func TestBlackHole(t *testing.T) {
	hole, err := NewBlackHole(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	connection, err := grpc.NewClient(hole.Address(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = pb.NewSchedulerClient(connection).SchedulerStatus(ctx, &pb.SchedulerStatusRequest{})
	if status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("got %v", err)
	}
	eventually(t, "connection", func() bool { return hole.Connections() > 0 })
	hole.Close()
}

// A client that does not read is cut off, and holds nobody up until then.
func TestSlowSubscriber(t *testing.T) {
	h := open(t, Options{SendTimeout: time.Second}, 1)
	// A window of its own that does not grow.
	h.dial(grpc.WithStaticStreamWindowSize(1 << 16))
	slow, err := h.client.SubscribeModelStatus(h.ctx, &pb.ModelSubscriptionRequest{SubscriberName: "slow"})
	h.must(slow, err)
	h.eventually("subscriber", func() bool { return h.sim.Subscribers("SubscribeModelStatus")["slow"] == 1 })
	large := strings.Repeat("x", 1<<15)
	for i := range 20 {
		h.must(nil, h.sim.InjectModelStatus(&pb.ModelStatusResponse{ModelName: fmt.Sprint("m", i), Versions: []*pb.ModelVersionStatus{{ServerName: large}}}))
	}
	h.load("m", 1, nil)
	h.settle()
	if got := len(h.models.take()); got < 20 {
		t.Errorf("the other subscriber got %d messages", got)
	}
	h.eventually("end of the slow stream", func() bool { return h.sim.Subscribers("SubscribeModelStatus")["slow"] == 0 })
	received := 0
	for {
		if _, err = slow.Recv(); err != nil {
			break
		}
		received++
	}
	if !errors.Is(err, io.EOF) || received == 20 {
		t.Errorf("it got %d messages, then %v", received, err)
	}
}

func TestInjectedEvents(t *testing.T) {
	h := open(t, Options{}, 1)
	for _, message := range []*pb.ModelStatusResponse{
		{ModelName: "no versions"},
		{ModelName: "no state", Versions: []*pb.ModelVersionStatus{{}}},
		{ModelName: "unknown state", Versions: []*pb.ModelVersionStatus{{State: &pb.ModelStatus{State: 77}}}},
		{ModelName: "unknown state", Versions: []*pb.ModelVersionStatus{{State: &pb.ModelStatus{State: 77}}}},
	} {
		h.must(nil, h.sim.InjectModelStatus(message))
	}
	h.awaitMarkers()
	h.must(nil, h.sim.InjectControlPlane(pb.ControlPlaneResponse_Event(99)))
	h.settle()
	if got := h.models.take(); len(got) != 4 || got[3].GetVersions()[0].GetState().GetState() != 77 {
		t.Errorf("got %v", got)
	}
	h.eventually("marker", func() bool {
		for _, marker := range h.markers.take() {
			if marker.GetEvent() == 99 {
				return true
			}
		}
		return false
	})
	h.sim.Kill()
	if err := h.sim.InjectModelStatus(&pb.ModelStatusResponse{}); err == nil {
		t.Error("events come from what is down")
	}
}

func TestCounters(t *testing.T) {
	var mu sync.Mutex
	var calls []Call
	h := open(t, Options{OnCall: func(c Call) {
		mu.Lock()
		defer mu.Unlock()
		calls = append(calls, c)
	}}, 2)
	h.load("m", 3, nil)
	h.load("m", 3, nil)
	h.unload("m", 4)
	h.refused(h.client.UnloadPipeline(h.ctx, &pb.UnloadPipelineRequest{Name: "p"}))
	by := h.sim.CallsBy()
	for key, want := range map[CallKey]int{
		{"LoadModel", "m", 3}:                     2,
		{"UnloadModel", "m", 4}:                   1,
		{"UnloadPipeline", "p", 0}:                1,
		{"ServerNotify", "s", 1}:                  1,
		{"SubscribeModelStatus", subscriber, 0}:   1,
		{"SubscribeControlPlane", subscriber, 0}:  1,
		{"SubscribePipelineStatus", "another", 0}: 0,
	} {
		if by[key] != want {
			t.Errorf("%v: %d, want %d", key, by[key], want)
		}
	}
	if n := h.sim.Calls("LoadModel"); n != 2 {
		t.Errorf("%d loads", n)
	}
	if got := h.sim.Subscribers("SubscribeModelStatus"); len(got) != 1 || got[subscriber] != 1 {
		t.Errorf("subscribers %v", got)
	}
	if accepted, open := h.sim.Connections(); accepted != 1 || open != 1 {
		t.Errorf("%d connections, %d open", accepted, open)
	}
	mu.Lock()
	last := calls[len(calls)-1]
	mu.Unlock()
	if request, ok := last.Request.(*pb.UnloadPipelineRequest); !ok || request.GetName() != "p" || last.Code != codes.FailedPrecondition {
		t.Errorf("the last call is %+v", last)
	}
	h.sim.ResetCounters()
	if n := h.sim.Calls("LoadModel"); n != 0 || len(h.sim.CallsBy()) != 0 || h.sim.MostConcurrentCalls() != 0 {
		t.Errorf("%d loads after a reset", n)
	}
}
