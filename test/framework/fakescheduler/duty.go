package fakescheduler

import (
	"fmt"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// phase is how far a duty is.
type phase int

const (
	phaseCreate phase = iota
	phaseCreating
	phaseReady
	phaseFailed
	phaseRebalancing
	phaseTerminate
	phaseTerminating
	phaseTerminated
	phaseTerminateFailed
)

// operation is what a worker is asked to do.
type operation int

const (
	operationNone operation = iota
	operationCreate
	operationDelete
)

// reasonRebalance is told while workers that came or went share out the work anew.
const reasonRebalance = "Rebalance"

// mostRetries is how often a failed operation is tried again.
const mostRetries = 10

// duty is what one kind of worker (model gateways, pipeline gateways or dataflow
// engines) has to do for one version of a model or pipeline.
//
//	create ── handled, worker there ──► creating ── answer ──► ready | failed
//	create ── handled, none there ────► create, with a reason
//	any but the below ── workers change ► creating (Rebalance), or create if none is left
//	failed ── retried ────────────────► creating
//	ready ── engines rebalance ───────► rebalancing ── answer ► ready | failed
//
//	terminate ── handled, worker there ► terminating ── answer ► terminated | terminateFailed
//	terminate ── handled, none there ──► terminated
//	terminating, terminateFailed ── workers change ► terminating, or terminated if none is left
//	terminateFailed ── retried ────────► terminating
//
// Every operation has a tick of its own; an answer to an older one is stale.
type duty struct {
	phase  phase
	reason string
	tick   uint64
	tries  int
}

// terminate asks for the end, from any phase.
func (d *duty) terminate() { *d = duty{phase: phaseTerminate, tick: d.tick} }

// ending is whether the end was asked for.
func (d *duty) ending() bool { return d.phase >= phaseTerminate }

// over is whether the end was asked for and has not failed.
func (d *duty) over() bool { return d.ending() && d.phase != phaseTerminateFailed }

// handle is what happens when an event of the item is handled: it says what to ask
// of a worker, and whether the duty changed. none is the reason when no worker is
// there.
func (d *duty) handle(present bool, none string) (operation, bool) {
	switch {
	case d.phase == phaseCreate && present:
		return d.begin("being created")
	case d.phase == phaseCreate && d.reason != none:
		d.reason = none
		return operationNone, true
	case d.phase == phaseTerminate && present:
		return d.begin("being deleted")
	case d.phase == phaseTerminate:
		d.phase, d.reason = phaseTerminated, none
		return operationNone, true
	}
	return operationNone, false
}

// rebalance is what happens when workers come or go.
func (d *duty) rebalance(present bool, none string) (operation, bool) {
	before := *d
	switch {
	case d.phase == phaseTerminated:
		return operationNone, false
	case present:
		return d.begin(reasonRebalance)
	case d.ending():
		d.phase, d.reason = phaseTerminated, none
	default:
		d.phase, d.reason = phaseCreate, none
	}
	return operationNone, *d != before
}

// shuffle is what happens when workers move work among themselves.
func (d *duty) shuffle(present bool) (operation, bool) {
	if d.phase != phaseReady || !present {
		return operationNone, false
	}
	d.phase, d.reason = phaseRebalancing, "being moved"
	return operationCreate, true
}

// retry is what happens at every tick of the retries.
func (d *duty) retry(present bool) (operation, bool) {
	if d.phase != phaseFailed && d.phase != phaseTerminateFailed || !present || d.tries >= mostRetries {
		return operationNone, false
	}
	d.tries++
	return d.begin("being tried again")
}

// begin goes on to the phase in which a worker is at it.
func (d *duty) begin(reason string) (operation, bool) {
	d.reason = reason
	if d.ending() {
		d.phase = phaseTerminating
		return operationDelete, true
	}
	d.phase = phaseCreating
	return operationCreate, true
}

// answer is a worker's. It returns false if it is stale.
func (d *duty) answer(tick uint64, ok bool, why string) bool {
	waiting := d.phase == phaseCreating || d.phase == phaseRebalancing || d.phase == phaseTerminating
	if tick != d.tick || !waiting {
		return false
	}
	ending := d.ending()
	switch {
	case ending && ok:
		d.phase, d.reason = phaseTerminated, "1/1 terminated "
	case ending:
		d.phase, d.reason = phaseTerminateFailed, fmt.Sprintf("0/1 terminated (%s)", why)
	case ok:
		d.phase, d.reason = phaseReady, "1/1 ready "
	default:
		d.phase, d.reason = phaseFailed, fmt.Sprintf("0/1 ready (%s)", why)
	}
	if ok {
		d.tries = 0
	}
	return true
}

// modelState is the phase as a model's gateway state. A failed delete is told as
// one under way, as by the real scheduler, which counts it wrongly.
func (p phase) modelState() pb.ModelStatus_ModelState {
	return [...]pb.ModelStatus_ModelState{
		phaseCreate:          pb.ModelStatus_ModelCreate,
		phaseCreating:        pb.ModelStatus_ModelProgressing,
		phaseReady:           pb.ModelStatus_ModelAvailable,
		phaseFailed:          pb.ModelStatus_ModelFailed,
		phaseRebalancing:     pb.ModelStatus_ModelProgressing,
		phaseTerminate:       pb.ModelStatus_ModelTerminate,
		phaseTerminating:     pb.ModelStatus_ModelTerminating,
		phaseTerminated:      pb.ModelStatus_ModelTerminated,
		phaseTerminateFailed: pb.ModelStatus_ModelTerminating,
	}[p]
}

var pipelineStatuses = [...]pb.PipelineVersionState_PipelineStatus{
	phaseCreate:          pb.PipelineVersionState_PipelineCreate,
	phaseCreating:        pb.PipelineVersionState_PipelineCreating,
	phaseReady:           pb.PipelineVersionState_PipelineReady,
	phaseFailed:          pb.PipelineVersionState_PipelineFailed,
	phaseRebalancing:     pb.PipelineVersionState_PipelineRebalancing,
	phaseTerminate:       pb.PipelineVersionState_PipelineTerminate,
	phaseTerminating:     pb.PipelineVersionState_PipelineTerminating,
	phaseTerminated:      pb.PipelineVersionState_PipelineTerminated,
	phaseTerminateFailed: pb.PipelineVersionState_PipelineFailedTerminating,
}

// pipelineStatus is the phase as either status of a pipeline.
func (p phase) pipelineStatus() pb.PipelineVersionState_PipelineStatus {
	return pipelineStatuses[p]
}

// phaseOf is the phase that a pipeline's status stands for.
func phaseOf(status pb.PipelineVersionState_PipelineStatus) phase {
	for p, s := range pipelineStatuses {
		if s == status {
			return phase(p)
		}
	}
	return phaseCreate
}
