package fakescheduler

import (
	"maps"
	"slices"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// server is a model server with its replicas.
//
//	first notification ───────────► known, with what was notified
//	first agent ──────────────────► known, expecting unknownReplicas and without metadata
//	another notification ─────────► expectation and metadata replaced
//	last agent disconnected ──────► forgotten, with its expectation and metadata
//
// Expecting 0 only keeps models from being placed on it: those that are there stay
// available, and are ScheduleFailed. Expecting replicas again does not schedule them
// again: an agent that connects does, or another load.
type server struct {
	name string
	// expected is the notified number of replicas, or unknownReplicas.
	expected         int64
	minimum, maximum uint32
	meta             *pb.KubernetesMeta
	replicas         map[int]*serverReplica
	// pending is whether a status is about to be sent.
	pending bool
}

// unknownReplicas is the expected number of replicas of a server that was never notified.
const unknownReplicas = -1

// serverReplica counts the versions of models that hold a place on a replica, and
// those of them that are loaded and not being unloaded.
type serverReplica struct {
	placed, loaded int32
}

// accepts returns whether a model may be placed on the server.
func (srv *server) accepts(spec *pb.ModelSpec) bool {
	return srv.expected != 0 && len(srv.replicas) > 0 && (spec.GetServer() == "" || spec.GetServer() == srv.name)
}

func (srv *server) placed() int32 {
	n := int32(0)
	for _, r := range srv.replicas {
		n += r.placed
	}
	return n
}

// message is the server's status.
func (srv *server) message() *pb.ServerStatusResponse {
	message := &pb.ServerStatusResponse{
		Type:              pb.ServerStatusResponse_StatusUpdate,
		ServerName:        srv.name,
		ExpectedReplicas:  int32(srv.expected),
		AvailableReplicas: int32(len(srv.replicas)),
		KubernetesMeta:    srv.meta,
	}
	for _, index := range slices.Sorted(maps.Keys(srv.replicas)) {
		loaded := srv.replicas[index].loaded
		message.NumLoadedModelReplicas += loaded
		message.Resources = append(message.Resources, &pb.ServerReplicaResources{ReplicaIdx: uint32(index), NumLoadedModels: loaded})
	}
	return message
}

// server returns a server, which is created if it is unknown.
func (s *state) server(name string) *server {
	srv := s.servers[name]
	if srv == nil {
		srv = &server{name: name, expected: unknownReplicas, replicas: map[int]*serverReplica{}}
		s.servers[name] = srv
	}
	return srv
}

// notify sets the expected replicas of servers. It publishes nothing.
func (s *state) notify(request *pb.ServerNotifyRequest) {
	sum := uint64(0)
	for _, n := range request.GetServers() {
		srv := s.server(n.GetName())
		srv.expected, srv.meta = int64(n.GetExpectedReplicas()), n.GetKubernetesMeta()
		srv.minimum, srv.maximum = n.GetMinReplicas(), n.GetMaxReplicas()
		sum += uint64(n.GetExpectedReplicas())
		switch {
		case srv.expected == 0:
			for _, m := range s.modelsOn(srv) {
				s.scheduleLater(m.name)
			}
		case s.options.Agents == AgentsAutomatic:
			s.scaleAgents(srv.name, int(srv.expected))
		}
	}
	if request.GetIsFirstSync() {
		s.gate.signal(sum)
	}
}

// modelsOn returns the models that hold a place on a server.
func (s *state) modelsOn(srv *server) []*model {
	var found []*model
	for _, m := range s.models {
		if slices.ContainsFunc(m.versions, func(v *modelVersion) bool { return v.server == srv.name && v.count(alive) > 0 }) {
			found = append(found, m)
		}
	}
	return found
}

// serverChanged sends a status of a server soon, one for all changes until then.
func (s *state) serverChanged(name string) {
	srv := s.servers[name]
	if srv == nil || srv.pending {
		return
	}
	srv.pending = true
	s.loop.afterFunc(s.options.Delays.ServerStatus, func() {
		srv.pending = false
		if s.servers[name] == srv {
			s.serverEvents.publish(srv.message)
		}
	})
}

// scaleUp requests replicas if models on a server desire more than are expected.
func (s *state) scaleUp(name string) {
	srv := s.servers[name]
	if srv == nil || srv.maximum < 1 || srv.expected < 0 {
		return
	}
	most := 0
	for _, m := range s.modelsOn(srv) {
		if !m.deleted {
			most = max(most, m.latest().desired())
		}
	}
	if int64(most) > srv.expected {
		s.requestScaling(srv, int32(min(uint32(most), srv.maximum)))
	}
}

// scaleDown requests fewer replicas if some are empty. As in the real scheduler, the
// difference is unsigned and can wrap.
func (s *state) scaleDown(name string) {
	srv := s.servers[name]
	if srv == nil || srv.expected <= 1 {
		return
	}
	empty := uint32(0)
	for _, r := range srv.replicas {
		if r.placed == 0 {
			empty++
		}
	}
	if empty > 0 {
		s.requestScaling(srv, int32(max(srv.minimum, 1, uint32(srv.expected)-empty)))
	}
}

// requestScaling sends a request at once; it is not remembered.
func (s *state) requestScaling(srv *server, replicas int32) {
	s.serverEvents.send(&pb.ServerStatusResponse{
		Type: pb.ServerStatusResponse_ScalingRequest, ServerName: srv.name, ExpectedReplicas: replicas, KubernetesMeta: srv.meta,
	})
}
