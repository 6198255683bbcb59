package fakescheduler

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// ours are the stacks of goroutines that run code of this package or of gRPC's
// server, but for tests.
func ours() []string {
	buffer := make([]byte, 8<<20)
	var found []string
	for stack := range strings.SplitSeq(string(buffer[:runtime.Stack(buffer, true)]), "\n\n") {
		if strings.Contains(stack, "fakescheduler.(*") && !strings.Contains(stack, "testing.tRunner") ||
			strings.Contains(stack, "grpc.(*Server)") || strings.Contains(stack, "transport.(*http2Server)") ||
			strings.Contains(stack, "transport.NewServerTransport") {
			found = append(found, stack)
		}
	}
	return found
}

func TestNothingIsLeftBehind(t *testing.T) {
	for name, end := range map[string]func(*Scheduler){
		"stop": (*Scheduler).Stop,
		"kill": (*Scheduler).Kill,
		"restarts": func(s *Scheduler) {
			_ = s.Restart(RestartOptions{})
			_ = s.Restart(RestartOptions{Graceful: true})
			s.Kill()
		},
		"frozen": func(s *Scheduler) { s.Freeze(); s.Kill() },
	} {
		t.Run(name, func(t *testing.T) {
			h := open(t, Options{Delays: Delays{AgentLoad: time.Hour, Envoy: time.Hour}}, 1)
			h.load("m", 1, nil)
			h.loadPipeline("p", 1, "m")
			release := h.sim.HangCalls("LoadModel")
			defer release()
			go func() { _, _ = h.client.LoadModel(h.ctx, &pb.LoadModelRequest{Model: testModel("n", 1, nil)}) }()
			h.eventually("hanging call", func() bool { return h.sim.CallsBy()[CallKey{"LoadModel", "n", 1}] == 1 })
			end(h.sim)
			// A goroutine that is done may still be on its way out.
			eventually(t, "end of all goroutines", func() bool { return len(ours()) == 0 })
			if n := h.sim.OpenStreams("SubscribeModelStatus"); n != 0 {
				t.Errorf("%d streams are counted as open", n)
			}
			if _, open := h.sim.Connections(); open != 0 {
				t.Errorf("%d connections are counted as open", open)
			}
		})
	}
}

func TestStopEndsStreamsAndKillBreaksThem(t *testing.T) {
	for _, row := range []struct {
		name string
		end  func(*Scheduler)
		eof  bool
	}{
		{"stop", (*Scheduler).Stop, true},
		{"kill", (*Scheduler).Kill, false},
		{"end streams", (*Scheduler).EndStreams, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			h := open(t, Options{}, 0)
			row.end(h.sim)
			for _, err := range []error{
				h.models.ended(t), h.servers.ended(t), h.pipelines.ended(t), h.experiments.ended(t), h.markers.ended(t),
			} {
				if errors.Is(err, io.EOF) != row.eof {
					t.Errorf("a stream ended with %v", err)
				}
			}
		})
	}
}

func TestContextEndsIt(t *testing.T) {
	h := open(t, Options{}, 0)
	s, err := Start(h.ctx, Options{})
	h.must(s, err)
	h.must(nil, s.Restart(RestartOptions{}))
	ended := start(t, Options{})
	ended.sim.Kill()
	_, err = ended.client.SchedulerStatus(ended.ctx, &pb.SchedulerStatusRequest{})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("a killed one answers %v", err)
	}
	s.Stop()
	s.Stop()
}

// The restart of the real scheduler: pipelines and experiments come from its
// volume, models from the agents' reports.
func TestRestart(t *testing.T) {
	for _, row := range []struct {
		name    string
		options RestartOptions
	}{
		{"kill", RestartOptions{}},
		{"graceful", RestartOptions{Graceful: true}},
		{"volume lost", RestartOptions{LoseVolume: true, Down: 10 * time.Millisecond}},
	} {
		t.Run(row.name, func(t *testing.T) {
			h := open(t, Options{Delays: Delays{Reconnect: 50 * time.Millisecond}}, 2)
			h.load("m", 4, replicas(2))
			h.load("m", 5, func(m *pb.Model) { replicas(2)(m); otherArtifact(m) })
			h.loadPipeline("p", 1, "m")
			h.loadPipeline("gone", 1, "m")
			h.startExperiment(testExperiment("e", pb.ResourceType_MODEL, "m"))
			h.must(h.client.UnloadPipeline(h.ctx, &pb.UnloadPipelineRequest{Name: "gone"}))
			h.settle()
			address := h.sim.Address()

			h.must(nil, h.sim.Restart(row.options))
			h.models, h.pipelines = nil, nil
			if h.sim.Address() != address {
				t.Fatalf("it moved from %s to %s", address, h.sim.Address())
			}
			h.eventually("answer", func() bool {
				_, err := h.client.SchedulerStatus(h.ctx, &pb.SchedulerStatusRequest{})
				return err == nil
			})
			if h.sim.GateOpen() {
				t.Error("the gate is open at once")
			}
			if row.options.LoseVolume {
				if left := listPipelines(h); len(left) != 0 || len(h.sim.Experiments()) != 0 {
					t.Errorf("left on the lost volume are %v", left)
				}
			} else {
				if left := listPipelines(h); len(left) != 2 {
					t.Errorf("on the volume are %v", left)
				}
				if p := h.pipeline(); p.State != pb.PipelineVersionState_PipelineReady {
					t.Errorf("the pipeline is %+v", p)
				}
			}

			h.notify(true, 2)
			h.subscribe()
			h.settle()
			if !h.sim.GateOpen() {
				t.Fatal("the gate is closed with all agents there")
			}
			// The same definition, at the version that was loaded.
			h.models.take()
			h.load("m", 5, func(m *pb.Model) { replicas(2)(m); otherArtifact(m) })
			exactly(t, h.modelEvents())
			if m := h.model("m"); m.Version != 5 || m.State != pb.ModelStatus_ModelAvailable || m.Available != 2 ||
				m.GatewayState != pb.ModelStatus_ModelAvailable {
				t.Errorf("the model is %+v", m)
			}
			if row.options.LoseVolume {
				return
			}
			if p := h.pipeline(); p.State != pb.PipelineVersionState_PipelineReady ||
				p.GatewayState != pb.PipelineVersionState_PipelineReady || !p.ModelsReady {
				t.Errorf("the pipeline is %+v", p)
			}
			if e := h.experiment(); !e.Active || !e.CandidatesReady {
				t.Errorf("the experiment is %+v", e)
			}
			h.refused(h.client.UnloadPipeline(h.ctx, &pb.UnloadPipelineRequest{Name: "gone"}))
		})
	}
}

// Another process with the same state file is the same scheduler.
func TestStateFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state.json")
	first := open(t, Options{StateFile: file}, 1)
	first.load("m", 3, nil)
	first.loadPipeline("p", 1, "m")
	first.startExperiment(testExperiment("e", pb.ResourceType_MODEL, "m"))
	first.settle()
	first.eventually("state file", func() bool {
		content, err := os.ReadFile(file)
		return err == nil && strings.Contains(string(content), "gs://models/m") && strings.Contains(string(content), "PipelineReady")
	})

	// As if the first had been killed now: it keeps its file to itself from here on.
	content, err := os.ReadFile(file)
	first.must(content, err)
	file = filepath.Join(t.TempDir(), "state.json")
	first.must(nil, os.WriteFile(file, content, 0o600))
	second := open(t, Options{StateFile: file}, 1)
	if m := second.model("m"); m.Version != 3 || m.State != pb.ModelStatus_ModelAvailable {
		t.Errorf("the model is %+v", m)
	}
	if p := second.pipeline(); p.State != pb.PipelineVersionState_PipelineReady {
		t.Errorf("the pipeline is %+v", p)
	}
	if e := second.experiment(); !e.Active {
		t.Errorf("the experiment is %+v", e)
	}

	second.sim.Kill()
	var told error
	lost := start(t, Options{StateFile: filepath.Join(t.TempDir(), "missing", "state.json"), OnError: func(err error) { told = err }})
	lost.sim.Kill()
	if told == nil {
		t.Error("nobody is told that the state cannot be kept")
	}
	first.must(nil, os.WriteFile(file, []byte("{"), 0o600))
	if _, err := Start(t.Context(), Options{StateFile: file}); err == nil {
		t.Error("it starts with a broken state file")
	}
}

func TestUnixSocket(t *testing.T) {
	h := open(t, Options{Address: "unix:" + filepath.Join(t.TempDir(), "s.sock")}, 1)
	h.load("m", 1, nil)
	h.settle()
	h.must(nil, h.sim.Restart(RestartOptions{}))
	h.eventually("model", func() bool { return len(h.sim.Models()) == 1 })
}
