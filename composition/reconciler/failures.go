package reconciler

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// reportAfter is how long reconciles have to fail by conflicts or transient errors
	// before status, Events and logs report it.
	reportAfter = 30 * time.Second
	// firstReportAfter is the same for an object without conditions, which would
	// otherwise look as if the operator did not run.
	firstReportAfter = time.Second
	// stalledAfter is how long an input may be missing before the object is Stalled: an
	// object and its configuration are often applied together.
	stalledAfter = 60 * time.Second
	// minBackoff and maxBackoff limit the backoff of reconciles that failed by conflicts
	// or transient errors. A cache usually catches up within milliseconds.
	minBackoff = 10 * time.Millisecond
	maxBackoff = 10 * time.Second
)

// failureTracker records the objects of one kind whose last reconcile failed. It is
// safe for concurrent use.
type failureTracker struct {
	mu      sync.Mutex
	objects map[types.NamespacedName]failure
	backoff workqueue.TypedRateLimiter[types.NamespacedName]
}

// failure is what is recorded for one object.
type failure struct {
	uid        types.UID
	generation int64
	missing    bool // the class is missingInput
	since      time.Time
	reported   bool // for reportAfter
}

func newFailureTracker() *failureTracker {
	return &failureTracker{
		objects: map[types.NamespacedName]failure{},
		backoff: workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](minBackoff, maxBackoff),
	}
}

// record records that a reconcile of object failed now. It returns for how long its
// reconciles have been failing, and whether this is the first time that they have for
// reportAfter. Another generation restarts the period, and so does a change to or from
// missingInput.
func (t *failureTracker) record(object client.Object, class errorClass) (age time.Duration, first bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key, now := client.ObjectKeyFromObject(object), time.Now()
	known := t.objects[key]
	if known.since.IsZero() || known.uid != object.GetUID() || known.generation != object.GetGeneration() || known.missing != (class == missingInput) {
		known = failure{uid: object.GetUID(), generation: object.GetGeneration(), missing: class == missingInput, since: now}
	}
	age = now.Sub(known.since)
	first = age >= reportAfter && !known.reported
	known.reported = known.reported || first
	t.objects[key] = known
	return age, first
}

// nextBackoff returns when to reconcile object again. It grows with each call until the
// object is forgotten.
func (t *failureTracker) nextBackoff(object client.Object) time.Duration {
	return t.backoff.When(client.ObjectKeyFromObject(object))
}

// forget drops the record of an object whose reconcile succeeded, or that does not exist.
func (t *failureTracker) forget(key types.NamespacedName) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.objects, key)
	t.backoff.Forget(key)
}

// len returns the number of records.
func (t *failureTracker) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.objects)
}
