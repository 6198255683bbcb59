// Package helm runs the program that users have, for tests: that which `make` builds
// into bin/helm, or the one that the variable HELM names.
package helm

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Helm says where it works.
type Helm struct {
	// Home is a folder for its own files: neither plugins nor settings of whoever
	// runs the test, nor their environment.
	Home string
	// Kubeconfig is a file that says who it is, in which cluster. Empty is none.
	Kubeconfig string
}

// Run runs it, reading input, and returns what it printed. What it complained of is
// in the error.
func (h Helm) Run(ctx context.Context, input []byte, arguments ...string) (string, error) {
	program := cmp.Or(os.Getenv("HELM"), filepath.Join("bin", "helm"))
	if !filepath.IsAbs(program) {
		program = filepath.Join(root(), program)
	}
	if _, err := os.Stat(program); err != nil {
		return "", fmt.Errorf("%w: `make test` builds it, or takes yours as HELM=PATH", err)
	}
	command := exec.CommandContext(ctx, program, arguments...)
	// Variables of Helm say which cluster, namespace, storage and more.
	command.Env = slices.DeleteFunc(os.Environ(), func(variable string) bool { return strings.HasPrefix(variable, "HELM_") })
	command.Env = append(command.Env, "HELM_CACHE_HOME="+h.Home, "HELM_CONFIG_HOME="+h.Home, "HELM_DATA_HOME="+h.Home,
		"KUBECONFIG="+cmp.Or(h.Kubeconfig, os.DevNull))
	command.Stdin = bytes.NewReader(input)
	var output, complaints bytes.Buffer
	command.Stdout, command.Stderr = &output, &complaints
	if err := command.Run(); err != nil {
		return output.String(), fmt.Errorf("helm %s: %w: %s", arguments[0], err, strings.TrimSpace(complaints.String()))
	}
	return output.String(), nil
}

// Chart is the folder of a chart of ours, by what its name has after the prefix
// that all have.
func Chart(name string) string { return filepath.Join(root(), "charts", "seldon-core-v2-"+name) }

func root() string {
	_, here, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(here), "..", "..", "..")
}
