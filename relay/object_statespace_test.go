package relay

import (
	"fmt"
	"testing"
	"time"
)

// The state space of one object: every order of what controllers, the scheduler and the
// network may do, until no new state is reached. Events and replies come in any order
// and about any generation, so that late, lost and repeated ones are among them. Time
// does not pass while exploring: waits are the subject of decide_test.go.

// spaceGenerations is how often an object is changed, the deletion included.
const spaceGenerations = 2

// spaceState is an object, the calls that are in flight, and what the test knows of them.
type spaceState struct {
	object objectState
	// compared: its kind was compared on this connection.
	compared bool
	// unloading: a call to unload it is in flight. acknowledged: one was answered on
	// this connection.
	unloading, acknowledged bool
}

// spaceKey identifies what makes a difference to an object, but waits.
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
	compared, unloading, acknowledged   bool
}

func (s *spaceState) key() spaceKey {
	o := &s.object
	key := spaceKey{
		uid: o.uid[0], generation: o.generation, registered: o.registered, deleting: o.deleting, known: o.remote != nil,
		sent: o.sentGeneration, inFlight: o.inFlight, unload: o.unload,
		terminatedEarly: o.terminatedEarly, recheck: o.recheck, reload: o.reload, reloading: o.inFlight && o.reloading, buffered: o.bufferedEvent != nil,
		compared: s.compared, unloading: s.unloading, acknowledged: s.acknowledged,
	}
	if o.remote != nil {
		key.remote = *o.remote
	}
	if o.bufferedEvent != nil {
		key.bufferedEnd, key.bufferedGeneration = o.bufferedEvent.phase >= terminating, o.bufferedEvent.state.Generation
	}
	if o.state != nil {
		key.stateGeneration = o.state.Generation
	}
	return key
}

// clone copies what steps change behind pointers.
func (s *spaceState) clone() *spaceState {
	next := *s
	if s.object.remote != nil {
		next.object.remote = new(*s.object.remote)
	}
	if s.object.failure != nil {
		next.object.failure = new(*s.object.failure)
	}
	return &next
}

// want is what the custom resource asks for at its generation.
func (s *spaceState) want() desired {
	return desired{s.object.uid, s.object.generation, digest{s.object.uid[0], byte(s.object.generation)}}
}

// otherForm is a definition that equals none that is desired.
var otherForm = digest{0xff}

// spaceStep is something that happens; it returns false where it cannot. certain: it
// proves that the scheduler does not have the object.
type spaceStep struct {
	name    string
	certain bool
	apply   func(*spaceState) bool
}

func spaceSteps(replaces bool, now time.Time) []spaceStep {
	idle0 := func(s *spaceState) bool { return !s.object.inFlight && !s.unloading }
	steps := []spaceStep{
		{"the session has its turn", false, func(s *spaceState) bool {
			if !idle0(s) || !s.object.deleting && !s.compared {
				return false
			}
			switch s.decide(replaces, now) {
			case actionLoad:
				s.object.startLoad(s.object.generation)
			case actionUnload:
				s.object.requestUnload()
				s.unloading, s.acknowledged = true, false
			case actionPollStatus:
				s.object.polls++
			default:
				return false
			}
			return true
		}},
		{"a poll fails", false, func(s *spaceState) bool {
			s.object.failPoll()
			return idle0(s)
		}},
		{"the load is accepted", false, func(s *spaceState) bool {
			if s.object.inFlight {
				s.object.acceptLoad(s.want(), now)
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
			s.object.fail(Failure{Generation: s.object.generation, Reason: ReasonCallFailed})
			return true
		}},
		{"the connection is lost and made again", false, func(s *spaceState) bool {
			s.object.reconnected()
			s.compared, s.unloading, s.acknowledged = false, false, false
			return true
		}},
		{"it is changed", false, func(s *spaceState) bool {
			if s.object.deleting || s.object.generation == spaceGenerations || !idle0(s) {
				return false
			}
			s.object.setIncarnation(s.object.uid, s.object.generation+1, now)
			return true
		}},
		{"it is deleted", false, func(s *spaceState) bool {
			if s.object.deleting || !idle0(s) {
				return false
			}
			s.object.deleting = true
			s.object.setIncarnation(s.object.uid, min(s.object.generation+1, spaceGenerations), now)
			return true
		}},
		{"its Server can be used again", false, func(s *spaceState) bool {
			if replaces || s.object.state == nil {
				return false // Models are placed, Pipelines are not
			}
			s.object.reload = true
			return true
		}},
		{"it is created again", false, func(s *spaceState) bool {
			if s.object.uid == "b" || !idle0(s) {
				return false
			}
			s.object.setIncarnation("b", 1, now)
			s.object.registered, s.acknowledged = true, false
			return true
		}},
		{"it is not found", false, func(s *spaceState) bool {
			s.object.handleAbsence(false)
			return true
		}},
		{"it is not listed", true, func(s *spaceState) bool {
			s.object.handleAbsence(true)
			s.compared = true
			return true
		}},
	}
	for _, load := range []struct {
		name      string
		failure   Failure
		uncertain bool
	}{
		{"the load is rejected", Failure{Reason: ReasonRejected, Terminal: true}, false},
		{"the load fails", Failure{Reason: ReasonCallFailed}, false},
		{"the load times out", Failure{Reason: ReasonCallFailed}, true},
	} {
		steps = append(steps, spaceStep{load.name, false, func(s *spaceState) bool {
			if !s.object.inFlight {
				return false
			}
			load.failure.Generation = s.object.generation
			s.object.failLoad(load.failure, load.uncertain)
			return true
		}})
	}
	for phase := live; phase <= gone; phase++ {
		for generation := int64(1); generation <= spaceGenerations; generation++ {
			steps = append(steps, spaceStep{fmt.Sprintf("an event: phase %d, generation %d", phase, generation), false, func(s *spaceState) bool {
				w := report(phase, generation)
				if !s.compared && s.object.unload == unloadNotRequested {
					s.object.bufferedEvent = &w
				} else {
					s.object.handleEvent(w, now)
				}
				return true
			}})
			for _, definition := range []digest{{'a', byte(generation)}, {'b', byte(generation)}, otherForm, {}} {
				ended := phase == terminating || phase == gone
				if phase != live && definition != otherForm {
					continue
				}
				for _, trusted := range []bool{false, true} {
					if trusted && (ended || definition != otherForm) {
						continue
					}
					steps = append(steps, spaceStep{fmt.Sprintf("it is reported: phase %d, generation %d, definition %x, trusted %t", phase, generation, definition[:2], trusted), phase == gone, func(s *spaceState) bool {
						w := report(phase, generation)
						w.definition = definition
						s.object.handleReply(w, trusted, now)
						s.compared = s.compared || trusted
						return true
					}})
				}
			}
		}
	}
	return steps
}

// decide is the session's turn, as far as it is no call.
func (s *spaceState) decide(replaces bool, now time.Time) action {
	next, _ := s.decideOrWait(replaces, now)
	return next
}

func (s *spaceState) decideOrWait(replaces bool, now time.Time) (action, time.Duration) {
	if s.object.deleting {
		return s.object.decideDeletion(now)
	}
	if s.object.unload == unloadConfirmed {
		s.object.unload = unloadNotRequested
	}
	s.object.verify(s.want(), now)
	return s.object.decide(s.want(), replaces, now)
}

// done reports whether the session has brought the object where it is desired.
func (s *spaceState) done() bool {
	if s.object.deleting {
		return s.object.unload == unloadConfirmed
	}
	return s.object.unload == unloadNotRequested && s.object.upToDate(s.want()) &&
		s.object.state != nil && s.object.state.Generation == s.object.generation
}

// truth is what a scheduler has, nil for nothing.
type truth struct {
	generation int64
	definition digest
}

// behave has a scheduler that behaves answer whatever the session does, and no event
// arrive, until nothing more is to be done. It returns what the scheduler has then, and
// the calls that it took.
func (s *spaceState) behave(has *truth, replaces bool, reports func(digest) digest, now time.Time) (result outcome) {
	result.has = has
	reported := func() word {
		w := report(live, result.has.generation)
		w.definition = reports(result.has.definition)
		return w
	}
	for range 20 {
		now = now.Add(time.Hour) // longer than any wait
		next, again := s.decideOrWait(replaces, now)
		switch next {
		case actionLoad:
			result.loads++
			result.has = &truth{s.object.generation, s.want().definition}
			s.object.startLoad(s.object.generation)
			s.object.acceptLoad(s.want(), now)
		case actionUnload:
			result.unloads++
			result.has = nil
			s.object.requestUnload()
			s.object.acknowledgeUnload(now)
		case actionPollStatus:
			s.object.polls++
			s.object.lastReplyAt = now
			switch {
			case result.has != nil:
				s.object.handleReply(reported(), false, now)
			case s.object.unload == unloadAcknowledged:
				s.object.handleAbsence(false)
				s.object.handleAbsence(true) // the listing that follows
			default:
				s.object.handleAbsence(false)
			}
		default:
			switch {
			case again > 0:
			case s.done():
				return result
			default:
				result.problem = "nothing is done any more"
				return result
			}
		}
	}
	result.problem = "it does not end"
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
	for i := 0; i < len(nodes); i++ {
		state := nodes[i].state
		for _, step := range steps {
			next := state.clone()
			if !step.apply(next) {
				continue
			}
			key := next.key()
			if seen[key] {
				continue
			}
			seen[key] = true
			nodes = append(nodes, node{next, i, step.name})
			if next.object.unload == unloadConfirmed && state.object.unload != unloadConfirmed && !next.acknowledged && !step.certain {
				fail(len(nodes)-1, "it counts as unloaded, and neither was an unload acknowledged on this connection, nor is it certain")
			}
		}
	}
	ends := map[end]outcome{}
	for i := range nodes {
		if problem := checkNotLost(nodes[i].state, replaces, now, ends); problem != "" {
			fail(i, problem)
		}
	}
	t.Logf("%d states, %d kinds of steps", len(nodes), len(steps))
	if len(nodes) < 10_000 {
		t.Errorf("%d states: most of them are not reached", len(nodes))
	}
}

// end identifies how a state may end, and outcome is how it does.
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

// checkNotLost checks that from a state everything ends well: whatever the scheduler
// has, once it behaves, an object that is desired is loaded and one that is deleted is
// unloaded, with few calls; and if the kind is compared, so it is in fact.
func checkNotLost(from *spaceState, replaces bool, now time.Time, ends map[end]outcome) string {
	if from.object.inFlight || from.unloading {
		return "" // the states after the call are among the others
	}
	want := from.want()
	asIs := func(definition digest) digest { return definition }
	for _, has := range []*truth{nil, {want.generation, want.definition}, {want.generation, otherForm}, {want.generation + 1, otherForm}, {want.generation - 1, otherForm}} {
		for _, listed := range []bool{false, true} {
			for i, reports := range []func(digest) digest{asIs, func(digest) digest { return otherForm }, func(digest) digest { return digest{} }} {
				state := from.clone()
				switch {
				case !listed && !from.compared && !from.object.deleting:
					continue
				case listed && has == nil:
					state.object.handleAbsence(true)
				case listed:
					w := report(live, has.generation)
					w.definition = reports(has.definition)
					state.object.handleReply(w, false, now)
				}
				// What was sent may be reported in another form, or in none: then nothing
				// tells it from another definition of the same generation.
				known := from.object.remote != nil && from.object.remote.verified && from.object.remote.generation == want.generation ||
					i == 2 && from.object.sentGeneration == want.generation
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
