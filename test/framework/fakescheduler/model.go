package fakescheduler

import (
	"cmp"
	"regexp"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// model is all versions of a model, oldest first, at least one. Deleted ones stay
// until the instance stops or the name is loaded again.
//
//	load, unknown or deleted and inactive ► version max(1, generation)
//	load, deleted and not yet inactive ───► rejected
//	load, modelSpec differs ──────────────► another version
//	load, only deployment or meta differ ─► the latest version, changed in place
//	load, nothing differs ────────────────► no change, but it is scheduled
//	unload ───────────────────────────────► deleted; every version is unloaded
//
// The state of a version follows from those of its replicas (see derive), except for
// those that scheduling sets: ScheduleFailed, and ModelCreate with no replica desired.
type model struct {
	name     string
	versions []*modelVersion
	deleted  bool
}

type modelVersion struct {
	number uint32
	// defn is replaced, never changed.
	defn     *pb.Model
	server   string
	replicas map[int]*modelReplica

	state       pb.ModelStatus_ModelState
	reason      string
	available   uint32
	unavailable uint32
	since       time.Time
	// gateway is the model gateways' part. Only that of the latest version counts.
	gateway workerTask
}

type modelReplica struct {
	state  pb.ModelReplicaStatus_ModelReplicaState
	reason string
	since  time.Time
	// routing is whether Envoy is about to change it.
	routing bool
}

// validName is that of models and pipelines.
var validName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)

func (m *model) latest() *modelVersion { return m.versions[len(m.versions)-1] }

// addVersion adds a version, unless there is one of that number.
func (m *model) addVersion(number uint32, defn *pb.Model) *modelVersion {
	at, known := slices.BinarySearchFunc(m.versions, number, func(v *modelVersion, number uint32) int {
		return cmp.Compare(v.number, number)
	})
	if !known {
		v := &modelVersion{number: number, defn: defn, replicas: map[int]*modelReplica{}, since: time.Now()}
		m.versions = slices.Insert(m.versions, at, v)
	}
	return m.versions[at]
}

// inactive is whether no replica of any version holds a place on a server.
func (m *model) inactive() bool {
	return !slices.ContainsFunc(m.versions, func(v *modelVersion) bool { return v.count(alive) > 0 })
}

// lacksReplicas is whether it is scheduled again when a replica connects or
// disconnects.
func (m *model) lacksReplicas() bool {
	v := m.latest()
	switch v.state {
	case pb.ModelStatus_ModelFailed, pb.ModelStatus_ScheduleFailed:
		return !m.deleted
	case pb.ModelStatus_ModelAvailable, pb.ModelStatus_ModelProgressing:
		return !m.deleted && int(v.available) < v.desired()
	default:
		return false
	}
}

// alive is whether a replica holds a place on a server.
func alive(state pb.ModelReplicaStatus_ModelReplicaState) bool {
	switch state {
	case pb.ModelReplicaStatus_ModelReplicaStateUnknown, pb.ModelReplicaStatus_LoadFailed,
		pb.ModelReplicaStatus_Unloaded, pb.ModelReplicaStatus_UnloadFailed:
		return false
	default:
		return true
	}
}

// serving is whether requests could be routed to a replica.
func serving(state pb.ModelReplicaStatus_ModelReplicaState) bool {
	return state == pb.ModelReplicaStatus_Loaded || state == pb.ModelReplicaStatus_Available
}

// loaded is whether a server counts a replica as loaded.
func loaded(state pb.ModelReplicaStatus_ModelReplicaState) bool {
	return serving(state) || state == pb.ModelReplicaStatus_LoadedUnavailable
}

// staying is whether a replica is loaded or being loaded.
func staying(state pb.ModelReplicaStatus_ModelReplicaState) bool {
	switch state {
	case pb.ModelReplicaStatus_LoadRequested, pb.ModelReplicaStatus_Loading, pb.ModelReplicaStatus_Loaded,
		pb.ModelReplicaStatus_Available, pb.ModelReplicaStatus_LoadedUnavailable:
		return true
	default:
		return false
	}
}

// count is how many replicas are in states of a kind.
func (v *modelVersion) count(is func(pb.ModelReplicaStatus_ModelReplicaState) bool) int {
	n := 0
	for _, r := range v.replicas {
		if is(r.state) {
			n++
		}
	}
	return n
}

func (v *modelVersion) desired() int { return int(v.defn.GetDeploymentSpec().GetReplicas()) }
func (v *modelVersion) atLeast() int { return int(v.defn.GetDeploymentSpec().GetMinReplicas()) }

// derive sets the state of a version from those of its replicas. ended is for a
// deleted model or an older version; before is whether an older version serves.
func (v *modelVersion) derive(ended, before bool) {
	counts := map[pb.ModelReplicaStatus_ModelReplicaState]int{}
	var failed *modelReplica
	for _, r := range v.replicas {
		counts[r.state]++
		if r.reason != "" && (failed == nil || r.since.After(failed.since)) {
			failed = r
		}
	}
	failures := counts[pb.ModelReplicaStatus_LoadFailed] + counts[pb.ModelReplicaStatus_LoadedUnavailable]
	available := counts[pb.ModelReplicaStatus_Available]
	state, reason := pb.ModelStatus_ModelProgressing, ""
	switch {
	case ended && counts[pb.ModelReplicaStatus_UnloadFailed] > 0:
		state = pb.ModelStatus_ModelTerminateFailed
	case ended && v.count(alive) > 0:
		state = pb.ModelStatus_ModelTerminating
	case ended:
		state = pb.ModelStatus_ModelTerminated
	case failures > 0:
		state = pb.ModelStatus_ModelFailed
	case available == 0 && v.desired() == 0 && v.atLeast() == 0:
		state = pb.ModelStatus_ModelScaledDown
	case available == v.desired(), v.atLeast() > 0 && available >= v.atLeast(), available > 0 && before:
		state = pb.ModelStatus_ModelAvailable
	}
	if failed != nil && (state == pb.ModelStatus_ModelFailed || state == pb.ModelStatus_ModelTerminateFailed) {
		reason = failed.reason
	}
	v.available = uint32(available)
	v.unavailable = uint32(counts[pb.ModelReplicaStatus_LoadRequested] + counts[pb.ModelReplicaStatus_Loading] +
		counts[pb.ModelReplicaStatus_Loaded] + failures)
	if state != v.state || reason != v.reason {
		v.state, v.reason, v.since = state, reason, time.Now()
	}
}

// derive does so for one version of a model.
func (m *model) derive(v *modelVersion) {
	before := false
	for _, older := range m.versions {
		if older.number < v.number && older.count(serving) > 0 {
			before = true
		}
	}
	v.derive(m.deleted || v != m.latest(), before)
}

// message is a model's status with these versions.
func (m *model) message(versions ...*modelVersion) *pb.ModelStatusResponse {
	message := &pb.ModelStatusResponse{ModelName: m.name, Deleted: m.deleted}
	for _, v := range versions {
		gateway := v.gateway
		if v != m.latest() {
			gateway = workerTask{phase: phaseTerminated}
		}
		replicas := make(map[int32]*pb.ModelReplicaStatus, len(v.replicas))
		for index, r := range v.replicas {
			replicas[int32(index)] = &pb.ModelReplicaStatus{
				State: r.state, Reason: r.reason, LastChangeTimestamp: timestamppb.New(r.since),
			}
		}
		message.Versions = append(message.Versions, &pb.ModelVersionStatus{
			Version:           v.number,
			ServerName:        v.server,
			KubernetesMeta:    v.defn.GetMeta().GetKubernetesMeta(),
			ModelReplicaState: replicas,
			State: &pb.ModelStatus{
				State: v.state, Reason: v.reason,
				AvailableReplicas: v.available, UnavailableReplicas: v.unavailable,
				LastChangeTimestamp: timestamppb.New(v.since),
				ModelGwState:        gateway.phase.modelState(), ModelGwReason: gateway.reason,
			},
			ModelDefn: v.defn,
		})
	}
	return message
}

// loadModel stores a model; it is scheduled later.
func (s *state) loadModel(defn *pb.Model) error {
	name := defn.GetMeta().GetName()
	if !validName.MatchString(name) {
		return failedPrecondition("model name %q is invalid", name)
	}
	m := s.models[name]
	switch {
	case m == nil || m.deleted && m.inactive():
		m = &model{name: name}
		m.addVersion(uint32(max(1, defn.GetMeta().GetKubernetesMeta().GetGeneration())), defn)
		s.models[name] = m
	case m.deleted:
		return failedPrecondition("model %s is still being unloaded", name)
	case !proto.Equal(m.latest().defn.GetModelSpec(), defn.GetModelSpec()):
		m.addVersion(m.latest().number+1, defn)
	default:
		m.latest().amend(defn)
	}
	s.scheduleLater(name)
	return nil
}

// amend copies the fields that may change within a version.
func (v *modelVersion) amend(defn *pb.Model) {
	sameMeta := proto.Equal(v.defn.GetMeta(), defn.GetMeta())
	sameDeployment := proto.Equal(v.defn.GetDeploymentSpec(), defn.GetDeploymentSpec())
	if sameMeta && sameDeployment {
		return
	}
	amended := proto.CloneOf(v.defn)
	if !sameDeployment {
		amended.DeploymentSpec = defn.GetDeploymentSpec()
	}
	v.defn = withMeta(amended, defn.GetMeta().GetKubernetesMeta())
}

// withMeta is a definition, which may be changed, with the Kubernetes metadata.
func withMeta(defn *pb.Model, meta *pb.KubernetesMeta) *pb.Model {
	if defn.Meta == nil {
		defn.Meta = &pb.MetaData{}
	}
	defn.Meta.KubernetesMeta = meta
	return defn
}

// unloadModel marks a model as deleted; it is unloaded later.
func (s *state) unloadModel(name string, meta *pb.KubernetesMeta) error {
	m := s.models[name]
	if m == nil {
		return failedPrecondition("model %s is unknown", name)
	}
	m.deleted = true
	latest := m.latest()
	if meta != nil {
		latest.defn = withMeta(proto.CloneOf(latest.defn), meta)
	}
	latest.gateway.terminate()
	for _, v := range m.versions {
		m.derive(v)
	}
	s.scheduleLater(name)
	return nil
}

// modelEvent handles an event of a version later, with the status that it has then.
func (s *state) modelEvent(m *model, v *modelVersion) {
	s.loop.post(func() { s.handleModel(m, v) })
}

// handleModel publishes the status of a version, and starts the operations that follow.
func (s *state) handleModel(m *model, v *modelVersion) {
	if s.models[m.name] != m {
		return
	}
	s.serverChanged(v.server)
	if v == m.latest() {
		s.modelEvents.publish(func() *pb.ModelStatusResponse { return m.message(v) })
		s.advance(&v.gateway, failure{}, func() { s.modelEvent(m, v) })
	}
	if m.latest().state == pb.ModelStatus_ModelAvailable {
		s.unloadOlder(m)
	}
	s.advanceReplicas(m, v)
	s.changed(pb.ResourceType_MODEL, m.name)
}
