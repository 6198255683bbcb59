package relay

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// The state space of one object: every order of actions of controllers, scheduler and
// network, until no new state is reached. Events and replies arrive in any order
// and about any generation, so that late, lost and repeated ones are among them. Time
// does not pass while exploring; delays are tested in decide_test.go.

// spaceGenerations is the number of generations of an object, including that of its deletion.
const spaceGenerations = 2

// spaceState is an object, the calls that are in flight, and their progress.
type spaceState struct {
	object objectState
	// resynced: its kind was resynced on this connection.
	resynced bool
	// unloading: an unload is in flight. acknowledged: one was acknowledged on
	// this connection.
	unloading, acknowledged bool
}

// spaceKey identifies a state, without what only affects delays.
type spaceKey struct {
	uid                                 byte
	generation                          int64
	registered, deleting, known         bool
	remote                              remoteObject
	sent                                int64
	inFlight                            bool
	unload                              unloadPhase
	terminatedEarly, recheck            bool
	reload, reloading                   bool
	buffered, bufferedEnd               bool
	bufferedGeneration, stateGeneration int64
	resynced, unloading, acknowledged   bool
}

func (s *spaceState) key() spaceKey {
	o := &s.object
	key := spaceKey{
		uid: o.uid[0], generation: o.generation, registered: o.registered, deleting: o.deleting, known: o.remote != nil,
		sent: o.load.generation, inFlight: o.load.inFlight, unload: o.unload.phase,
		terminatedEarly: o.unload.terminatedEarly, recheck: o.polling.required, reload: o.load.forced, reloading: o.load.inFlight && o.load.forcedInFlight, buffered: o.bufferedEvent != nil,
		resynced: s.resynced, unloading: s.unloading, acknowledged: s.acknowledged,
	}
	if o.remote != nil {
		key.remote = *o.remote
	}
	if o.bufferedEvent != nil {
		key.bufferedEnd, key.bufferedGeneration = o.bufferedEvent.isEnding(), o.bufferedEvent.state.Generation
	}
	if o.observed.state != nil {
		key.stateGeneration = o.observed.state.Generation
	}
	return key
}

// clone returns a copy, deep where steps change values behind pointers.
func (s *spaceState) clone() *spaceState {
	next := *s
	if s.object.remote != nil {
		next.object.remote = new(*s.object.remote)
	}
	if s.object.observed.failure != nil {
		next.object.observed.failure = new(*s.object.observed.failure)
	}
	return &next
}

// desired returns the desired object of its generation.
func (s *spaceState) desired() desiredObject {
	return desiredObject{s.object.uid, s.object.generation, digest{s.object.uid[0], byte(s.object.generation)}}
}

// otherForm is a definition that differs from every desired one.
var otherForm = digest{0xff}

// spaceStep is one action; apply returns false in states in which it cannot happen. certain: it
// proves that the scheduler does not have the object.
type spaceStep struct {
	name    string
	certain bool
	apply   func(*spaceState) bool
}

func spaceSteps(replaces bool, now time.Time) []spaceStep {
	noCalls := func(s *spaceState) bool { return !s.object.load.inFlight && !s.unloading }
	steps := []spaceStep{
		{"the session reconciles it", false, func(s *spaceState) bool {
			if !noCalls(s) || !s.object.deleting && !s.resynced {
				return false
			}
			switch s.decide(replaces, now) {
			case actionLoad:
				s.object.startLoad(s.object.generation)
			case actionUnload:
				s.object.requestUnload()
				s.unloading, s.acknowledged = true, false
			case actionPollStatus:
				s.object.polling.count++
			default:
				return false
			}
			return true
		}},
		{"a poll fails", false, func(s *spaceState) bool {
			s.object.failPoll(now)
			return noCalls(s)
		}},
		{"the load is accepted", false, func(s *spaceState) bool {
			if s.object.load.inFlight {
				s.object.acceptLoad(s.desired(), now)
				return true
			}
			return false
		}},
		{"the unload is acknowledged", false, func(s *spaceState) bool {
			if !s.unloading {
				return false
			}
			s.unloading, s.acknowledged = false, true
			s.object.acknowledgeUnload(now)
			return true
		}},
		{"the unload fails", false, func(s *spaceState) bool {
			if !s.unloading {
				return false
			}
			s.unloading = false
			s.object.fail(Failure{Generation: s.object.generation, Reason: ReasonCallFailed}, exponential{}, now)
			return true
		}},
		{"the session reconnects", false, func(s *spaceState) bool {
			s.object.reconnected()
			s.resynced, s.unloading, s.acknowledged = false, false, false
			return true
		}},
		{"it is changed", false, func(s *spaceState) bool {
			if s.object.deleting || s.object.generation == spaceGenerations || !noCalls(s) {
				return false
			}
			s.object.setIncarnation(s.object.uid, s.object.generation+1, now)
			return true
		}},
		{"it is deleted", false, func(s *spaceState) bool {
			if s.object.deleting || !noCalls(s) {
				return false
			}
			s.object.deleting = true
			s.object.setIncarnation(s.object.uid, min(s.object.generation+1, spaceGenerations), now)
			return true
		}},
		{"its Server can be used again", false, func(s *spaceState) bool {
			if replaces || s.object.observed.state == nil {
				return false // Models are placed, Pipelines are not
			}
			s.object.load.forced = true
			return true
		}},
		{"it is recreated", false, func(s *spaceState) bool {
			if s.object.uid == "b" || !noCalls(s) {
				return false
			}
			s.object.setIncarnation("b", 1, now)
			s.object.registered, s.acknowledged = true, false
			return true
		}},
		{"it is not found", false, func(s *spaceState) bool {
			s.object.handleAbsence(false, now)
			return true
		}},
		{"it is not listed", true, func(s *spaceState) bool {
			s.object.handleAbsence(true, now)
			s.resynced = true
			return true
		}},
	}
	for _, load := range []struct {
		name    string
		failure Failure
		class   errorClass // without a delay before the retry
	}{
		{"the load is rejected", Failure{Reason: ReasonRejected, Terminal: true}, errorClassWait},
		{"the load fails", Failure{Reason: ReasonCallFailed}, errorClassWait},
		{"the load times out", Failure{Reason: ReasonCallFailed}, errorClassRetry},
	} {
		steps = append(steps, spaceStep{load.name, false, func(s *spaceState) bool {
			if !s.object.load.inFlight {
				return false
			}
			load.failure.Generation = s.object.generation
			s.object.failLoad(load.failure, load.class, now)
			return true
		}})
	}
	for phase := phaseActive; phase <= phaseTerminated; phase++ {
		for generation := int64(1); generation <= spaceGenerations; generation++ {
			steps = append(steps, spaceStep{fmt.Sprintf("an event: phase %d, generation %d", phase, generation), false, func(s *spaceState) bool {
				w := report(phase, generation)
				if !s.resynced && s.object.unload.phase == unloadNotRequested {
					s.object.bufferedEvent = &w
				} else {
					s.object.handleEvent(w, now)
				}
				return true
			}})
			for _, definition := range []digest{{'a', byte(generation)}, {'b', byte(generation)}, otherForm, {}} {
				ending := phase == phaseTerminating || phase == phaseTerminated
				if phase != phaseActive && definition != otherForm {
					continue
				}
				for _, trusted := range []bool{false, true} {
					if trusted && (ending || definition != otherForm) {
						continue
					}
					steps = append(steps, spaceStep{fmt.Sprintf("it is reported: phase %d, generation %d, definition %x, trusted %t", phase, generation, definition[:2], trusted), phase == phaseTerminated, func(s *spaceState) bool {
						w := report(phase, generation)
						w.definition = definition
						s.object.handleReply(w, trusted, now)
						s.resynced = s.resynced || trusted
						return true
					}})
				}
			}
		}
	}
	return steps
}

// decide returns the next call of the session.
func (s *spaceState) decide(replaces bool, now time.Time) action {
	next, _ := s.decideOrWait(replaces, now)
	return next
}

func (s *spaceState) decideOrWait(replaces bool, now time.Time) (action, time.Duration) {
	if s.object.deleting {
		return s.object.decideDeletion(now)
	}
	if s.object.unload.phase == unloadConfirmed {
		s.object.unload.phase = unloadNotRequested
	}
	s.object.verify(s.desired(), now)
	return s.object.decide(s.desired(), replaces, now)
}

// done reports whether the object is as desired.
func (s *spaceState) done() bool {
	if s.object.deleting {
		return s.object.unload.phase == unloadConfirmed
	}
	return s.object.unload.phase == unloadNotRequested && s.object.upToDate(s.desired()) &&
		s.object.observed.state != nil && s.object.observed.state.Generation == s.object.generation
}

// truth is what a scheduler has, nil for nothing.
type truth struct {
	generation int64
	definition digest
}

// behave simulates a correct scheduler that responds to the calls of the session and sends no event,
// until no call is due any more. It returns what the scheduler has then, and
// the number of calls.
func (s *spaceState) behave(has *truth, replaces bool, reports func(digest) digest, now time.Time) (result outcome) {
	result.has = has
	reported := func() statusEvent {
		w := report(phaseActive, result.has.generation)
		w.definition = reports(result.has.definition)
		return w
	}
	for range 20 {
		now = now.Add(time.Hour) // longer than any wait
		next, again := s.decideOrWait(replaces, now)
		switch next {
		case actionLoad:
			result.loads++
			result.has = &truth{s.object.generation, s.desired().definition}
			s.object.startLoad(s.object.generation)
			s.object.acceptLoad(s.desired(), now)
		case actionUnload:
			result.unloads++
			result.has = nil
			s.object.requestUnload()
			s.object.acknowledgeUnload(now)
		case actionPollStatus:
			s.object.polling.count++
			s.object.polling.lastReplyAt = now
			switch {
			case result.has != nil:
				s.object.handleReply(reported(), false, now)
			case s.object.unload.phase == unloadAcknowledged:
				s.object.handleAbsence(false, now)
				s.object.handleAbsence(true, now) // the listing that follows
			default:
				s.object.handleAbsence(false, now)
			}
		default:
			switch {
			case again > 0:
			case s.done():
				return result
			default:
				result.problem = "no call is due"
				return result
			}
		}
	}
	result.problem = "calls are repeated without end"
	return result
}

func TestStateSpace(t *testing.T) {
	for _, replaces := range []bool{false, true} {
		t.Run(fmt.Sprintf("replaces %t", replaces), func(t *testing.T) { exploreStateSpace(t, replaces) })
	}
}

func exploreStateSpace(t *testing.T, replaces bool) {
	now := time.Unix(0, 0)
	type node struct {
		state *spaceState
		from  int
		step  string
	}
	start := &spaceState{}
	start.object.setIncarnation("a", 1, now)
	start.object.registered = true
	nodes := []node{{state: start, from: -1, step: "it is created"}}
	seen := map[spaceKey]bool{start.key(): true}
	path := func(i int) (steps []string) {
		for ; i >= 0; i = nodes[i].from {
			steps = append([]string{nodes[i].step}, steps...)
		}
		return steps
	}
	fail := func(i int, problem string) {
		t.Helper()
		t.Fatalf("%s\nafter %q\n%+v", problem, path(i), nodes[i].state.object)
	}
	steps := spaceSteps(replaces, now)
	var scratch spaceState // most steps lead to a known state, which needs no copy
	var remote remoteObject
	var failure Failure
	for i := 0; i < len(nodes); i++ {
		state := nodes[i].state
		for _, step := range steps {
			scratch = *state
			if scratch.object.remote != nil {
				remote = *scratch.object.remote
				scratch.object.remote = &remote
			}
			if scratch.object.observed.failure != nil {
				failure = *scratch.object.observed.failure
				scratch.object.observed.failure = &failure
			}
			if !step.apply(&scratch) {
				continue
			}
			key := scratch.key()
			if seen[key] {
				continue
			}
			seen[key] = true
			next := scratch.clone()
			nodes = append(nodes, node{next, i, step.name})
			if next.object.unload.phase == unloadConfirmed && state.object.unload.phase != unloadConfirmed && !next.acknowledged && !step.certain {
				fail(len(nodes)-1, "it counts as unloaded, without an acknowledged unload on this connection or a proof")
			}
		}
	}
	// With -short, every fourth state is a start, with others in each run.
	first, stride := 0, 1
	if testing.Short() {
		stride = 4
		first = rand.N(stride)
	}
	ends := map[end]outcome{}
	for i := first; i < len(nodes); i += stride {
		if problem := checkConverges(nodes[i].state, replaces, now, ends); problem != "" {
			fail(i, problem)
		}
	}
	t.Logf("%d states, %d kinds of steps", len(nodes), len(steps))
	if len(nodes) < 10_000 {
		t.Errorf("%d states: most of them are not reached", len(nodes))
	}
}

// end identifies the start of a simulation with a correct scheduler, outcome is its result.
type end struct {
	state    spaceKey
	has      truth
	reported int
}

type outcome struct {
	has            *truth
	loads, unloads int
	problem        string
}

// checkConverges checks that the object becomes as desired from a state: whatever the scheduler
// has, once it is correct, an object to be loaded is loaded and a deleted one is
// unloaded, with few calls; if the kind was resynced, also in the scheduler.
func checkConverges(from *spaceState, replaces bool, now time.Time, ends map[end]outcome) string {
	if from.object.load.inFlight || from.unloading {
		return "" // the states after the call are among the others
	}
	want := from.desired()
	asIs := func(definition digest) digest { return definition }
	for _, has := range []*truth{nil, {want.generation, want.definition}, {want.generation, otherForm}, {want.generation + 1, otherForm}, {want.generation - 1, otherForm}} {
		for _, listed := range []bool{false, true} {
			for i, reports := range []func(digest) digest{asIs, func(digest) digest { return otherForm }, func(digest) digest { return digest{} }} {
				state := from.clone()
				switch {
				case !listed && !from.resynced && !from.object.deleting:
					continue
				case listed && has == nil:
					state.object.handleAbsence(true, now)
				case listed:
					w := report(phaseActive, has.generation)
					w.definition = reports(has.definition)
					state.object.handleReply(w, false, now)
				}
				// The scheduler may report what was sent in another form, or in none: then it
				// cannot be distinguished from another definition of the same generation.
				known := from.object.remote != nil && from.object.remote.verified && from.object.remote.generation == want.generation ||
					i == 2 && from.object.load.generation == want.generation
				end := end{state: state.key(), reported: i}
				if has != nil {
					end.has = *has
				}
				result, again := ends[end]
				if !again {
					result = state.behave(has, replaces, reports, now)
					ends[end] = result
				}
				situation := func(problem string) string {
					return fmt.Sprintf("the scheduler has %+v, listed %t, in form %d: %s", has, listed, i, problem)
				}
				switch {
				case result.problem != "":
					return situation(result.problem)
				case result.loads > 2 || result.unloads > 2:
					return situation(fmt.Sprintf("%d loads and %d unloads", result.loads, result.unloads))
				case !listed:
				case from.object.deleting && result.has != nil:
					return situation("it has the deleted object in the end")
				case !from.object.deleting && (result.has == nil || result.has.generation != want.generation || !known && result.has.definition != want.definition):
					return situation(fmt.Sprintf("it has %+v in the end", result.has))
				}
			}
		}
	}
	return ""
}
