package fakescheduler_test

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
)

// harness is a fake in a synctest bubble, with a client over an in-memory network.
// No goroutine may be left at the end of the bubble.
type harness struct {
	*testing.T
	*fakescheduler.Scheduler
	client pb.SchedulerClient
}

func inBubble(t *testing.T, test func(h harness)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var listener *bufconn.Listener
		fake, err := fakescheduler.Start(t.Context(), fakescheduler.Options{Listen: func() (net.Listener, error) {
			listener = bufconn.Listen(1 << 16)
			return listener, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		connection, err := grpc.NewClient("passthrough:///fake", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			fake.Stop()
			_ = connection.Close()
		})
		test(harness{t, fake, pb.NewSchedulerClient(connection)})
	})
}

func (h harness) call(ctx context.Context) codes.Code {
	_, err := h.client.SchedulerStatus(ctx, &pb.SchedulerStatusRequest{})
	return status.Code(err)
}

func (h harness) load(name string) codes.Code {
	_, err := h.client.LoadModel(h.Context(), &pb.LoadModelRequest{Model: &pb.Model{
		Meta:           &pb.MetaData{Name: name, KubernetesMeta: &pb.KubernetesMeta{Namespace: "n", Generation: 3}},
		DeploymentSpec: &pb.DeploymentSpec{Replicas: 1},
	}})
	return status.Code(err)
}

func (h harness) notify(replicas uint32) {
	h.Helper()
	if _, err := h.client.ServerNotify(h.Context(), &pb.ServerNotifyRequest{
		IsFirstSync: true, Servers: []*pb.ServerNotify{{Name: "s", ExpectedReplicas: replicas}},
	}); err != nil {
		h.Fatal(err)
	}
}

func (h harness) subscribe(ctx context.Context) grpc.ServerStreamingClient[pb.ModelStatusResponse] {
	h.Helper()
	stream, err := h.client.SubscribeModelStatus(ctx, &pb.ModelSubscriptionRequest{SubscriberName: "test"})
	if err != nil {
		h.Fatal(err)
	}
	return stream
}

// A session's whole life in a bubble.
func TestRunsInABubble(t *testing.T) {
	inBubble(t, func(h harness) {
		stream := h.subscribe(h.Context())
		h.notify(1)
		h.load("m")
		for {
			message, err := stream.Recv()
			if err != nil {
				h.Fatal(err)
			}
			if message.GetVersions()[0].GetState().GetState() == pb.ModelStatus_ModelAvailable {
				break
			}
		}
		h.Stop()
		err := error(nil)
		for err == nil {
			_, err = stream.Recv()
		}
		if !errors.Is(err, io.EOF) {
			h.Errorf("after Stop the stream ends with %v", err)
		}
	})
}

func TestKillBreaksStreamsAndCalls(t *testing.T) {
	inBubble(t, func(h harness) {
		h.notify(0)
		stream := h.subscribe(h.Context())
		h.HangCalls("SchedulerStatus")
		codesReceived := make(chan codes.Code)
		go func() { codesReceived <- h.call(h.Context()) }()
		synctest.Wait()
		h.Kill()
		if _, err := stream.Recv(); errors.Is(err, io.EOF) || err == nil {
			h.Errorf("the stream ends with %v", err)
		}
		if got := <-codesReceived; got != codes.Unavailable {
			h.Errorf("a call that hangs ends with %s", got)
		}
		if subscribers := h.Subscribers("SubscribeModelStatus"); len(subscribers) != 0 {
			h.Errorf("%v are still subscribed", subscribers)
		}
		if err := h.InjectModelStatus(&pb.ModelStatusResponse{}); err == nil {
			h.Error("events come from a scheduler that is down")
		}
	})
}

func TestCallsFail(t *testing.T) {
	inBubble(t, func(h harness) {
		h.FailCalls("SchedulerStatus", 2, codes.Unavailable)
		for _, want := range []codes.Code{codes.Unavailable, codes.Unavailable, codes.OK} {
			if got := h.call(h.Context()); got != want {
				h.Errorf("got %s, want %s", got, want)
			}
		}
		h.FailCalls("LoadModel", 1, codes.Internal)
		h.LoseReplies("LoadModel", 1, codes.Unavailable)
		for i, want := range []codes.Code{codes.Internal, codes.Unavailable, codes.OK} {
			if got := h.load("m"); got != want || len(h.Models()) != min(i, 1) {
				h.Errorf("load %d: %s, want %s; there are %v", i, got, want, h.Models())
			}
		}
		h.FailCalls("SubscribeModelStatus", 1, codes.Unimplemented)
		if _, err := h.subscribe(h.Context()).Recv(); status.Code(err) != codes.Unimplemented {
			h.Errorf("a stream ends with %v", err)
		}
		defer func() {
			if recover() == nil {
				h.Error("a method that does not exist can be made to fail")
			}
		}()
		h.FailCalls("LoadModels", 1, codes.Internal)
	})
}

func TestCallsAreSlowOrHang(t *testing.T) {
	inBubble(t, func(h harness) {
		release := h.HangCalls("SchedulerStatus")
		ctx, cancel := context.WithTimeout(h.Context(), time.Second)
		defer cancel()
		if got := h.call(ctx); got != codes.DeadlineExceeded {
			h.Errorf("a call that hangs ends with %s", got)
		}
		codesReceived := make(chan codes.Code)
		for range 5 {
			go func() { codesReceived <- h.call(h.Context()) }()
		}
		synctest.Wait()
		release()
		release()
		for range 5 {
			if got := <-codesReceived; got != codes.OK {
				h.Errorf("a call that was released ends with %s", got)
			}
		}
		if got := h.MostConcurrentCalls(); got != 5 {
			h.Errorf("%d calls were concurrent", got)
		}

		h.notify(0)
		h.DelayCalls("SubscribeModelStatus", time.Second)
		begun, stream := time.Now(), h.subscribe(h.Context())
		for range 2 {
			h.load("m")
			if _, err := stream.Recv(); err != nil {
				h.Fatal(err)
			}
		}
		if took := time.Since(begun); took != 3*time.Second {
			h.Errorf("the stream and two messages took %s", took)
		}
	})
}

func TestStreamsEnd(t *testing.T) {
	inBubble(t, func(h harness) {
		h.notify(0)
		models := h.subscribe(h.Context())
		servers, err := h.client.SubscribeServerStatus(h.Context(), &pb.ServerSubscriptionRequest{SubscriberName: "test"})
		if err != nil {
			h.Fatal(err)
		}
		synctest.Wait()
		h.EndStreams("SubscribeModelStatus")
		if _, err := models.Recv(); !errors.Is(err, io.EOF) {
			h.Errorf("the stream of models ends with %v", err)
		}
		if n := h.Subscribers("SubscribeServerStatus")["test"]; n != 1 {
			h.Errorf("%d streams of servers are open", n)
		}
		h.EndStreams()
		for err == nil {
			_, err = servers.Recv()
		}
		if !errors.Is(err, io.EOF) {
			h.Errorf("the stream of servers ends with %v", err)
		}
	})
}

func TestCounts(t *testing.T) {
	inBubble(t, func(h harness) {
		h.notify(0)
		h.load("m")
		h.load("m")
		h.load("Invalid")
		by := h.CallsBy()
		for key, want := range map[fakescheduler.CallKey]int{
			{Method: "LoadModel", Name: "m", Generation: 3}:       2,
			{Method: "LoadModel", Name: "Invalid", Generation: 3}: 1,
			{Method: "ServerNotify", Name: "s"}:                   1,
		} {
			if by[key] != want {
				h.Errorf("%d calls of %v, want %d", by[key], key, want)
			}
		}
		if n := h.Calls("LoadModel"); n != 3 {
			h.Errorf("%d loads", n)
		}
		if accepted, open := h.Connections(); accepted != 1 || open != 1 {
			h.Errorf("%d connections, %d open", accepted, open)
		}
		h.ResetCounters()
		if n := h.Calls("LoadModel"); n != 0 || len(h.CallsBy()) != 0 {
			h.Errorf("%d loads after a reset", n)
		}
	})
}

func TestInjectedEvents(t *testing.T) {
	inBubble(t, func(h harness) {
		h.notify(1)
		models := h.subscribe(h.Context())
		markers, err := h.client.SubscribeControlPlane(h.Context(), &pb.ControlPlaneSubscriptionRequest{SubscriberName: "test"})
		if err != nil {
			h.Fatal(err)
		}
		servers, err := h.client.SubscribeServerStatus(h.Context(), &pb.ServerSubscriptionRequest{SubscriberName: "test"})
		if err != nil {
			h.Fatal(err)
		}
		synctest.Wait()
		if err := errors.Join(
			h.InjectModelStatus(&pb.ModelStatusResponse{ModelName: "unknown"}),
			h.InjectControlPlane(99),
			h.RequestScaling("s", -1), h.RequestScalingAt("s", 7, 5),
		); err != nil {
			h.Fatal(err)
		}
		if m, err := models.Recv(); m.GetModelName() != "unknown" {
			h.Errorf("of models came %v, %v", m, err)
		}
		for range 4 {
			_, err = markers.Recv()
		}
		if m, _ := markers.Recv(); m.GetEvent() != 99 {
			h.Errorf("the marker is %v, %v", m, err)
		}
		_, err = servers.Recv()
		first, _ := servers.Recv()
		second, _ := servers.Recv()
		if first.GetExpectedReplicas() != -1 || second.GetExpectedReplicas() != 7 || second.GetKubernetesMeta().GetGeneration() != 5 {
			h.Errorf("requests are %v, %v, %v", first, second, err)
		}
	})
}

func TestHeldGate(t *testing.T) {
	inBubble(t, func(h harness) {
		h.HoldGate()
		h.notify(0)
		time.Sleep(10 * time.Minute)
		if h.GateOpen() {
			h.Error("a held gate is open")
		}
		h.ReleaseGate()
		if !h.GateOpen() {
			h.Error("the gate stays closed")
		}
		h.HoldGate()
		if err := h.Restart(fakescheduler.RestartOptions{}); err != nil {
			h.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		if h.GateOpen() {
			h.Error("the gate is not held over a restart")
		}
		if err := h.OpenGate(); err != nil || !h.GateOpen() {
			h.Errorf("a held gate cannot be opened: %v", err)
		}
	})
}

// A process with the same state file has the same pipelines and experiments, on a
// socket that a killed process left behind.
func TestStateFile(t *testing.T) {
	folder := t.TempDir()
	options := fakescheduler.Options{Address: "unix:" + filepath.Join(folder, "s.sock"), StateFile: filepath.Join(folder, "state.json")}
	for attempt := range 2 {
		fake, err := fakescheduler.Start(t.Context(), options)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(fake.Pipelines()) + len(fake.Experiments()); n != 2*attempt {
			t.Fatalf("%d objects at start %d", n, attempt)
		}
		connection, err := grpc.NewClient(fake.Address(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		client := pb.NewSchedulerClient(connection)
		_, loaded := client.LoadPipeline(t.Context(), &pb.LoadPipelineRequest{Pipeline: &pb.Pipeline{Name: "p", Steps: []*pb.PipelineStep{{Name: "a"}}}})
		_, started := client.StartExperiment(t.Context(), &pb.StartExperimentRequest{Experiment: &pb.Experiment{Name: "e", Candidates: []*pb.ExperimentCandidate{{Name: "a"}}}})
		if err := errors.Join(loaded, started, connection.Close()); err != nil {
			t.Fatal(err)
		}
		fake.Stop()
	}
}

// Messages that a client rejects need no control of their own: one beyond its
// limit, and one with bytes that are no valid name.
func TestMessagesThatClientsReject(t *testing.T) {
	inBubble(t, func(h harness) {
		h.notify(0)
		undecodable := &pb.ModelStatusResponse{}
		undecodable.ProtoReflect().SetUnknown([]byte{1<<3 | 2, 1, 0xff})
		for want, message := range map[codes.Code]*pb.ModelStatusResponse{
			codes.ResourceExhausted: {ModelName: strings.Repeat("x", 17<<20)},
			codes.Internal:          undecodable,
		} {
			stream := h.subscribe(h.Context())
			synctest.Wait()
			if err := h.InjectModelStatus(message); err != nil {
				h.Fatal(err)
			}
			if _, err := stream.Recv(); status.Code(err) != want {
				h.Errorf("got %v, want %s", err, want)
			}
		}
	})
}
