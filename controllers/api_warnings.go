package controllers

import (
	"context"
	"strings"

	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
)

// warningCode is the code of all warnings of the API server (RFC 7234, section 5.5).
const warningCode = 299

// finalizerNameWarning is part of the API server's warning about the names of
// finalizers, which the platform defines: it would be logged once for each object.
const finalizerNameWarning = "prefer a domain-qualified finalizer name"

// warningLogger logs warnings of the API server.
type warningLogger struct{ logged *cache.LRUExpireCache }

// NewWarningLogger returns a handler for warnings of the API server. It logs each text
// at most once in 10 minutes, drops the one about names of finalizers, and is safe for
// concurrent use.
func NewWarningLogger() rest.WarningHandlerWithContext {
	return warningLogger{cache.NewLRUExpireCache(dedupCacheSize)}
}

// HandleWarningHeaderWithContext implements [rest.WarningHandlerWithContext].
func (w warningLogger) HandleWarningHeaderWithContext(ctx context.Context, code int, _, text string) {
	if code != warningCode || text == "" || strings.Contains(text, finalizerNameWarning) {
		return
	}
	if _, logged := w.logged.Get(text); logged {
		return
	}
	w.logged.Add(text, true, relogInterval)
	ctrl.LoggerFrom(ctx).Info("Warning of the API server", "text", text)
}
