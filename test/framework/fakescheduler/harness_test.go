package fakescheduler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// patience bounds every wait of a test.
const patience = 20 * time.Second

// harness is a simulator, a client and what the client's subscriptions brought.
type harness struct {
	t      *testing.T
	ctx    context.Context
	sim    *Scheduler
	client pb.SchedulerClient
	// connection is what client uses.
	connection  *grpc.ClientConn
	credentials credentials.TransportCredentials

	models      *recorder[pb.ModelStatusResponse]
	servers     *recorder[pb.ServerStatusResponse]
	pipelines   *recorder[pb.PipelineStatusResponse]
	experiments *recorder[pb.ExperimentStatusResponse]
	markers     *recorder[pb.ControlPlaneResponse]
	// marks is how many messages of our own were sent to each subscription but the
	// control plane's.
	marks int
}

// start starts a simulator and connects to it.
func start(t *testing.T, options Options) *harness {
	t.Helper()
	sim, err := Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Stop)
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	t.Cleanup(cancel)
	h := &harness{t: t, ctx: ctx, sim: sim, credentials: insecure.NewCredentials()}
	h.dial()
	return h
}

// dial connects anew.
func (h *harness) dial(options ...grpc.DialOption) {
	h.t.Helper()
	options = append(options, grpc.WithTransportCredentials(h.credentials))
	connection, err := grpc.NewClient(h.sim.Address(), options...)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = connection.Close() })
	h.client, h.connection = pb.NewSchedulerClient(connection), connection
}

// open starts one with its gate open, n replicas of the server "s" there, and
// everything subscribed.
func open(t *testing.T, options Options, replicas uint32) *harness {
	t.Helper()
	h := start(t, options)
	if replicas == 0 {
		h.must(h.client.ServerNotify(h.ctx, &pb.ServerNotifyRequest{IsFirstSync: true}))
	} else {
		h.notify(true, replicas)
	}
	h.subscribe()
	h.settle()
	return h
}

// subscribe opens all five streams, as the operator does.
func (h *harness) subscribe() {
	h.t.Helper()
	h.markers = record(h, h.client.SubscribeControlPlane, &pb.ControlPlaneSubscriptionRequest{SubscriberName: subscriber})
	h.models = record(h, h.client.SubscribeModelStatus, &pb.ModelSubscriptionRequest{SubscriberName: subscriber})
	h.servers = record(h, h.client.SubscribeServerStatus, &pb.ServerSubscriptionRequest{SubscriberName: subscriber})
	h.pipelines = record(h, h.client.SubscribePipelineStatus, &pb.PipelineSubscriptionRequest{SubscriberName: subscriber})
	h.experiments = record(h, h.client.SubscribeExperimentStatus, &pb.ExperimentSubscriptionRequest{SubscriberName: subscriber})
}

const subscriber = "seldon manager"

// must fails the test on an RPC's error.
func (h *harness) must(_ any, err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// refused fails the test unless an RPC is refused.
func (h *harness) refused(_ any, err error) {
	h.t.Helper()
	if status.Code(err) != codes.FailedPrecondition {
		h.t.Fatalf("got %v, want FailedPrecondition", err)
	}
}

// settle waits until everything is done and received: the last message that each
// subscription gets is one of ours.
func (h *harness) settle() {
	h.t.Helper()
	h.eventually("subscriptions", func() bool { return h.sim.OpenStreams("SubscribeModelStatus") > 0 || h.models == nil })
	if err := h.sim.Settle(h.ctx); err != nil {
		h.t.Fatal(err)
	}
	if h.models == nil || !h.sim.GateOpen() {
		return
	}
	h.eventually("marks on all subscriptions", func() bool {
		// Again if a subscription was not there yet.
		h.marks++
		h.must(nil, h.sim.InjectModelStatus(&pb.ModelStatusResponse{Timestamp: uint64(h.marks)}))
		h.must(nil, h.sim.InjectServerStatus(&pb.ServerStatusResponse{ExpectedReplicas: int32(h.marks)}))
		h.must(nil, h.sim.InjectPipelineStatus(&pb.PipelineStatusResponse{Timestamp: uint64(h.marks)}))
		h.must(nil, h.sim.InjectExperimentStatus(&pb.ExperimentStatusResponse{StatusDescription: fmt.Sprint(h.marks)}))
		return h.models.marked(h.marks) && h.servers.marked(h.marks) && h.pipelines.marked(h.marks) && h.experiments.marked(h.marks)
	})
}

// eventually waits for a condition that nothing tells of.
func (h *harness) eventually(what string, holds func() bool) {
	h.t.Helper()
	eventually(h.t, what, holds)
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s after %s", what, patience)
		}
	}
}

// recorder keeps what a subscription brings.
type recorder[T any] struct {
	mu       sync.Mutex
	received []*T
	mark     int
	changed  chan struct{}
	err      error
}

// record opens a subscription.
func record[Q, T any](
	h *harness, open func(context.Context, *Q, ...grpc.CallOption) (grpc.ServerStreamingClient[T], error), request *Q,
) *recorder[T] {
	h.t.Helper()
	stream, err := open(h.ctx, request)
	if err != nil {
		h.t.Fatal(err)
	}
	r := &recorder[T]{changed: make(chan struct{}, 1)}
	go func() {
		for {
			message, err := stream.Recv()
			r.mu.Lock()
			if err != nil {
				r.err = err
			} else if mark := markOf(message); mark > 0 {
				r.mark = mark
			} else {
				r.received = append(r.received, message)
			}
			r.mu.Unlock()
			select {
			case r.changed <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	return r
}

// markOf is the number of a message of our own, which has no name, or 0.
func markOf(message any) int {
	switch m := message.(type) {
	case *pb.ModelStatusResponse:
		if m.GetModelName() == "" {
			return int(m.GetTimestamp())
		}
	case *pb.ServerStatusResponse:
		if m.GetServerName() == "" {
			return int(m.GetExpectedReplicas())
		}
	case *pb.PipelineStatusResponse:
		if m.GetPipelineName() == "" {
			return int(m.GetTimestamp())
		}
	case *pb.ExperimentStatusResponse:
		if m.GetExperimentName() == "" {
			mark, _ := strconv.Atoi(m.GetStatusDescription())
			return mark
		}
	}
	return 0
}

// marked waits a moment for the message of ours with that number.
func (r *recorder[T]) marked(mark int) bool {
	timer := time.NewTimer(100 * time.Millisecond)
	defer timer.Stop()
	for {
		r.mu.Lock()
		seen := r.mark
		r.mu.Unlock()
		if seen >= mark {
			return true
		}
		select {
		case <-r.changed:
		case <-timer.C:
			return false
		}
	}
}

// ended waits for the end of the stream.
func (r *recorder[T]) ended(t *testing.T) error {
	t.Helper()
	var err error
	eventually(t, "end of the stream", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		err = r.err
		return err != nil
	})
	return err
}

// take is what came since the last take.
func (r *recorder[T]) take() []*T {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := r.received
	r.received = nil
	return taken
}

// count is how many messages take would return.
func (r *recorder[T]) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.received)
}

// said is what came since the last call, in words, with repeats once.
func said[T any](r *recorder[T], words func(*T) string) []string {
	var found []string
	for _, message := range r.take() {
		found = append(found, words(message))
	}
	return slices.Compact(found)
}

func (h *harness) modelEvents() []string {
	h.t.Helper()
	h.settle()
	return said(h.models, modelWords)
}

// modelWords is an event in the notation of the reference sequences.
func modelWords(m *pb.ModelStatusResponse) string {
	v := m.GetVersions()[0]
	s := v.GetState()
	words := fmt.Sprintf("%s/%s", short(s.GetState()), short(s.GetModelGwState()))
	var replicas []string
	for _, index := range slices.Sorted(maps.Keys(v.GetModelReplicaState())) {
		replicas = append(replicas, v.GetModelReplicaState()[index].GetState().String())
	}
	if len(replicas) > 0 {
		words += fmt.Sprintf(" %v", replicas)
	}
	return fmt.Sprintf("%s A%d U%d", words, s.GetAvailableReplicas(), s.GetUnavailableReplicas())
}

func short(state fmt.Stringer) string {
	for _, prefix := range []string{"Model", "Pipeline"} {
		if rest, found := strings.CutPrefix(state.String(), prefix); found {
			return rest
		}
	}
	return state.String()
}

func (h *harness) pipelineEvents() []string {
	h.t.Helper()
	h.settle()
	return said(h.pipelines, pipelineWords)
}

func pipelineWords(p *pb.PipelineStatusResponse) string {
	v := p.GetVersions()[0]
	return fmt.Sprintf("v%d g%d %s/%s", v.GetState().GetPipelineVersion(), v.GetPipeline().GetKubernetesMeta().GetGeneration(),
		short(v.GetState().GetStatus()), short(v.GetState().GetPipelineGwStatus()))
}

func (h *harness) experimentEvents() []string {
	h.t.Helper()
	h.settle()
	return said(h.experiments, experimentWords)
}

func experimentWords(e *pb.ExperimentStatusResponse) string {
	return fmt.Sprintf("active=%t candidates=%t mirror=%t", e.GetActive(), e.GetCandidatesReady(), e.GetMirrorReady())
}

func (h *harness) serverEvents() []string {
	h.t.Helper()
	h.settle()
	return said(h.servers, serverWords)
}

func serverWords(s *pb.ServerStatusResponse) string {
	return fmt.Sprintf("%s expected=%d available=%d loaded=%d g%d",
		s.GetType(), s.GetExpectedReplicas(), s.GetAvailableReplicas(), s.GetNumLoadedModelReplicas(), s.GetKubernetesMeta().GetGeneration())
}

// inOrder fails the test unless the wanted events are among those that came, in
// that order; others may come between.
func inOrder(t *testing.T, got []string, want ...string) {
	t.Helper()
	at := 0
	for _, event := range got {
		if at < len(want) && event == want[at] {
			at++
		}
	}
	if at < len(want) {
		t.Fatalf("no %q at its place in\n\t%s", want[at], strings.Join(got, "\n\t"))
	}
}

// exactly fails the test unless these events came and no other.
func exactly(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func meta(generation int64) *pb.KubernetesMeta {
	return &pb.KubernetesMeta{Namespace: "team-a", Generation: generation}
}

// testModel is a model of one replica; change may be nil.
func testModel(name string, generation int64, change func(*pb.Model)) *pb.Model {
	m := &pb.Model{
		Meta:           &pb.MetaData{Name: name, KubernetesMeta: meta(generation)},
		ModelSpec:      &pb.ModelSpec{Uri: "gs://models/" + name, Requirements: []string{"sklearn"}},
		DeploymentSpec: &pb.DeploymentSpec{Replicas: 1, MaxReplicas: 4294967295},
	}
	if change != nil {
		change(m)
	}
	return m
}

func replicas(n uint32) func(*pb.Model) {
	return func(m *pb.Model) { m.DeploymentSpec.Replicas = n }
}

func otherArtifact(m *pb.Model) { m.ModelSpec.Uri = "gs://other" }

func (h *harness) load(name string, generation int64, change func(*pb.Model)) {
	h.t.Helper()
	h.must(h.client.LoadModel(h.ctx, &pb.LoadModelRequest{Model: testModel(name, generation, change)}))
}

func unloadRequest(name string, generation int64) *pb.UnloadModelRequest {
	return &pb.UnloadModelRequest{Model: &pb.ModelReference{Name: name}, KubernetesMeta: meta(generation)}
}

func (h *harness) unload(name string, generation int64) {
	h.t.Helper()
	h.must(h.client.UnloadModel(h.ctx, unloadRequest(name, generation)))
}

// notify expects so many replicas of the server "s".
func (h *harness) notify(first bool, replicas uint32) {
	h.t.Helper()
	h.must(h.client.ServerNotify(h.ctx, &pb.ServerNotifyRequest{
		IsFirstSync: first,
		Servers: []*pb.ServerNotify{{
			Name: "s", ExpectedReplicas: replicas, MaxReplicas: 4294967295, KubernetesMeta: meta(1),
		}},
	}))
}

func testPipeline(name string, generation int64, steps ...string) *pb.Pipeline {
	p := &pb.Pipeline{Name: name, KubernetesMeta: meta(generation)}
	for _, step := range steps {
		p.Steps = append(p.Steps, &pb.PipelineStep{Name: step})
	}
	return p
}

func (h *harness) loadPipeline(name string, generation int64, steps ...string) {
	h.t.Helper()
	h.must(h.client.LoadPipeline(h.ctx, &pb.LoadPipelineRequest{Pipeline: testPipeline(name, generation, steps...)}))
}

func testExperiment(name string, kind pb.ResourceType, candidates ...string) *pb.Experiment {
	e := &pb.Experiment{Name: name, ResourceType: kind, KubernetesMeta: meta(1)}
	for _, candidate := range candidates {
		e.Candidates = append(e.Candidates, &pb.ExperimentCandidate{Name: candidate, Weight: 50})
	}
	return e
}

func (h *harness) startExperiment(e *pb.Experiment) {
	h.t.Helper()
	h.must(h.client.StartExperiment(h.ctx, &pb.StartExperimentRequest{Experiment: e}))
}

// all reads a finite stream to its end.
func all[T any](t *testing.T, stream grpc.ServerStreamingClient[T], err error) []*T {
	t.Helper()
	var found []*T
	for err == nil {
		var message *T
		if message, err = stream.Recv(); err == nil {
			found = append(found, message)
		}
	}
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return found
}

// one is the state of that name.
func one[T any](t *testing.T, states []T, name string, of func(T) string) T {
	t.Helper()
	at := slices.IndexFunc(states, func(s T) bool { return of(s) == name })
	if at < 0 {
		t.Fatalf("no %q in %v", name, states)
	}
	return states[at]
}

func (h *harness) model(name string) Model {
	h.t.Helper()
	return one(h.t, h.sim.Models(), name, func(m Model) string { return m.Name })
}

// pipeline is the one that is called "p".
func (h *harness) pipeline() Pipeline {
	h.t.Helper()
	return one(h.t, h.sim.Pipelines(), "p", func(p Pipeline) string { return p.Name })
}

// experiment is the one that is called "e".
func (h *harness) experiment() Experiment {
	h.t.Helper()
	return one(h.t, h.sim.Experiments(), "e", func(e Experiment) string { return e.Name })
}
