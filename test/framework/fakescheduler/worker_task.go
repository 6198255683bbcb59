package fakescheduler

import (
	"time"

	pb "github.com/seldon-operator/seldon-operator/api/scheduler/mlops/scheduler"
)

// phase is the progress of a workerTask.
type phase int

const (
	phaseCreate phase = iota
	phaseCreating
	phaseReady
	phaseFailed
	phaseTerminate
	phaseTerminating
	phaseTerminated
	phaseTerminateFailed
)

// retryInterval is from a worker's failure to its next attempt.
const retryInterval = time.Minute

// noWorker is the reason when no worker of the kind is connected.
const noWorker = "no worker available"

// workerTask is the work of one kind of worker (model gateways, pipeline gateways or
// dataflow engines) does for one version of a model or pipeline.
//
//	create ── event handled, workers connected ──► creating ── answer ──► ready | failed
//	create ── event handled, none connected ─────► create, with a reason
//	failed ── retried ───────────────────────────► creating
//	any but terminated ── workers connect ───────► creating or terminating (Rebalance)
//	terminate ── event handled, workers ─────────► terminating ── answer ► terminated | terminateFailed
//	terminate ── event handled, none connected ──► terminated
//	terminateFailed ── retried ──────────────────► terminating
//	any ── end requested ────────────────────────► terminate
type workerTask struct {
	phase  phase
	reason string
	// operation numbers the operations: replies to an older one are ignored.
	operation int
}

// terminate requests the end, from any phase.
func (t *workerTask) terminate() {
	*t = workerTask{phase: phaseTerminate, operation: t.operation + 1}
}

// ending is whether the end was requested.
func (t *workerTask) ending() bool { return t.phase >= phaseTerminate }

// over is whether the end was requested and has not failed.
func (t *workerTask) over() bool { return t.ending() && t.phase != phaseTerminateFailed }

// advance handles an event of the object. It returns whether
// the task changed; it calls changed for each change.
func (s *state) advance(t *workerTask, fails failure, changed func()) bool {
	waiting := t.phase == phaseCreate || t.phase == phaseTerminate
	switch {
	case waiting && s.workers:
		s.begin(t, "in progress", fails, changed)
		return true
	case t.phase == phaseTerminate:
		t.phase, t.reason = phaseTerminated, noWorker
	case waiting && t.reason == "":
		t.reason = noWorker
	default:
		return false
	}
	changed()
	return true
}

// begin starts an operation of a worker.
func (s *state) begin(t *workerTask, reason string, fails failure, changed func()) {
	t.operation++
	operation, during, success, failure, done := t.operation, phaseCreating, phaseReady, phaseFailed, "ready "
	if t.ending() {
		during, success, failure, done = phaseTerminating, phaseTerminated, phaseTerminateFailed, "terminated "
	}
	t.phase, t.reason = during, reason
	changed()
	s.loop.afterFunc(s.options.Delays.Gateways, func() {
		if t.operation != operation {
			return
		}
		if !s.nextFailure(fails) {
			t.phase, t.reason = success, "1/1 "+done
			changed()
			return
		}
		t.phase, t.reason = failure, "0/1 "+done
		changed()
		s.loop.afterFunc(retryInterval, func() {
			if t.operation == operation {
				s.begin(t, "retried", fails, changed)
			}
		})
	})
}

// modelState is the phase as a model's gateway state.
func (p phase) modelState() pb.ModelStatus_ModelState {
	return [...]pb.ModelStatus_ModelState{
		phaseCreate:      pb.ModelStatus_ModelCreate,
		phaseCreating:    pb.ModelStatus_ModelProgressing,
		phaseReady:       pb.ModelStatus_ModelAvailable,
		phaseFailed:      pb.ModelStatus_ModelFailed,
		phaseTerminate:   pb.ModelStatus_ModelTerminate,
		phaseTerminating: pb.ModelStatus_ModelTerminating,
		phaseTerminated:  pb.ModelStatus_ModelTerminated,
		// The real scheduler reports a failed deletion as one in progress.
		phaseTerminateFailed: pb.ModelStatus_ModelTerminating,
	}[p]
}

var pipelineStatuses = [...]pb.PipelineVersionState_PipelineStatus{
	phaseCreate:          pb.PipelineVersionState_PipelineCreate,
	phaseCreating:        pb.PipelineVersionState_PipelineCreating,
	phaseReady:           pb.PipelineVersionState_PipelineReady,
	phaseFailed:          pb.PipelineVersionState_PipelineFailed,
	phaseTerminate:       pb.PipelineVersionState_PipelineTerminate,
	phaseTerminating:     pb.PipelineVersionState_PipelineTerminating,
	phaseTerminated:      pb.PipelineVersionState_PipelineTerminated,
	phaseTerminateFailed: pb.PipelineVersionState_PipelineFailedTerminating,
}

// pipelineStatus is the phase as either status of a pipeline.
func (p phase) pipelineStatus() pb.PipelineVersionState_PipelineStatus { return pipelineStatuses[p] }

// phaseOf is the phase of a pipeline's status.
func phaseOf(status pb.PipelineVersionState_PipelineStatus) phase {
	for p, each := range pipelineStatuses {
		if each == status {
			return phase(p)
		}
	}
	return phaseCreate
}
