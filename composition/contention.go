package composition

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Two controllers that write the same field would undo each other's work as fast
// as the API server lets them. So drift that comes back is put back at once this
// often within the window, and after that once per pause.
const (
	correctionsAtOnce = 5
	correctionWindow  = 5 * time.Minute
	correctionPause   = time.Minute
)

// correctionDue tells how long the next correction has to wait; zero for not at all.
func correctionDue(corrections []time.Time, now time.Time) time.Duration {
	within := recent(corrections, now)
	if len(within) < correctionsAtOnce {
		return 0
	}
	return max(0, within[len(within)-1].Add(correctionPause).Sub(now))
}

// recent are the corrections within the window.
func recent(corrections []time.Time, now time.Time) []time.Time {
	return slices.DeleteFunc(slices.Clone(corrections), func(at time.Time) bool {
		return now.Sub(at) > correctionWindow
	})
}

// rivalOf names the manager that wrote the object last, beside us. The cache
// does not know it: it holds our own entries only.
func (e *Engine) rivalOf(ctx context.Context, key Key) string {
	live, err := e.getLive(ctx, key)
	if err != nil || live == nil {
		return ""
	}
	var rival metav1.ManagedFieldsEntry
	for _, entry := range live.GetManagedFields() {
		if entry.Manager == e.Policy.Manager || entry.Subresource != "" {
			continue
		}
		if rival.Time == nil || entry.Time != nil && rival.Time.Before(entry.Time) {
			rival = entry
		}
	}
	return rival.Manager
}

// contention is the message of a correction that waits. where is the first place
// that differs.
func contention(key Key, where, rival string) string {
	who := "another manager"
	if rival != "" {
		who = fmt.Sprintf("%q", rival)
	}
	return fmt.Sprintf("%s: %s is changed again and again by %s; it is put back once a minute until that stops",
		key, strings.TrimPrefix(where, "."), who)
}
