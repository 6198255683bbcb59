package relay

import (
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// class says what to do about the error of a call.
type class int

const (
	// classRetry: the call may not have reached the scheduler; the same may succeed later.
	classRetry class = iota
	// classTerminal: the scheduler rejects what was sent, and will until that changes.
	classTerminal
	// classWait: the object is still being unloaded; the same will succeed after that.
	classWait
	// classDenied: the call is not permitted, or unknown to what answers. That has
	// nothing to do with the object, and lasts until the installation is changed.
	classDenied
)

// classify is the one place that decides about errors of calls. terminating says
// that the scheduler, asked about the object after it rejected the call, is unloading
// it: the scheduler has one code for all that it rejects.
func classify(err error, terminating bool) class {
	switch status.Code(err) {
	case codes.FailedPrecondition:
		if terminating {
			return classWait
		}
		return classTerminal
	case codes.InvalidArgument, codes.OutOfRange, codes.AlreadyExists:
		return classTerminal
	case codes.Unimplemented, codes.NotFound, codes.PermissionDenied, codes.Unauthenticated:
		return classDenied
	default:
		return classRetry
	}
}

// refused reports whether something answered the call with an error that lasts: it can
// be reached.
func refused(err error) bool { return err != nil && classify(err, false) != classRetry }

// rejected reports whether the scheduler rejected the call because of what it is about.
func rejected(err error) bool { return err != nil && classify(err, false) == classTerminal }

// text of an error as the scheduler gave it, without gRPC's preamble and without
// which of several calls got it first: it stands in statuses, as [cleanText] has it.
func text(err error) string {
	if errors.Is(err, errEnded) {
		return errEnded.Error()
	}
	answer, is := errors.AsType[interface {
		error
		GRPCStatus() *status.Status
	}](err)
	if is && answer.GRPCStatus().Message() != "" {
		return cleanText(answer.GRPCStatus().Message())
	}
	return cleanText(err.Error())
}
