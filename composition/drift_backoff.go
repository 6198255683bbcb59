package composition

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seldon-operator/seldon-operator/composition/internal/managedfields"
	"github.com/seldon-operator/seldon-operator/composition/object"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Two controllers that write the same field would undo each other's work as fast
// as the API server lets them. So drift that comes back is corrected at once this
// often within the window, and after that once per pause, until there was none for
// a whole window.
const (
	correctionsAtOnce = 5
	// removalsAtOnce is the same for fields of others that are removed.
	removalsAtOnce   = 3
	correctionWindow = 5 * time.Minute
	correctionPause  = time.Minute
)

// corrections are the times of the last corrections of one kind, oldest first.
type corrections struct {
	times []time.Time
	// contended: there were so many that they wait for each other. It stays until the
	// window is empty, so that what is reported of it does not flap.
	contended bool
}

// with is the history after one more correction, which is contended once there are
// more than most within the window.
func (c corrections) with(now time.Time, most int) corrections {
	c = c.at(now)
	c.times = append(c.times, now)
	c.contended = c.contended || len(c.times) >= most
	return c
}

// at is the history as it counts at now.
func (c corrections) at(now time.Time) corrections {
	c.times = slices.DeleteFunc(slices.Clone(c.times), func(at time.Time) bool { return now.Sub(at) > correctionWindow })
	c.contended = c.contended && len(c.times) > 0
	return c
}

// wait is how long the next correction has to wait; zero for not at all.
func (c corrections) wait(now time.Time) time.Duration {
	if c = c.at(now); !c.contended {
		return 0
	}
	return max(0, c.times[len(c.times)-1].Add(correctionPause).Sub(now))
}

// ends is how long it takes until the history is no longer contended, if there are
// no more corrections; zero if it is not.
func (c corrections) ends(now time.Time) time.Duration {
	if c = c.at(now); !c.contended {
		return 0
	}
	return c.times[len(c.times)-1].Add(correctionWindow).Sub(now) + time.Second
}

// rivalOf names the manager that took a field of the step's object from us, or,
// where none owns one, the one that wrote last. The cache does not know it: it
// holds our own entries only.
func (e *Engine) rivalOf(ctx context.Context, step Step) string {
	live, err := e.getLive(ctx, step.Ref)
	if err != nil || live == nil {
		return ""
	}
	ours := managedfields.Own(live, e.Options.FieldManager)
	var rival metav1.ManagedFieldsEntry
	rivalTook := false
	for _, entry := range live.GetManagedFields() {
		if entry.Manager == e.Options.FieldManager || entry.Subresource == "status" || entry.FieldsV1 == nil {
			continue
		}
		var theirs map[string]any
		if err := json.Unmarshal(entry.FieldsV1.GetRawBytes(), &theirs); err != nil {
			continue
		}
		took := managedfields.OwnsAnyOf(withoutIdentity(step.Object), theirs, ours)
		later := rival.Time == nil || entry.Time != nil && rival.Time.Before(entry.Time)
		if took && !rivalTook || took == rivalTook && later {
			rival, rivalTook = entry, took
		}
	}
	if rival.Subresource != "" {
		return fmt.Sprintf("%q through the subresource %s", rival.Manager, rival.Subresource)
	}
	if rival.Manager == "" {
		return ""
	}
	return fmt.Sprintf("%q", rival.Manager)
}

// contention is the message of a field that is corrected again and again. where is
// the first place that differs.
func contention(key object.Ref, where, rival string) string {
	if rival == "" {
		rival = "another manager"
	}
	return fmt.Sprintf("%s: %s is changed again and again by %s; it is corrected once a minute until that stops",
		key, strings.TrimPrefix(where, "."), rival)
}
