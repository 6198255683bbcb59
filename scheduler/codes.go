package scheduler

import (
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// class says what to do about the error of a call.
type class int

const (
	// classRetry: the scheduler did not take the call; the same may pass later.
	classRetry class = iota
	// classTerminal: the scheduler refuses what was sent, and will until that changes.
	classTerminal
	// classWait: the object is still being taken down; the same will pass after that.
	classWait
)

// classify is the one place that decides about errors of calls. terminating says
// that the scheduler, asked about the object after it refused the call, has it on
// its way down: the scheduler has one code for all that it refuses.
func classify(err error, terminating bool) class {
	switch status.Code(err) {
	case codes.FailedPrecondition:
		if terminating {
			return classWait
		}
		return classTerminal
	case codes.InvalidArgument, codes.Unimplemented, codes.OutOfRange, codes.AlreadyExists, codes.NotFound,
		codes.PermissionDenied, codes.Unauthenticated:
		return classTerminal
	default:
		return classRetry
	}
}

// refused tells an answer of the scheduler that has to do with what it was asked,
// and not with its being there.
func refused(err error) bool { return err != nil && classify(err, false) == classTerminal }

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
