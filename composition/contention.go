package composition

import (
	"context"
	"encoding/json"
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

// rivalOf names the manager that took a field of the step's object from us, or,
// where none owns one, the one that wrote last. The cache does not know it: it
// holds our own entries only.
func (e *Engine) rivalOf(ctx context.Context, step Step) string {
	live, err := e.getLive(ctx, step.Key)
	if err != nil || live == nil {
		return ""
	}
	ours := appliedFields(live, e.Policy.Manager)
	var rival metav1.ManagedFieldsEntry
	rivalTook := false
	for _, entry := range live.GetManagedFields() {
		if entry.Manager == e.Policy.Manager || entry.Subresource != "" || entry.FieldsV1 == nil {
			continue
		}
		var theirs map[string]any
		if err := json.Unmarshal(entry.FieldsV1.GetRawBytes(), &theirs); err != nil {
			continue
		}
		took := tookFrom(withoutIdentity(step.Object), theirs, ours)
		later := rival.Time == nil || entry.Time != nil && rival.Time.Before(entry.Time)
		if took && !rivalTook || took == rivalTook && later {
			rival, rivalTook = entry, took
		}
	}
	return rival.Manager
}

// tookFrom tells whether theirs owns a field that desired holds and ours does not
// own. See sameFields for what theirs and ours are.
func tookFrom(desired any, theirs, ours map[string]any) bool {
	for key, below := range theirs {
		kind, text, _ := strings.Cut(key, ":")
		var value any
		switch desired := desired.(type) {
		case map[string]any:
			if kind == "f" {
				value = desired[text]
			}
		case []any:
			var keys map[string]any
			if kind == "k" && json.Unmarshal([]byte(text), &keys) == nil {
				value = itemWithKeys(desired, keys)
			}
		}
		if value == nil {
			continue
		}
		theirs, _ := below.(map[string]any)
		ours, owned := ours[key].(map[string]any)
		if isLeaf(theirs) && !owned || !isLeaf(theirs) && tookFrom(value, theirs, ours) {
			return true
		}
	}
	return false
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
