package controllers

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
)

// A warning is logged once per interval, for however many objects it is returned; the one
// about names of finalizers is never logged.
func TestWarningsAreLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lines := 0
		ctx := logr.NewContext(t.Context(), funcr.New(func(string, string) { lines++ }, funcr.Options{}))
		handler := NewWarningLogger()
		for _, each := range []struct {
			text  string
			code  int
			after time.Duration
			lines int
		}{
			{`metadata.finalizers: "seldon.model.finalizer": prefer a domain-qualified finalizer name including a path (/)`, warningCode, 0, 0},
			{"", warningCode, 0, 0},
			{"not a warning", 199, 0, 0},
			{"deprecated", warningCode, 0, 1},
			{"deprecated", warningCode, relogInterval - time.Second, 1},
			{"another", warningCode, 0, 2},
			{"deprecated", warningCode, 2 * time.Second, 3},
		} {
			time.Sleep(each.after)
			handler.HandleWarningHeaderWithContext(ctx, each.code, "", each.text)
			if lines != each.lines {
				t.Errorf("%q: %d lines, want %d", each.text, lines, each.lines)
			}
		}
	})
}
