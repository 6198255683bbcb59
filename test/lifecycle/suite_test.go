// Package lifecycle_test goes through the life of an installation with the program
// that users have, Helm: install, upgrade, rollback, uninstall in every order, the
// way here from the upstream operator, and the way back. The operator runs as it is
// installed, in a pod of its Deployment and in the hooks of its chart.
package lifecycle_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/metadata"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
	"github.com/seldon-operator/seldon-operator/test/framework/binaries"
	"github.com/seldon-operator/seldon-operator/test/framework/controlplane"
	helmprogram "github.com/seldon-operator/seldon-operator/test/framework/helm"
	"github.com/seldon-operator/seldon-operator/test/framework/nodeagent"
	"github.com/seldon-operator/seldon-operator/test/framework/process"
)

const operator = "seldon-v2-controller-manager"

var (
	lifetime, endLifetime = context.WithCancel(context.Background())

	cluster *controlplane.ControlPlane
	node    *nodeagent.Agent
	manager string // the program
	user    client.Client
	// kinds and objects see everything that is in a namespace, whatever its kind.
	kinds   discovery.DiscoveryInterface
	objects metadata.Interface
	// sockets is where the schedulers of all namespaces listen.
	sockets string
	// folder holds charts that are made here, and Helm's own files.
	folder string
)

func TestLifecycle(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(40 * time.Second)
	SetDefaultEventuallyPollingInterval(100 * time.Millisecond)
	SetDefaultConsistentlyDuration(time.Second)
	RunSpecs(t, "Life cycle")
}

var _ = BeforeSuite(func() {
	log.SetLogger(zap.New(zap.WriteTo(GinkgoWriter)))
	DeferCleanup(endLifetime)
	folder = GinkgoT().TempDir()
	var err error
	cluster, err = controlplane.Start(lifetime, controlplane.Options{})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(cluster.Stop()).To(Succeed()) })
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme, v1alpha1.AddToScheme} {
		Expect(add(scheme)).To(Succeed())
	}
	user, err = client.New(cluster.Config(), client.Options{Scheme: scheme})
	Expect(err).NotTo(HaveOccurred())
	kinds, err = discovery.NewDiscoveryClientForConfig(cluster.Config())
	Expect(err).NotTo(HaveOccurred())
	objects, err = metadata.NewForConfig(cluster.Config())
	Expect(err).NotTo(HaveOccurred())

	// The paths of sockets are short: not in a folder of the test's own.
	sockets, err = os.MkdirTemp("", "sim")
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(os.RemoveAll, sockets)
	manager, err = process.Build(lifetime, folder, "manager")
	Expect(err).NotTo(HaveOccurred())
	node, err = nodeagent.Start(lifetime, nodeagent.Options{
		Config: cluster.Config(), Program: manager, Directory: folder,
		Arguments: func(*corev1.Pod) []string { return []string{"--scheduler-address=" + schedulerAddress("{namespace}")} },
	})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(node.Stop)
})

func schedulerAddress(namespace string) string {
	return "unix:" + filepath.Join(sockets, namespace)
}

// helm runs Helm as an administrator and returns what it prints.
func helm(arguments ...string) string {
	GinkgoHelper()
	output, err := tryHelm(arguments...)
	Expect(err).NotTo(HaveOccurred(), strings.Join(arguments, " "))
	return output
}

// tryHelm is helm where it may fail; what it prints is then the complaint.
func tryHelm(arguments ...string) (string, error) {
	began := time.Now()
	output, err := helmprogram.Helm{Home: folder, Kubeconfig: cluster.KubeconfigPath()}.Run(lifetime, nil, arguments...)
	GinkgoWriter.Printf("helm %s: %v, %v\n", strings.Join(arguments, " "), time.Since(began).Round(10*time.Millisecond), err)
	if err != nil {
		return err.Error(), err
	}
	return output, nil
}

// kubectl runs kubectl as an administrator and returns what it prints.
func kubectl(arguments ...string) string {
	GinkgoHelper()
	program, err := binaries.Path(binaries.Kubectl)
	Expect(err).NotTo(HaveOccurred())
	output, err := run(program, arguments...)
	Expect(err).NotTo(HaveOccurred(), "kubectl %s: %s", strings.Join(arguments, " "), output)
	return output
}

// run runs a program as an administrator. What it prints is the complaint if it
// fails.
func run(program string, arguments ...string) (string, error) {
	command := exec.CommandContext(lifetime, program, arguments...)
	command.Env = append(os.Environ(), "KUBECONFIG="+cluster.KubeconfigPath())
	var output, complaints bytes.Buffer
	command.Stdout, command.Stderr = &output, &complaints
	if err := command.Run(); err != nil {
		return complaints.String(), err
	}
	return output.String(), nil
}
