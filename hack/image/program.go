package main

import (
	"debug/buildinfo"
	"fmt"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// program is one that goes into an image, and what the Go command stamped on it.
type program struct {
	path     string
	info     *buildinfo.BuildInfo
	platform v1.Platform
	// commit is empty, and created the beginning of Unix time, if the program was
	// built outside of a git repository.
	commit  string
	created time.Time
}

func readProgram(path string) (program, error) {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return program{}, fmt.Errorf("read what %s was built of: %w", path, err)
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
				return program{}, fmt.Errorf("%s may need shared libraries: build it with CGO_ENABLED=0", path)
			}
		case "vcs.revision":
			p.commit = setting.Value
		case "vcs.time":
			if p.created, err = time.Parse(time.RFC3339, setting.Value); err != nil {
				return program{}, fmt.Errorf("%s: time of the commit: %w", path, err)
			}
		}
	}
	return p, nil
}
