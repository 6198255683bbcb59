package reconciler

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
)

// Preexisting records the owners found in the informer's initial list, which is
// complete before the controller reconciles. An owner that is created later cannot have
// child objects of a previous operator, provided that both use the same leader-election
// lease: the engine skips its initial scan for such owners. It is safe for concurrent
// use.
type Preexisting struct {
	mu   sync.Mutex
	uids sets.Set[types.UID]
}

// NewPreexisting returns a record without owners.
func NewPreexisting() *Preexisting { return &Preexisting{uids: sets.New[types.UID]()} }

// Has reports whether the owner with that UID existed when the controller started.
func (p *Preexisting) Has(uid types.UID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.uids.Has(uid)
}

// Predicate returns a predicate for the watch of the owners, which records them and
// passes every event.
func (p *Preexisting) Predicate() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool {
			if e.IsInInitialList {
				p.mu.Lock()
				defer p.mu.Unlock()
				p.uids.Insert(e.Object.GetUID())
			}
			return true
		},
		DeleteFunc: func(e event.DeleteEvent) bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.uids.Delete(e.Object.GetUID())
			return true
		},
	}
}
