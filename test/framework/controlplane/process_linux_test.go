package controlplane_test

import (
	"bytes"
	"context"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/seldon-operator/seldon-operator/test/framework/controlplane"
)

// killAndExpectNoProcess kills the process that started the control plane.
func (c child) killAndExpectNoProcess(t *testing.T) {
	t.Helper()
	g := NewWithT(t)
	g.Expect(processesOf(t, c.directory)).To(ConsistOf("etcd", "kube-apiserver"))
	g.Expect(c.command.Process.Kill()).To(Succeed())
	_ = c.command.Wait()
	g.Eventually(func() []string { return processesOf(t, c.directory) }).WithTimeout(timeout).Should(BeEmpty())
	server, err := url.Parse(c.config.Host)
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(func() error {
		connection, err := net.Dial("tcp", server.Host)
		if err == nil {
			err = connection.Close()
		}
		return err
	}).WithTimeout(timeout).Should(MatchError(syscall.ECONNREFUSED))
}

// expectCancelStops cancels the context of the start, and expects that Stop returns the
// same as without a cancellation.
func expectCancelStops(t *testing.T, cp *controlplane.ControlPlane, cancel context.CancelFunc) {
	t.Helper()
	g := NewWithT(t)
	g.Expect(processesOf(t, cp.Directory())).To(ConsistOf(
		"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"))
	cancel()
	g.Eventually(func() []string { return processesOf(t, cp.Directory()) }).
		WithTimeout(timeout).Should(BeEmpty(), "cancelling the context stops it")
	g.Expect(cp.Stop()).To(Succeed())
	g.Expect(cp.Directory()).NotTo(BeADirectory())
}

// expectExitIsReported kills a program of an API server.
func expectExitIsReported(t *testing.T, cp *controlplane.ControlPlane) {
	t.Helper()
	g := NewWithT(t)
	g.Expect(cp.Broken()).NotTo(BeClosed())
	kill(t, cp.Directory(), "etcd")
	g.Eventually(cp.Broken()).WithTimeout(timeout).Should(BeClosed())
	err := cp.Stop()
	g.Expect(err).To(MatchError(And(ContainSubstring("etcd exited by itself"), ContainSubstring("etcd.log"))))
	g.Expect(processesOf(t, cp.Directory())).To(BeEmpty())
	g.Expect(cp.Stop()).To(Equal(err))
}

// processesOf returns the names of the running programs of the control plane in a
// directory. The directory is in the arguments of each of them.
func processesOf(t *testing.T, directory string) []string {
	t.Helper()
	names := []string{}
	for _, name := range running(t, directory) {
		names = append(names, name)
	}
	return names
}

func kill(t *testing.T, directory, program string) {
	t.Helper()
	for pid, name := range running(t, directory) {
		if name == program {
			NewWithT(t).Expect(syscall.Kill(pid, syscall.SIGKILL)).To(Succeed())
		}
	}
}

// running returns the control plane's programs by process ID.
func running(t *testing.T, directory string) map[int]string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	found := map[int]string{}
	for _, file := range files {
		// A process that has exited since, or a zombie, has no command line.
		content, _ := os.ReadFile(file)
		program, arguments, _ := bytes.Cut(content, []byte{0})
		if !bytes.Contains(arguments, []byte(directory)) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		found[pid] = filepath.Base(string(program))
	}
	return found
}
