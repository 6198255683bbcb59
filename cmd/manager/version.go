package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// version is set by the build (-X main.version=…). Without it the version is
// the one that the go command stamped, if it did.
var version string

// build says what this program was made of. What nobody stamped is empty.
type build struct {
	version  string
	commit   string
	date     string // of the commit, RFC 3339
	modified bool   // files differed from the commit
}

// buildMetric tells what runs.
func buildMetric() prometheus.Collector {
	b := thisBuild()
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "seldon_operator_build_info",
		Help: "Always 1; the labels say what runs.",
		ConstLabels: prometheus.Labels{
			"version": b.version, "commit": b.commit, "modified": strconv.FormatBool(b.modified), "goversion": runtime.Version(),
		},
	}, func() float64 { return 1 })
}

// thisBuild is that of the running program.
func thisBuild() build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return buildOf(version, info)
}

// buildOf takes the version given, else that of the main module.
func buildOf(version string, info *debug.BuildInfo) build {
	b := build{version: cmp.Or(version, info.Main.Version, "unknown")}
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

// String is one line, such as
// "0.1.0, commit 4380e26 of 2026-11-24T17:00:00Z, go1.26.8 linux/amd64".
func (b build) String() string {
	commit := "unknown commit"
	if b.commit != "" {
		commit = fmt.Sprintf("commit %s of %s", b.commit, b.date)
	}
	if b.modified {
		commit += " with changes"
	}
	return fmt.Sprintf("%s, %s, %s %s/%s", b.version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
