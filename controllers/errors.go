package controllers

import (
	"context"
	"errors"
	"net"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/seldon-operator/seldon-operator/composition"
)

// errorClass says what follows from the error of a reconcile. Of several errors the
// highest class counts.
type errorClass int

const (
	// noError: the reconcile succeeded.
	noError errorClass = iota
	// missingConfig: a configuration does not exist yet. Its creation enqueues the
	// objects that refer to it.
	missingConfig
	// invalidInput: only a change of the inputs helps, and that enqueues the object.
	invalidInput
	// conflict: what was read is older than what is stored. Reading again helps.
	conflict
	// transient: the API server could not be reached, or is overloaded.
	transient
	// rejected: the API server refuses a request, or the error is not known.
	rejected
)

// errStale is the error of a reconcile that read an older object from the cache
// than it wrote before.
var errStale = errors.New("the operator's cache does not show its own last write to this object yet: if this lasts, check that it may watch the kind, and the API server")

// classify is the class that status reports: that of the input, if that is what is
// wrong.
func classify(err error) errorClass {
	if err == nil {
		return noError
	}
	if _, is := errors.AsType[*configNotFoundError](err); is {
		return missingConfig
	}
	if _, is := errors.AsType[*composition.RenderError](err); is {
		return invalidInput
	}
	worst := conflict
	for _, each := range flatten(err) {
		worst = max(worst, classOf(each))
	}
	return worst
}

// retryClass is the class that decides about another attempt. Of errors that were
// joined, a request that failed is to be retried beside an input that is invalid.
func retryClass(err error) errorClass {
	joined, is := err.(interface{ Unwrap() []error })
	if !is {
		return classify(err)
	}
	worst := noError
	for _, each := range joined.Unwrap() {
		worst = max(worst, retryClass(each))
	}
	return worst
}

// classOf is the class of one error of a request.
func classOf(err error) errorClass {
	if apierrors.IsConflict(err) || errors.Is(err, errStale) {
		return conflict
	}
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		if code := status.Status().Code; code == http.StatusTooManyRequests || code >= http.StatusInternalServerError {
			return transient
		}
		return rejected
	}
	// The HTTP client's errors are net.Errors, and so is an expired context.
	if _, is := errors.AsType[net.Error](err); is || errors.Is(err, context.Canceled) {
		return transient
	}
	return rejected
}
