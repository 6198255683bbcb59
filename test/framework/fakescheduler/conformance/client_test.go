package conformance

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
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

const (
	subscriber = "seldon manager"
	// quiescence is the time without events after which everything is assumed to be done.
	quiescence = time.Second
	// timeout is for events that must be received.
	timeout = time.Minute
)

// scenario is one test.
type scenario struct {
	name string
	// needs is the feature of the fake that it needs, empty if it runs against any scheduler.
	needs string
	// options are those of the fake.
	options fakescheduler.Options
	play    func(c *client)
}

// client is connected to a scheduler, with all subscriptions that the operator has.
// It records the events of its own objects.
type client struct {
	*testing.T
	ctx context.Context
	rpc pb.SchedulerClient
	// fake is nil for another scheduler.
	fake *fakescheduler.Scheduler
	// prefix of the names of its objects.
	prefix string

	mu          sync.Mutex
	received    int
	markers     []pb.ControlPlaneResponse_Event
	models      []*pb.ModelStatusResponse
	servers     []*pb.ServerStatusResponse
	pipelines   []*pb.PipelineStatusResponse
	experiments []*pb.ExperimentStatusResponse
	ends        map[string]error
}

// run plays scenarios: against the fake each in a bubble, with a clock of its own.
func run(t *testing.T, scenarios []scenario) {
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			if address := os.Getenv("SCHEDULER"); address != "" {
				s.play(connect(t, address, nil))
				return
			}
			synctest.Test(t, func(t *testing.T) { s.play(startFake(t, s.options)) })
		})
	}
}

// startFake starts a fake that listens in memory, and connects to it.
func startFake(t *testing.T, options fakescheduler.Options) *client {
	t.Helper()
	var listener *bufconn.Listener
	options.Listen = func() (net.Listener, error) {
		listener = bufconn.Listen(64 << 10)
		return listener, nil
	}
	fake, err := fakescheduler.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Stop)
	return connect(t, "passthrough:///fake", fake, grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		return listener.DialContext(ctx)
	}))
}

func connect(t *testing.T, address string, fake *fakescheduler.Scheduler, options ...grpc.DialOption) *client {
	t.Helper()
	connection, err := grpc.NewClient(address, append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	return &client{
		T: t, ctx: t.Context(), rpc: pb.NewSchedulerClient(connection), fake: fake,
		prefix: "conformance-" + strings.ToLower(rand.Text()[:8]) + "-", ends: map[string]error{},
	}
}

// open opens the gate, if it is not open, with n replicas of server "s" if there are
// any, and subscribes to everything.
func (c *client) open(replicas uint32) *client {
	c.Helper()
	c.subscribe()
	request := &pb.ServerNotifyRequest{IsFirstSync: true}
	if replicas > 0 {
		request.Servers = append(request.Servers, c.notification(replicas))
	}
	c.must(c.rpc.ServerNotify(c.ctx, request))
	c.eventually("markers", func() bool { return len(c.markers) >= 4 })
	c.settle()
	return c
}

func (c *client) subscribe() {
	c.Helper()
	record(c, "control plane", c.rpc.SubscribeControlPlane, &pb.ControlPlaneSubscriptionRequest{SubscriberName: subscriber},
		func(m *pb.ControlPlaneResponse) { c.markers = append(c.markers, m.GetEvent()) })
	record(c, "models", c.rpc.SubscribeModelStatus, &pb.ModelSubscriptionRequest{SubscriberName: subscriber},
		func(m *pb.ModelStatusResponse) { c.models = keep(c, c.models, m, m.GetModelName()) })
	record(c, "servers", c.rpc.SubscribeServerStatus, &pb.ServerSubscriptionRequest{SubscriberName: subscriber},
		func(m *pb.ServerStatusResponse) { c.servers = keep(c, c.servers, m, m.GetServerName()) })
	record(c, "pipelines", c.rpc.SubscribePipelineStatus, &pb.PipelineSubscriptionRequest{SubscriberName: subscriber},
		func(m *pb.PipelineStatusResponse) { c.pipelines = keep(c, c.pipelines, m, m.GetPipelineName()) })
	record(c, "experiments", c.rpc.SubscribeExperimentStatus, &pb.ExperimentSubscriptionRequest{SubscriberName: subscriber},
		func(m *pb.ExperimentStatusResponse) { c.experiments = keep(c, c.experiments, m, m.GetExperimentName()) })
}

// keep adds an event of an object of ours.
func keep[T any](c *client, to []*T, message *T, name string) []*T {
	if !strings.HasPrefix(name, c.prefix) {
		return to
	}
	c.received++
	return append(to, message)
}

// record receives the messages of a stream, with the mutex held for each.
func record[Q, T any](
	c *client, name string, open func(context.Context, *Q, ...grpc.CallOption) (grpc.ServerStreamingClient[T], error),
	request *Q, receive func(*T),
) {
	c.Helper()
	stream, err := open(c.ctx, request)
	if err != nil {
		c.Fatal(err)
	}
	go func() {
		for {
			message, err := stream.Recv()
			c.mu.Lock()
			if err == nil {
				receive(message)
			} else {
				c.ends[name] = err
			}
			c.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
}

// forget drops the received events.
func (c *client) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.markers, c.models, c.servers, c.pipelines, c.experiments = nil, nil, nil, nil, nil
}

// settle waits until no event was received for the time quiescence.
func (c *client) settle() {
	count := func() int {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.received
	}
	for before := -1; before != count(); {
		before = count()
		time.Sleep(quiescence)
	}
}

// eventually waits for a condition on the received events.
func (c *client) eventually(what string, holds func() bool) {
	c.Helper()
	check := func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return holds()
	}
	for deadline := time.Now().Add(timeout); !check(); time.Sleep(quiescence / 10) {
		if time.Now().After(deadline) {
			c.Fatalf("no %s after %s", what, timeout)
		}
	}
}

// must fails the test on an RPC's error.
func (c *client) must(_ any, err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

// rejected fails the test unless an RPC fails with FailedPrecondition.
func (c *client) rejected(_ any, err error) {
	c.Helper()
	if status.Code(err) != codes.FailedPrecondition {
		c.Fatalf("got %v, want FailedPrecondition", err)
	}
}

// all receives a finite stream to its end.
func all[T any](c *client, stream grpc.ServerStreamingClient[T], err error) []*T {
	c.Helper()
	var found []*T
	for err == nil {
		var message *T
		if message, err = stream.Recv(); err == nil {
			found = append(found, message)
		}
	}
	if !errors.Is(err, io.EOF) {
		c.Fatal(err)
	}
	return found
}

// events settles, and returns the events since the last call as text, repeated ones once.
func events[T any](c *client, of *[]*T, words func(*T) string) []string {
	c.settle()
	c.mu.Lock()
	defer c.mu.Unlock()
	var found []string
	for _, message := range *of {
		found = append(found, words(message))
	}
	*of = nil
	return slices.Compact(found)
}

func (c *client) modelEvents() []string      { return events(c, &c.models, modelWords) }
func (c *client) modelStates() []string      { return events(c, &c.models, modelState) }
func (c *client) pipelineEvents() []string   { return events(c, &c.pipelines, pipelineWords) }
func (c *client) experimentEvents() []string { return events(c, &c.experiments, experimentWords) }
func (c *client) serverEvents() []string     { return events(c, &c.servers, serverWords) }

// modelWords is an event in the notation of the reference sequences: state/gateway's
// state, states of replicas, available and unavailable replicas.
func modelWords(m *pb.ModelStatusResponse) string {
	v := m.GetVersions()[0]
	var replicas []string
	for _, index := range slices.Sorted(maps.Keys(v.GetModelReplicaState())) {
		replicas = append(replicas, v.GetModelReplicaState()[index].GetState().String())
	}
	words := fmt.Sprintf("%s/%s", short(v.GetState().GetState()), short(v.GetState().GetModelGwState()))
	if len(replicas) > 0 {
		words += fmt.Sprintf(" %v", replicas)
	}
	return words + fmt.Sprintf(" A%d U%d", v.GetState().GetAvailableReplicas(), v.GetState().GetUnavailableReplicas())
}

// modelState is the part of the status that does not depend on gateways.
func modelState(m *pb.ModelStatusResponse) string {
	v := m.GetVersions()[0]
	return fmt.Sprintf("v%d g%d %s A%d U%d deleted=%t", v.GetVersion(), v.GetKubernetesMeta().GetGeneration(),
		short(v.GetState().GetState()), v.GetState().GetAvailableReplicas(), v.GetState().GetUnavailableReplicas(), m.GetDeleted())
}

func short(state fmt.Stringer) string {
	return strings.TrimPrefix(strings.TrimPrefix(state.String(), "Model"), "Pipeline")
}

func pipelineWords(p *pb.PipelineStatusResponse) string {
	v := p.GetVersions()[0]
	return fmt.Sprintf("v%d g%d %s/%s", v.GetState().GetPipelineVersion(), v.GetPipeline().GetKubernetesMeta().GetGeneration(),
		short(v.GetState().GetStatus()), short(v.GetState().GetPipelineGwStatus()))
}

func experimentWords(e *pb.ExperimentStatusResponse) string {
	return fmt.Sprintf("active=%t candidates=%t mirror=%t", e.GetActive(), e.GetCandidatesReady(), e.GetMirrorReady())
}

func serverWords(s *pb.ServerStatusResponse) string {
	return fmt.Sprintf("%s expected=%d available=%d loaded=%d g%d",
		s.GetType(), s.GetExpectedReplicas(), s.GetAvailableReplicas(), s.GetNumLoadedModelReplicas(), s.GetKubernetesMeta().GetGeneration())
}

// inOrder fails the test unless the expected events are among those received, in that
// order.
func (c *client) inOrder(got []string, want ...string) {
	c.Helper()
	at := 0
	for _, event := range got {
		if at < len(want) && event == want[at] {
			at++
		}
	}
	if at < len(want) {
		c.Fatalf("no %q at its place in\n\t%s", want[at], strings.Join(got, "\n\t"))
	}
}

// exactly fails the test unless these events came and no other.
func (c *client) exactly(got []string, want ...string) {
	c.Helper()
	if !slices.Equal(got, want) {
		c.Fatalf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}
