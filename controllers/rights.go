package controllers

import (
	"context"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
)

// tellMissingRights handles errors of watches. That a right is missing is told once,
// in the API server's words, which name verb, resource and namespace: the watch is
// tried again and again, and the operator is not ready meanwhile.
func tellMissingRights() toolscache.WatchErrorHandlerWithContext {
	told := sync.Map{}
	return func(ctx context.Context, reflector *toolscache.Reflector, err error) {
		if !apierrors.IsForbidden(err) {
			toolscache.DefaultWatchErrorHandler(ctx, reflector, err)
			return
		}
		if _, known := told.LoadOrStore(err.Error(), true); !known {
			ctrl.Log.WithName("rights").Error(err, "A right is missing: grant it to the operator's ServiceAccount as its manifests do, or have it watch other namespaces")
		}
	}
}
