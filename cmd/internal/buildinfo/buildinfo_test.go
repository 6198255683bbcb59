package buildinfo

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestBuildString(t *testing.T) {
	recorded := []debug.BuildSetting{
		{Key: "vcs.revision", Value: "4380e26"}, {Key: "vcs.time", Value: "2026-11-24T17:00:00Z"}, {Key: "vcs.modified", Value: "false"},
	}
	changed := append([]debug.BuildSetting{{Key: "vcs.modified", Value: "true"}}, recorded[:2]...)
	platform := ", " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH
	for name, c := range map[string]struct {
		version string
		info    debug.BuildInfo
		want    string
	}{
		"a release": {
			"0.1.0", debug.BuildInfo{Main: debug.Module{Version: "(devel)"}, Settings: recorded},
			"0.1.0, commit 4380e26 of 2026-11-24T17:00:00Z",
		},
		"uncommitted changes": {
			"0.1.0", debug.BuildInfo{Settings: changed}, "0.1.0, commit 4380e26 of 2026-11-24T17:00:00Z with changes",
		},
		"go install of a version": {"", debug.BuildInfo{Main: debug.Module{Version: "v0.1.0"}}, "v0.1.0, unknown commit"},
		"nothing recorded":        {"", debug.BuildInfo{}, "unknown, unknown commit"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := buildOf(c.version, &c.info).String(); got != c.want+platform {
				t.Errorf("got  %s\nwant %s", got, c.want+platform)
			}
		})
	}
}
