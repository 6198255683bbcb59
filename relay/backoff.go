package relay

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// exponential is a delay that doubles with each repetition, from first up to limit. The
// delay of a failed call about an object is set in [objectState.fail], that of all other
// items of the queue in [connection.process].
type exponential struct{ first, limit time.Duration }

var (
	// streamBackoff is between attempts of a session to connect, and between attempts to
	// open the stream of a kind again.
	streamBackoff = exponential{500 * time.Millisecond, 40 * time.Second}
	// callBackoff is between attempts of what failed for a reason that may be transient:
	// calls, listings and reads of the API server.
	callBackoff = exponential{200 * time.Millisecond, 30 * time.Second}
	// rejectedBackoff is between attempts to load an object that the scheduler rejects:
	// the cause, such as another experiment with the same default, may be removed.
	rejectedBackoff = exponential{time.Minute, 10 * time.Minute}
	// deniedBackoff is between attempts of a call that is not permitted or not
	// implemented.
	deniedBackoff = exponential{time.Second, 10 * time.Minute}
	// loadBackoff is between loads that the scheduler accepts and does not carry out.
	loadBackoff = exponential{500 * time.Millisecond, time.Minute}
	// pollBackoff is between polls of an object's status without an event in between.
	pollBackoff = exponential{500 * time.Millisecond, time.Minute}
	// serverBackoff is between equal notifications about a Server, from the second on.
	serverBackoff = exponential{time.Second, 30 * time.Second}
)

// retryJitter spreads retries that are due at the same time: up to this part of a delay is
// added to it.
const retryJitter = 0.5

// after returns the delay before repetition n, which counts from 0.
func (e exponential) after(n int) time.Duration { return min(e.first<<min(n, 16), e.limit) }

func jitter(delay time.Duration) time.Duration { return wait.Jitter(delay, retryJitter) }

// sleep waits, and returns false if ctx ends before.
func sleep(ctx context.Context, duration time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(duration):
		return true
	}
}
