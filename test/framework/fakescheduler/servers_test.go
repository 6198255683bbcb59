package fakescheduler

import (
	"testing"
	"time"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

func onServer(name string) func(*pb.Model) {
	return func(m *pb.Model) { m.ModelSpec.Server = &name }
}

func memory(bytes uint64) func(*pb.Model) {
	return func(m *pb.Model) { m.ModelSpec.MemoryBytes = &bytes }
}

// Where models go.
func TestPlaces(t *testing.T) {
	for _, row := range []struct {
		name  string
		setup func(s *Scheduler)
		model func(*pb.Model)
		state pb.ModelStatus_ModelState
		on    string
	}{
		{"no server", func(*Scheduler) {}, nil, pb.ModelStatus_ScheduleFailed, ""},
		{"the emptier one", func(s *Scheduler) {
			s.ConnectAgent(Agent{Server: "a", Loaded: []LoadedModel{{Model: testModel("x", 1, nil), Version: 1}}})
			s.ConnectAgent(Agent{Server: "b"})
		}, nil, pb.ModelStatus_ModelAvailable, "b"},
		{"the named one", func(s *Scheduler) {
			s.ConnectAgent(Agent{Server: "a"})
			s.ConnectAgent(Agent{Server: "b", Dedicated: true})
		}, onServer("b"), pb.ModelStatus_ModelAvailable, "b"},
		{"not a dedicated one", func(s *Scheduler) { s.ConnectAgent(Agent{Server: "b", Dedicated: true}) }, nil, pb.ModelStatus_ScheduleFailed, ""},
		{"a named one that is missing", func(s *Scheduler) { s.ConnectAgent(Agent{Server: "a"}) }, onServer("c"), pb.ModelStatus_ScheduleFailed, ""},
		{"one that meets the requirements", func(s *Scheduler) {
			s.ConnectAgent(Agent{Server: "a", Capabilities: []string{"tensorflow"}})
			s.ConnectAgent(Agent{Server: "b", Capabilities: []string{"sklearn", "xgboost"}})
		}, nil, pb.ModelStatus_ModelAvailable, "b"},
		{"none meets them", func(s *Scheduler) { s.ConnectAgent(Agent{Server: "a", Capabilities: []string{}}) }, nil, pb.ModelStatus_ScheduleFailed, ""},
		{"one with room", func(s *Scheduler) {
			s.ConnectAgent(Agent{Server: "a", Memory: 10})
			s.ConnectAgent(Agent{Server: "b", Memory: 100})
		}, memory(50), pb.ModelStatus_ModelAvailable, "b"},
		{"too few replicas", func(s *Scheduler) { s.ConnectAgent(Agent{Server: "a"}) }, replicas(2), pb.ModelStatus_ScheduleFailed, ""},
		{"the fewest that will do", func(s *Scheduler) {
			s.ConnectAgent(Agent{Server: "a"})
			s.ConnectAgent(Agent{Server: "a", Replica: 1})
		}, func(m *pb.Model) { m.DeploymentSpec.Replicas, m.DeploymentSpec.MinReplicas = 3, 2 }, pb.ModelStatus_ModelAvailable, "a"},
		{"no replicas wanted", func(s *Scheduler) { s.ConnectAgent(Agent{Server: "a"}) }, replicas(0), pb.ModelStatus_ModelScaledDown, "a"},
	} {
		t.Run(row.name, func(t *testing.T) {
			h := start(t, Options{Agents: AgentsManual})
			h.must(nil, h.sim.OpenGate())
			row.setup(h.sim)
			h.load("m", 1, row.model)
			h.settle()
			if m := h.model("m"); m.State != row.state || m.Server != row.on {
				t.Errorf("it is %s on %q, want %s on %q", m.State, m.Server, row.state, row.on)
			}
		})
	}
}

func TestServerThatExpectsNothing(t *testing.T) {
	h := open(t, Options{Agents: AgentsManual}, 0)
	h.sim.ConnectAgent(Agent{Server: "s"})
	h.notify(false, 1)
	h.load("m", 1, nil)
	h.settle()
	h.notify(false, 0)
	h.settle()
	if m := h.model("m"); m.State != pb.ModelStatus_ScheduleFailed || m.Live != 1 {
		t.Errorf("with nowhere to go it is %+v", m)
	}
	h.sim.ConnectAgent(Agent{Server: "other"})
	h.settle()
	// A model that moves is a new version of itself.
	if m := h.model("m"); m.State != pb.ModelStatus_ModelAvailable || m.Server != "other" || m.Version != 2 || m.Live != 1 {
		t.Errorf("with somewhere to go it is %+v", m)
	}
}

func TestAutomaticAgents(t *testing.T) {
	h := open(t, Options{Delays: Delays{AgentConnect: 10 * time.Millisecond}}, 3)
	server := func() Server { return one(t, h.sim.Servers(), "s", func(s Server) string { return s.Name }) }
	if s := server(); len(s.Replicas) != 3 || s.Expected != 3 || s.Generation != 1 || s.Namespace != "team-a" {
		t.Errorf("it is %+v", s)
	}
	h.load("m", 1, replicas(3))
	h.settle()
	h.notify(false, 1)
	h.settle()
	if s := server(); len(s.Replicas) != 1 || s.LoadedModels != 1 {
		t.Errorf("it is %+v", s)
	}
	h.notify(false, 3)
	h.settle()
	if m := h.model("m"); m.Available != 3 {
		t.Errorf("new agents have nothing: %+v", m)
	}
	h.notify(false, 0)
	h.settle()
	if left := h.sim.Servers(); len(left) != 0 {
		t.Errorf("left is %v", left)
	}
	if m := h.model("m"); m.State != pb.ModelStatus_ScheduleFailed || m.Server != "" {
		t.Errorf("without a server it is %+v", m)
	}
}

// Requests that the scheduler makes up itself, and those that a test does.
func TestScalingRequests(t *testing.T) {
	h := open(t, Options{}, 1)
	requests := func() []*pb.ServerStatusResponse {
		h.settle()
		var found []*pb.ServerStatusResponse
		for _, message := range h.servers.take() {
			if message.GetType() == pb.ServerStatusResponse_ScalingRequest {
				found = append(found, message)
			}
		}
		return found
	}
	h.load("m", 1, nil)
	h.load("m", 2, replicas(5))
	if got := requests(); len(got) != 1 || got[0].GetExpectedReplicas() != 5 || got[0].GetKubernetesMeta().GetGeneration() != 1 ||
		got[0].GetAvailableReplicas() != 0 || len(got[0].GetResources()) != 0 {
		t.Errorf("scaling up asks for %v", got)
	}
	h.must(h.client.ServerNotify(h.ctx, &pb.ServerNotifyRequest{Servers: []*pb.ServerNotify{
		{Name: "s", ExpectedReplicas: 4, MinReplicas: 3, MaxReplicas: 4, KubernetesMeta: meta(9)},
	}}))
	for _, got := range requests() {
		if got.GetExpectedReplicas() > 4 {
			t.Errorf("asks for more than the maximum: %v", got)
		}
	}
	h.load("m", 3, replicas(4))
	h.settle()
	requests()
	h.load("m", 4, replicas(1))
	got := requests()
	if len(got) == 0 || got[len(got)-1].GetExpectedReplicas() != 3 {
		t.Errorf("scaling down asks for %v", got)
	}

	h.must(nil, h.sim.RequestScaling("s", -1))
	h.must(nil, h.sim.RequestScalingAt("s", 1000, 2))
	h.must(nil, h.sim.RequestScaling("unknown", 1))
	got = requests()
	if len(got) != 3 || got[0].GetExpectedReplicas() != -1 || got[0].GetKubernetesMeta().GetGeneration() != 9 ||
		got[1].GetExpectedReplicas() != 1000 || got[1].GetKubernetesMeta().GetGeneration() != 2 ||
		got[1].GetKubernetesMeta().GetNamespace() != "team-a" || got[2].GetKubernetesMeta() != nil {
		t.Errorf("made up are %v", got)
	}

	quiet := open(t, Options{NoServerAutoscaling: true}, 1)
	quiet.load("m", 1, nil)
	quiet.load("m", 1, replicas(2))
	exactly(t, quiet.serverEvents(), "StatusUpdate expected=1 available=1 loaded=0 g1", "StatusUpdate expected=1 available=1 loaded=1 g1")
}

// What waits for the gate, and what does not.
func TestClosedGate(t *testing.T) {
	h := start(t, Options{HoldGate: true})
	h.subscribe()
	h.notify(true, 1)
	h.load("m", 1, nil)
	h.loadPipeline("p", 1, "m")
	h.startExperiment(testExperiment("e", pb.ResourceType_PIPELINE, "p"))
	for _, method := range []string{"SubscribeModelStatus", "SubscribePipelineStatus", "SubscribeExperimentStatus", "SubscribeServerStatus", "SubscribeControlPlane"} {
		h.eventually(method, func() bool { return h.sim.OpenStreams(method) == 1 })
	}
	h.must(nil, h.sim.Settle(h.ctx))
	if p := h.pipeline(); p.State != pb.PipelineVersionState_PipelineReady || len(listPipelines(h)) != 1 || !h.experiment().Active {
		t.Errorf("pipelines and experiments wait: %+v %+v", p, h.experiment())
	}
	// The server's stream is the one that is served: once it has this, the others
	// would have theirs.
	h.must(nil, h.sim.RequestScaling("s", 1))
	h.eventually("message for a server", func() bool { return h.servers.count() > 0 && h.markers.count() == 1 })
	if h.models.count()+h.pipelines.count()+h.experiments.count() != 0 {
		t.Error("subscriptions do not wait for the gate")
	}
	h.sim.ReleaseGate()
	h.awaitMarkers()
	h.eventually("dumps", func() bool { return h.models.count() > 0 && h.pipelines.count() > 0 && h.experiments.count() > 0 })
}

func TestHeldGate(t *testing.T) {
	h := start(t, Options{HoldGate: true, ReadyTimeout: time.Millisecond})
	h.notify(true, 1)
	h.load("m", 1, nil)
	h.must(nil, h.sim.Settle(h.ctx))
	if h.sim.GateOpen() || h.model("m").State != pb.ModelStatus_ModelStateUnknown {
		t.Errorf("the gate opened: %+v", h.model("m"))
	}
	h.sim.ReleaseGate()
	h.must(nil, h.sim.Settle(h.ctx))
	if !h.sim.GateOpen() || h.model("m").State != pb.ModelStatus_ModelAvailable {
		t.Errorf("the gate did not open: %+v", h.model("m"))
	}
	h.sim.HoldGate()
	h.must(nil, h.sim.Restart(RestartOptions{}))
	h.eventually("servers", func() bool { return len(h.sim.Servers()) == 1 })
	if h.sim.GateOpen() {
		t.Error("the gate is not held over a restart")
	}
	h.must(nil, h.sim.OpenGate())
	if !h.sim.GateOpen() {
		t.Error("a held gate cannot be opened")
	}
}
