package main

import (
	"context"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// program is the running program.
type program struct {
	t      *testing.T
	client pb.SchedulerClient
	stop   context.CancelFunc
	status int
	ended  chan struct{}

	mu  sync.Mutex
	log strings.Builder
}

// Write appends to the log of the program.
func (p *program) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

func startProgram(t *testing.T, arguments ...string) *program {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	p := &program{t: t, stop: stop, ended: make(chan struct{})}
	go func() {
		p.status = run(ctx, append([]string{"--listen=127.0.0.1:0", "--verbose"}, arguments...), p)
		close(p.ended)
	}()
	t.Cleanup(func() {
		stop()
		<-p.ended
	})
	const greeting = "fakescheduler: listening on "
	address := strings.TrimPrefix(p.line(greeting), greeting)
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	p.client = pb.NewSchedulerClient(connection)
	return p
}

// line waits for a line of the log with a prefix.
func (p *program) line(prefix string) string {
	p.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		p.mu.Lock()
		log := p.log.String()
		p.mu.Unlock()
		for line := range strings.Lines(log) {
			if strings.HasPrefix(line, prefix) && strings.HasSuffix(line, "\n") {
				return strings.TrimSuffix(line, "\n")
			}
		}
	}
	p.t.Fatalf("no line starts with %q", prefix)
	return ""
}

func TestStateIsRestored(t *testing.T) {
	state := "--state=" + filepath.Join(t.TempDir(), "state.json")
	first := startProgram(t, state)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := first.client.LoadPipeline(ctx, &pb.LoadPipelineRequest{Pipeline: &pb.Pipeline{
		Name: "p", Steps: []*pb.PipelineStep{{Name: "a"}}, KubernetesMeta: &pb.KubernetesMeta{Namespace: "n", Generation: 2},
	}})
	if err != nil {
		t.Fatal(err)
	}
	first.line(`LoadPipeline name="p" generation=2 code=OK took=`)
	if _, err := first.client.UnloadPipeline(ctx, &pb.UnloadPipelineRequest{Name: "q"}); err == nil {
		t.Error("an unknown pipeline can be unloaded")
	}
	first.line(`UnloadPipeline name="q" code=FailedPrecondition`)
	first.stop()
	<-first.ended
	if first.status != exitStopped {
		t.Errorf("exit status %d", first.status)
	}

	second := startProgram(t, state)
	stream, err := second.client.PipelineStatus(ctx, &pb.PipelineStatusRequest{SubscriberName: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if p, err := stream.Recv(); err != nil || p.GetPipelineName() != "p" {
		t.Errorf("got %v, %v", p, err)
	}
	second.line("PipelineStatus opened")
}

func TestUsage(t *testing.T) {
	for _, row := range []struct {
		arguments string
		status    int
		output    string
	}{
		{"--help", exitStopped, "-agent-load-delay"},
		{"more", exitUsage, `unknown argument "more"`},
		{"--worker-delay=long", exitUsage, "worker-delay"},
		{"--listen=256.0.0.1:0", exitFailed, "listen on"},
	} {
		log := &strings.Builder{}
		if status := run(t.Context(), strings.Fields(row.arguments), log); status != row.status || !strings.Contains(log.String(), row.output) {
			t.Errorf("%s: status %d, output %q", row.arguments, status, log)
		}
	}
}
