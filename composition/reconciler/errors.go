package reconciler

import (
	"context"
	"errors"
	"net"

	"github.com/seldon-operator/seldon-operator/composition/object"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/seldon-operator/seldon-operator/composition"
)

// MissingInputError is the error of an input that refers to an object which does not
// exist yet. It is reported as ConfigNotFound, and the reconcile is not retried: the
// creation of that object must enqueue the objects that refer to it.
type MissingInputError struct{ Err error }

func (e *MissingInputError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *MissingInputError) Unwrap() error { return e.Err }

// errStale is the error of a reconcile that read an older object from the cache than it
// wrote before.
var errStale = errors.New("the operator's cache does not have its own last write to this object yet: if this lasts, check the operator's permission to watch the kind, and the API server")

// errorClass defines how the error of a reconcile is reported and retried. Of several
// errors the highest class counts.
type errorClass int

const (
	// noError: the reconcile succeeded.
	noError errorClass = iota
	// missingInput: see [MissingInputError].
	missingInput
	// invalidInput: only a change of the inputs helps, and that enqueues the object.
	invalidInput
	// conflict: what was read is older than what is stored. Reading again helps.
	conflict
	// transient: the API server could not be reached, or is overloaded.
	transient
	// rejected: the API server rejects a request, or the error is not known.
	rejected
)

// IsRejection reports whether another attempt at the request that err is of would fail
// for the same reason: err is neither nil, nor a conflict, nor transient.
func IsRejection(err error) bool { return classify(err) == rejected }

// classify returns the class that is reported in status: that of the input, if it has an
// error.
func classify(err error) errorClass {
	if err == nil {
		return noError
	}
	if _, is := errors.AsType[*MissingInputError](err); is {
		return missingInput
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

// retryClass returns the class that decides on another attempt. Of errors that were
// joined, a request that failed is retried even if the input is invalid.
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

// classOf returns the class of one error of a request.
func classOf(err error) errorClass {
	if apierrors.IsConflict(err) || errors.Is(err, errStale) {
		return conflict
	}
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		if object.IsRejection(err) {
			return rejected
		}
		return transient
	}
	// Errors of the HTTP client are net.Errors, and so is an expired context.
	if _, is := errors.AsType[net.Error](err); is || errors.Is(err, context.Canceled) {
		return transient
	}
	return rejected
}

// inputReason returns the reason of an error of rendering.
func inputReason(err error) string {
	if _, is := errors.AsType[*composition.PatchError](err); is {
		return ReasonInvalidPatch
	}
	return ReasonRenderFailed
}

// requestReason returns the API server's reason for an error, such as Forbidden or
// Invalid, or ApplyFailed if it gives none. A conflict is the reason only if there is no
// other error.
func requestReason(err error) string {
	if classify(err) == conflict {
		return ReasonConflict
	}
	for _, each := range flatten(err) {
		if reason := apierrors.ReasonForError(each); reason != metav1.StatusReasonUnknown && reason != metav1.StatusReasonConflict {
			return string(reason)
		}
	}
	return ReasonApplyFailed
}

// messageOf returns the messages of the errors that were joined.
func messageOf(err error) string {
	var messages []string
	for _, each := range flatten(err) {
		messages = append(messages, each.Error())
	}
	return JoinMessages(messages)
}

// flatten returns the errors that were joined in err or in its [composition.RenderError].
func flatten(err error) []error {
	joined, isJoined := err.(interface{ Unwrap() []error })
	if !isJoined {
		if render, is := errors.AsType[*composition.RenderError](err); is {
			return flatten(render.Err)
		}
		return []error{err}
	}
	var all []error
	for _, each := range joined.Unwrap() {
		all = append(all, flatten(each)...)
	}
	return all
}
