package relay

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// While a session is connected, metrics publish that and since when; while it is not,
// the start of the connection has no series.
func TestConnectionMetrics(t *testing.T) {
	const (
		connected = "seldon_operator_scheduler_connected"
		started   = "seldon_operator_scheduler_connection_start_timestamp_seconds"
	)
	inBubble(t, func(h *harness) {
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(h.relay.metrics)
		gather := func() map[string]float64 {
			families, err := registry.Gather()
			if err != nil {
				h.Fatal(err)
			}
			values := map[string]float64{}
			for _, family := range families {
				if name := family.GetName(); name == connected || name == started {
					values[name] = family.GetMetric()[0].GetGauge().GetValue()
				}
			}
			return values
		}
		opened := time.Now()
		h.open()
		values := gather()
		since := time.UnixMilli(int64(values[started] * 1000))
		if values[connected] != 1 || since.Before(opened) || since.After(time.Now()) {
			h.Errorf("connected %v since %v, want 1 since a moment after %v", values[connected], since, opened)
		}
		h.scheduler.Stop()
		h.settle(time.Minute)
		values = gather()
		if _, exists := values[started]; exists || values[connected] != 0 {
			h.Errorf("%v without a scheduler, want 0 and no time", values)
		}
	})
}
