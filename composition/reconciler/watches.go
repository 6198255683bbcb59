package reconciler

import (
	"context"
	"time"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/seldon-operator/seldon-operator/composition"
)

// debouncePeriod is how long an event that is not urgent waits for more of its kind. A
// child object that starts changes its status several times, and each status of its
// owner is a write; one write covers the changes of one second.
const debouncePeriod = time.Second

// WatchOwned adds watches of kinds, whose objects enqueue the owner that controls them:
// at once if something changes that the owner may have to revert, after a second if only
// status changes.
func WatchOwned(build *builder.Builder, mgr manager.Manager, owner client.Object, kinds []composition.Kind) *builder.Builder {
	for _, kind := range kinds {
		build = build.Watches(kind.Object, ownedHandler{
			handler.EnqueueRequestForOwner(mgr.GetScheme(), mgr.GetRESTMapper(), owner, handler.OnlyControllerOwner()),
		})
	}
	return build
}

// queue is the work queue of a controller.
type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// ownedHandler enqueues the owner of a child object; see [WatchOwned].
type ownedHandler struct{ handler.EventHandler }

func (h ownedHandler) Create(ctx context.Context, e event.CreateEvent, q queue) {
	if !e.IsInInitialList {
		q = delayedQueue{q} // usually the reconciler itself has created it
	}
	h.EventHandler.Create(ctx, e, q)
}

func (h ownedHandler) Update(ctx context.Context, e event.UpdateEvent, q queue) {
	if isStatusUpdate(e.ObjectOld, e.ObjectNew) {
		q = delayedQueue{q}
	}
	h.EventHandler.Update(ctx, e, q) //nolint:forbidigo // an event handler's, which writes nothing
}

// Debounce returns a handler that enqueues what h does, a second later, so that the
// events of one second cause one reconcile.
func Debounce(h handler.EventHandler) handler.EventHandler { return delayedHandler{h} }

type delayedHandler struct{ handler.EventHandler }

func (h delayedHandler) Create(ctx context.Context, e event.CreateEvent, q queue) {
	h.EventHandler.Create(ctx, e, delayedQueue{q})
}

func (h delayedHandler) Update(ctx context.Context, e event.UpdateEvent, q queue) {
	h.EventHandler.Update(ctx, e, delayedQueue{q}) //nolint:forbidigo // an event handler's, which writes nothing
}

func (h delayedHandler) Delete(ctx context.Context, e event.DeleteEvent, q queue) {
	h.EventHandler.Delete(ctx, e, delayedQueue{q})
}

// delayedQueue adds requests after debouncePeriod. A request that is due earlier stays
// due then.
type delayedQueue struct{ queue }

func (q delayedQueue) Add(request reconcile.Request) { q.AddAfter(request, debouncePeriod) }

// isStatusUpdate reports whether an update of a child object needs no correction: its
// spec is unchanged, and its labels, annotations and owner references still exist. For
// kinds without a generation every update may need one.
func isStatusUpdate(before, after client.Object) bool {
	return after.GetGeneration() != 0 && before.GetGeneration() == after.GetGeneration() &&
		(before.GetDeletionTimestamp() == nil) == (after.GetDeletionTimestamp() == nil) &&
		len(before.GetOwnerReferences()) == len(after.GetOwnerReferences()) &&
		containsAll(after.GetLabels(), before.GetLabels()) && containsAll(after.GetAnnotations(), before.GetAnnotations())
}

// containsAll reports whether values has all entries of desired.
func containsAll(values, desired map[string]string) bool {
	for key, value := range desired {
		if found, has := values[key]; !has || found != value {
			return false
		}
	}
	return true
}
