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

// kinds of objects, each as often as it is drawn.
var kinds = []string{"Model", "Model", "Pipeline", "Experiment"}

// namesPerKind is small, so that names are used again and again.
const namesPerKind = 3

// variants is how many different specs an object can have.
const variants = 4

// object identifies an object.
type object struct {
	kind, name string
}

func (o object) String() string { return o.kind + " " + o.name }

// mutation acts on an object that exists, unless it creates it.
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

// round is what happens between two states in which nothing is left to do.
type round struct {
	number int
	fault  faultKind
	// dice are for what the fault varies.
	dice uint64
	// before are the mutations before the fault, during are those while it lasts, and
	// after are those once it is repaired.
	before, during, after []mutation
	// forced is the one of during that the fault needs, or the zero value.
	forced mutation
	// pause is between before and the fault, window the time that the fault lasts
	// after its mutations.
	pause, window time.Duration
}

func (r round) String() string {
	return fmt.Sprintf("round %d: %v; after %s, %s: %v; %s later it is repaired; then %v",
		r.number, r.before, r.pause, r.fault.name, r.during, r.window, r.after)
}

// world is what exists once everything that was drawn has happened, by object.
type world map[object]int

// planner draws rounds from a seed. A round depends only on the seed and its number.
type planner struct {
	random *rand.Rand
	world  world
	next   int
}

func newPlanner(seed uint64) *planner {
	return &planner{random: rand.New(rand.NewPCG(seed, 0)), world: world{}}
}

// round draws the next one.
func (p *planner) round() round {
	p.next++
	r := round{number: p.next, fault: p.fault(), dice: p.random.Uint64()}
	r.before = p.draw(1+p.random.IntN(4), nil)
	// An object that was deleted before or during the fault may stay until that is
	// repaired: its name cannot be used before.
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

// draw draws mutations of objects other than the deleted, to which it adds.
func (p *planner) draw(count int, deleted map[object]bool) []mutation {
	var drawn []mutation
	for range count {
		o := p.name(kinds[p.random.IntN(len(kinds))])
		if deleted[o] {
			continue
		}
		m := mutation{verb: create, object: o, variant: p.random.IntN(variants)}
		if variant, exists := p.world[o]; exists {
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

// force adds a mutation of an existing object to the round, and returns what creates
// the object if there is none.
func (p *planner) force(what mutation, deleted map[object]bool, r *round) []mutation {
	what.object = p.name(what.kind)
	for deleted[what.object] {
		// At most four were deleted, of all kinds: where all names of this one were,
		// the object is created again first.
		if p.allDeleted(what.kind, deleted) {
			delete(deleted, what.object)
			break
		}
		what.object = p.name(what.kind)
	}
	var missing []mutation
	variant, exists := p.world[what.object]
	if !exists {
		variant = p.random.IntN(variants)
		missing = []mutation{{verb: create, object: what.object, variant: variant}}
		p.apply(missing[0])
	}
	if what.verb == update {
		what.variant = (variant + 1) % variants
	}
	p.apply(what)
	if what.verb == remove {
		deleted[what.object] = true
	}
	r.during, r.forced = []mutation{what}, what
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
		delete(p.world, m.object)
	} else {
		p.world[m.object] = m.variant
	}
}

// Every mutation acts on an object that exists, or creates one that does not, and
// none changes an object to what it is. None needs a name that may be taken until
// the fault is repaired.
func TestMutationsCount(t *testing.T) {
	drawn := map[string]int{}
	for seed := range uint64(50) {
		p := newPlanner(seed)
		world := world{}
		for range 50 {
			r := p.round()
			drawn[r.fault.name]++
			deleted := map[object]bool{}
			for i, m := range slices.Concat(r.before, r.during, r.after) {
				name := fmt.Sprintf("seed %d, round %d, %s", seed, r.number, m)
				variant, exists := world[m.object]
				if exists == (m.verb == create) {
					t.Errorf("%s: the object exists: %t", name, exists)
				}
				if m.verb == update && variant == m.variant {
					t.Errorf("%s: nothing changes", name)
				}
				during := i >= len(r.before) && i < len(r.before)+len(r.during)
				if during && m.verb == create && deleted[m.object] {
					t.Errorf("%s: its predecessor may still exist", name)
				}
				if m.verb == remove {
					delete(world, m.object)
				} else {
					world[m.object] = m.variant
				}
				deleted[m.object] = m.verb == remove
			}
			if r.fault.force != nil && (len(r.during) == 0 || r.during[0] != r.forced || r.forced.verb == "") {
				t.Errorf("seed %d, round %d: %s is not forced", seed, r.number, r.forced)
			}
		}
		if !maps.Equal(world, p.world) {
			t.Errorf("seed %d: %v exists, and %v is believed to", seed, world, p.world)
		}
	}
	for _, each := range faultKinds {
		if drawn[each.name] == 0 {
			t.Errorf("%s is never drawn", each.name)
		}
	}
}

// The same seed is the same rounds; another one is not.
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
