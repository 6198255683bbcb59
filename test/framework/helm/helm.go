// Package helm runs Helm for tests: bin/helm, which `make` builds, or the binary that
// the environment variable HELM names.
package helm

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seldon-operator/seldon-operator/test/framework/binaries"
)

// Helm configures how Helm runs.
type Helm struct {
	// Home is a directory for Helm's own files, so that it uses neither plugins nor
	// settings of the user who runs the test.
	Home string
	// Kubeconfig is the path of a kubeconfig. Empty means no cluster.
	Kubeconfig string
}

// Run runs Helm with input on its standard input, and returns its standard output. An
// error has its standard error.
func (h Helm) Run(ctx context.Context, input []byte, arguments ...string) (string, error) {
	program := cmp.Or(os.Getenv("HELM"), filepath.Join("bin", "helm"))
	if !filepath.IsAbs(program) {
		program = filepath.Join(root(), program)
	}
	if _, err := os.Stat(program); err != nil {
		return "", fmt.Errorf("%w: `make test` builds it, or set HELM to the path of another Helm", err)
	}
	command := exec.CommandContext(ctx, program, arguments...)
	// HELM_ variables would change cluster, namespace, storage and more.
	command.Env = slices.DeleteFunc(os.Environ(), func(variable string) bool { return strings.HasPrefix(variable, "HELM_") })
	command.Env = append(command.Env, "HELM_CACHE_HOME="+h.Home, "HELM_CONFIG_HOME="+h.Home, "HELM_DATA_HOME="+h.Home,
		"KUBECONFIG="+cmp.Or(h.Kubeconfig, os.DevNull))
	command.Stdin = bytes.NewReader(input)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return stdout.String(), fmt.Errorf("helm %s: %w: %s", arguments[0], err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// Chart returns the directory of a chart by its name without the prefix that all share.
func Chart(name string) string { return filepath.Join(root(), "charts", "seldon-core-v2-"+name) }

// root returns the root directory of the repository, in which tests run.
func root() string {
	root, err := binaries.Repository()
	if err != nil {
		panic(err)
	}
	return root
}
