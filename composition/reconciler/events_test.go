package reconciler

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// A note that is too long for the API server is truncated, so that the Event is not lost.
func TestTruncate(t *testing.T) {
	for _, text := range []string{"", "short", strings.Repeat("x", maxNote), strings.Repeat("é", maxNote), strings.Repeat("x", maxNote+1)} {
		got := truncate(text, maxNote)
		if len(got) > maxNote || !utf8.ValidString(got) || (len(text) <= maxNote) != (got == text) || len(text) > maxNote && len(got) < maxNote-4 {
			t.Errorf("%d bytes are truncated to %d", len(text), len(got))
		}
	}
}
