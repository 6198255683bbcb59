// Package binaries finds the binaries of the local control plane, and builds them from
// source.
package binaries

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// The names of the binaries.
const (
	Etcd              = "etcd"
	APIServer         = "kube-apiserver"
	ControllerManager = "kube-controller-manager"
	Scheduler         = "kube-scheduler"
	Kubectl           = "kubectl"
	Kwok              = "kwok"
)

// AssetsVariable is the environment variable that overrides the directory of the
// binaries. envtest of controller-runtime reads the same variable.
const AssetsVariable = "KUBEBUILDER_ASSETS"

// Directory returns the absolute path of the directory of the binaries: the value of
// KUBEBUILDER_ASSETS, or else bin/k8s of this repository. It does not check that they
// exist.
//
// It returns an error if the variable is unset and the working directory is not in the
// repository.
func Directory() (string, error) {
	if assets := os.Getenv(AssetsVariable); assets != "" {
		return filepath.Abs(assets)
	}
	root, err := Repository()
	if err != nil {
		return "", err
	}
	return filepath.Join(root, "bin", "k8s"), nil
}

// Path returns the absolute path of a binary in Directory.
func Path(name string) (string, error) {
	directory, err := Directory()
	if err != nil {
		return "", err
	}
	return filepath.Join(directory, name), nil
}

// modulePath is the module whose root directory has bin/k8s.
const modulePath = "github.com/seldon-operator/seldon-operator"

// Repository returns the root directory of the repository: the closest parent of the
// working directory that has this module's go.mod. It skips those of nested modules. Tests
// run in the directory of their package, so that they always find it. Elsewhere it returns
// an error.
func Repository() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	for directory := start; ; {
		content, err := os.ReadFile(filepath.Join(directory, "go.mod"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("find the repository: %w", err)
		}
		if first, _, _ := strings.Cut(string(content), "\n"); strings.TrimSpace(first) == "module "+modulePath {
			return directory, nil
		}
		parent := filepath.Dir(directory)
		if parent == directory {
			return "", fmt.Errorf("find the repository: %s is not in it: "+
				"run this in a clone of %s, or set %s", start, modulePath, AssetsVariable)
		}
		directory = parent
	}
}
