package controlplane

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// The users of the control plane's own programs.
const (
	adminUser             = "admin"
	controllerManagerUser = "system:kube-controller-manager"
	schedulerUser         = "system:kube-scheduler"
	kwokUser              = "kwok"
)

// layout is the directory of a control plane. Its methods return paths in it.
type layout string

func (l layout) path(name string) string { return filepath.Join(string(l), name) }

func (l layout) lock() string                   { return l.path("lock") }
func (l layout) etcd() string                   { return l.path("etcd") }
func (l layout) authority() string              { return l.path("ca.crt") }
func (l layout) servingCertificate() string     { return l.path("apiserver.crt") }
func (l layout) servingKey() string             { return l.path("apiserver.key") }
func (l layout) serviceAccountKey() string      { return l.path("service-accounts.key") }
func (l layout) schedulerConfiguration() string { return l.path("scheduler.yaml") }
func (l layout) kwokConfiguration() string      { return l.path("kwok.yaml") }

// kubeconfig returns the file of a user. The administrator's is called kubeconfig.
func (l layout) kubeconfig(user string) string {
	if user == adminUser {
		return l.path("kubeconfig")
	}
	return l.path(strings.TrimPrefix(user, "system:") + ".kubeconfig")
}

// claimDirectory prepares the directory for a new control plane: it creates it, removes
// the state of an earlier one, and locks it until the returned file is closed.
func claimDirectory(directory string) (layout, *os.File, error) {
	absolute, err := filepath.Abs(directory)
	if err != nil {
		return "", nil, err
	}
	files := layout(absolute)
	// The directory holds private keys.
	if err := os.MkdirAll(absolute, 0o700); err != nil {
		return "", nil, err
	}
	lock, err := os.OpenFile(files.lock(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		err = fmt.Errorf("another control plane runs in %s: stop it, or use another directory: %w", absolute, err)
		return "", nil, errors.Join(err, lock.Close())
	}
	if err := os.RemoveAll(files.etcd()); err != nil {
		return "", nil, errors.Join(err, lock.Close())
	}
	return files, lock, nil
}
