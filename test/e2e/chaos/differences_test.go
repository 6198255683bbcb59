package chaos

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// desired is an object in the cluster.
type desired struct {
	generation, observed int64
	// ready is the status of the condition Ready, or empty.
	ready metav1.ConditionStatus
	// unknown are the types of conditions that are Unknown.
	unknown  []string
	deleting bool
	content  string
	uid      types.UID
}

// loaded is an object in the scheduler that it was not requested to unload.
type loaded struct {
	generation int64
	ready      bool
	content    string
	// version is that of a Model.
	version uint32
	details string
}

// diffClusterAndScheduler returns the differences between the two, sorted. There are
// none once everything has settled.
func diffClusterAndScheduler(cluster map[object]desired, scheduler map[object]loaded) []string {
	var found []string
	differ := func(o object, format string, arguments ...any) {
		found = append(found, o.String()+" "+fmt.Sprintf(format, arguments...))
	}
	for o, object := range cluster {
		remote, exists := scheduler[o]
		switch {
		case object.deleting:
			differ(o, "is still being deleted")
			continue
		case !exists:
			differ(o, "is not in the scheduler")
			continue
		case remote.generation != object.generation:
			differ(o, "has generation %d, and %d in the scheduler", object.generation, remote.generation)
		case remote.content != object.content:
			differ(o, "is %q, and %q in the scheduler", object.content, remote.content)
		}
		if object.observed != object.generation {
			differ(o, "has generation %d, and its status %d", object.generation, object.observed)
		}
		if (object.ready == metav1.ConditionTrue) != remote.ready {
			differ(o, "has Ready %q, and is ready in the scheduler: %t (%s)", object.ready, remote.ready, remote.details)
		}
		for _, each := range object.unknown {
			differ(o, "has %s Unknown", each)
		}
	}
	for o := range scheduler {
		if _, exists := cluster[o]; !exists {
			differ(o, "is orphaned in the scheduler")
		}
	}
	slices.Sort(found)
	return found
}

func TestDiff(t *testing.T) {
	o := object{"Model", "m"}
	settled := desired{generation: 2, observed: 2, ready: metav1.ConditionTrue, content: "a"}
	has := loaded{generation: 2, ready: true, content: "a"}
	for name, row := range map[string]struct {
		cluster   func(*desired)
		scheduler func(*loaded)
		want      []string
	}{
		"nothing":                    {},
		"both are unready":           {func(d *desired) { d.ready = metav1.ConditionFalse }, func(l *loaded) { l.ready = false }, nil},
		"an older load":              {nil, func(l *loaded) { l.generation = 1 }, []string{"Model m has generation 2, and 1 in the scheduler"}},
		"another object of the name": {nil, func(l *loaded) { l.content = "b" }, []string{`Model m is "a", and "b" in the scheduler`}},
		"an old status":              {func(d *desired) { d.observed = 1 }, nil, []string{"Model m has generation 2, and its status 1"}},
		"a wrong Ready": {func(d *desired) { d.ready = metav1.ConditionFalse }, nil,
			[]string{`Model m has Ready "False", and is ready in the scheduler: true ()`}},
		"no Ready":           {func(d *desired) { d.ready = "" }, nil, []string{`Model m has Ready "", and is ready in the scheduler: true ()`}},
		"Unknown":            {func(d *desired) { d.unknown = []string{"ModelReady"} }, nil, []string{"Model m has ModelReady Unknown"}},
		"a pending deletion": {func(d *desired) { d.deleting = true }, nil, []string{"Model m is still being deleted"}},
		"one was lost":       {nil, func(l *loaded) { *l = loaded{generation: -1} }, []string{"Model m is not in the scheduler"}},
		"one was orphaned":   {func(d *desired) { *d = desired{generation: -1} }, nil, []string{"Model m is orphaned in the scheduler"}},
	} {
		cluster, scheduler := map[object]desired{o: settled}, map[object]loaded{o: has}
		if row.cluster != nil {
			changed := settled
			row.cluster(&changed)
			cluster[o] = changed
		}
		if row.scheduler != nil {
			changed := has
			row.scheduler(&changed)
			scheduler[o] = changed
		}
		if cluster[o].generation < 0 {
			delete(cluster, o)
		}
		if scheduler[o].generation < 0 {
			delete(scheduler, o)
		}
		if got := diffClusterAndScheduler(cluster, scheduler); !slices.Equal(got, row.want) {
			t.Errorf("%s: got %q, want %q", name, got, row.want)
		}
	}
}

// streams are the RPCs that the operator is always subscribed to.
var streams = []string{
	"SubscribeModelStatus", "SubscribePipelineStatus", "SubscribeExperimentStatus", "SubscribeServerStatus", "SubscribeControlPlane",
}

// differences returns the current differences between cluster and scheduler, and other
// reasons why they have not settled.
func (e *environment) differences() []string {
	ctx, cancel := context.WithTimeout(e.ctx, 10*time.Second)
	defer cancel()
	cluster, err := e.desired(ctx)
	if err != nil {
		return []string{err.Error()}
	}
	found := diffClusterAndScheduler(cluster, e.loaded())
	for _, m := range e.scheduler.Models() {
		if m.Deleted && m.Available > 0 {
			found = append(found, fmt.Sprintf("Model %s is deleted, and %d of its replicas are available", m.Name, m.Available))
		}
	}
	// Without a connection the rest may be equal by chance.
	for _, stream := range streams {
		if len(e.scheduler.Subscribers(stream)) == 0 {
			found = append(found, "the operator has no stream of "+stream)
		}
	}
	return append(found, e.serverDifferences(ctx)...)
}

func (e *environment) serverDifferences(ctx context.Context) []string {
	server := &v1alpha1.Server{}
	if err := e.k8sClient.Get(ctx, client.ObjectKey{Namespace: namespace, Name: serverName}, server); err != nil {
		return []string{err.Error()}
	}
	var found []string
	for _, s := range e.scheduler.Servers() {
		if int64(s.LoadedModels) != server.Status.LoadedModelReplicas {
			found = append(found, fmt.Sprintf("Server %s has %d loaded models, and %d in the scheduler", s.Name, server.Status.LoadedModelReplicas, s.LoadedModels))
		}
		if s.Expected != 1 {
			found = append(found, fmt.Sprintf("Server %s has %d replicas in the scheduler", s.Name, s.Expected))
		}
	}
	return found
}

// notReachable returns the conditions of the SeldonRuntime about its scheduler that are
// not True. They turn True only after a connection was stable for some time, which is
// longer after several lost connections.
func (e *environment) notReachable() ([]metav1.Condition, error) {
	seldonRuntime := &v1alpha1.SeldonRuntime{}
	err := e.k8sClient.Get(e.ctx, client.ObjectKey{Namespace: namespace, Name: "seldon"}, seldonRuntime)
	var found []metav1.Condition
	for _, kind := range []string{v1alpha1.ConditionSchedulerReachable, v1alpha1.ConditionSchedulerSynced} {
		condition := meta.FindStatusCondition(seldonRuntime.Status.Conditions, kind)
		if condition == nil || condition.Status != metav1.ConditionTrue {
			found = append(found, ptr.Deref(condition, metav1.Condition{Type: kind}))
		}
	}
	return found, err
}

// desired returns the objects in the cluster.
func (e *environment) desired(ctx context.Context) (map[object]desired, error) {
	found := map[object]desired{}
	for kind, list := range map[string]client.ObjectList{
		"Model": &v1alpha1.ModelList{}, "Pipeline": &v1alpha1.PipelineList{}, "Experiment": &v1alpha1.ExperimentList{},
	} {
		if err := e.k8sClient.List(ctx, list, client.InNamespace(namespace)); err != nil {
			return nil, err
		}
		err := meta.EachListItem(list, func(item runtime.Object) error {
			live := item.(resource)
			want := desired{
				generation: live.GetGeneration(), observed: live.GetObservedGeneration(),
				deleting: live.GetDeletionTimestamp() != nil, content: content(live), uid: live.GetUID(),
			}
			for _, each := range live.GetConditions() {
				if each.Type == v1alpha1.ConditionReady {
					want.ready = each.Status
				}
				if each.Status == metav1.ConditionUnknown {
					want.unknown = append(want.unknown, each.Type)
				}
			}
			found[object{kind, live.GetName()}] = want
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// loaded returns the objects in the scheduler, active or not, that it was not requested
// to unload. It lists those for some time.
func (e *environment) loaded() map[object]loaded {
	found := map[object]loaded{}
	for _, m := range e.scheduler.Models() {
		if !m.Deleted {
			found[object{"Model", m.Name}] = loaded{
				generation: m.Generation, ready: m.State == pb.ModelStatus_ModelAvailable, content: m.Definition.GetModelSpec().GetUri(),
				version: m.Version, details: m.State.String(),
			}
		}
	}
	for _, p := range e.scheduler.Pipelines() {
		if !p.Deleted {
			found[object{"Pipeline", p.Name}] = loaded{
				generation: p.Generation, content: pipelineContent(p.Definition),
				ready:   p.ModelsReady && p.State == pb.PipelineVersionState_PipelineReady && p.GatewayState == pb.PipelineVersionState_PipelineReady,
				details: fmt.Sprintf("%s, gateway %s, models ready %t", p.State, p.GatewayState, p.ModelsReady),
			}
		}
	}
	for _, x := range e.scheduler.Experiments() {
		if !x.Deleted {
			found[object{"Experiment", x.Name}] = loaded{
				generation: x.Generation, content: experimentContent(x.Definition), ready: x.Active && x.CandidatesReady && x.MirrorReady,
				details: fmt.Sprintf("active %t, candidates ready %t", x.Active, x.CandidatesReady),
			}
		}
	}
	return found
}

// modelGeneration identifies a Model with a certain spec.
type modelGeneration struct {
	uid        types.UID
	generation int64
}

// expectNoNewVersions fails the test if a Model that did not change got a new version
// since the last call, unless the scheduler has restarted since: it may restart the
// numbering then.
func (e *environment) expectNoNewVersions(restarts int) {
	cluster, err := e.desired(e.ctx)
	e.Expect(err).NotTo(HaveOccurred())
	loaded := e.loaded()
	now := map[modelGeneration]uint32{}
	for o, each := range cluster {
		if o.kind != "Model" {
			continue
		}
		key := modelGeneration{each.uid, each.generation}
		now[key] = loaded[o].version
		if before, known := e.versions[key]; known && restarts == e.restarts {
			e.Expect(now[key]).To(Equal(before), "%s has a new version, but was not changed", o)
		}
	}
	e.versions = now
}
