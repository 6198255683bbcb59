package controllers

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
)

// veterans are the objects that were there when their controller began to watch
// them; it does not work before it has seen all of these. Nobody has made children
// for any other object before us: the upstream operator and older ones of ours
// hold the same lease, and had given it up by then.
type veterans struct {
	mu sync.Mutex
	// uids are theirs, each with the names of Services that are known to need no
	// adoption: the operator that might have made them does not run any more.
	uids map[types.UID]map[string]bool
}

func newVeterans() *veterans { return &veterans{uids: map[types.UID]map[string]bool{}} }

// adopted notes that there is no Service of that name to adopt for the object.
func (v *veterans) adopted(uid types.UID, service string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if services, has := v.uids[uid]; has {
		services[service] = true
	}
}

// mayHave returns whether the object is one, and may have a Service of that name that
// is not adopted yet.
func (v *veterans) mayHave(uid types.UID, service string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	services, has := v.uids[uid]
	return has && !services[service]
}

// have tells whether the object of that UID is one.
func (v *veterans) have(uid types.UID) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.uids[uid] != nil
}

// noted sees objects come and go. It passes everything.
func (v *veterans) noted() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool {
			if e.IsInInitialList {
				v.mu.Lock()
				defer v.mu.Unlock()
				v.uids[e.Object.GetUID()] = map[string]bool{}
			}
			return true
		},
		DeleteFunc: func(e event.DeleteEvent) bool {
			v.mu.Lock()
			defer v.mu.Unlock()
			delete(v.uids, e.Object.GetUID())
			return true
		},
	}
}
