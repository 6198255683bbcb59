package controllers

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/cache"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
)

// messagesKept bounds the memory for what was told. A namespace without rights has
// about 15.
const messagesKept = 1024

// tellMissingRights handles errors of watches. That a right is missing is told in the
// API server's words, which name verb, resource and namespace, and again after
// tellAgain if it still is, or is once more: the watch is tried again and again.
// Before the caches are synced for the first time, the operator is not ready
// meanwhile. Later it is, and works with what it saw last.
func tellMissingRights() toolscache.WatchErrorHandlerWithContext {
	told := cache.NewLRUExpireCache(messagesKept)
	return func(ctx context.Context, reflector *toolscache.Reflector, err error) {
		if !apierrors.IsForbidden(err) {
			toolscache.DefaultWatchErrorHandler(ctx, reflector, err)
			return
		}
		if _, known := told.Get(err.Error()); known {
			return
		}
		told.Add(err.Error(), true, tellAgain)
		ctrl.LoggerFrom(ctx).WithName("rights").Error(err, "A right is missing: grant it to the operator's ServiceAccount as its manifests do, or have it watch other namespaces")
	}
}
