package state

import (
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seldon-operator/seldon-operator/composition/internal/cached"
	"github.com/seldon-operator/seldon-operator/composition/object"
	"github.com/seldon-operator/seldon-operator/composition/plan"
)

const (
	// CacheSyncTimeout is how long an object that was written may be missing from the
	// cache before it is read from the API server.
	CacheSyncTimeout = 5 * time.Second
	// BlockedRecheckInterval is the time between two looks at what the cache does not
	// show, such as an object of another owner.
	BlockedRecheckInterval = time.Minute
)

// Store has the states of all owners by kind and name: the UID of an owner that does not
// exist any more is not known. It is safe for concurrent use.
type Store struct {
	mu     sync.Mutex
	owners map[ownerKey]*Owner
}

type ownerKey struct {
	schema.GroupKind
	types.NamespacedName
}

func keyOf(owner object.Owner) ownerKey {
	return ownerKey{owner.GroupKind(), types.NamespacedName{Namespace: owner.Namespace, Name: owner.Name}}
}

// NewStore returns an empty store.
func NewStore() *Store { return &Store{owners: map[ownerKey]*Owner{}} }

// Owner returns the state of an owner. An owner of the same kind and name with another
// UID replaces it.
func (s *Store) Owner(owner object.Owner) *Owner {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := keyOf(owner)
	if known := s.owners[key]; known == nil || known.uid != owner.UID {
		s.owners[key] = &Owner{uid: owner.UID, children: map[object.Ref]childState{}}
	}
	return s.owners[key]
}

// Len returns the number of owners.
func (s *Store) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.owners)
}

// Forget drops the state of an owner, whose UID need not be known.
func (s *Store) Forget(owner object.Owner) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.owners, keyOf(owner))
}

// Owner is what is remembered of one owner. Only one goroutine may use it at a time.
type Owner struct {
	uid      types.UID
	children map[object.Ref]childState
	// Orphans are objects outside the cache that the owner controls and that were not
	// rendered at the initial scan; nil before that.
	Orphans map[object.Ref]*unstructured.Unstructured
	// Backups are the names of the backups of StatefulSets that are being recreated; nil
	// before they were listed.
	Backups sets.Set[string]
}

// childState is what is remembered of one child object.
type childState struct {
	plan.Remembered
	// lastWritten is the object that the last write returned, at writtenAt. Reads use it
	// until the cache has a resourceVersion at least as new; then it is cleared. It is
	// kept in the form of the cache, which is small: while many instances are created,
	// there are many of them.
	lastWritten client.Object
	writtenAt   time.Time
	// deletedUID is the UID of the object that was deleted and that the cache may still
	// show; else empty.
	deletedUID types.UID
	// foreign is an object outside the cache with the same name that the owner does not
	// control, as it was at foreignSince; nil if there is none.
	foreign      *unstructured.Unstructured
	foreignSince time.Time
	// nameConflict: an object that the cache does not show has the name.
	nameConflict bool
	// corrections of drift. Once they wait, conflictingManager is the manager that changes
	// driftedField.
	corrections                      Backoff
	driftedField, conflictingManager string
	// removals of fields of other managers, by their description.
	removals map[string]Backoff
	// invalidDesired is the hash of the last apply configuration that the API server
	// rejected beside live content with the hash invalidLive.
	invalidDesired, invalidLive object.Hash
	// expansion is the last error of expanding volume claims, at expansionAt.
	expansion   plan.ExpansionError
	expansionAt time.Time
}

// update changes the state of one child.
func (o *Owner) update(ref object.Ref, change func(child *childState)) {
	child := o.children[ref]
	change(&child)
	o.children[ref] = child
}

// Remembered returns what a plan may use of the state.
func (o *Owner) Remembered() map[object.Ref]plan.Remembered {
	remembered := make(map[object.Ref]plan.Remembered, len(o.children))
	for ref, child := range o.children {
		if child.Desired != (object.Hash{}) {
			remembered[ref] = child.Remembered
		}
	}
	return remembered
}

// ExpansionErrors returns those whose expansion is not to be tried again yet.
func (o *Owner) ExpansionErrors(now time.Time) map[object.Ref]plan.ExpansionError {
	found := map[object.Ref]plan.ExpansionError{}
	for ref, child := range o.children {
		if child.expansion.Message != "" && now.Sub(child.expansionAt) < BlockedRecheckInterval {
			found[ref] = child.expansion
		}
	}
	return found
}

// OverlayRecentWrites adds to live, which is what the cache shows, the objects that were
// written and that the cache does not show yet, and removes those that were deleted and
// that it still shows. It returns whether the cache is stale.
func (o *Owner) OverlayRecentWrites(live map[object.Ref]*unstructured.Unstructured, now time.Time) (stale bool) {
	for ref, child := range o.children {
		shown := live[ref]
		if child.deletedUID != "" {
			if shown == nil || shown.GetUID() != child.deletedUID || shown.GetDeletionTimestamp() != nil {
				child.deletedUID = ""
				o.children[ref] = child
			} else {
				delete(live, ref)
				stale = true
			}
			continue
		}
		if child.lastWritten == nil {
			continue
		}
		switch {
		case shown != nil && !isOlder(shown.GetResourceVersion(), child.ResourceVersion),
			shown == nil && now.Sub(child.writtenAt) >= CacheSyncTimeout:
			child.lastWritten = nil
			o.children[ref] = child
		default:
			if written, err := cached.FromTyped(child.lastWritten, ref.GroupVersionKind); err == nil {
				live[ref] = written
			}
			stale = true
		}
	}
	return stale
}

// isOlder compares resource versions of one resource.
func isOlder(version, than string) bool {
	order, err := resourceversion.CompareResourceVersion(version, than)
	return err == nil && order < 0
}

// WasDeleted reports whether the object of that UID was deleted, although the cache may
// still show it.
func (o *Owner) WasDeleted(ref object.Ref, uid types.UID) bool {
	return o.children[ref].deletedUID == uid
}

// MayExistUnseen reports whether an object may exist although the cache does not show it:
// it was applied or rejected before, or an object of that name exists outside the cache.
func (o *Owner) MayExistUnseen(ref object.Ref) bool {
	child := o.children[ref]
	return child.nameConflict || child.Desired != object.Hash{} || child.invalidDesired != object.Hash{}
}

// Foreign returns the object of another owner that was found under the name of ref less
// than [BlockedRecheckInterval] ago. What was found earlier is dropped.
func (o *Owner) Foreign(ref object.Ref, now time.Time) *unstructured.Unstructured {
	child, known := o.children[ref]
	if !known || child.foreign == nil {
		return nil
	}
	if now.Sub(child.foreignSince) < BlockedRecheckInterval {
		return child.foreign
	}
	child.foreign = nil
	o.children[ref] = child
	return nil
}

// SetForeign remembers an object of another owner that has the name of ref.
func (o *Owner) SetForeign(ref object.Ref, foreign *unstructured.Unstructured, now time.Time) {
	o.update(ref, func(child *childState) { child.foreign, child.foreignSince = foreign, now })
}

// SetNameConflict remembers whether an object outside the cache has the name of ref.
func (o *Owner) SetNameConflict(ref object.Ref, exists bool) {
	o.update(ref, func(child *childState) { child.nameConflict = exists })
}

// SetUpToDate remembers that live was found as desired.
func (o *Owner) SetUpToDate(ref object.Ref, desired object.Hash, live *unstructured.Unstructured, fieldManager string) {
	old := o.children[ref].Remembered
	if old.Desired == desired && old.ResourceVersion == live.GetResourceVersion() && old.RestartRequired == "" {
		return
	}
	o.update(ref, func(child *childState) {
		child.Remembered = plan.Remember(desired, live, fieldManager)
		child.invalidDesired, child.invalidLive = object.Hash{}, object.Hash{}
		if child.ResourceVersion != old.ResourceVersion {
			child.lastWritten = nil
		}
	})
}

// Applied is the result of an apply.
type Applied struct {
	Desired object.Hash
	// Live is the object that the API server returned, unstructured and typed.
	Live  *unstructured.Unstructured
	Typed client.Object
	// Changed: the apply changed the object, apart from its status.
	Changed bool
	// DriftedField is the path of the first field that the apply corrected, if it
	// corrected drift, and ConflictingManager the manager that changed it, if known.
	DriftedField, ConflictingManager string
	// Drifted: the apply corrected drift.
	Drifted bool
	// Removed describes the fields of other managers that were removed; else empty.
	Removed string
}

// SetApplied remembers the result of an apply.
func (o *Owner) SetApplied(ref object.Ref, applied Applied, fieldManager string, now time.Time) {
	o.update(ref, func(child *childState) {
		child.Remembered = plan.Remember(applied.Desired, applied.Live, fieldManager)
		child.lastWritten, child.writtenAt = applied.Typed, now
		child.deletedUID, child.invalidDesired, child.invalidLive = "", object.Hash{}, object.Hash{}
		if !applied.Changed {
			return
		}
		if applied.Drifted && applied.Removed == "" {
			child.corrections = child.corrections.With(now, maxImmediateCorrections)
			child.driftedField, child.conflictingManager = applied.DriftedField, applied.ConflictingManager
		}
		if applied.Removed != "" {
			removals := map[string]Backoff{}
			for removed, backoff := range child.removals {
				if backoff = backoff.At(now); len(backoff.times) > 0 {
					removals[removed] = backoff
				}
			}
			removals[applied.Removed] = removals[applied.Removed].With(now, maxImmediateRemovals)
			child.removals = removals
		}
	})
}

// SetInvalid remembers that desired is invalid beside the content of live.
func (o *Owner) SetInvalid(ref object.Ref, desired object.Hash, live *unstructured.Unstructured, fieldManager string) {
	o.update(ref, func(child *childState) {
		child.invalidDesired, child.invalidLive = desired, cached.LiveHash(live, fieldManager)
	})
}

// SetRestartRequired remembers that a dry-run of desired over live would restart pods.
func (o *Owner) SetRestartRequired(ref object.Ref, desired object.Hash, live *unstructured.Unstructured, fieldManager, message string) {
	o.update(ref, func(child *childState) {
		child.Remembered = plan.Remember(desired, live, fieldManager)
		child.RestartRequired, child.lastWritten = message, nil
	})
}

// SetExpansionError remembers why the claims of a StatefulSet cannot be expanded.
func (o *Owner) SetExpansionError(ref object.Ref, expansion plan.ExpansionError, now time.Time) {
	o.update(ref, func(child *childState) { child.expansion, child.expansionAt = expansion, now })
}

// SetConflictingManager remembers the manager that changes a field back.
func (o *Owner) SetConflictingManager(ref object.Ref, field, manager string) {
	o.update(ref, func(child *childState) { child.driftedField, child.conflictingManager = field, manager })
}

// SetRecreating remembers that a StatefulSet was deleted to be recreated from a backup.
func (o *Owner) SetRecreating(ref object.Ref, backup string) {
	delete(o.children, ref)
	o.Backups = o.Backups.Clone().Insert(backup)
}

// SetDeleted remembers that an object was deleted. One without finalizers does not exist
// any more once the API server has responded.
func (o *Owner) SetDeleted(ref object.Ref, live *unstructured.Unstructured) {
	delete(o.children, ref)
	if len(live.GetFinalizers()) > 0 {
		return
	}
	if _, isOrphan := o.Orphans[ref]; isOrphan {
		delete(o.Orphans, ref)
		return
	}
	o.update(ref, func(child *childState) { child.deletedUID = live.GetUID() })
}

// RemoveUnknown drops what is remembered of objects that are not in a plan.
func (o *Owner) RemoveUnknown(planned plan.Plan) {
	known := make(map[object.Ref]bool, len(planned.Steps)+len(planned.Prunes))
	for _, steps := range [][]plan.Step{planned.Steps, planned.Prunes} {
		for _, step := range steps {
			known[step.Ref] = true
		}
	}
	maps.DeleteFunc(o.children, func(ref object.Ref, child childState) bool { return !known[ref] && child.deletedUID == "" })
}

// IsKnownInvalid reports whether the API server rejected desired beside the content of live.
func (o *Owner) IsKnownInvalid(ref object.Ref, desired object.Hash, live *unstructured.Unstructured, fieldManager string) bool {
	child := o.children[ref]
	return desired == child.invalidDesired && child.invalidLive == cached.LiveHash(live, fieldManager)
}
