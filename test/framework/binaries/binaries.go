// Package binaries names, finds and builds the programs of the local control plane: their names,
// where they are, and how they are built from source.
package binaries

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// The programs by the names of their files.
const (
	Etcd              = "etcd"
	APIServer         = "kube-apiserver"
	ControllerManager = "kube-controller-manager"
	Scheduler         = "kube-scheduler"
	Kubectl           = "kubectl"
	Kwok              = "kwok"
)

// AssetsVariable is the environment variable that overrides the directory of
// the programs. The name is the one that controller-runtime's envtest reads.
const AssetsVariable = "KUBEBUILDER_ASSETS"

// Directory returns the absolute path of the directory that holds the programs:
// the value of KUBEBUILDER_ASSETS, or else bin/k8s of this repository. It does
// not look whether the programs are there.
//
// It returns an error when the variable is unset and the working directory is
// not inside the repository.
func Directory() (string, error) {
	if assets := os.Getenv(AssetsVariable); assets != "" {
		return filepath.Abs(assets)
	}
	root, err := repositoryRoot()
	if err != nil {
		return "", err
	}
	return filepath.Join(root, "bin", "k8s"), nil
}

// Path returns the absolute path of the named program, as Directory does.
func Path(name string) (string, error) {
	directory, err := Directory()
	if err != nil {
		return "", err
	}
	return filepath.Join(directory, name), nil
}

// modulePath is the module whose root directory holds bin/k8s.
const modulePath = "github.com/seldon-operator/seldon-operator"

// repositoryRoot walks from the working directory upwards to the directory that
// holds this module's go.mod, past those of nested modules. Tests run in their
// package's directory, so they always find it.
func repositoryRoot() (string, error) {
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
			return "", fmt.Errorf("find the repository: %s is not inside it: "+
				"run this from a clone of %s, or set %s", start, modulePath, AssetsVariable)
		}
		directory = parent
	}
}
