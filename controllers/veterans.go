package controllers

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
)

// newcomers are the objects that were made after their controller began to watch
// them. Nobody has made children for these before us: the existing operator and
// older ones of ours hold the same lease, and had given it up by then.
type newcomers struct {
	mu   sync.Mutex
	uids map[types.UID]bool
}

func newNewcomers() *newcomers { return &newcomers{uids: map[types.UID]bool{}} }

// has tells whether the object of that UID is one.
func (n *newcomers) has(uid types.UID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.uids[uid]
}

func (n *newcomers) set(uid types.UID, is bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if delete(n.uids, uid); is {
		n.uids[uid] = true
	}
}

// noted sees them come and go. It passes everything.
func (n *newcomers) noted() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool {
			if !e.IsInInitialList {
				n.set(e.Object.GetUID(), true)
			}
			return true
		},
		DeleteFunc: func(e event.DeleteEvent) bool {
			n.set(e.Object.GetUID(), false)
			return true
		},
	}
}
