package chaos

import (
	"math/rand/v2"
	"slices"
	"syscall"
	"time"

	. "github.com/onsi/gomega"
	"google.golang.org/grpc/codes"

	"github.com/seldon-operator/seldon-operator/test/framework/fakescheduler"
)

// faultKind is a kind of fault. Each round draws one.
type faultKind struct {
	name string
	// weight is how often it is drawn, relative to the others.
	weight int
	// settled makes the fault start only after cluster and scheduler agree.
	settled bool
	// long faults take tens of seconds.
	long bool
	// force, if set, draws a mutation that the fault needs, without a name. It is the
	// first mutation during the fault.
	force func(*rand.Rand) mutation
	new   func(e *environment, r round, dice *rand.Rand) fault
}

// fault is the fault of a round. Its functions may be nil, and are called in the order
// of the fields.
type fault struct {
	// begin is called before the mutations during the fault, and strike after them.
	begin, strike func()
	// repair ends the fault.
	repair func()
	// effect fails the test if the fault had no effect. It is called once everything has
	// settled.
	effect func()
}

// faultKinds are all kinds. Each asserts that it had an effect.
var faultKinds = []faultKind{
	{name: "the operator is killed", weight: 3, new: operatorKilled},
	{name: "the operator is stopped", weight: 1, new: operatorStopped},
	{name: "the operator is paused", weight: 2, settled: true, force: anUpdate, new: operatorPaused},
	{name: "the scheduler is killed", weight: 3, new: schedulerKilled},
	{name: "the scheduler is stopped", weight: 1, new: schedulerStopped},
	{name: "the scheduler loses its volume", weight: 2, new: schedulerLosesVolume},
	{name: "the scheduler restarts and waits for servers", weight: 2, new: schedulerGateClosed},
	{name: "operator and scheduler are killed", weight: 2, new: bothKilled},
	{name: "an unload is in flight when a process is killed", weight: 6, settled: true, force: aDeletion, new: unloadInFlight},
	{name: "calls fail", weight: 3, settled: true, force: aChange, new: callsFail},
	{name: "responses are lost", weight: 3, settled: true, force: aChange, new: responsesLost},
	{name: "streams end", weight: 3, new: streamsEnd},
	{name: "the network is cut", weight: 2, new: networkCut},
	{name: "the network refuses connections", weight: 2, new: networkRefuses},
	{name: "the network is slow", weight: 2, force: anUpdate, new: networkSlow},
	{name: "the network freezes", weight: 2, settled: true, force: anUpdate, new: networkFrozen},
	{name: "the network freezes for long", weight: 1, settled: true, long: true, force: anUpdate, new: networkFrozenForLong},
	{name: "the network loses one direction", weight: 1, settled: true, long: true, force: anUpdate, new: networkOneWay},
}

// anUpdate makes the operator send a load.
func anUpdate(*rand.Rand) mutation { return mutation{verb: update, object: object{kind: "Model"}} }

// aDeletion deletes an Experiment more often than other kinds: only Experiments are
// started again by a scheduler that has restarted.
func aDeletion(random *rand.Rand) mutation {
	kind := []string{"Experiment", "Experiment", "Experiment", "Model", "Pipeline"}[random.IntN(5)]
	return mutation{verb: remove, object: object{kind: kind}}
}

func aChange(random *rand.Rand) mutation {
	return mutation{verb: []verb{update, remove}[random.IntN(2)], object: object{kind: kinds[random.IntN(len(kinds))]}}
}

// method is the RPC that the operator calls for the mutation.
func (m mutation) method() string {
	load := map[string]string{"Model": "LoadModel", "Pipeline": "LoadPipeline", "Experiment": "StartExperiment"}
	unload := map[string]string{"Model": "UnloadModel", "Pipeline": "UnloadPipeline", "Experiment": "StopExperiment"}
	if m.verb == remove {
		return unload[m.kind]
	}
	return load[m.kind]
}

func operatorKilled(e *environment, _ round, _ *rand.Rand) fault {
	return fault{begin: e.killOperator, repair: e.startOperator}
}

func operatorStopped(e *environment, _ round, _ *rand.Rand) fault {
	return fault{
		begin: func() {
			e.Expect(e.operator.Stop().ExitCode()).To(Equal(0), "the operator's exit code")
		},
		repair: e.startOperator,
	}
}

func operatorPaused(e *environment, r round, _ *rand.Rand) fault {
	return fault{
		begin: func() { e.Expect(e.operator.Signal(syscall.SIGSTOP)).To(Succeed()) },
		repair: func() {
			live := e.get(r.forced.object)
			e.Expect(live.GetObservedGeneration()).To(BeNumerically("<", live.GetGeneration()), "the paused operator saw a change")
			e.Expect(e.operator.Signal(syscall.SIGCONT)).To(Succeed())
		},
	}
}

func schedulerKilled(e *environment, _ round, _ *rand.Rand) fault {
	return fault{begin: e.killScheduler, repair: func() { e.startScheduler(fakescheduler.RestartOptions{}) }}
}

func schedulerStopped(e *environment, _ round, _ *rand.Rand) fault {
	return fault{
		begin: func() {
			e.scheduler.Stop()
			e.expectSchedulerDown()
		},
		repair: func() { e.startScheduler(fakescheduler.RestartOptions{}) },
	}
}

func schedulerLosesVolume(e *environment, _ round, dice *rand.Rand) fault {
	options := fakescheduler.RestartOptions{LoseVolume: true, LoseAgents: dice.IntN(2) == 0}
	return fault{begin: e.killScheduler, repair: func() { e.startScheduler(options) }}
}

// schedulerGateClosed restarts the scheduler with its readiness gate closed: it accepts
// connections, but lists nothing and rejects loads.
func schedulerGateClosed(e *environment, _ round, _ *rand.Rand) fault {
	return fault{
		begin: func() {
			e.killScheduler()
			e.scheduler.HoldGate()
			e.startScheduler(fakescheduler.RestartOptions{})
		},
		repair: func() {
			e.Expect(e.scheduler.GateOpen()).To(BeFalse(), "the scheduler's gate is open")
			e.scheduler.ReleaseGate()
		},
	}
}

func bothKilled(e *environment, _ round, _ *rand.Rand) fault {
	return fault{
		begin: func() {
			e.killScheduler()
			e.killOperator()
		},
		repair: func() {
			e.startOperator()
			e.startScheduler(fakescheduler.RestartOptions{})
		},
	}
}

// unloadInFlight kills the scheduler, the operator or both after the scheduler has
// received an unload, and perhaps executed it, but has not replied.
func unloadInFlight(e *environment, r round, dice *rand.Rand) fault {
	victim, executed := dice.IntN(5), dice.IntN(2) == 0
	operatorToo, schedulerToo := victim >= 3, victim != 3
	method, calls := r.forced.method(), 0
	release := func() {}
	return fault{
		begin: func() {
			calls = e.scheduler.Calls(method)
			if executed {
				e.Expect(e.proxy.DropReplies()).To(BeNumerically(">", 0), "connections")
			} else {
				release = e.scheduler.HangCalls(method)
			}
		},
		strike: func() {
			e.Eventually(func() int { return e.scheduler.Calls(method) }).WithTimeout(effectTimeout).Should(BeNumerically(">", calls), "calls of "+method)
			if executed {
				e.Eventually(func() bool { _, loaded := e.loaded()[r.forced.object]; return loaded }).
					WithTimeout(effectTimeout).Should(BeFalse(), "%s is loaded", r.forced.object)
			}
			if operatorToo {
				e.killOperator()
			}
			if schedulerToo {
				e.killScheduler()
			}
			e.proxy.Cut()
			release()
		},
		repair: func() {
			e.proxy.Open()
			if schedulerToo {
				e.startScheduler(fakescheduler.RestartOptions{})
			}
			if operatorToo {
				e.startOperator()
			}
		},
	}
}

// retriable are codes that do not depend on the object.
var retriable = []codes.Code{codes.Unavailable, codes.DeadlineExceeded, codes.Internal}

// callsFail makes calls fail without executing them.
func callsFail(e *environment, r round, dice *rand.Rand) fault {
	return failing(e, r.forced.method(), 1+dice.IntN(3), retriable[dice.IntN(len(retriable))], e.scheduler.FailCalls)
}

// responsesLost makes calls fail after executing them.
func responsesLost(e *environment, r round, dice *rand.Rand) fault {
	return failing(e, r.forced.method(), 1+dice.IntN(2), retriable[dice.IntN(len(retriable))], e.scheduler.LoseReplies)
}

func failing(e *environment, method string, times int, code codes.Code, set func(string, int, codes.Code)) fault {
	calls := 0
	return fault{
		begin: func() {
			calls = e.scheduler.Calls(method)
			set(method, times, code)
		},
		strike: func() {
			e.Eventually(func() int { return e.scheduler.Calls(method) }).WithTimeout(effectTimeout).Should(BeNumerically(">", calls), "calls of "+method)
		},
		repair: func() { set(method, 0, code) },
	}
}

// streamsEnd ends one stream or all. The calls that the operator then makes may fail.
func streamsEnd(e *environment, _ round, dice *rand.Rand) fault {
	ended := streams
	if dice.IntN(2) == 0 {
		at := dice.IntN(len(streams))
		ended = streams[at : at+1]
	}
	next := slices.Concat(ended, []string{"", "ModelStatus", "PipelineStatus", "ExperimentStatus", "ServerNotify"})
	method, times, code := next[dice.IntN(len(next))], 1+dice.IntN(2), retriable[dice.IntN(len(retriable))]
	opened := map[string]int{}
	return fault{
		begin: func() {
			for _, stream := range ended {
				e.Expect(e.scheduler.Subscribers(stream)).To(HaveLen(1), "open streams of "+stream)
				opened[stream] = e.scheduler.Calls(stream)
			}
			if method != "" {
				e.scheduler.FailCalls(method, times, code)
			}
			e.scheduler.EndStreams(ended...)
		},
		repair: func() {
			if method != "" {
				e.scheduler.FailCalls(method, 0, code)
			}
		},
		effect: func() {
			for _, stream := range ended {
				e.Eventually(func() int { return e.scheduler.Calls(stream) }).WithTimeout(settleTimeout).
					Should(BeNumerically(">", opened[stream]), "calls of "+stream)
			}
		},
	}
}

func networkCut(e *environment, _ round, _ *rand.Rand) fault {
	return fault{begin: e.cut, repair: e.proxy.Open}
}

func networkRefuses(e *environment, _ round, dice *rand.Rand) fault {
	connections, refused := 1+dice.IntN(2), 0
	return fault{
		begin: e.cut,
		repair: func() {
			refused = e.proxy.Stats().Refused
			e.proxy.Refuse(connections)
			e.proxy.Open()
		},
		effect: func() {
			e.Expect(e.proxy.Stats().Refused-refused).To(BeNumerically(">=", connections), "refused connections")
		},
	}
}

func networkSlow(e *environment, _ round, dice *rand.Rand) fault {
	delay, delayed := time.Duration(50+dice.IntN(350))*time.Millisecond, int64(0)
	return fault{
		begin: func() {
			delayed = e.proxy.Stats().ToServer.Delayed
			e.proxy.Slow(delay)
		},
		strike: func() {
			e.Eventually(func() int64 { return e.proxy.Stats().ToServer.Delayed }).
				WithTimeout(effectTimeout).Should(BeNumerically(">", delayed), "delayed bytes")
		},
		repair: e.proxy.Open,
	}
}

func networkFrozen(e *environment, _ round, _ *rand.Rand) fault {
	held := int64(0)
	return fault{
		begin: func() {
			held = e.proxy.Stats().ToServer.Held
			e.proxy.Freeze()
		},
		strike: func() {
			e.Eventually(func() int64 { return e.proxy.Stats().ToServer.Held }).
				WithTimeout(effectTimeout).Should(BeNumerically(">", held), "held bytes")
		},
		repair: e.proxy.Open,
	}
}

// networkFrozenForLong lasts until the operator's calls have exceeded their deadline,
// and often until it has closed the connection.
func networkFrozenForLong(e *environment, r round, dice *rand.Rand) fault {
	f := networkFrozen(e, r, dice)
	strike, longer := f.strike, time.Duration(10+dice.IntN(20))*time.Second
	f.strike = func() {
		strike()
		time.Sleep(longer)
	}
	return f
}

// networkOneWay drops everything that the scheduler sends: the operator has to detect
// that the connection is broken, and replace it.
func networkOneWay(e *environment, _ round, _ *rand.Rand) fault {
	var before int64
	accepted := 0
	return fault{
		begin: func() {
			before, accepted = e.proxy.Stats().ToClient.Dropped, e.proxy.Stats().Accepted
			e.Expect(e.proxy.DropReplies()).To(BeNumerically(">", 0), "connections")
		},
		strike: func() {
			e.Eventually(func() int64 { return e.proxy.Stats().ToClient.Dropped }).
				WithTimeout(effectTimeout).Should(BeNumerically(">", before), "dropped bytes")
		},
		effect: func() {
			e.Expect(e.proxy.Stats().Accepted).To(BeNumerically(">", accepted), "the connection was not replaced")
		},
	}
}
