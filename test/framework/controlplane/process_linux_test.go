package controlplane_test

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/seldon-operator/seldon-operator/test/framework/controlplane"
)

func TestStopLeavesNoProcess(t *testing.T) {
	g := NewWithT(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cp, err := controlplane.Start(ctx, controlplane.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(processesOf(t, cp.Directory())).To(ConsistOf(
		"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"))
	cancel()
	g.Eventually(func() []string { return processesOf(t, cp.Directory()) }).
		WithTimeout(timeout).Should(BeEmpty(), "cancelling the context stops it")
	g.Expect(cp.Stop()).To(Succeed())
	g.Expect(cp.Directory()).NotTo(BeADirectory())
}

func TestKilledProcessLeavesNoProcess(t *testing.T) {
	g := NewWithT(t)
	directory := t.TempDir()
	command := exec.CommandContext(t.Context(), os.Args[0])
	command.Env = append(os.Environ(), childVariable+"="+directory)
	output, err := command.StdoutPipe()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(command.Start()).To(Succeed())
	line, err := bufio.NewReader(output).ReadString('\n')
	g.Expect(err).NotTo(HaveOccurred())
	server, err := url.Parse(strings.TrimSpace(line))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(processesOf(t, directory)).To(ConsistOf("etcd", "kube-apiserver"))

	g.Expect(command.Process.Kill()).To(Succeed())
	_ = command.Wait()
	g.Eventually(func() []string { return processesOf(t, directory) }).WithTimeout(timeout).Should(BeEmpty())
	g.Eventually(func() error {
		connection, err := net.Dial("tcp", server.Host)
		if err == nil {
			err = connection.Close()
		}
		return err
	}).WithTimeout(timeout).Should(MatchError(syscall.ECONNREFUSED))
}

func TestExitOfAProgramIsReported(t *testing.T) {
	g := NewWithT(t)
	cp, err := controlplane.Start(t.Context(), controlplane.Options{APIServerOnly: true})
	g.Expect(err).NotTo(HaveOccurred())
	g.Consistently(cp.Broken()).ShouldNot(BeClosed())
	kill(t, cp.Directory(), "etcd")
	g.Eventually(cp.Broken()).WithTimeout(timeout).Should(BeClosed())
	err = cp.Stop()
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
