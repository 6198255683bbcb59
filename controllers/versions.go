package controllers

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// cacheWait is how long a reconcile waits for the cache to show what the last
// one wrote. It usually takes a few milliseconds.
const cacheWait = 50 * time.Millisecond

// versions remembers the resourceVersion of each parent that we wrote last. A
// reconcile that reads an older one from the cache would take its own word for
// unsaid, and write and tell it once more.
type versions struct {
	mu      sync.Mutex
	written map[types.UID]string
}

func newVersions() *versions { return &versions{written: map[types.UID]string{}} }

// wrote remembers object as it came back from a write.
func (v *versions) wrote(object client.Object) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.written[object.GetUID()] = object.GetResourceVersion()
}

// forget an object that is gone.
func (v *versions) forget(object client.Object) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.written, object.GetUID())
}

// behind tells whether object is older than our last write. Once it is not,
// there is nothing to remember.
func (v *versions) behind(object client.Object) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	written, found := v.written[object.GetUID()]
	if !found {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(object.GetResourceVersion(), written)
	if err == nil && order < 0 {
		return true
	}
	delete(v.written, object.GetUID())
	return false
}
