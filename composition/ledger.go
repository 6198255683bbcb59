package composition

import (
	"maps"
	"sync"
	"time"

	"github.com/seldon-operator/seldon-operator/composition/internal/cached"
	"github.com/seldon-operator/seldon-operator/composition/object"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// cacheLag is how long a child that we wrote may be missing from the cache
	// before the API server is asked for it.
	cacheLag = 5 * time.Second
	// heldRetry is when something outside the cache's view, such as an object of
	// somebody else, is looked at again.
	heldRetry = time.Minute
)

// ledger holds what is remembered of all instances, by the owner's kind and name: its
// UID is not known any more when it turns out not to exist. It is a cache of the
// cluster's state: losing it costs requests, never correctness.
type ledger struct {
	mu     sync.Mutex
	owners map[ownerKey]*account
}

// ownerKey names an owner.
type ownerKey struct {
	schema.GroupKind
	types.NamespacedName
}

func keyOf(owner object.Owner) ownerKey {
	return ownerKey{owner.GroupKind(), types.NamespacedName{Namespace: owner.Namespace, Name: owner.Name}}
}

func newLedger() *ledger { return &ledger{owners: map[ownerKey]*account{}} }

// account of an owner. Only one reconcile at a time uses it; see [Engine]. Another
// owner of the same name replaces it.
func (l *ledger) account(owner object.Owner) *account {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := keyOf(owner)
	if known := l.owners[key]; known == nil || known.owner != owner.UID {
		l.owners[key] = &account{
			owner:   owner.UID,
			marks:   map[object.Ref]mark{},
			deleted: map[object.Ref]types.UID{},
			foreign: map[object.Ref]sighting{},
			taken:   map[object.Ref]bool{},
		}
	}
	return l.owners[key]
}

func (l *ledger) forget(owner object.Owner) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.owners, keyOf(owner))
}

// account is what is remembered of one owner.
type account struct {
	owner types.UID
	marks map[object.Ref]mark
	// deleted are the UIDs of children that we deleted and the cache may still show.
	deleted map[object.Ref]types.UID
	// foreign are objects outside the cache that have the name of a child and are
	// not the owner's.
	foreign map[object.Ref]sighting
	// taken are the children whose name an object has that the cache does not show.
	taken map[object.Ref]bool
	// leftovers are objects outside the cache that the owner controls and that
	// were not rendered at the initial scan; nil before that.
	leftovers map[object.Ref]*unstructured.Unstructured
	// backups are the names of the backups of StatefulSets that are recreated; nil
	// before they were listed.
	backups sets.Set[string]
}

// sighting is the identity of an object and when it was read.
type sighting struct {
	object *unstructured.Unstructured
	at     time.Time
}

// mark is what is remembered of a child that was found in step, was applied, or
// was held by a dry-run.
type mark struct {
	// desired is the digest of the apply configuration; zero if nothing is known.
	desired object.Hash
	// content and resourceVersion are of the live object that goes with it.
	content         object.Hash
	resourceVersion string
	// wouldRestart is why a dry-run of desired over content was held; else empty.
	wouldRestart string
	// fresh is what the API server answered to our last write, at the time at. It
	// stands in for the cache until that has caught up, and is dropped then. In the
	// form of the cache it is small: when many instances come up at once, there are
	// many.
	fresh client.Object
	at    time.Time
	// corrections of drift. Once they are contended, rival changes contendedField.
	corrections           corrections
	contendedField, rival string
	// removals of fields of others, by [RemovedFields.String].
	removals map[string]corrections
	// invalid is the last apply configuration that the API server rejected, and what
	// was live then.
	invalid invalidity
	// refused are the last claims that could not grow.
	refused refusal
}

// invalidity is an apply configuration that is invalid beside some live content,
// whatever is removed of it.
type invalidity struct{ desired, content object.Hash }

// refusal is what stood in the way of an apply configuration, and when.
type refusal struct {
	claims  object.Hash
	message string
	at      time.Time
}

// sees tells whether live is, but for its status, what the mark remembers.
func (m mark) sees(live *unstructured.Unstructured, manager string) bool {
	return live.GetResourceVersion() == m.resourceVersion ||
		m.content != object.Hash{} && cached.LiveHash(live, manager) == m.content
}

// catchUp reconciles what the cache showed, in live, with our own writes: what
// the cache does not show yet is added, what it still shows is removed. behind
// tells that it has not caught up.
func (a *account) catchUp(live map[object.Ref]*unstructured.Unstructured, now time.Time) (behind bool) {
	for key, uid := range a.deleted {
		inCache := live[key]
		if inCache == nil || inCache.GetUID() != uid || inCache.GetDeletionTimestamp() != nil {
			delete(a.deleted, key)
			continue
		}
		delete(live, key)
		behind = true
	}
	for key, mark := range a.marks {
		if mark.fresh == nil {
			continue
		}
		inCache := live[key]
		switch {
		case inCache != nil && !older(inCache.GetResourceVersion(), mark.resourceVersion),
			inCache == nil && now.Sub(mark.at) >= cacheLag:
			mark.fresh = nil
			a.marks[key] = mark
		default:
			if obj, err := cached.FromTyped(mark.fresh, key.GroupVersionKind); err == nil {
				live[key] = obj
			}
			behind = true
		}
	}
	return behind
}

// older compares resource versions of one resource.
func older(version, than string) bool {
	order, err := resourceversion.CompareResourceVersion(version, than)
	return err == nil && order < 0
}

// found remembers that live was found in step with desired.
func (a *account) found(key object.Ref, desired object.Hash, live *unstructured.Unstructured, manager string) {
	old := a.marks[key]
	if old.desired == desired && old.resourceVersion == live.GetResourceVersion() && old.wouldRestart == "" {
		return
	}
	mark := markOf(desired, live, manager)
	mark.keepHistory(old)
	if mark.resourceVersion == old.resourceVersion {
		mark.fresh, mark.at = old.fresh, old.at
	}
	a.marks[key] = mark
}

// applied remembers what the API server gave back for desired, and whether this
// was a write against drift.
func (a *account) applied(key object.Ref, desired object.Hash, result result, manager string, now time.Time) {
	mark := markOf(desired, result.live, manager)
	mark.fresh, mark.at = result.cached, now
	mark.keepHistory(a.marks[key])
	if result.wrote && result.step.Reason == Drifted && result.removal.Fields == "" {
		mark.corrections = mark.corrections.with(now, correctionsAtOnce)
		mark.contendedField, mark.rival = result.step.Message, result.rival
	}
	if result.wrote && result.removal.Fields != "" {
		removals := map[string]corrections{}
		for removed, history := range mark.removals {
			if history = history.at(now); len(history.times) > 0 {
				removals[removed] = history
			}
		}
		removed := result.removal.String()
		removals[removed] = removals[removed].with(now, removalsAtOnce)
		mark.removals = removals
	}
	a.marks[key] = mark
}

// keepHistory takes over what was corrected before.
func (m *mark) keepHistory(old mark) {
	m.corrections, m.contendedField, m.rival, m.removals = old.corrections, old.contendedField, old.rival, old.removals
	m.refused = old.refused
}

// invalid remembers that a step's object is invalid beside what is live.
func (a *account) invalid(step Step, live *unstructured.Unstructured, manager string) {
	mark := a.marks[step.Ref]
	mark.invalid = invalidity{desired: step.desired, content: cached.LiveHash(live, manager)}
	a.marks[step.Ref] = mark
}

// held remembers that a dry-run of desired over live would restart pods.
func (a *account) held(key object.Ref, desired object.Hash, live *unstructured.Unstructured, manager, message string) {
	mark := markOf(desired, live, manager)
	mark.keepHistory(a.marks[key])
	mark.wouldRestart = message
	a.marks[key] = mark
}

// blocked remembers that a StatefulSet's claims cannot grow as desired.
func (a *account) blocked(key object.Ref, claims object.Hash, message string, now time.Time) {
	mark := a.marks[key]
	mark.refused = refusal{claims: claims, message: message, at: now}
	a.marks[key] = mark
}

// refusals are those that are not to be tried again yet.
func (a *account) refusals(now time.Time) map[object.Ref]refusal {
	refused := map[object.Ref]refusal{}
	for key, mark := range a.marks {
		if mark.refused.message != "" && now.Sub(mark.refused.at) < heldRetry {
			refused[key] = mark.refused
		}
	}
	return refused
}

// gone remembers that an object was deleted. One without finalizers is gone when
// the API server has said so.
func (a *account) gone(key object.Ref, live *unstructured.Unstructured) {
	delete(a.marks, key)
	if _, isLeftover := a.leftovers[key]; isLeftover {
		if len(live.GetFinalizers()) == 0 {
			delete(a.leftovers, key)
		}
		return
	}
	if len(live.GetFinalizers()) == 0 {
		a.deleted[key] = live.GetUID()
	}
}

// tidy drops the marks of children that are neither wanted nor there.
func (a *account) tidy(plan Plan) {
	known := make(map[object.Ref]bool, len(plan.Steps)+len(plan.Prunes))
	for _, steps := range [][]Step{plan.Steps, plan.Prunes} {
		for _, step := range steps {
			known[step.Ref] = true
		}
	}
	unknown := func(key object.Ref) bool { return !known[key] }
	maps.DeleteFunc(a.marks, func(key object.Ref, _ mark) bool { return unknown(key) })
	maps.DeleteFunc(a.foreign, func(key object.Ref, _ sighting) bool { return unknown(key) })
	maps.DeleteFunc(a.taken, func(key object.Ref, _ bool) bool { return unknown(key) })
}

func markOf(desired object.Hash, live *unstructured.Unstructured, manager string) mark {
	return mark{desired: desired, content: cached.LiveHash(live, manager), resourceVersion: live.GetResourceVersion()}
}
