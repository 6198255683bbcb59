package fakescheduler

import (
	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// The Inject methods send a message of the test's own to all subscribers of its
// kind but gateways: fields that are missing, values that do not exist, other
// namespaces, old generations, repeats. The message must not be changed any more.
// Errors: it is down.

// InjectModelStatus sends a message to the subscribers of models.
func (s *Scheduler) InjectModelStatus(message *pb.ModelStatusResponse) error {
	return s.withWorld(func(w *world) { w.modelEvents.send(message) })
}

// InjectPipelineStatus sends a message to the subscribers of pipelines.
func (s *Scheduler) InjectPipelineStatus(message *pb.PipelineStatusResponse) error {
	return s.withWorld(func(w *world) { w.pipelineEvents.send(message) })
}

// InjectExperimentStatus sends a message to the subscribers of experiments.
func (s *Scheduler) InjectExperimentStatus(message *pb.ExperimentStatusResponse) error {
	return s.withWorld(func(w *world) { w.experimentEvents.send(message) })
}

// InjectServerStatus sends a message to the subscribers of servers.
func (s *Scheduler) InjectServerStatus(message *pb.ServerStatusResponse) error {
	return s.withWorld(func(w *world) { w.serverEvents.send(message) })
}

// InjectControlPlane sends a marker to the control plane's streams whose gate is open.
func (s *Scheduler) InjectControlPlane(event pb.ControlPlaneResponse_Event) error {
	return s.withWorld(func(*world) {
		s.run.controlPlane.send(&pb.ControlPlaneResponse{Event: event})
	})
}

// RequestScaling sends a scaling request for a server, with the metadata that the
// server was notified with, or none if it is unknown. Any number goes, such as −1.
// Errors: it is down.
func (s *Scheduler) RequestScaling(server string, replicas int32) error {
	return s.withWorld(func(w *world) { w.requestScaling(w.known(server), replicas) })
}

// RequestScalingAt does so with another generation.
func (s *Scheduler) RequestScalingAt(server string, replicas int32, generation int64) error {
	return s.withWorld(func(w *world) {
		at := *w.known(server)
		at.meta = &pb.KubernetesMeta{Namespace: at.meta.GetNamespace(), Generation: generation}
		w.requestScaling(&at, replicas)
	})
}

// known is a server, or one of that name of which nothing is known.
func (w *world) known(name string) *server {
	if s := w.servers[name]; s != nil {
		return s
	}
	return &server{name: name}
}
