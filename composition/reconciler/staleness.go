package reconciler

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// writeTracker records the resourceVersion of the last write to each object of one
// kind. A reconcile that reads an older version from the cache would not see the effect
// of that write, and would write and report it again. It is safe for concurrent use.
type writeTracker struct {
	mu     sync.Mutex
	writes map[types.NamespacedName]write
}

// write is the last write to the object with a UID. Another object may get its name
// later.
type write struct {
	uid             types.UID
	resourceVersion string
	// deleted: the write removed the last finalizer of a deleted object, which does not
	// exist afterwards, although the cache may still have it.
	deleted bool
}

func newWriteTracker() *writeTracker {
	return &writeTracker{writes: map[types.NamespacedName]write{}}
}

// recordWrite records object, as the API server returned it from a write.
func (t *writeTracker) recordWrite(object client.Object) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.writes[client.ObjectKeyFromObject(object)] = write{
		uid: object.GetUID(), resourceVersion: object.GetResourceVersion(),
		deleted: object.GetDeletionTimestamp() != nil && len(object.GetFinalizers()) == 0,
	}
}

// forget drops the record of an object that does not exist.
func (t *writeTracker) forget(key types.NamespacedName) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.writes, key)
}

// isStale reports whether object, from the cache, is older than the last write to it.
// If it is not, the record is dropped.
func (t *writeTracker) isStale(object client.Object) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := client.ObjectKeyFromObject(object)
	last, found := t.writes[key]
	if !found {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(object.GetResourceVersion(), last.resourceVersion)
	if last.uid == object.GetUID() && (last.deleted || err == nil && order < 0) {
		return true
	}
	delete(t.writes, key)
	return false
}

// len returns the number of records.
func (t *writeTracker) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.writes)
}
