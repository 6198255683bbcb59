package relay

import (
	"errors"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestClassify(t *testing.T) {
	for code, want := range map[codes.Code]class{
		codes.FailedPrecondition: classTerminal, codes.InvalidArgument: classTerminal,
		codes.OutOfRange: classTerminal, codes.AlreadyExists: classTerminal,
		codes.PermissionDenied: classDenied, codes.Unauthenticated: classDenied, codes.NotFound: classDenied, codes.Unimplemented: classDenied,
		codes.Unavailable: classRetry, codes.DeadlineExceeded: classRetry, codes.Canceled: classRetry, codes.Internal: classRetry,
		codes.Unknown: classRetry, codes.ResourceExhausted: classRetry, codes.Aborted: classRetry,
	} {
		if got := classify(status.Error(code, ""), false); got != want {
			t.Errorf("%s: class %d, want %d", code, got, want)
		}
	}
	if got := classify(status.Error(codes.FailedPrecondition, ""), true); got != classWait {
		t.Errorf("while terminating: class %d", got)
	}
	if got := classify(errors.New("no answer"), false); got != classRetry {
		t.Errorf("an error that is not gRPC's: class %d", got)
	}
	if got := classify(fmt.Errorf("wrapped: %w", status.Error(codes.FailedPrecondition, "")), false); got != classTerminal {
		t.Errorf("a wrapped error: class %d", got)
	}
	if got := text(fmt.Errorf("wrapped: %w", status.Error(codes.Internal, "100%"))); got != "100%" {
		t.Errorf("text %q", got)
	}
	if got := text(fmt.Errorf("%w: one of five", errEnded)); got != errEnded.Error() {
		t.Errorf("text %q", got)
	}
}
