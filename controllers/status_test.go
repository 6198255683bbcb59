package controllers

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// A note that is too long for the API server is cut, not lost.
func TestShorten(t *testing.T) {
	for _, text := range []string{"", "short", strings.Repeat("x", maxNote), strings.Repeat("é", maxNote), strings.Repeat("x", maxNote+1)} {
		got := shorten(text, maxNote)
		if len(got) > maxNote || !utf8.ValidString(got) || (len(text) <= maxNote) != (got == text) || len(text) > maxNote && len(got) < maxNote-4 {
			t.Errorf("%d bytes become %d", len(text), len(got))
		}
	}
}
