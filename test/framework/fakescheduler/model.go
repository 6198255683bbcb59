package fakescheduler

import (
	"maps"
	"regexp"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// model is all versions of a model, oldest first, at least one. Deleted ones stay
// until the run ends or the name is loaded again.
//
//	load, unknown or deleted and inactive ► version max(1, generation)
//	load, deleted and not yet inactive ───► refused
//	load, modelSpec differs ──────────────► one version more
//	load, only deployment or meta differ ─► the latest version, changed in place
//	load, nothing differs ────────────────► nothing; it is scheduled all the same
//	unload ───────────────────────────────► deleted; every version on its way down
//
// The state of a version follows from those of its replicas (see derive), but for
// ScheduleFailed, which scheduling sets.
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
	// gateway is the model gateways' part.
	gateway duty
}

type modelReplica struct {
	state  pb.ModelReplicaStatus_ModelReplicaState
	reason string
	since  time.Time
	// routing is whether Envoy is at it.
	routing bool
}

// validName is that of models and pipelines.
var validName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)

func (m *model) latest() *modelVersion { return m.versions[len(m.versions)-1] }

func (m *model) version(number uint32) *modelVersion {
	for _, v := range m.versions {
		if v.number == number {
			return v
		}
	}
	return nil
}

// inactive is whether no replica of any version is alive.
func (m *model) inactive() bool {
	return !slices.ContainsFunc(m.versions, (*modelVersion).live)
}

func newModelVersion(number uint32, defn *pb.Model) *modelVersion {
	return &modelVersion{number: number, defn: defn, replicas: map[int]*modelReplica{}, since: time.Now()}
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

// staying is whether a replica is or is coming up, and not on its way down.
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

func (v *modelVersion) live() bool   { return v.count(alive) > 0 }
func (v *modelVersion) desired() int { return int(v.defn.GetDeploymentSpec().GetReplicas()) }
func (v *modelVersion) atLeast() int { return int(v.defn.GetDeploymentSpec().GetMinReplicas()) }

// set changes the state of a replica.
func (v *modelVersion) set(index int, state pb.ModelReplicaStatus_ModelReplicaState, reason string) {
	v.replicas[index] = &modelReplica{state: state, reason: reason, since: time.Now()}
}

// derive is the state of a version from those of its replicas. ended is for a
// deleted model or an older version; before is whether an older version is available.
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
	case ended && v.live():
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
				ModelGwState:        v.gateway.phase.modelState(), ModelGwReason: v.gateway.reason,
			},
			ModelDefn: v.defn,
		})
	}
	return message
}

// loadModel stores a model; it is scheduled later.
func (w *world) loadModel(defn *pb.Model) error {
	name := defn.GetMeta().GetName()
	if !validName.MatchString(name) {
		return refuse("model name %q is invalid", name)
	}
	m := w.models[name]
	switch {
	case m == nil || m.deleted && m.inactive():
		number := uint32(max(1, defn.GetMeta().GetKubernetesMeta().GetGeneration()))
		w.models[name] = &model{name: name, versions: []*modelVersion{newModelVersion(number, defn)}}
	case m.deleted:
		return refuse("model %s is still being unloaded", name)
	case !sameSpec(m.latest().defn.GetModelSpec(), defn.GetModelSpec()):
		m.versions = append(m.versions, newModelVersion(m.latest().number+1, defn))
	default:
		m.latest().amend(defn)
	}
	w.scheduleLater(name)
	return nil
}

// sameSpec compares but for what agents add.
func sameSpec(a, b *pb.ModelSpec) bool {
	if a.GetModelRuntimeInfo() == nil && b.GetModelRuntimeInfo() == nil {
		return proto.Equal(a, b)
	}
	plain := func(spec *pb.ModelSpec) *pb.ModelSpec {
		spec = proto.CloneOf(spec)
		spec.ModelRuntimeInfo = nil
		return spec
	}
	return proto.Equal(plain(a), plain(b))
}

// amend takes over what may change within a version.
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

// unloadModel marks a model as deleted; it is taken down later.
func (w *world) unloadModel(name string, meta *pb.KubernetesMeta) error {
	m := w.models[name]
	if m == nil {
		return refuse("model %s is unknown", name)
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
	w.scheduleLater(name)
	return nil
}

// modelEvent has an event of a version handled later, as the version is then.
func (w *world) modelEvent(m *model, v *modelVersion) {
	w.loop.post(func() { w.handleModel(m, v) })
}

// handleModel tells everyone about a version of a model.
func (w *world) handleModel(m *model, v *modelVersion) {
	if w.models[m.name] != m {
		return
	}
	w.serverChanged(v.server)
	if v == m.latest() {
		w.modelEvents.publish(func() *pb.ModelStatusResponse { return m.message(v) })
		w.driveModel(m, v)
	}
	if m.latest().state == pb.ModelStatus_ModelAvailable {
		w.retire(m)
	}
	w.advance(m, v)
	w.told(itemKey{pb.ResourceType_MODEL, m.name})
}

// driveModel asks a model gateway for what the latest version needs.
func (w *world) driveModel(m *model, v *modelVersion) {
	c := w.crews[modelGateways]
	op, changed := v.gateway.handle(c.present(), modelGateways.none())
	if changed {
		w.modelEvent(m, v)
	}
	w.askModelGateway(m, v, op)
}

func (w *world) askModelGateway(m *model, v *modelVersion, op operation) {
	if op == operationNone {
		return
	}
	tick := w.nextTick()
	v.gateway.tick = tick
	w.assign(w.crews[modelGateways], task{
		item: m.name,
		send: func(to any) {
			message := m.message(v)
			message.Timestamp = tick
			message.KeepTopics = !v.defn.GetDataflowSpec().GetCleanTopicsOnDelete()
			message.Operation = pb.ModelStatusResponse_ModelCreate
			if op == operationDelete {
				message.Operation = pb.ModelStatusResponse_ModelDelete
			}
			push(to, message)
		},
	}, func(ok bool) { w.modelAnswer(m, v, tick, ok, "refused by the gateway") })
}

// modelAnswer is a gateway's.
func (w *world) modelAnswer(m *model, v *modelVersion, tick uint64, ok bool, why string) {
	if v.gateway.answer(tick, ok, why) {
		w.modelEvent(m, v)
	}
}

// rebalanceModels shares models out anew when gateways come or go.
func (w *world) rebalanceModels() {
	present := w.crews[modelGateways].present()
	w.driveModels(func(d *duty) (operation, bool) { return d.rebalance(present, modelGateways.none()) })
}

// retryModels tries again what gateways failed to create. What they failed to
// delete is never tried again.
func (w *world) retryModels() {
	present := w.crews[modelGateways].present()
	w.driveModels(func(d *duty) (operation, bool) {
		if d.ending() {
			return operationNone, false
		}
		return d.retry(present)
	})
}

// driveModels applies a transition to the gateways' part of all models.
func (w *world) driveModels(change func(*duty) (operation, bool)) {
	for _, name := range slices.Sorted(maps.Keys(w.models)) {
		m := w.models[name]
		v := m.latest()
		op, changed := change(&v.gateway)
		if changed {
			w.modelEvent(m, v)
		}
		w.askModelGateway(m, v, op)
	}
}
