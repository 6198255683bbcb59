package main

import (
	"debug/buildinfo"
	"fmt"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// program is the binary for one platform, with the build information that the Go
// command recorded in it.
type program struct {
	path     string
	info     *buildinfo.BuildInfo
	platform v1.Platform
	// commit is empty if the program was built outside of a git repository.
	commit string
	// created is the time of the commit, or the Unix epoch.
	created time.Time
}

// readProgram reads the build information of a binary.
func readProgram(path string) (program, error) {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return program{}, fmt.Errorf("read the build information of %s: %w", path, err)
	}
	p := program{path: path, info: info, created: time.Unix(0, 0).UTC()}
	for _, setting := range info.Settings {
		switch setting.Key {
		case "GOOS":
			p.platform.OS = setting.Value
		case "GOARCH":
			p.platform.Architecture = setting.Value
		case "CGO_ENABLED":
			// Without a base image there are no shared libraries.
			if setting.Value != "0" {
				return program{}, fmt.Errorf("%s was built with CGO_ENABLED=%s and may need shared libraries: build it with CGO_ENABLED=0", path, setting.Value)
			}
		case "vcs.revision":
			p.commit = setting.Value
		case "vcs.time":
			if p.created, err = time.Parse(time.RFC3339, setting.Value); err != nil {
				return program{}, fmt.Errorf("%s: parse the time of the commit: %w", path, err)
			}
		}
	}
	return p, nil
}
