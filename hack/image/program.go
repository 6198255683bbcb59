package main

import (
	"debug/buildinfo"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
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

// name returns the name of the program in the image: that of the binary without the platform.
func (p *program) name() string {
	return strings.TrimSuffix(filepath.Base(p.path), "-"+p.platform.OS+"-"+p.platform.Architecture)
}

// readPrograms reads the build information of binaries, and returns those of each platform, in
// the order of the platforms.
func readPrograms(paths []string) ([][]program, error) {
	var platforms [][]program
	for _, path := range paths {
		p, err := readProgram(path)
		if err != nil {
			return nil, err
		}
		at := slices.IndexFunc(platforms, func(programs []program) bool { return programs[0].platform.Equals(p.platform) })
		if at < 0 {
			platforms = append(platforms, []program{p})
			continue
		}
		platforms[at] = append(platforms[at], p)
	}
	for _, programs := range platforms {
		if len(programs) != len(platforms[0]) || programs[0].name() != entrypoint[1:] {
			return nil, fmt.Errorf("the programs for %s are not those for %s, with %s first", programs[0].platform, platforms[0][0].platform, entrypoint[1:])
		}
	}
	return platforms, nil
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
