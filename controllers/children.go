package controllers

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

// progressWait is how long what is no hurry waits for more of its kind. A child that
// comes up changes its status several times, and each status of its owner is a
// write; of one second they need only one.
const progressWait = time.Second

// owns watches the kinds of children of owner.
func owns(build *builder.Builder, mgr manager.Manager, owner client.Object, kinds []composition.Kind) *builder.Builder {
	for _, kind := range kinds {
		build = build.Watches(kind.Object, childHandler{
			handler.EnqueueRequestForOwner(mgr.GetScheme(), mgr.GetRESTMapper(), owner, handler.OnlyControllerOwner()),
		})
	}
	return build
}

// queue is where reconciles wait.
type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// childHandler wakes the owner of a child: at once when the child goes or when
// something of it changes that the owner may have to put back, else after
// progressWait.
type childHandler struct{ handler.EventHandler }

func (h childHandler) Create(ctx context.Context, e event.CreateEvent, to queue) {
	if !e.IsInInitialList {
		to = patientQueue{to} // as a rule it was we who made it
	}
	h.EventHandler.Create(ctx, e, to)
}

func (h childHandler) Update(ctx context.Context, e event.UpdateEvent, to queue) {
	if onlyProgress(e.ObjectOld, e.ObjectNew) {
		to = patientQueue{to}
	}
	h.EventHandler.Update(ctx, e, to) //nolint:forbidigo // an event handler's, which writes nothing
}

// patientHandler wakes after progressWait, whatever happens.
type patientHandler struct{ handler.EventHandler }

func (h patientHandler) Create(ctx context.Context, e event.CreateEvent, to queue) {
	h.EventHandler.Create(ctx, e, patientQueue{to})
}

func (h patientHandler) Update(ctx context.Context, e event.UpdateEvent, to queue) {
	h.EventHandler.Update(ctx, e, patientQueue{to}) //nolint:forbidigo // an event handler's, which writes nothing
}

func (h patientHandler) Delete(ctx context.Context, e event.DeleteEvent, to queue) {
	h.EventHandler.Delete(ctx, e, patientQueue{to})
}

// patientQueue takes requests for later. One that is due earlier stays so.
type patientQueue struct{ queue }

func (q patientQueue) Add(request reconcile.Request) { q.AddAfter(request, progressWait) }

// onlyProgress tells changes of an object that nothing but its status can come
// of: its spec is the same, and its labels, annotations and owners are there.
// Kinds without a generation have no status to speak of.
func onlyProgress(before, after client.Object) bool {
	return after.GetGeneration() != 0 && before.GetGeneration() == after.GetGeneration() &&
		(before.GetDeletionTimestamp() == nil) == (after.GetDeletionTimestamp() == nil) &&
		len(before.GetOwnerReferences()) == len(after.GetOwnerReferences()) &&
		holds(after.GetLabels(), before.GetLabels()) && holds(after.GetAnnotations(), before.GetAnnotations())
}

// holds tells whether values has all of wanted.
func holds(values, wanted map[string]string) bool {
	for key, value := range wanted {
		if found, has := values[key]; !has || found != value {
			return false
		}
	}
	return true
}
