package relay

import (
	"errors"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestClassifyError(t *testing.T) {
	for code, want := range map[codes.Code]errorClass{
		codes.FailedPrecondition: errorClassTerminal, codes.InvalidArgument: errorClassTerminal,
		codes.OutOfRange: errorClassTerminal, codes.AlreadyExists: errorClassTerminal,
		codes.PermissionDenied: errorClassDenied, codes.Unauthenticated: errorClassDenied, codes.NotFound: errorClassDenied, codes.Unimplemented: errorClassDenied,
		codes.Unavailable: errorClassRetry, codes.DeadlineExceeded: errorClassRetry, codes.Canceled: errorClassRetry, codes.Internal: errorClassRetry,
		codes.Unknown: errorClassRetry, codes.ResourceExhausted: errorClassRetry, codes.Aborted: errorClassRetry,
	} {
		if got := classifyError(status.Error(code, ""), false); got != want {
			t.Errorf("%s: class %d, want %d", code, got, want)
		}
	}
	if got := classifyError(status.Error(codes.FailedPrecondition, ""), true); got != errorClassWait {
		t.Errorf("while terminating: class %d", got)
	}
	if got := classifyError(errors.New("no response"), false); got != errorClassRetry {
		t.Errorf("an error that is not gRPC's: class %d", got)
	}
	if got := classifyError(fmt.Errorf("wrapped: %w", status.Error(codes.FailedPrecondition, "")), false); got != errorClassTerminal {
		t.Errorf("a wrapped error: class %d", got)
	}
	if got := conditionMessage(fmt.Errorf("wrapped: %w", status.Error(codes.Internal, "100%"))); got != "100%" {
		t.Errorf("text %q", got)
	}
	if got := conditionMessage(fmt.Errorf("%w: one of five", errEnded)); got != errEnded.Error() {
		t.Errorf("text %q", got)
	}
}
