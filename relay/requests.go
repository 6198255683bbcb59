package relay

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

// requestQueue is the work queue of a controller.
type requestQueue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// EventSource returns a source for the controller of a kind. It enqueues the objects
// whose observation has changed.
func (r *Relay) EventSource(kind Kind) source.Source {
	return source.Func(func(_ context.Context, queue requestQueue) error {
		r.queuesMu.Lock()
		defer r.queuesMu.Unlock()
		r.queues[kind] = append(r.queues[kind], queue)
		return nil
	})
}

// enqueue enqueues an object in the queues of its controllers. It never blocks, and may
// be called under a session's lock.
func (r *Relay) enqueue(kind Kind, namespace, name string) {
	r.addRequest(kind, namespace, name, priorityqueue.AddOpts{})
}

// enqueueLow enqueues one of many objects, with low priority.
func (r *Relay) enqueueLow(kind Kind, namespace, name string) {
	r.addRequest(kind, namespace, name, priorityqueue.AddOpts{Priority: new(handler.LowPriority)})
}

// enqueueAfter enqueues an object after a delay, in which further requests for it are
// merged.
func (r *Relay) enqueueAfter(kind Kind, namespace, name string, delay time.Duration) {
	r.addRequest(kind, namespace, name, priorityqueue.AddOpts{After: delay})
}

func (r *Relay) addRequest(kind Kind, namespace, name string, options priorityqueue.AddOpts) {
	request := reconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}
	r.queuesMu.RLock()
	defer r.queuesMu.RUnlock()
	for _, queue := range r.queues[kind] {
		// A manager may be configured to use queues without priorities.
		if prioritized, is := queue.(priorityqueue.PriorityQueue[reconcile.Request]); is {
			prioritized.AddWithOpts(options, request)
		} else {
			queue.AddAfter(request, options.After)
		}
	}
}

// enqueueNamespace enqueues all objects of a namespace whose status depends on its
// session.
func (r *Relay) enqueueNamespace(namespace string) {
	for _, resource := range resources {
		r.forEachName(namespace, resource.newList(), func(name string) { r.enqueueLow(resource.kind, namespace, name) })
	}
	r.forEachName(namespace, &v1alpha1.ServerList{}, func(name string) { r.enqueueLow(Server, namespace, name) })
	r.enqueueRuntimes(namespace)
}

// enqueueRuntimes enqueues the SeldonRuntimes of a namespace, whose conditions report
// the status of its session.
func (r *Relay) enqueueRuntimes(namespace string) {
	r.forEachName(namespace, &v1alpha1.SeldonRuntimeList{}, func(name string) { r.enqueue(SeldonRuntime, namespace, name) })
}

func (r *Relay) forEachName(namespace string, list client.ObjectList, visit func(name string)) {
	if err := r.options.Reader.List(r.lifetime, list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return // the cache is stopped: the manager is shutting down
	}
	_ = meta.EachListItem(list, func(item runtime.Object) error {
		visit(item.(client.Object).GetName())
		return nil
	})
}
