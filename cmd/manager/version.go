package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// version is set by the build (-X main.version=…). The default is the version that the
// go command recorded.
var version string

// buildInfo identifies a build. Unknown fields are empty.
type buildInfo struct {
	version string
	commit  string
	// date is that of the commit, in RFC 3339.
	date string
	// modified is true if files differed from the commit.
	modified bool
}

// buildMetric returns the metric with the build of this program.
func buildMetric() prometheus.Collector {
	b := currentBuild()
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "seldon_operator_build_info",
		Help: "Always 1; the labels identify the build.",
		ConstLabels: prometheus.Labels{
			"version": b.version, "commit": b.commit, "modified": strconv.FormatBool(b.modified), "goversion": runtime.Version(),
		},
	}, func() float64 { return 1 })
}

// currentBuild returns the build of this program.
func currentBuild() buildInfo {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return buildOf(version, info)
}

// buildOf returns a build with the given version, or that of the main module if empty.
func buildOf(version string, info *debug.BuildInfo) buildInfo {
	b := buildInfo{version: cmp.Or(version, info.Main.Version, "unknown")}
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			b.commit = setting.Value
		case "vcs.time":
			b.date = setting.Value
		case "vcs.modified":
			b.modified = setting.Value == "true"
		}
	}
	return b
}

// String returns one line, such as
// "0.1.0, commit 4380e26 of 2026-11-24T17:00:00Z, go1.26.8 linux/amd64".
func (b buildInfo) String() string {
	commit := "unknown commit"
	if b.commit != "" {
		commit = fmt.Sprintf("commit %s of %s", b.commit, b.date)
	}
	if b.modified {
		commit += " with changes"
	}
	return fmt.Sprintf("%s, %s, %s %s/%s", b.version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
