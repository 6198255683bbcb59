package controllers

import (
	"context"
	"strings"

	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
)

// warningCode is that of all warnings of the API server (RFC 7234, section 5.5).
const warningCode = 299

// fixedName is in the API server's warning about the names of finalizers, which the
// platform fixed: it would be logged once for each object.
const fixedName = "prefer a domain-qualified finalizer name"

// warningLogger logs the warnings that the API server answers with.
type warningLogger struct{ logged *cache.LRUExpireCache }

// NewWarningLogger returns a handler for warnings of the API server. It logs each text
// at most once in 10 minutes, drops the one about names of finalizers, and is safe for
// concurrent use.
func NewWarningLogger() rest.WarningHandlerWithContext {
	return warningLogger{cache.NewLRUExpireCache(messagesKept)}
}

// HandleWarningHeaderWithContext implements [rest.WarningHandlerWithContext].
func (w warningLogger) HandleWarningHeaderWithContext(ctx context.Context, code int, _, text string) {
	if code != warningCode || text == "" || strings.Contains(text, fixedName) {
		return
	}
	if _, logged := w.logged.Get(text); logged {
		return
	}
	w.logged.Add(text, true, tellAgain)
	ctrl.LoggerFrom(ctx).Info("Warning of the API server", "text", text)
}
