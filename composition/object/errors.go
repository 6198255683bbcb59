package object

import (
	"errors"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Error is the error of an API request for one object.
type Error struct {
	Ref Ref
	Err error
}

// Error returns "<kind> <namespace>/<name>: <error>".
func (e *Error) Error() string { return fmt.Sprintf("%s: %v", e.Ref, e.Err) }

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// IsRejection reports whether the API server rejected a request, so that a retry fails
// until something changes: any 4xx status but 401, 408, 409 and 429.
func IsRejection(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	switch code := status.Status().Code; code {
	case http.StatusUnauthorized, http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests:
		return false
	default:
		return code >= 400 && code < 500
	}
}
