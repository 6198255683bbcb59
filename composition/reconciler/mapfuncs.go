package reconciler

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// EnqueueReferencing returns a handler for configurations in a namespace, which enqueues
// the objects of list's kind, of all namespaces, that refer to one by name. index is the
// name of a field index of that kind whose values are the names referred to.
// Configurations of other namespaces are ignored.
func EnqueueReferencing(reader client.Reader, list client.ObjectList, index, namespace string) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, config client.Object) []reconcile.Request {
		if config.GetNamespace() != namespace {
			return nil
		}
		return requestsFor(ctx, reader, list, client.MatchingFields{index: config.GetName()})
	})
}

// EnqueueInNamespace returns a handler that enqueues the objects of list's kind in the
// namespace of the object that changed.
func EnqueueInNamespace(reader client.Reader, list client.ObjectList) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, object client.Object) []reconcile.Request {
		return requestsFor(ctx, reader, list, client.InNamespace(object.GetNamespace()))
	})
}

func requestsFor(ctx context.Context, reader client.Reader, list client.ObjectList, options ...client.ListOption) []reconcile.Request {
	found := list.DeepCopyObject().(client.ObjectList)
	if err := reader.List(ctx, found, append(options, client.UnsafeDisableDeepCopy)...); err != nil {
		return nil // the cache is closed: the manager is stopping
	}
	var requests []reconcile.Request
	eachItem(found, func(object client.Object) {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(object)})
	})
	return requests
}
