package scheduler

import (
	"testing"
	"time"
)

// A Model is loaded, reported available, unloaded and reported unloaded.
func TestModelLife(t *testing.T) {
	inBubble(t, func(h *harness) {
		h.server("mlserver", 1)
		h.open()
		if status := h.status(); !status.Connected || !status.Synced {
			t.Fatalf("status %+v", status)
		}
		model := h.model("iris")
		h.settle(time.Second)
		seen := h.sync(Model, model)
		if seen.State == nil || !seen.State.Conditions[0].True {
			t.Fatalf("observed %+v", seen)
		}
		h.delete(Model, model)
		h.settle(time.Second)
		if seen := h.sync(Model, model); !seen.Unloaded {
			t.Fatalf("observed %+v", seen)
		}
		h.release(Model, model)
		h.settle(time.Second)
		if n := len(h.relay.session(testNamespace).items); n != 0 {
			t.Errorf("%d objects are remembered", n)
		}
	})
}
