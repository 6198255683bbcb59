package conformance

import (
	"os"
	"testing"
	"time"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
)

// What scenarios need that do not run against any scheduler.
const (
	needsAgents   = "agents"
	needsDelays   = "delays of what works for the scheduler"
	needsFailures = "agents and gateways that fail"
	needsRestart  = "restarts of the scheduler"
)

// runWithControls plays scenarios against the fake, and logs them for another scheduler.
func runWithControls(t *testing.T, scenarios []scenario) {
	if address := os.Getenv("SCHEDULER"); address != "" {
		for _, s := range scenarios {
			t.Logf("not applicable to %s: %q needs %s", address, s.name, s.needs)
		}
		return
	}
	run(t, scenarios)
}

// slow makes steps visible one by one: the tests wait for a second without events.
var slow = fakescheduler.Delays{
	AgentLoad: 10 * time.Second, AgentUnload: 10 * time.Second, Envoy: 10 * time.Second, Gateways: 15 * time.Second,
}

func TestModels(t *testing.T) {
	runWithControls(t, []scenario{
		{"5: an agent, no gateway", needsAgents, fakescheduler.Options{Delays: fakescheduler.Delays{Reconnect: time.Minute}}, func(c *client) {
			c.open(1).load("m", 1)
			c.inOrder(c.modelEvents(),
				"Progressing/Create [LoadRequested] A0 U1",
				"Progressing/Create [Loading] A0 U1",
				"Progressing/Create [Loaded] A0 U1",
				"Available/Create [Available] A1 U0")
			c.inOrder(c.serverEvents(), "StatusUpdate expected=1 available=1 loaded=1 g1")
			time.Sleep(time.Minute)
			c.exactly(c.modelEvents(), "Available/Progressing [Available] A1 U0", "Available/Available [Available] A1 U0")
		}},
		{"7: loads that change nothing", needsAgents, fakescheduler.Options{}, func(c *client) {
			c.open(1).load("m", 1)
			c.inOrder(c.modelEvents(), "Available/Available [Available] A1 U0")
			c.load("m", 1)
			c.load("m", 2)
			c.exactly(c.modelEvents())
			if v := c.modelStatus("m")[0]; v.GetVersion() != 1 || v.GetKubernetesMeta().GetGeneration() != 2 {
				c.Errorf("its status is %v", v)
			}
		}},
		{"8: another artifact", needsDelays, fakescheduler.Options{Delays: slow}, func(c *client) {
			c.open(1).load("m", 1)
			time.Sleep(time.Minute)
			c.modelEvents()
			c.serverEvents()
			c.load("m", 2, otherArtifact)
			c.exactly(c.modelStates(), "v2 g2 Progressing A0 U1 deleted=false")
			time.Sleep(22 * time.Second)
			c.inOrder(c.modelEvents(), "Progressing/Available [Loaded] A0 U1", "Available/Available [Available] A1 U0")
			versions := c.modelStatus("m")
			old := versions[0]
			if len(versions) != 2 || old.GetState().GetState() != pb.ModelStatus_ModelTerminating ||
				old.GetState().GetModelGwState() != pb.ModelStatus_ModelTerminated {
				c.Errorf("the older version is %v", old)
			}
			if got := c.serverStatus(); got != "StatusUpdate expected=1 available=1 loaded=1 g1" {
				c.Errorf("with one version being unloaded, the server is %s", got)
			}
			time.Sleep(time.Minute)
			c.exactly(c.modelEvents())
		}},
		{"9, 10: unload, and load in the meantime", needsDelays, fakescheduler.Options{Delays: fakescheduler.Delays{AgentUnload: 10 * time.Second}}, func(c *client) {
			c.open(1).load("m", 1)
			c.modelEvents()
			c.unload(2)
			c.settle()
			c.rejected(c.rpc.LoadModel(c.ctx, &pb.LoadModelRequest{Model: c.model("m", 3)}))
			time.Sleep(10 * time.Second)
			c.inOrder(c.modelEvents(),
				"Terminating/Terminate [UnloadRequested] A0 U0",
				"Terminating/Terminating [Unloading] A0 U0",
				"Terminating/Terminated [Unloading] A0 U0",
				"Terminated/Terminated [Unloaded] A0 U0")
			c.load("m", 5)
			c.inOrder(c.modelStates(), "v5 g5 Available A1 U0 deleted=false")
			if n := len(c.modelStatus("m")); n != 1 {
				c.Errorf("it has %d versions", n)
			}
		}},
		{"11, 12: more replicas, and fewer", needsAgents, fakescheduler.Options{}, func(c *client) {
			c.open(1).load("m", 1)
			c.modelEvents()
			c.serverEvents()
			c.load("m", 2, replicas(2))
			c.inOrder(c.modelEvents(), "ScheduleFailed/Available [Available] A1 U1")
			c.inOrder(c.serverEvents(), "ScalingRequest expected=2 available=0 loaded=0 g1")
			c.notify(2)
			c.inOrder(c.modelEvents(),
				"Progressing/Available [Available LoadRequested] A1 U1",
				"Available/Available [Available Available] A2 U0")
			c.load("m", 3, replicas(1))
			c.inOrder(c.modelEvents(),
				"Available/Available [Available UnloadEnvoyRequested] A1 U0",
				"Available/Available [Available UnloadRequested] A1 U0",
				"Available/Available [Available Unloading] A1 U0",
				"Available/Available [Available Unloaded] A1 U0")
			c.inOrder(c.serverEvents(), "ScalingRequest expected=1 available=0 loaded=0 g1")
		}},
		{"no replicas", needsAgents, fakescheduler.Options{}, func(c *client) {
			c.load("early", 1, replicas(0))
			if got := short(c.modelStatus("early")[0].GetState().GetState()); got != "StateUnknown" {
				c.Errorf("before it is scheduled its state is %s", got)
			}
			c.open(1)
			c.modelEvents()
			c.load("m", 1, replicas(0))
			c.exactly(c.modelEvents())
			if got := short(c.modelStatus("m")[0].GetState().GetState()); got != "Create" {
				c.Errorf("later its state is %s", got)
			}
			c.load("m", 2)
			c.inOrder(c.modelStates(), "v1 g2 Available A1 U0 deleted=false")
		}},
		{"no replicas, scheduled again when an agent connects", needsAgents, fakescheduler.Options{}, func(c *client) {
			c.open(0).load("m", 1, replicas(0))
			c.inOrder(c.modelStates(), "v1 g1 ScheduleFailed A0 U0 deleted=false")
			c.fake.ConnectAgent(fakescheduler.Agent{Server: c.name("s")})
			c.inOrder(c.modelStates(), "v1 g1 ScaledDown A0 U0 deleted=false")
		}},
		{"13: the agent disconnects, and connects again", needsAgents, fakescheduler.Options{}, func(c *client) {
			c.open(1).load("m", 1)
			c.modelEvents()
			c.fake.DisconnectAgent(c.name("s"), 0)
			c.exactly(c.modelEvents(), "ScheduleFailed/Available A0 U1")
			c.serverEvents()
			c.fake.ConnectAgent(fakescheduler.Agent{Server: c.name("s")})
			c.inOrder(c.modelEvents(), "Available/Available [Available] A1 U0")
			// It was not notified since.
			c.inOrder(c.serverEvents(), "StatusUpdate expected=-1 available=1 loaded=1 g0")
		}},
		{"a server that expects 0, and its agents stay", needsAgents, fakescheduler.Options{}, func(c *client) {
			c.open(2).load("m", 1, replicas(2))
			c.inOrder(c.modelEvents(), "Available/Available [Available Available] A2 U0")
			c.notify(0)
			c.exactly(c.modelEvents(), "ScheduleFailed/Available [Available Available] A2 U0")
			if got := c.serverStatus(); got != "StatusUpdate expected=0 available=2 loaded=2 g1" {
				c.Errorf("the server is %s", got)
			}
			// The difference is unsigned.
			c.load("m", 2, replicas(1))
			c.exactly(c.modelEvents(), "ScheduleFailed/Available [Available Available] A2 U4294967295")
			c.notify(2)
			c.exactly(c.modelEvents())
			c.fake.ConnectAgent(fakescheduler.Agent{Server: c.name("s"), Replica: 1})
			c.inOrder(c.modelStates(), "v1 g2 Available A1 U0 deleted=false")
		}},
		{"a load that fails", needsFailures, fakescheduler.Options{}, func(c *client) {
			c.open(2)
			c.fake.FailModel(c.name("m"), 1)
			c.load("m", 1)
			c.inOrder(c.modelEvents(), "Failed/Available [LoadFailed] A0 U1")
			c.inOrder(c.serverEvents(), "ScalingRequest expected=1 available=0 loaded=0 g1")
			c.load("m", 2, otherArtifact)
			c.inOrder(c.modelStates(), "v2 g2 Available A1 U0 deleted=false")
			c.fake.FailModelUnload(c.name("m"), 1)
			c.unload(3)
			c.inOrder(c.modelStates(), "v2 g3 TerminateFailed A0 U0 deleted=true")
			c.unload(3)
			c.inOrder(c.modelStates(), "v2 g3 Terminated A0 U0 deleted=true")
		}},
	})
}

func TestGate(t *testing.T) {
	runWithControls(t, []scenario{
		{"1: what waits for the gate, until its timeout", needsAgents, fakescheduler.Options{Agents: fakescheduler.AgentsManual}, func(c *client) {
			c.subscribe()
			c.load("m", 1)
			c.loadPipeline("p", 1, "m")
			c.startExperiment(c.experiment("e", pb.ResourceType_PIPELINE, "p"))
			c.must(c.rpc.ServerNotify(c.ctx, &pb.ServerNotifyRequest{IsFirstSync: true, Servers: []*pb.ServerNotify{c.notification(2)}}))
			c.fake.ConnectAgent(fakescheduler.Agent{Server: c.name("s")})
			c.settle()
			if got := len(c.models) + len(c.pipelines) + len(c.experiments); got != 0 || len(c.markers) != 1 {
				c.Fatalf("%d events and the markers %v with the gate closed", got, c.markers)
			}
			if got := c.pipelineStatus("p"); got != "v1 g1 Ready/Ready" {
				c.Errorf("the pipeline is %s", got)
			}
			time.Sleep(5 * time.Minute)
			c.inOrder(c.modelStates(), "v1 g1 Available A1 U0 deleted=false")
			c.exactly(c.pipelineEvents(), "v1 g1 Ready/Ready")
			c.exactly(c.experimentEvents(), "active=true candidates=true mirror=true")
			if len(c.markers) != 4 {
				c.Errorf("markers are %v", c.markers)
			}
		}},
		{"2: the gate opens when no replicas are expected, whatever is connected", needsAgents, fakescheduler.Options{Agents: fakescheduler.AgentsManual}, func(c *client) {
			c.fake.ConnectAgent(fakescheduler.Agent{Server: c.name("s")})
			c.open(0)
		}},
		{"the gate opens with as many agents as are expected", needsAgents, fakescheduler.Options{Agents: fakescheduler.AgentsManual}, func(c *client) {
			c.subscribe()
			for _, replica := range []int{0, 1, 2} {
				c.fake.ConnectAgent(fakescheduler.Agent{Server: c.name("s"), Replica: replica})
			}
			c.must(c.rpc.ServerNotify(c.ctx, &pb.ServerNotifyRequest{IsFirstSync: true, Servers: []*pb.ServerNotify{c.notification(2)}}))
			// Later first synchronisations do not count.
			c.must(c.rpc.ServerNotify(c.ctx, &pb.ServerNotifyRequest{IsFirstSync: true}))
			c.settle()
			if len(c.markers) != 1 {
				c.Fatalf("the gate is open: %v", c.markers)
			}
			c.fake.DisconnectAgent(c.name("s"), 2)
			c.settle()
			if len(c.markers) != 4 {
				c.Errorf("the gate is closed: %v", c.markers)
			}
		}},
	})
}
