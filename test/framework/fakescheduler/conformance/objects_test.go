package conformance

import (
	"context"
	"time"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// name of an object of ours.
func (c *client) name(short string) string { return c.prefix + short }

func meta(generation int64) *pb.KubernetesMeta {
	return &pb.KubernetesMeta{Namespace: "conformance", Generation: generation}
}

// cleanup runs a function at the end, against schedulers that are not the fake.
func (c *client) cleanup(do func(ctx context.Context)) {
	if c.fake == nil {
		c.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			do(ctx)
		})
	}
}

// model is one of one replica, on server "s" of the fake. No other scheduler has a
// server of that name.
func (c *client) model(short string, generation int64, changes ...func(*pb.Model)) *pb.Model {
	m := &pb.Model{
		Meta:           &pb.MetaData{Name: c.name(short), KubernetesMeta: meta(generation)},
		ModelSpec:      &pb.ModelSpec{Uri: "gs://models/" + short, Server: new(c.name("s"))},
		DeploymentSpec: &pb.DeploymentSpec{Replicas: 1, MaxReplicas: 4294967295},
	}
	for _, change := range changes {
		change(m)
	}
	return m
}

func replicas(n uint32) func(*pb.Model) {
	return func(m *pb.Model) { m.DeploymentSpec.Replicas = n }
}

func otherArtifact(m *pb.Model) { m.ModelSpec.Uri = "gs://other" }

func (c *client) load(short string, generation int64, changes ...func(*pb.Model)) {
	c.Helper()
	m := c.model(short, generation, changes...)
	c.must(c.rpc.LoadModel(c.ctx, &pb.LoadModelRequest{Model: m}))
	c.cleanup(func(ctx context.Context) { _, _ = c.rpc.UnloadModel(ctx, c.unloadRequest(short, generation)) })
}

func (c *client) unloadRequest(short string, generation int64) *pb.UnloadModelRequest {
	return &pb.UnloadModelRequest{Model: &pb.ModelReference{Name: c.name(short)}, KubernetesMeta: meta(generation)}
}

// unload unloads the model "m".
func (c *client) unload(generation int64) {
	c.Helper()
	c.must(c.rpc.UnloadModel(c.ctx, c.unloadRequest("m", generation)))
}

// modelStatus returns the versions of a model.
func (c *client) modelStatus(short string) []*pb.ModelVersionStatus {
	c.Helper()
	stream, err := c.rpc.ModelStatus(c.ctx, &pb.ModelStatusRequest{
		SubscriberName: subscriber, Model: &pb.ModelReference{Name: c.name(short)}, AllVersions: true,
	})
	return all(c, stream, err)[0].GetVersions()
}

// notification expects so many replicas of the server "s".
func (c *client) notification(replicas uint32) *pb.ServerNotify {
	return &pb.ServerNotify{Name: c.name("s"), ExpectedReplicas: replicas, MaxReplicas: 4294967295, KubernetesMeta: meta(1)}
}

func (c *client) notify(replicas uint32) {
	c.Helper()
	c.must(c.rpc.ServerNotify(c.ctx, &pb.ServerNotifyRequest{Servers: []*pb.ServerNotify{c.notification(replicas)}}))
}

// serverStatus of the server "s".
func (c *client) serverStatus() string {
	c.Helper()
	stream, err := c.rpc.ServerStatus(c.ctx, &pb.ServerStatusRequest{SubscriberName: subscriber, Name: new(c.name("s"))})
	return serverWords(all(c, stream, err)[0])
}

func (c *client) pipeline(short string, generation int64, steps ...string) *pb.Pipeline {
	p := &pb.Pipeline{Name: c.name(short), KubernetesMeta: meta(generation)}
	for _, step := range steps {
		p.Steps = append(p.Steps, &pb.PipelineStep{Name: c.name(step)})
	}
	return p
}

func (c *client) loadPipeline(short string, generation int64, steps ...string) {
	c.Helper()
	p := c.pipeline(short, generation, steps...)
	c.must(c.rpc.LoadPipeline(c.ctx, &pb.LoadPipelineRequest{Pipeline: p}))
	c.cleanup(func(ctx context.Context) {
		_, _ = c.rpc.UnloadPipeline(ctx, &pb.UnloadPipelineRequest{Name: p.GetName()})
	})
}

func (c *client) unloadPipeline(short string) error {
	_, err := c.rpc.UnloadPipeline(c.ctx, &pb.UnloadPipelineRequest{Name: c.name(short)})
	return err
}

// pipelineStatus returns the latest version of a pipeline.
func (c *client) pipelineStatus(short string) string {
	c.Helper()
	stream, err := c.rpc.PipelineStatus(c.ctx, &pb.PipelineStatusRequest{SubscriberName: subscriber, Name: new(c.name(short))})
	return pipelineWords(all(c, stream, err)[0])
}

func (c *client) experiment(short string, kind pb.ResourceType, candidates ...string) *pb.Experiment {
	e := &pb.Experiment{Name: c.name(short), ResourceType: kind, KubernetesMeta: meta(1)}
	for _, candidate := range candidates {
		e.Candidates = append(e.Candidates, &pb.ExperimentCandidate{Name: c.name(candidate), Weight: 50})
	}
	return e
}

func (c *client) startExperiment(e *pb.Experiment) {
	c.Helper()
	c.must(c.rpc.StartExperiment(c.ctx, &pb.StartExperimentRequest{Experiment: e}))
	c.cleanup(func(ctx context.Context) {
		_, _ = c.rpc.StopExperiment(ctx, &pb.StopExperimentRequest{Name: e.GetName()})
	})
}

func (c *client) stopExperiment(short string) error {
	_, err := c.rpc.StopExperiment(c.ctx, &pb.StopExperimentRequest{Name: c.name(short)})
	return err
}
