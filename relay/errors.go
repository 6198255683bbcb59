package relay

import (
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// errorClass determines how the error of a call is handled.
type errorClass int

const (
	// errorClassRetry: the call may not have reached the scheduler; the same call may
	// succeed later.
	errorClassRetry errorClass = iota
	// errorClassTerminal: the scheduler rejects what was sent, until that is changed.
	errorClassTerminal
	// errorClassWait: the scheduler is still unloading the object; the same call succeeds
	// after that.
	errorClassWait
	// errorClassDenied: the call is not permitted, or not implemented by the server. It
	// is not about the object, and lasts until the installation is changed.
	errorClassDenied
)

// classifyError returns the class of an error of a call. terminating: after the error,
// the scheduler has reported that it is unloading the object. That is not in the error:
// the scheduler has one code for all rejections.
func classifyError(err error, terminating bool) errorClass {
	switch status.Code(err) {
	case codes.FailedPrecondition:
		if terminating {
			return errorClassWait
		}
		return errorClassTerminal
	case codes.InvalidArgument, codes.OutOfRange, codes.AlreadyExists:
		return errorClassTerminal
	case codes.Unimplemented, codes.NotFound, codes.PermissionDenied, codes.Unauthenticated:
		return errorClassDenied
	default:
		return errorClassRetry
	}
}

// backoff returns the backoff between repetitions of a load; zero for the queue's backoff.
func (c errorClass) backoff() exponential {
	switch c {
	case errorClassTerminal:
		return rejectedBackoff
	case errorClassDenied:
		return deniedBackoff
	default:
		return exponential{}
	}
}

// isPermanent reports whether the server has responded to a call with an error that
// lasts: it is reachable.
func isPermanent(err error) bool {
	return err != nil && classifyError(err, false) != errorClassRetry
}

// isRejection reports whether the scheduler has rejected a call because of its content.
func isRejection(err error) bool {
	return err != nil && classifyError(err, false) == errorClassTerminal
}

// conditionMessage returns the text of an error as the scheduler sent it, without gRPC's
// prefix, and equal for all calls that fail in the same way; bounded by [cleanText].
func conditionMessage(err error) string {
	if errors.Is(err, errEnded) {
		return errEnded.Error()
	}
	response, is := errors.AsType[interface {
		error
		GRPCStatus() *status.Status
	}](err)
	if is && response.GRPCStatus().Message() != "" {
		return cleanText(response.GRPCStatus().Message())
	}
	return cleanText(err.Error())
}
