package conformance

import (
	"testing"
	"time"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
)

func TestPipelines(t *testing.T) {
	runWithControls(t, []scenario{
		{"14, 15: gateways and engines connect later", needsDelays, fakescheduler.Options{Delays: fakescheduler.Delays{Reconnect: time.Minute}}, func(c *client) {
			c.open(0).loadPipeline("p", 1, "a")
			c.exactly(c.pipelineEvents(), "v1 g1 Create/Create")
			time.Sleep(time.Minute)
			c.inOrder(c.pipelineEvents(), "v1 g1 Creating/Creating", "v1 g1 Ready/Ready")
		}},
		{"16, 17: another generation, unload", needsDelays, fakescheduler.Options{Delays: slow}, func(c *client) {
			c.open(0)
			// Until the work has been redistributed.
			time.Sleep(time.Minute)
			c.loadPipeline("p", 1, "a")
			time.Sleep(time.Minute)
			c.inOrder(c.pipelineEvents(), "v1 g1 Create/Create", "v1 g1 Create/Creating", "v1 g1 Creating/Creating", "v1 g1 Ready/Ready")
			c.loadPipeline("p", 2, "a", "b")
			time.Sleep(time.Minute)
			c.inOrder(c.pipelineEvents(), "v2 g2 Create/Create", "v2 g2 Create/Creating", "v2 g2 Creating/Creating", "v2 g2 Ready/Ready",
				"v1 g1 Terminate/Terminate", "v1 g1 Terminating/Terminate", "v1 g1 Terminating/Terminating", "v1 g1 Terminated/Terminated")
			c.must(nil, c.unloadPipeline("p"))
			c.rejected(nil, c.unloadPipeline("p"))
			time.Sleep(time.Minute)
			c.inOrder(c.pipelineEvents(), "v2 g2 Terminate/Terminate", "v2 g2 Terminating/Terminate",
				"v2 g2 Terminating/Terminating", "v2 g2 Terminated/Terminated")
		}},
		{"a gateway that fails, and tries again", needsFailures, fakescheduler.Options{}, func(c *client) {
			c.open(0)
			c.fake.FailPipelineGateway(c.name("p"), 2)
			c.loadPipeline("p", 1, "a")
			c.inOrder(c.pipelineEvents(), "v1 g1 Ready/Failed")
			time.Sleep(2 * time.Minute)
			c.inOrder(c.pipelineEvents(), "v1 g1 Ready/Creating", "v1 g1 Ready/Failed", "v1 g1 Ready/Creating", "v1 g1 Ready/Ready")
			c.fake.FailPipelineGateway(c.name("p"), 1)
			c.must(nil, c.unloadPipeline("p"))
			c.inOrder(c.pipelineEvents(), "v1 g1 Terminated/FailedTerminating")
			time.Sleep(time.Minute)
			c.inOrder(c.pipelineEvents(), "v1 g1 Terminated/Terminated")
		}},
		{"18, 19: an experiment on models", needsAgents, fakescheduler.Options{}, func(c *client) {
			c.open(1)
			e := c.experiment("e", pb.ResourceType_MODEL, "a", "b")
			c.startExperiment(e)
			c.load("a", 1)
			c.exactly(c.experimentEvents(), "active=false candidates=false mirror=true")
			c.load("b", 1)
			c.inOrder(c.experimentEvents(),
				"active=false candidates=false mirror=true",
				"active=true candidates=false mirror=true",
				"active=true candidates=true mirror=true")
			c.startExperiment(e)
			c.exactly(c.experimentEvents(), "active=false candidates=true mirror=true", "active=true candidates=true mirror=true")
		}},
		{"models of a pipeline", needsAgents, fakescheduler.Options{}, func(c *client) {
			c.open(1).loadPipeline("p", 1, "a")
			c.settle()
			ready := func() bool { return c.pipelines[len(c.pipelines)-1].GetVersions()[0].GetState().GetModelsReady() }
			if ready() {
				c.Error("its models are ready without any")
			}
			c.load("a", 1)
			c.settle()
			if !ready() {
				c.Error("its models are not ready")
			}
		}},
	})
}

// After a restart, pipelines and experiments are restored from the volume, and models are
// reported by agents.
func TestRestart(t *testing.T) {
	fill := func(c *client) {
		c.open(2).load("m", 5, replicas(2))
		c.loadPipeline("p", 1, "m")
		c.loadPipeline("deleted", 1, "m")
		c.startExperiment(c.experiment("e", pb.ResourceType_MODEL, "m"))
		c.must(nil, c.unloadPipeline("deleted"))
		c.settle()
		c.forget()
	}
	again := func(c *client) {
		c.open(2)
		c.load("m", 5, replicas(2))
		c.inOrder(c.modelStates(), "v5 g5 Available A2 U0 deleted=false")
	}
	runWithControls(t, []scenario{
		{"killed", needsRestart, fakescheduler.Options{Delays: fakescheduler.Delays{Reconnect: 10 * time.Second}}, func(c *client) {
			fill(c)
			time.Sleep(10 * time.Second)
			c.must(nil, c.fake.Restart(fakescheduler.RestartOptions{}))
			again(c)
			if loads := c.fake.Models()[0].Version; loads != 5 || len(c.fake.Pipelines()) != 2 {
				c.Errorf("there are %v, %v", c.fake.Models(), c.fake.Pipelines())
			}
			c.inOrder(c.pipelineEvents(), "v1 g1 Ready/Ready")
			time.Sleep(10 * time.Second)
			c.inOrder(c.pipelineEvents(), "v1 g1 Creating/Creating", "v1 g1 Ready/Ready")
			c.inOrder(c.experimentEvents(), "active=true candidates=true mirror=true")
			c.rejected(nil, c.unloadPipeline("deleted"))
		}},
		{"everything lost", needsRestart, fakescheduler.Options{}, func(c *client) {
			fill(c)
			c.must(nil, c.fake.Restart(fakescheduler.RestartOptions{LoseVolume: true, LoseAgents: true}))
			if left := len(c.fake.Pipelines()) + len(c.fake.Experiments()) + len(c.fake.Models()); left != 0 {
				c.Errorf("%d objects are left", left)
			}
			again(c)
		}},
	})
}
