package controllers

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// versions remembers the resourceVersion of each object of one kind that we wrote
// last. A reconcile that reads an older one from the cache would take its own write
// for not done, and write and report it once more. It is safe for concurrent use.
type versions struct {
	mu      sync.Mutex
	written map[types.NamespacedName]version
}

// version of the object with a UID: another object may have its name later.
type version struct {
	uid     types.UID
	written string
	// deleted: the write removed the last finalizer of a deleted object, which does not
	// exist any more, whatever the cache still has.
	deleted bool
}

func newVersions() *versions { return &versions{written: map[types.NamespacedName]version{}} }

// wrote remembers object as it came back from a write.
func (v *versions) wrote(object client.Object) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.written[client.ObjectKeyFromObject(object)] = version{
		uid: object.GetUID(), written: object.GetResourceVersion(),
		deleted: object.GetDeletionTimestamp() != nil && len(object.GetFinalizers()) == 0,
	}
}

// forget an object that does not exist any more.
func (v *versions) forget(key types.NamespacedName) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.written, key)
}

// behind returns whether object is older than our last write. Once it is not,
// there is nothing to remember.
func (v *versions) behind(object client.Object) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	key := client.ObjectKeyFromObject(object)
	last, found := v.written[key]
	if !found {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(object.GetResourceVersion(), last.written)
	if last.uid == object.GetUID() && (last.deleted || err == nil && order < 0) {
		return true
	}
	delete(v.written, key)
	return false
}
