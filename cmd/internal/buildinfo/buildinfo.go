// Package buildinfo identifies the build of a program.
package buildinfo

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
)

// Info identifies a build. Unknown fields are empty.
type Info struct {
	Version string
	Commit  string
	// Date is that of the commit, in RFC 3339.
	Date string
	// Modified is true if files differed from the commit.
	Modified bool
}

// Current returns the build of this program. version is that which the build set; if it is
// empty, the version is the one that the go command recorded.
func Current(version string) Info {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return buildOf(version, info)
}

// buildOf returns a build with the given version, or that of the main module if empty.
func buildOf(version string, info *debug.BuildInfo) Info {
	b := Info{Version: cmp.Or(version, info.Main.Version, "unknown")}
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			b.Commit = setting.Value
		case "vcs.time":
			b.Date = setting.Value
		case "vcs.modified":
			b.Modified = setting.Value == "true"
		}
	}
	return b
}

// String returns one line, such as
// "0.1.0, commit 4380e26 of 2026-11-24T17:00:00Z, go1.26.8 linux/amd64".
func (b Info) String() string {
	commit := "unknown commit"
	if b.Commit != "" {
		commit = fmt.Sprintf("commit %s of %s", b.Commit, b.Date)
	}
	if b.Modified {
		commit += " with changes"
	}
	return fmt.Sprintf("%s, %s, %s %s/%s", b.Version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
