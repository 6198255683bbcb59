package fakescheduler

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

func TestGate(t *testing.T) {
	for _, row := range []struct {
		name string
		held bool
		play string
		open bool
	}{
		{name: "nothing", play: ""},
		{name: "replicas without a signal", play: "replicas=2"},
		{name: "signal of none", play: "signal=0", open: true},
		{name: "signal, then fewer", play: "signal=2 replicas=1"},
		{name: "signal, then as many", play: "signal=2 replicas=1 replicas=2", open: true},
		{name: "replicas before the signal", play: "replicas=2 signal=2", open: true},
		{name: "more than expected", play: "replicas=3 signal=2"},
		{name: "more, then as many", play: "replicas=3 signal=2 replicas=2", open: true},
		{name: "a second signal", play: "signal=2 signal=0 replicas=1"},
		{name: "timeout", play: "signal=2 timeout", open: true},
		{name: "never closes again", play: "signal=1 replicas=1 replicas=0", open: true},
		{name: "held", held: true, play: "signal=0 timeout"},
		{name: "released", held: true, play: "signal=0 release", open: true},
		{name: "released before the signal", held: true, play: "release"},
		{name: "held and forced", held: true, play: "force", open: true},
		{name: "held later", play: "hold signal=0"},
		{name: "held too late", play: "signal=0 hold", open: true},
	} {
		g := newGate(row.held)
		done := 0
		g.whenOpen(func() { done++ })
		for step := range strings.FieldsSeq(row.play) {
			do, text, _ := strings.Cut(step, "=")
			var number uint64
			_, _ = fmt.Sscan(text, &number)
			map[string]func(){
				"signal":   func() { g.signal(number) },
				"replicas": func() { g.replicas(number) },
				"timeout":  g.timeout, "hold": g.hold, "release": g.release, "force": g.force,
			}[do]()
		}
		g.whenOpen(func() { done++ })
		if g.open != row.open {
			t.Errorf("%s: open is %t", row.name, g.open)
		}
		if want := map[bool]int{false: 0, true: 2}[row.open]; done != want {
			t.Errorf("%s: %d of what waited for it was done, want %d", row.name, done, want)
		}
	}
}

func TestDuty(t *testing.T) {
	const none = "nobody"
	steps := map[string]func(d *duty) (operation, bool){
		"handle":       func(d *duty) (operation, bool) { return d.handle(true, none) },
		"handle alone": func(d *duty) (operation, bool) { return d.handle(false, none) },
		"join":         func(d *duty) (operation, bool) { return d.rebalance(true, none) },
		"leave":        func(d *duty) (operation, bool) { return d.rebalance(false, none) },
		"retry":        func(d *duty) (operation, bool) { return d.retry(true) },
		"retry alone":  func(d *duty) (operation, bool) { return d.retry(false) },
		"ok":           func(d *duty) (operation, bool) { return operationNone, d.answer(d.tick, true, "") },
		"fail":         func(d *duty) (operation, bool) { return operationNone, d.answer(d.tick, false, "why") },
		"shuffle":      func(d *duty) (operation, bool) { return d.shuffle(true) },
		"stale":        func(d *duty) (operation, bool) { return operationNone, d.answer(d.tick+1, true, "") },
	}
	for _, row := range []struct {
		from    phase
		step    string
		to      phase
		asks    operation
		changed bool
		reason  string
	}{
		{phaseCreate, "handle", phaseCreating, operationCreate, true, "being created"},
		{phaseCreate, "handle alone", phaseCreate, operationNone, true, none},
		{phaseCreate, "join", phaseCreating, operationCreate, true, "Rebalance"},
		{phaseCreate, "leave", phaseCreate, operationNone, true, none},
		{phaseCreate, "ok", phaseCreate, operationNone, false, ""},
		{phaseCreating, "handle", phaseCreating, operationNone, false, ""},
		{phaseCreating, "ok", phaseReady, operationNone, true, "1/1 ready "},
		{phaseCreating, "fail", phaseFailed, operationNone, true, "0/1 ready (why)"},
		{phaseCreating, "stale", phaseCreating, operationNone, false, ""},
		{phaseCreating, "leave", phaseCreate, operationNone, true, none},
		{phaseReady, "handle", phaseReady, operationNone, false, ""},
		{phaseReady, "join", phaseCreating, operationCreate, true, "Rebalance"},
		{phaseReady, "leave", phaseCreate, operationNone, true, none},
		{phaseReady, "shuffle", phaseRebalancing, operationCreate, true, "being moved"},
		{phaseCreating, "shuffle", phaseCreating, operationNone, false, ""},
		{phaseRebalancing, "ok", phaseReady, operationNone, true, "1/1 ready "},
		{phaseRebalancing, "leave", phaseCreate, operationNone, true, none},
		{phaseReady, "retry", phaseReady, operationNone, false, ""},
		{phaseFailed, "retry", phaseCreating, operationCreate, true, "being tried again"},
		{phaseFailed, "retry alone", phaseFailed, operationNone, false, ""},
		{phaseFailed, "join", phaseCreating, operationCreate, true, "Rebalance"},
		{phaseTerminate, "handle", phaseTerminating, operationDelete, true, "being deleted"},
		{phaseTerminate, "handle alone", phaseTerminated, operationNone, true, none},
		{phaseTerminate, "ok", phaseTerminate, operationNone, false, ""},
		{phaseTerminating, "ok", phaseTerminated, operationNone, true, "1/1 terminated "},
		{phaseTerminating, "fail", phaseTerminateFailed, operationNone, true, "0/1 terminated (why)"},
		{phaseTerminating, "join", phaseTerminating, operationDelete, true, "Rebalance"},
		{phaseTerminating, "leave", phaseTerminated, operationNone, true, none},
		{phaseTerminateFailed, "retry", phaseTerminating, operationDelete, true, "being tried again"},
		{phaseTerminateFailed, "leave", phaseTerminated, operationNone, true, none},
		{phaseTerminated, "join", phaseTerminated, operationNone, false, ""},
		{phaseTerminated, "leave", phaseTerminated, operationNone, false, ""},
		{phaseTerminated, "handle", phaseTerminated, operationNone, false, ""},
	} {
		d := &duty{phase: row.from, tick: 7}
		asks, changed := steps[row.step](d)
		if d.phase != row.to || asks != row.asks || changed != row.changed || d.reason != row.reason {
			t.Errorf("%d, %s: %d, asks %d, changed %t, reason %q", row.from, row.step, d.phase, asks, changed, d.reason)
		}
	}

	d := &duty{phase: phaseFailed}
	for range mostRetries {
		if _, changed := d.retry(true); !changed {
			t.Fatal("not tried again")
		}
		d.answer(0, false, "")
	}
	if _, changed := d.retry(true); changed {
		t.Error("tried again without end")
	}
}

func TestModelStates(t *testing.T) {
	const (
		requested   = pb.ModelReplicaStatus_LoadRequested
		loaded      = pb.ModelReplicaStatus_Loaded
		failed      = pb.ModelReplicaStatus_LoadFailed
		unavailable = pb.ModelReplicaStatus_LoadedUnavailable
		available   = pb.ModelReplicaStatus_Available
		unloading   = pb.ModelReplicaStatus_Unloading
		unloaded    = pb.ModelReplicaStatus_Unloaded
		stuck       = pb.ModelReplicaStatus_UnloadFailed
	)
	type states []pb.ModelReplicaStatus_ModelReplicaState
	for _, row := range []struct {
		states         states
		desired, least uint32
		ended, before  bool
		want           pb.ModelStatus_ModelState
		up, down       uint32
	}{
		{states{available, stuck}, 1, 0, true, false, pb.ModelStatus_ModelTerminateFailed, 1, 0},
		{states{unloading, unloaded}, 1, 0, true, false, pb.ModelStatus_ModelTerminating, 0, 0},
		{states{unloaded}, 1, 0, true, false, pb.ModelStatus_ModelTerminated, 0, 0},
		{nil, 1, 0, true, false, pb.ModelStatus_ModelTerminated, 0, 0},
		{states{available, failed}, 2, 0, false, false, pb.ModelStatus_ModelFailed, 1, 1},
		{states{available, unavailable}, 1, 0, false, false, pb.ModelStatus_ModelFailed, 1, 1},
		{nil, 0, 0, false, false, pb.ModelStatus_ModelScaledDown, 0, 0},
		{states{unloaded}, 0, 0, false, false, pb.ModelStatus_ModelScaledDown, 0, 0},
		{states{available, available}, 2, 0, false, false, pb.ModelStatus_ModelAvailable, 2, 0},
		{states{available, unloading}, 1, 0, false, false, pb.ModelStatus_ModelAvailable, 1, 0},
		{states{available, requested, loaded}, 3, 1, false, false, pb.ModelStatus_ModelAvailable, 1, 2},
		{states{available, loaded}, 2, 0, false, true, pb.ModelStatus_ModelAvailable, 1, 1},
		{states{available, loaded}, 2, 0, false, false, pb.ModelStatus_ModelProgressing, 1, 1},
		{states{requested}, 1, 0, false, true, pb.ModelStatus_ModelProgressing, 0, 1},
	} {
		v := newModelVersion(1, testModel("m", 1, func(m *pb.Model) {
			m.DeploymentSpec.Replicas, m.DeploymentSpec.MinReplicas = row.desired, row.least
		}))
		for index, state := range row.states {
			v.set(index, state, "")
		}
		v.derive(row.ended, row.before)
		if v.state != row.want || v.available != row.up || v.unavailable != row.down {
			t.Errorf("%v of %d: %s %d %d, want %s", row.states, row.desired, v.state, v.available, v.unavailable, row.want)
		}
	}
}

func TestNormalisePipeline(t *testing.T) {
	step := func(name string, inputs ...string) *pb.PipelineStep {
		return &pb.PipelineStep{Name: name, Inputs: inputs}
	}
	asked := &pb.Pipeline{
		Name:         "p",
		Steps:        []*pb.PipelineStep{step("b", "a", "a.outputs.x", "p.inputs"), step("a", "p"), {Name: "c", Triggers: []string{"a"}}},
		Input:        &pb.PipelineInput{ExternalInputs: []string{"q", "q.step.s", "q.inputs.x", "q.step.s.outputs.x"}, ExternalTriggers: []string{"r"}},
		Output:       &pb.PipelineOutput{Steps: []string{"b", "b.outputs.y"}},
		DataflowSpec: &pb.DataflowSpec{CleanTopicsOnDelete: true}, AllowCycles: true, MaxStepRevisits: 3,
	}
	got, err := normalisePipeline(asked)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range got.GetSteps() {
		names = append(names, s.GetName())
	}
	for _, pair := range [][2][]string{
		{names, {"a", "b", "c"}},
		{got.GetSteps()[0].GetInputs(), {"p.inputs"}},
		{got.GetSteps()[1].GetInputs(), {"a.outputs", "a.outputs.x", "p.inputs"}},
		{got.GetSteps()[2].GetTriggers(), {"a.outputs"}},
		{got.GetInput().GetExternalInputs(), {"q.outputs", "q.step.s.outputs", "q.inputs.x", "q.step.s.outputs.x"}},
		{got.GetInput().GetExternalTriggers(), {"r.outputs"}},
		{got.GetOutput().GetSteps(), {"b.outputs", "b.outputs.y"}},
	} {
		if !slices.Equal(pair[0], pair[1]) {
			t.Errorf("got %v, want %v", pair[0], pair[1])
		}
	}
	if got.GetDataflowSpec() != nil || got.GetAllowCycles() || got.GetMaxStepRevisits() != 0 {
		t.Errorf("told of what is never told: %v", got)
	}
	if asked.GetSteps()[0].GetName() != "b" {
		t.Error("what was asked for was changed")
	}
}
