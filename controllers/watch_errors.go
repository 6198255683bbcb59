package controllers

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/cache"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
)

// dedupCacheSize is the maximum number of messages that are remembered in order not to
// repeat them. A namespace without any permissions causes about 15.
const dedupCacheSize = 1024

// logForbiddenWatches returns a handler for errors of watches. It logs that a
// permission is missing with the API server's message, which names verb, resource and
// namespace, at most once per relogInterval: the informer repeats the watch continuously.
// Until the caches are synced for the first time, the operator is not ready meanwhile.
// Afterwards it is, and works with the last state that it has seen.
func logForbiddenWatches() toolscache.WatchErrorHandlerWithContext {
	logged := cache.NewLRUExpireCache(dedupCacheSize)
	return func(ctx context.Context, reflector *toolscache.Reflector, err error) {
		if !apierrors.IsForbidden(err) {
			toolscache.DefaultWatchErrorHandler(ctx, reflector, err)
			return
		}
		if _, known := logged.Get(err.Error()); known {
			return
		}
		logged.Add(err.Error(), true, relogInterval)
		ctrl.LoggerFrom(ctx).WithName("permissions").Error(err, "A permission is missing: grant it to the operator's ServiceAccount as its manifests do, or change which namespaces it watches")
	}
}
