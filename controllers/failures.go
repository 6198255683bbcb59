package controllers

import (
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/seldon-operator/seldon-operator/composition"
)

const (
	// persistsAfter is how long reconciles have to fail by conflicts or transient
	// errors before status, Events and logs report it.
	persistsAfter = 30 * time.Second
	// stalledAfter is how long a configuration may be missing before the object is
	// Stalled: an object and its configuration are often applied together.
	stalledAfter = 60 * time.Second
	// shortestRetry and longestRetry bound the backoff of reconciles that failed by
	// conflicts or transient errors. A cache catches up within milliseconds, as a rule.
	shortestRetry = 10 * time.Millisecond
	longestRetry  = 10 * time.Second
)

// failures remembers the objects of one kind whose last reconcile failed. It is
// safe for concurrent use.
type failures struct {
	mu      sync.Mutex
	objects map[types.NamespacedName]failure
	backoff workqueue.TypedRateLimiter[types.NamespacedName]
}

// failure is what is remembered of one object.
type failure struct {
	uid        types.UID
	generation int64
	missing    bool // a configuration is
	since      time.Time
	persistent bool // for persistsAfter
}

func newFailures() *failures {
	return &failures{
		objects: map[types.NamespacedName]failure{},
		backoff: workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](shortestRetry, longestRetry),
	}
}

// record notes that a reconcile of object failed now, and returns for how long they
// have been failing, and whether this is the first time that they have for
// persistsAfter. Another generation, and another kind of failure, count anew.
func (f *failures) record(object client.Object, class errorClass) (age time.Duration, first bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key, now := client.ObjectKeyFromObject(object), time.Now()
	known := f.objects[key]
	if known.since.IsZero() || known.uid != object.GetUID() || known.generation != object.GetGeneration() || known.missing != (class == missingConfig) {
		known = failure{uid: object.GetUID(), generation: object.GetGeneration(), missing: class == missingConfig, since: now}
	}
	age = now.Sub(known.since)
	first = age >= persistsAfter && !known.persistent
	known.persistent = known.persistent || first
	f.objects[key] = known
	return age, first
}

// named is the metadata of an object of which only the name is known.
func named(request reconcile.Request) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: request.Namespace, Name: request.Name}
}

// forget drops all that is remembered of an object that expands into children and
// does not exist any more. What does not expand has no owner to forget.
func (e *environment) forget(owner composition.Owner) {
	key := types.NamespacedName{Namespace: owner.Namespace, Name: owner.Name}
	e.engine.Forget(owner)
	e.versions.forget(key)
	e.failures.forget(key)
}

// retry is when to reconcile object again; each call without success is longer.
func (f *failures) retry(object client.Object) time.Duration {
	return f.backoff.When(client.ObjectKeyFromObject(object))
}

// forget an object whose reconcile succeeded, or that does not exist any more.
func (f *failures) forget(key types.NamespacedName) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.objects, key)
	f.backoff.Forget(key)
}
