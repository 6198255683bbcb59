package chaos

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// verb is what a user does to an object.
type verb string

const (
	create verb = "create"
	update verb = "update"
	remove verb = "delete"
)

// kinds are the kinds of objects, each as often as its weight.
var kinds = []string{"Model", "Model", "Pipeline", "Experiment"}

// namesPerKind is small, so that names are reused.
const namesPerKind = 3

// variants is how many different specs an object can have.
const variants = 4

// object identifies an object.
type object struct {
	kind, name string
}

func (o object) String() string { return o.kind + " " + o.name }

// mutation creates an object, or acts on one that exists.
type mutation struct {
	verb verb
	object
	variant int
}

func (m mutation) String() string {
	if m.verb == remove {
		return fmt.Sprintf("%s %s", m.verb, m.object)
	}
	return fmt.Sprintf("%s %s (%d)", m.verb, m.object, m.variant)
}

// round is a sequence of mutations with a fault.
type round struct {
	number int
	fault  faultKind
	// dice is the seed of the fault's random parameters.
	dice uint64
	// before are the mutations before the fault, during are those while it lasts, and
	// after are those once it is repaired.
	before, during, after []mutation
	// forced is the mutation of during that the fault needs, or the zero value.
	forced mutation
	// pause is the time between before and the fault, and window the time from the
	// mutations during the fault to its repair.
	pause, window time.Duration
}

func (r round) String() string {
	return fmt.Sprintf("round %d: %v; after %s, %s: %v; %s later it is repaired; then %v",
		r.number, r.before, r.pause, r.fault.name, r.during, r.window, r.after)
}

// state maps each object that exists after all mutations so far to its variant.
type state map[object]int

// planner draws rounds from a seed. A round depends only on the seed and its number.
type planner struct {
	random *rand.Rand
	state  state
	next   int
}

func newPlanner(seed uint64) *planner {
	return &planner{random: rand.New(rand.NewPCG(seed, 0)), state: state{}}
}

// round draws the next round.
func (p *planner) round() round {
	p.next++
	r := round{number: p.next, fault: p.fault(), dice: p.random.Uint64()}
	r.before = p.draw(1+p.random.IntN(4), nil)
	// An object that was deleted before or during the fault may exist until the repair,
	// so that its name cannot be used earlier.
	deleted := map[object]bool{}
	for _, m := range r.before {
		deleted[m.object] = deleted[m.object] || m.verb == remove
	}
	if force := r.fault.force; force != nil {
		missing := p.force(force(p.random), deleted, &r)
		r.before = append(r.before, missing...)
	}
	r.during = append(r.during, p.draw(1+p.random.IntN(4), deleted)...)
	r.after = p.draw(p.random.IntN(3), nil)
	r.pause = time.Duration(p.random.IntN(300)) * time.Millisecond
	r.window = time.Duration(p.random.IntN(1500)) * time.Millisecond
	return r
}

func (p *planner) fault() faultKind {
	total := 0
	for _, each := range faultKinds {
		total += each.weight
	}
	at := p.random.IntN(total)
	for _, each := range faultKinds {
		if at -= each.weight; at < 0 {
			return each
		}
	}
	panic("unreachable")
}

// draw draws mutations of objects that are not in deleted, and adds to deleted those
// that it deletes.
func (p *planner) draw(count int, deleted map[object]bool) []mutation {
	var drawn []mutation
	for range count {
		o := p.name(kinds[p.random.IntN(len(kinds))])
		if deleted[o] {
			continue
		}
		m := mutation{verb: create, object: o, variant: p.random.IntN(variants)}
		if variant, exists := p.state[o]; exists {
			m.verb = update
			m.variant = (variant + 1 + p.random.IntN(variants-1)) % variants
			if p.random.IntN(3) == 0 {
				m.verb, m.variant = remove, 0
			}
		}
		p.apply(m)
		if deleted != nil && m.verb == remove {
			deleted[o] = true
		}
		drawn = append(drawn, m)
	}
	return drawn
}

func (p *planner) name(kind string) object {
	return object{kind, fmt.Sprintf("%s-%d", strings.ToLower(kind), p.random.IntN(namesPerKind))}
}

// force adds a mutation of an existing object to the round. If no object of the kind
// exists, it returns a mutation that creates it.
func (p *planner) force(forced mutation, deleted map[object]bool, r *round) []mutation {
	forced.object = p.name(forced.kind)
	for deleted[forced.object] {
		// At most four objects are in deleted. If these are all names of this kind, the
		// object is created again first.
		if p.allDeleted(forced.kind, deleted) {
			delete(deleted, forced.object)
			break
		}
		forced.object = p.name(forced.kind)
	}
	var missing []mutation
	variant, exists := p.state[forced.object]
	if !exists {
		variant = p.random.IntN(variants)
		missing = []mutation{{verb: create, object: forced.object, variant: variant}}
		p.apply(missing[0])
	}
	if forced.verb == update {
		forced.variant = (variant + 1) % variants
	}
	p.apply(forced)
	if forced.verb == remove {
		deleted[forced.object] = true
	}
	r.during, r.forced = []mutation{forced}, forced
	return missing
}

func (p *planner) allDeleted(kind string, deleted map[object]bool) bool {
	count := 0
	for o := range deleted {
		if deleted[o] && o.kind == kind {
			count++
		}
	}
	return count == namesPerKind
}

func (p *planner) apply(m mutation) {
	if m.verb == remove {
		delete(p.state, m.object)
	} else {
		p.state[m.object] = m.variant
	}
}

// Every mutation creates an object that does not exist, or changes or deletes one that
// does. None uses a name that may be in use until the fault is repaired.
func TestMutationsHaveAnEffect(t *testing.T) {
	drawn := map[string]int{}
	for seed := range uint64(50) {
		p := newPlanner(seed)
		existing := state{}
		for range 50 {
			r := p.round()
			drawn[r.fault.name]++
			deleted := map[object]bool{}
			for i, m := range slices.Concat(r.before, r.during, r.after) {
				name := fmt.Sprintf("seed %d, round %d, %s", seed, r.number, m)
				variant, exists := existing[m.object]
				if exists == (m.verb == create) {
					t.Errorf("%s: the object exists: %t", name, exists)
				}
				if m.verb == update && variant == m.variant {
					t.Errorf("%s: nothing changes", name)
				}
				during := i >= len(r.before) && i < len(r.before)+len(r.during)
				if during && m.verb == create && deleted[m.object] {
					t.Errorf("%s: the deleted object of that name may still exist", name)
				}
				if m.verb == remove {
					delete(existing, m.object)
				} else {
					existing[m.object] = m.variant
				}
				deleted[m.object] = m.verb == remove
			}
			if r.fault.force != nil && (len(r.during) == 0 || r.during[0] != r.forced || r.forced.verb == "") {
				t.Errorf("seed %d, round %d: %s is not forced", seed, r.number, r.forced)
			}
		}
		if !maps.Equal(existing, p.state) {
			t.Errorf("seed %d: %v exists, but the planner has %v", seed, existing, p.state)
		}
	}
	for _, each := range faultKinds {
		if drawn[each.name] == 0 {
			t.Errorf("%s is never drawn", each.name)
		}
	}
}

// A seed always draws the same rounds, and another seed draws others.
func TestSeed(t *testing.T) {
	rounds := func(seed uint64) string {
		p := newPlanner(seed)
		var drawn strings.Builder
		for range 20 {
			r := p.round()
			fmt.Fprintln(&drawn, r, r.dice)
		}
		return drawn.String()
	}
	first, again := rounds(1), rounds(1)
	if first != again {
		t.Error("a seed draws different rounds")
	}
	if first == rounds(2) {
		t.Error("two seeds draw the same rounds")
	}
}
