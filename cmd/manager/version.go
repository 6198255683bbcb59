package main

import (
	"runtime"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seldon-operator/seldon-operator/cmd/internal/buildinfo"
)

// version is set by the build (-X main.version=…). The default is the version that the
// go command recorded.
var version string

// buildMetric returns the metric with the build of this program.
func buildMetric() prometheus.Collector {
	b := buildinfo.Current(version)
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "seldon_operator_build_info",
		Help: "Always 1; the labels identify the build.",
		ConstLabels: prometheus.Labels{
			"version": b.Version, "commit": b.Commit, "modified": strconv.FormatBool(b.Modified), "goversion": runtime.Version(),
		},
	}, func() float64 { return 1 })
}
